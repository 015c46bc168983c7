// Package copies makes one store of several: a primary and its copies in other places. An object is
// sent to all of them at once, from the same bytes, and a call returns when as many hold it as the
// policy asks for. A copy that is slow or away stalls nobody: it is left behind, and brought up to date
// from another member when it answers again.
//
// # What a member is
//
//   - live: it holds, or is being sent, every object that any call of this store has returned for. Only
//     live members count.
//   - joining: it is sent what is new and is brought up to date with what is old.
//   - behind: it is away, or was too slow; nothing is sent to it.
//   - refused: it holds another content under a key. A person must look at it; nothing is sent to it.
//
// # What is promised
//
//   - Calls are numbered as they begin. A member counts for a call only if it holds what all calls up to
//     that number made. So the members that count for the newest call hold everything: there is no state
//     in which one object is on one member alone and the next on another alone.
//   - What a caller puts after a call returned reaches each member after that call's object did. So an
//     order that a caller keeps, data before the record that names it, holds on every member at every
//     moment.
//   - When no member is live, one becomes it only after it was brought up to date from as many others as
//     it takes to see all that was ever returned for: with K of N required, N-K others.
//
// The package knows keys, not their meaning: the caller says in which order a member is brought up to
// date, and when two contents are the same.
package copies
