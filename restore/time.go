package restore

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pgark/pgark/wal"
)

// ZoneError says that a time could mean more than one instant: it names no
// zone, or its local time happened twice when clocks were set back.
type ZoneError struct {
	Input string
	// Candidates are the readings in RFC 3339, ready to be pasted: that in UTC
	// first, then that in the local zone; or the two local ones, the earlier first.
	Candidates [2]string
	Twice      bool // the time has a zone, and happened twice in it
}

// Error names both readings.
func (e *ZoneError) Error() string {
	why := "no time zone"
	if e.Twice {
		why = "this time came twice there"
	}
	return fmt.Sprintf("parse time %q: %s: say %s or %s", e.Input, why, e.Candidates[0], e.Candidates[1])
}

// ParseTo reads the value of --to: "latest", or a time as ParseTime does.
func ParseTo(s string, now time.Time) (Target, error) {
	if strings.EqualFold(strings.TrimSpace(s), "latest") {
		return Target{Kind: TargetLatest}, nil
	}
	at, err := ParseTime(s, now)
	if err != nil {
		return Target{}, err
	}
	return Target{Kind: TargetTime, Time: wal.FromGo(at)}, nil
}

// ParseTime reads an instant in one of these forms:
//
//	2026-11-20T10:31:00Z            RFC 3339; also with a blank for the T
//	2026-11-20 10:31:00.25+05:30    offset with or without colon, or hours only
//	2026-11-20 10:31 Europe/Paris   IANA zone name, UTC or GMT
//	10m ago, -10m, 1d2h ago         y w d h m s ms, largest first, before now
//	today 09:30Z, yesterday 09:30Z  the day it is, or was, in that zone
//	now
//
// Seconds may be left out; what is finer than a microsecond is cut off. A time
// without zone is a *ZoneError: its second reading is that in now's location.
// Abbreviations such as EST are refused, since they do not name one offset.
func ParseTime(s string, now time.Time) (time.Time, error) {
	text := strings.Join(strings.Fields(s), " ")
	if text == "" {
		return time.Time{}, errors.New("parse time: empty")
	}
	if strings.EqualFold(text, "now") {
		return now.UTC(), nil
	}
	if d, relative, err := cutAgo(text); relative {
		if err != nil {
			return time.Time{}, fmt.Errorf("parse time %q: %w", s, err)
		}
		return now.Add(-d).UTC(), nil
	}
	day, rest, err := cutDay(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("parse time %q: %w", s, err)
	}
	clock, rest, err := cutClock(rest)
	if err != nil {
		return time.Time{}, fmt.Errorf("parse time %q: %w", s, err)
	}
	if rest == "" {
		return time.Time{}, withoutZone(s, day, clock, now)
	}
	zone, err := parseZone(rest)
	if err != nil {
		return time.Time{}, fmt.Errorf("parse time %q: %w", s, err)
	}
	return inZone(s, day.in(now.In(zone)).at(clock), zone)
}

// withoutZone returns the two readings of a time that names no zone.
func withoutZone(s string, d day, c clock, now time.Time) error {
	local := now.Location()
	utc := d.in(now.UTC()).at(c)
	here := d.in(now).at(c)
	return &ZoneError{Input: s, Candidates: [2]string{
		utc.In(time.UTC).Format(time.RFC3339Nano),
		time.Date(here.Year(), here.Month(), here.Day(), here.Hour(), here.Minute(), here.Second(), here.Nanosecond(), local).Format(numericZone),
	}}
}

// numericZone is RFC 3339 with a numeric offset also for UTC, so that the two
// readings of a time are told apart where local time is UTC.
const numericZone = "2006-01-02T15:04:05.999999999-07:00"

// inZone returns the instant at which clocks in zone show wall, whose own
// zone does not count. It refuses a time that was skipped there, and one that
// came twice.
func inZone(s string, wall time.Time, zone *time.Location) (time.Time, error) {
	var found []time.Time
	// Offsets a day before and after are the two in force around a change.
	for _, near := range []time.Duration{-36 * time.Hour, 36 * time.Hour} {
		_, offset := wall.Add(near).In(zone).Zone()
		at := wall.Add(-time.Duration(offset) * time.Second)
		if _, there := at.In(zone).Zone(); there == offset && (len(found) == 0 || !found[0].Equal(at)) {
			found = append(found, at)
		}
	}
	switch len(found) {
	case 0:
		return time.Time{}, fmt.Errorf("parse time %q: clocks in %s were set forward over this time", s, zone)
	case 1:
		return found[0].UTC(), nil
	}
	if found[1].Before(found[0]) {
		found[0], found[1] = found[1], found[0]
	}
	return time.Time{}, &ZoneError{Input: s, Twice: true, Candidates: [2]string{
		found[0].In(zone).Format(numericZone), found[1].In(zone).Format(numericZone),
	}}
}

// cutAgo reads "10m ago" and "-10m". relative is false for other forms.
func cutAgo(s string) (d time.Duration, relative bool, err error) {
	text, ago := strings.CutSuffix(s, " ago")
	if !ago {
		if text, ago = strings.CutPrefix(s, "-"); !ago {
			return 0, false, nil
		}
	}
	d, err = parseSpan(text)
	return d, true, err
}

// parseSpan reads a duration of whole numbers with units, each unit at most
// once and the largest first: "1w2d", "1d2h", "90s", "250ms".
func parseSpan(s string) (time.Duration, error) {
	units := []struct {
		name string
		size time.Duration
	}{
		{"y", 365 * 24 * time.Hour},
		{"w", 7 * 24 * time.Hour},
		{"d", 24 * time.Hour},
		{"h", time.Hour},
		{"m", time.Minute},
		{"s", time.Second},
		{"ms", time.Millisecond},
	}
	if s == "" {
		return 0, errors.New("no duration")
	}
	total, rest := time.Duration(0), s
	for rest != "" {
		number, after := cutDigits(rest)
		letters := len(after) - len(strings.TrimLeft(after, "abcdefghijklmnopqrstuvwxyz"))
		i := 0
		for i < len(units) && units[i].name != after[:letters] {
			i++
		}
		if number == "" || len(number) > 9 || i == len(units) {
			return 0, fmt.Errorf("duration %q: want whole numbers with y, w, d, h, m, s or ms, the largest unit first", s)
		}
		n := atoi(number)
		if limit := (1<<63 - 1 - total) / units[i].size; time.Duration(n) > limit {
			return 0, fmt.Errorf("duration %q: too long", s)
		}
		total += time.Duration(n) * units[i].size
		units, rest = units[i+1:], after[letters:]
	}
	return total, nil
}
