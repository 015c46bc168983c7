// Package archivertest judges what an archiver did by what went over its wires: a Recording holds, on one clock, what the server was
// told and what the stores acknowledged, and Judge replays it. The judge shares nothing with the archiver: keys are read by hand as
// docs/FORMAT.md section 1 gives them.
//
// Recordings come from a store and a connection inside a test, from two proxies in front of real servers (integration), and from
// testdata.
package archivertest
