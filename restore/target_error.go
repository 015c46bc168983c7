package restore

import (
	"fmt"
	"strings"

	"github.com/pgark/pgark/wal"
)

// Reason says why a target cannot be restored.
type Reason uint8

// The reasons.
const (
	ReasonNoBackup  Reason = iota + 1 // no backup lies on the timeline
	ReasonTooEarly                    // before the first backup's end
	ReasonTooLate                     // after the end of what the archive proves
	ReasonGap                         // in, or behind, a hole in the WAL
	ReasonAmbiguous                   // several timelines have an answer
	ReasonNotFound                    // no such transaction, restore point or backup
	ReasonTimeline                    // no such timeline, or its history file is missing
)

// String returns the reason in a few words.
func (r Reason) String() string {
	switch r {
	case ReasonNoBackup:
		return "no base backup on this timeline"
	case ReasonTooEarly:
		return "before the end of the first base backup"
	case ReasonTooLate:
		return "after the end of what the archive holds"
	case ReasonGap:
		return "WAL is missing before it"
	case ReasonAmbiguous:
		return "it lies on several timelines"
	case ReasonNotFound:
		return "not found in the archive"
	case ReasonTimeline:
		return "timeline not known"
	}
	return "not recoverable"
}

// Instant is a place that can be restored. Either field may be 0, if it is not known.
type Instant struct {
	Time wal.Time
	LSN  wal.LSN
}

// String returns what is known of it.
func (i Instant) String() string {
	switch {
	case i.Time == 0:
		return "lsn " + i.LSN.String()
	case i.LSN == 0:
		return i.Time.String()
	}
	return i.Time.String() + " (lsn " + i.LSN.String() + ")"
}

// TargetError says that a target cannot be restored, why, and what can be.
type TargetError struct {
	Target Target
	Reason Reason
	Detail string // more about the reason; may be empty
	// The nearest places on both sides that can be restored; nil where there
	// is none or none is known.
	NearestBefore, NearestAfter *Instant
	Timelines                   []wal.TimelineID // of ReasonAmbiguous: those to choose from
	// Notes are the inventory's: what of the archive could not be read, without which the target might be restored.
	Notes []string
}

// Why says what cannot be restored, and the reason.
func (e *TargetError) Why() string {
	s := fmt.Sprintf("target %s cannot be restored: %s", e.Target, e.Reason)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Error says all of it in one line.
func (e *TargetError) Error() string {
	var s strings.Builder
	s.WriteString(e.Why())
	if e.NearestBefore != nil {
		s.WriteString("; nearest before: " + e.NearestBefore.String())
	}
	if e.NearestAfter != nil {
		s.WriteString("; nearest after: " + e.NearestAfter.String())
	}
	for _, note := range e.Notes {
		s.WriteString("; " + note)
	}
	return s.String()
}
