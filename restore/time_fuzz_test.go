package restore_test

import (
	"bufio"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/pgark/pgark/restore"
)

// times are what people type, and what they should not: the corpus of FuzzParseTime, and of its short form.
func times(t testing.TB) []string {
	t.Helper()
	f, err := os.Open("testdata/times.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it was read
	var all []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		all = append(all, lines.Text())
	}
	return all
}

// clocks are the same instants as hosts of different zones show them: none of that may choose what a time means.
func clocks(t testing.TB) [][]time.Time {
	t.Helper()
	var all [][]time.Time
	for _, at := range []string{"2026-07-01T10:00:00Z", "2026-03-29T00:59:59Z", "2026-10-25T00:30:00Z", "2026-12-31T23:59:59.9999999Z"} {
		now, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			t.Fatal(err)
		}
		same := []time.Time{now}
		for _, name := range []string{"Europe/Paris", "Pacific/Kiritimati", "America/New_York", "Australia/Lord_Howe"} {
			zone, err := time.LoadLocation(name)
			if err != nil {
				t.Fatal(err)
			}
			same = append(same, now.In(zone))
		}
		all = append(all, same)
	}
	return all
}

// echo is how the command line prints an instant.
const echo = "2006-01-02 15:04:05.999999Z07:00"

// judgeTime holds what --to, --around and --since promise of any text: it means one instant or is refused, never a guess.
func judgeTime(t *testing.T, s string, hosts [][]time.Time) {
	t.Helper()
	for _, same := range hosts {
		first, err := restore.ParseTime(s, same[0])
		for _, now := range same[1:] {
			at, other := restore.ParseTime(s, now)
			if (err == nil) != (other == nil) || err == nil && !at.Equal(first) {
				t.Errorf("%q is %s, %v on a host in UTC, and %s, %v in %s", s, first, err, at, other, now.Location())
			}
		}
		var zone *restore.ZoneError
		switch {
		case errors.As(err, &zone):
			judgeCandidates(t, s, zone, same)
		case err == nil:
			judgeInstant(t, s, first, same[0])
		case strings.TrimSpace(s) != "" && !strings.Contains(err.Error(), "parse time "):
			t.Errorf("%q: the error does not say of what: %v", s, err)
		}
	}
}

// judgeCandidates: a time without zone, or one that came twice, is two readings. Both can be pasted, and mean different instants unless the host's own zone makes them one.
func judgeCandidates(t *testing.T, s string, _ *restore.ZoneError, same []time.Time) {
	t.Helper()
	for _, now := range same {
		_, err := restore.ParseTime(s, now)
		var zone *restore.ZoneError
		if !errors.As(err, &zone) {
			t.Errorf("%q on a host in %s: got %v", s, now.Location(), err)
			continue
		}
		var read [2]time.Time
		for i, candidate := range zone.Candidates {
			if read[i], err = restore.ParseTime(candidate, now); err != nil && read[0].Year() < 9999 && read[0].Year() > 0 {
				t.Errorf("%q: the candidate %q cannot be pasted: %v", s, candidate, err)
			}
		}
		if zone.Twice && !read[0].Before(read[1]) {
			t.Errorf("%q came twice, at %s and %s", s, read[0], read[1])
		}
	}
}

// judgeInstant: what was accepted is printed and read again as the same instant, names its zone in a way that means one offset, and shows what the clocks of that zone showed.
func judgeInstant(t *testing.T, s string, at, now time.Time) {
	t.Helper()
	if at.Year() > 0 && at.Year() <= 9999 {
		again, err := restore.ParseTime(at.Format(echo), now)
		if err != nil || !again.Truncate(time.Microsecond).Equal(at.Truncate(time.Microsecond)) {
			t.Errorf("%q is %s, and read again %s, %v", s, at.Format(echo), again, err)
		}
	}
	words := strings.Fields(s)
	last := words[len(words)-1]
	if strings.IndexFunc(last, func(r rune) bool { return !unicode.IsLetter(r) }) < 0 {
		switch strings.ToLower(last) {
		case "z", "utc", "gmt", "ago", "now":
		default:
			t.Errorf("%q was taken for %s by the letters %q", s, at, last)
		}
	}
	if span, ago := strings.CutPrefix(strings.Join(words, " "), "-"); ago {
		if other, err := restore.ParseTime(span+" ago", now); err != nil || !other.Equal(at) || at.After(now) {
			t.Errorf("%q is %s, and %q is %s, %v", s, at, span+" ago", other, err)
		}
	}
	if zone, err := time.LoadLocation(last); err == nil && strings.Contains(last, "/") && len(words) == 3 {
		shown := at.In(zone)
		if !strings.HasPrefix(words[1], shown.Format("15:04")) || words[0][0] <= '9' && words[0] != shown.Format(time.DateOnly) {
			t.Errorf("%q is %s, when clocks there show %s", s, at, shown)
		}
	}
}

// TestTimes is the short form of FuzzParseTime: its corpus, at four instants, on hosts in five zones.
func TestTimes(t *testing.T) {
	hosts := clocks(t)
	for _, s := range times(t) {
		judgeTime(t, s, hosts)
	}
}

// FuzzParseTime looks for a text that breaks what judgeTime holds.
func FuzzParseTime(f *testing.F) {
	for _, s := range times(f) {
		f.Add(s)
	}
	hosts := clocks(f)
	f.Fuzz(func(t *testing.T, s string) { judgeTime(t, s, hosts) })
}
