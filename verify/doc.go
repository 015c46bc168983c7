// Package verify reads repositories back and judges whether all that they should hold is there and is what was written: WAL without a hole
// over the whole window and across timelines, every object of every base backup, hashes, and that copies are equal. What is damaged it can
// put right from another copy, as a new version of the object.
//
// risk.go and judge.go decide and are pure; the rest reads. What was read when is recorded in each repository (docs/FORMAT.md, section 12),
// so that a run reads nothing again that was read within the period it is given.
package verify
