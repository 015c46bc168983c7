package restore

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pgark/pgark/wal"
)

// TargetKind says in what terms a target is given.
type TargetKind uint8

// The kinds of targets. The zero value is TargetLatest.
const (
	TargetLatest    TargetKind = iota // the end of what the archive holds
	TargetTime                        // an instant
	TargetLSN                         // a place in the log
	TargetXID                         // the end of a transaction
	TargetName                        // a restore point (pg_create_restore_point)
	TargetImmediate                   // the end of a base backup, where it is consistent
)

// String returns the word for the kind.
func (k TargetKind) String() string {
	switch k {
	case TargetLatest:
		return "latest"
	case TargetTime:
		return "time"
	case TargetLSN:
		return "lsn"
	case TargetXID:
		return "xid"
	case TargetName:
		return "name"
	case TargetImmediate:
		return "immediate"
	}
	return "unknown"
}

// TimelineRule says along which timeline to recover.
type TimelineRule uint8

// The rules. TimelineAuto, the zero value, is TimelineLatest with one
// difference: where the target lies past a fork and another branch of history
// has an answer of its own, it is refused as ambiguous.
const (
	TimelineAuto    TimelineRule = iota
	TimelineCurrent              // the timeline of the chosen backup, no switch followed
	TimelineLatest               // the newest timeline the archive knows
	TimelineExact                // Timelines.ID
)

// TimelineChoice is a rule and, for TimelineExact, the timeline.
type TimelineChoice struct {
	Rule TimelineRule
	ID   wal.TimelineID // only with TimelineExact
}

// Target is where a restore is to stop. The zero value is the end of the
// archive. Only the field of its Kind counts beside Exclusive and Timeline.
type Target struct {
	Kind TargetKind
	Time wal.Time // recovery stops before the first transaction end past it
	LSN  wal.LSN  // recovery stops after the first record at or past it
	XID  wal.XID  // recovery stops after this transaction's end
	Name string   // recovery stops at the first restore point of this name after the backup
	// Backup is the id of the backup for TargetImmediate; empty is the newest.
	Backup string
	// Exclusive stops before what the target names instead of after it
	// (recovery_target_inclusive = off). It counts for time, LSN and xid.
	Exclusive bool
	Timeline  TimelineChoice
}

// String returns the target in words, such as "time 2026-11-20T10:31:00Z".
func (t Target) String() string {
	s := t.Kind.String()
	switch t.Kind {
	case TargetTime:
		s += " " + t.Time.String()
	case TargetLSN:
		s += " " + t.LSN.String()
	case TargetXID:
		s += " " + strconv.FormatUint(uint64(t.XID), 10)
	case TargetName:
		s += " " + strconv.Quote(t.Name)
	case TargetImmediate:
		if t.Backup != "" {
			s += " of backup " + t.Backup
		}
	case TargetLatest:
	}
	if t.Exclusive {
		s += ", exclusive"
	}
	return s
}

// maxName is the longest restore point name in bytes: pg_create_restore_point
// refuses MAXFNAMELEN, 64, and more (src/include/access/xlog_internal.h).
const maxName = 63

// Validate returns an error if the field of the target's kind cannot be one.
func (t Target) Validate() error {
	switch t.Kind {
	case TargetLatest, TargetTime, TargetImmediate:
		if t.Exclusive && t.Kind != TargetTime {
			return fmt.Errorf("target %s: there is nothing to stop before", t.Kind)
		}
	case TargetLSN:
		if t.LSN == 0 {
			return errors.New("target lsn: 0/0 is no place in the log")
		}
	case TargetXID:
		if t.XID < firstNormalXID {
			return fmt.Errorf("target xid: %d is no transaction of a user", t.XID)
		}
	case TargetName:
		if t.Name == "" || len(t.Name) > maxName || strings.ContainsRune(t.Name, 0) {
			return fmt.Errorf("target name: want 1 to %d bytes, got %d", maxName, len(t.Name))
		}
		if t.Exclusive {
			return errors.New("target name: PostgreSQL knows no stop before a restore point")
		}
	default:
		return fmt.Errorf("target: unknown kind %d", t.Kind)
	}
	if (t.Timeline.Rule == TimelineExact) != (t.Timeline.ID != 0) {
		return errors.New("target: a timeline needs its number, and no other rule has one")
	}
	return nil
}

// firstNormalXID is FirstNormalTransactionId, src/include/access/transam.h.
const firstNormalXID = 3

// ParseXID reads a transaction ID as recovery_target_xid does: decimal, and of
// a 64-bit one (pg_current_xact_id) the lower half counts.
func ParseXID(s string) (wal.XID, error) {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil || s[0] == '+' || uint32(v) < firstNormalXID {
		return 0, fmt.Errorf("parse xid %q: want a decimal transaction id of 3 or more", s)
	}
	return wal.XID(v), nil
}

// ParseTimeline reads "current", "latest" or the number of a timeline in
// decimal or, after 0x, in hex. Empty is TimelineAuto. A number with leading
// zeros is refused: in file names it would be hex, elsewhere decimal.
func ParseTimeline(s string) (TimelineChoice, error) {
	switch s {
	case "":
		return TimelineChoice{}, nil
	case "current":
		return TimelineChoice{Rule: TimelineCurrent}, nil
	case "latest":
		return TimelineChoice{Rule: TimelineLatest}, nil
	}
	digits, base := s, 10
	if rest, ok := strings.CutPrefix(s, "0x"); ok {
		digits, base = rest, 16
	} else if s[0] == '0' {
		digits = ""
	}
	v, err := strconv.ParseUint(digits, base, 32)
	if err != nil || v == 0 {
		return TimelineChoice{}, fmt.Errorf("parse timeline %q: want current, latest, or a number such as 10 or 0xA", s)
	}
	return TimelineChoice{Rule: TimelineExact, ID: wal.TimelineID(v)}, nil
}
