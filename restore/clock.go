package restore

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// day is a date, or a number of days before the one it is.
type day struct {
	relative bool
	ago      int
	date     time.Time
}

// clock is a time of day.
type clock struct {
	hour, minute, second, nanosecond int
}

// wall is a date, its clock not yet set.
type wall struct{ year, month, day int }

// in returns the date, given what time it is now where the date is meant.
func (d day) in(now time.Time) wall {
	date := d.date
	if d.relative {
		date = time.Date(now.Year(), now.Month(), now.Day()-d.ago, 0, 0, 0, 0, time.UTC)
	}
	return wall{date.Year(), int(date.Month()), date.Day()}
}

// at returns what a clock and a calendar show, as if they were in UTC.
func (w wall) at(c clock) time.Time {
	return time.Date(w.year, time.Month(w.month), w.day, c.hour, c.minute, c.second, c.nanosecond, time.UTC)
}

// cutDay reads a date, today or yesterday, and returns what follows it.
func cutDay(s string) (day, string, error) {
	word, rest, found := strings.Cut(s, " ")
	switch strings.ToLower(word) {
	case "today":
		return day{relative: true}, rest, nil
	case "yesterday":
		return day{relative: true, ago: 1}, rest, nil
	}
	if before, _, ok := strings.Cut(word, "T"); ok {
		word, rest = before, s[len(before)+1:]
	} else if !found {
		rest = ""
	}
	date, err := time.Parse(time.DateOnly, word)
	if err != nil {
		return day{}, "", errors.New("want a time such as 2026-11-20T10:31:00Z or 10m ago")
	}
	if rest == "" {
		return day{}, "", errors.New("a day without a time of day")
	}
	return day{date: date}, rest, nil
}

// cutClock reads HH:MM, HH:MM:SS or HH:MM:SS.fraction, and returns what
// follows it without the blank before.
func cutClock(s string) (clock, string, error) {
	var c clock
	rest := s
	fields := []struct {
		value *int
		limit int
	}{{&c.hour, 23}, {&c.minute, 59}, {&c.second, 59}}
	for i, f := range fields {
		if i > 0 {
			after, ok := strings.CutPrefix(rest, ":")
			if !ok && i == 2 {
				break // seconds may be left out
			}
			if !ok {
				return clock{}, "", fmt.Errorf("want HH:MM:SS, got %q", s)
			}
			rest = after
		}
		number, after := cutDigits(rest)
		if len(number) != 2 || atoi(number) > f.limit {
			return clock{}, "", fmt.Errorf("want HH:MM:SS, got %q", s)
		}
		*f.value, rest = atoi(number), after
		if i == 2 {
			var err error
			if c.nanosecond, rest, err = cutFraction(rest); err != nil {
				return clock{}, "", err
			}
		}
	}
	return c, strings.TrimPrefix(rest, " "), nil
}

// cutFraction reads the digits after a point, cut to microseconds, and
// returns them in nanoseconds.
func cutFraction(s string) (nanosecond int, rest string, err error) {
	after, ok := strings.CutPrefix(s, ".")
	if !ok {
		return 0, s, nil
	}
	digits, rest := cutDigits(after)
	if digits == "" || len(digits) > 9 {
		return 0, "", errors.New("want 1 to 9 digits after the point of a second")
	}
	micro := (digits + "000000")[:6]
	return atoi(micro) * 1000, rest, nil
}

// parseZone reads Z, UTC, GMT, a numeric offset or an IANA name.
func parseZone(s string) (*time.Location, error) {
	switch strings.ToUpper(s) {
	case "Z", "UTC", "GMT":
		return time.UTC, nil
	}
	if s[0] == '+' || s[0] == '-' {
		return parseOffset(s)
	}
	if !strings.Contains(s, "/") {
		return nil, fmt.Errorf("zone %q: want Z, an offset such as +01:00 or a name such as Europe/Paris", s)
	}
	zone, err := time.LoadLocation(s)
	if err != nil {
		return nil, fmt.Errorf("zone %q: %w", s, err)
	}
	return zone, nil
}

// parseOffset reads +HH, +HHMM and +HH:MM.
func parseOffset(s string) (*time.Location, error) {
	hours, rest := cutDigits(s[1:])
	minutes := "00"
	if len(hours) == 4 && rest == "" {
		hours, minutes = hours[:2], hours[2:]
	} else if after, ok := strings.CutPrefix(rest, ":"); ok {
		minutes, rest = cutDigits(after)
	}
	if len(hours) != 2 || len(minutes) != 2 || rest != "" || atoi(hours) > 15 || atoi(minutes) > 59 {
		return nil, fmt.Errorf("offset %q: want one such as +01, +0100 or +01:00", s)
	}
	seconds := (atoi(hours)*60 + atoi(minutes)) * 60
	if s[0] == '-' {
		seconds = -seconds
	}
	return time.FixedZone("", seconds), nil
}

// cutDigits returns the decimal digits s starts with, and the rest.
func cutDigits(s string) (digits, rest string) {
	n := len(s) - len(strings.TrimLeft(s, "0123456789"))
	return s[:n], s[n:]
}

// atoi returns the value of at most nine decimal digits.
func atoi(digits string) int {
	n := 0
	for _, c := range []byte(digits) {
		n = n*10 + int(c-'0')
	}
	return n
}
