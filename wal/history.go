package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// historySuffix ends the name of a timeline history file.
const historySuffix = ".history"

// Switch is one line of a timeline history file: Timeline was left at At, the
// LSN of the first byte that is not its own.
type Switch struct {
	Timeline TimelineID
	At       LSN
	Reason   string
}

// History is the ancestry of a timeline, as its history file tells it
// (src/backend/access/transam/timeline.c). Timeline 1 has no parents.
//
// The LSNs of Parents need not rise. A server told to recover along timeline
// 2 to a target before 2 began names 2 as its parent all the same, and writes
// a switch that is before the one from 1 to 2 (StartupXLOG in xlog.c passes
// recoveryTargetTLI to writeTimeLineHistory). No byte of timeline 2 is in
// that history then. TimelineAt, SwitchOf and RangeOf answer by the bytes.
type History struct {
	Timeline TimelineID
	Parents  []Switch // oldest first
}

// ParseHistory reads the content of the history file of timeline tli. Like
// PostgreSQL it passes over comments and empty lines and wants timelines that
// rise and stay below tli; beyond that it refuses a timeline above 1 without
// any parent, and numbers with anything attached.
func ParseHistory(tli TimelineID, b []byte) (History, error) {
	h := History{Timeline: tli}
	if tli == 0 {
		return History{}, errors.New("parse timeline history: timeline 0 is invalid")
	}
	last := TimelineID(0)
	number := 0
	for line := range bytes.Lines(b) {
		number++
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		s, err := parseSwitch(text)
		if err != nil {
			return History{}, fmt.Errorf("parse history of timeline %s: line %d: %w", tli, number, err)
		}
		if s.Timeline <= last || s.Timeline >= tli {
			return History{}, fmt.Errorf("parse history of timeline %s: line %d: timeline %d does not lie between %d and %d",
				tli, number, s.Timeline, last, tli)
		}
		last = s.Timeline
		h.Parents = append(h.Parents, s)
	}
	if tli > 1 && len(h.Parents) == 0 {
		return History{}, fmt.Errorf("parse history of timeline %s: no parent", tli)
	}
	return h, nil
}

// parseSwitch reads "parent <tab> switch LSN [<tab> reason]".
func parseSwitch(text string) (Switch, error) {
	first, rest := cutField(text)
	second, reason := cutField(rest)
	id, err := strconv.ParseUint(first, 10, 32)
	if err != nil || first[0] == '+' {
		return Switch{}, fmt.Errorf("timeline %q: want a decimal number", first)
	}
	at, err := ParseLSN(second)
	if err != nil {
		return Switch{}, err
	}
	if at == 0 {
		return Switch{}, errors.New("switch point 0/0 is invalid")
	}
	return Switch{Timeline: TimelineID(id), At: at, Reason: reason}, nil
}

// cutField returns the text before the first run of blanks and that after it.
func cutField(s string) (field, rest string) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimLeft(s[i:], " \t")
}

// FileName returns the name of the history file, "00000002.history".
func (h History) FileName() string { return h.Timeline.HistoryFileName() }

// HistoryFileName returns the name of the timeline's history file,
// "00000002.history".
func (t TimelineID) HistoryFileName() string { return t.String() + historySuffix }

// ParseHistoryFileName reads what HistoryFileName writes.
func ParseHistoryFileName(name string) (TimelineID, error) {
	id, found := strings.CutSuffix(name, historySuffix)
	if !found {
		return 0, fmt.Errorf("parse history file name %q: want 8 hex digits and %s", name, historySuffix)
	}
	tli, err := ParseTimelineID(id)
	if err != nil {
		return 0, fmt.Errorf("parse history file name %q: %w", name, err)
	}
	return tli, nil
}

// TimelineAt returns the timeline whose log holds the byte at lsn, for a
// server on this history (tliOfPointInHistory).
func (h History) TimelineAt(lsn LSN) TimelineID {
	tli := h.Timeline
	for _, p := range slices.Backward(h.Parents) {
		if lsn >= p.At {
			break
		}
		tli = p.Timeline
	}
	return tli
}

// SwitchOf returns the end of ancestor tli: the LSN of the first byte that a
// server on this history takes from a younger timeline. It returns false for
// h.Timeline, which has no end here, and for timelines not in the history.
func (h History) SwitchOf(tli TimelineID) (LSN, bool) {
	at := LSN(math.MaxUint64)
	for _, p := range slices.Backward(h.Parents) {
		at = min(at, p.At)
		if p.Timeline == tli {
			return at, true
		}
	}
	return 0, false
}

// RangeOf returns the bytes that a server on this history takes from timeline
// tli. The end of h.Timeline itself is the greatest LSN there is; the range of
// an ancestor may be empty. It returns false for a timeline not in the history.
func (h History) RangeOf(tli TimelineID) (Range, bool) {
	if !h.Contains(tli) {
		return Range{}, false
	}
	r := Range{End: math.MaxUint64}
	if at, ok := h.SwitchOf(tli); ok {
		r.End = at
	}
	for _, p := range h.Parents {
		if p.Timeline == tli {
			break
		}
		r.Start, _ = h.SwitchOf(p.Timeline)
	}
	return r, true
}

// Contains reports whether tli is h.Timeline or one of its ancestors.
func (h History) Contains(tli TimelineID) bool {
	return tli == h.Timeline || slices.ContainsFunc(h.Parents, func(s Switch) bool { return s.Timeline == tli })
}
