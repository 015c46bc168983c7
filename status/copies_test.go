package status_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/status"
)

// TestCopiesSideBySide: how far each repository is behind the one that holds most, and when that is a cause.
func TestCopiesSideBySide(t *testing.T) {
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	at := func(ago time.Duration) *time.Time { u := now.Add(-ago); return &u }
	r := status.Report{Now: now, Backups: []status.Backup{{Restorable: true}}}
	r.SetCopies([]status.Copy{
		{Name: "primary", Durable: &status.Position{Timeline: 1, LSN: 1000}, Until: at(0), Backups: 1},
		{Name: "level", Durable: &status.Position{Timeline: 1, LSN: 1000}, Until: at(9 * time.Second), Backups: 1},
		{Name: "late", Durable: &status.Position{Timeline: 1, LSN: 400}, Until: at(4 * time.Minute), Backups: 1},
		{Name: "branch", Durable: &status.Position{Timeline: 2, LSN: 300}, Until: at(time.Second), Backups: 1},
		{Name: "bare", Durable: &status.Position{Timeline: 1, LSN: 1000}},
		{Name: "away", Error: "no answer"},
	})
	by := map[string]status.Copy{}
	for _, c := range r.Copies {
		by[c.Name] = c
	}
	if b := by["branch"]; b.BehindBytes == nil || *b.BehindBytes != 0 || by["late"].BehindBytes != nil {
		t.Errorf("the newest timeline holds most: got %+v and %+v", b, by["late"])
	}
	if b := by["late"].Behind; b == nil || *b != 240 {
		t.Errorf("late: got %v", b)
	}
	if by["away"].Behind != nil {
		t.Errorf("a copy that does not answer: got %+v", by["away"])
	}
	r.Judge(status.Commands{Check: "pgark check"})
	var causes []string
	for _, c := range r.Causes {
		causes = append(causes, c.What)
	}
	text := strings.Join(causes, "\n")
	for _, want := range []string{"copy late is 4m0s behind", "copy bare cannot be restored from alone", "copy away cannot be used: no answer"} {
		if !strings.Contains(text, want) {
			t.Errorf("causes lack %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "level") || strings.Contains(text, "copy branch") {
		t.Errorf("a copy that is level is a cause:\n%s", text)
	}
}

// TestLevelCopyIsNotBehind: a beat that has not come yet makes no copy late that holds the same WAL.
func TestLevelCopyIsNotBehind(t *testing.T) {
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	before := now.Add(-9 * time.Second)
	var r status.Report
	end := status.Position{Timeline: 1, LSN: 1000}
	r.SetCopies([]status.Copy{{Name: "primary", Durable: &end, Until: &now}, {Name: "dr", Durable: &end, Until: &before}})
	if c := r.Copies[1]; *c.Behind != 0 || *c.BehindBytes != 0 {
		t.Errorf("got %v s, %v bytes", *c.Behind, *c.BehindBytes)
	}
}

// TestCopiesByTheBucket: they may be a quarter of an hour behind, and what is wrong with the bucket's rule is a cause.
func TestCopiesByTheBucket(t *testing.T) {
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	copyBehind := func(by time.Duration, r *status.Replication) status.Report {
		until := now.Add(-by)
		report := status.Report{Now: now, Backups: []status.Backup{{Restorable: true}}}
		report.SetCopies([]status.Copy{
			{Name: "primary", Durable: &status.Position{Timeline: 1, LSN: 1000}, Until: &now, Backups: 1},
			{Name: "dr", Durable: &status.Position{Timeline: 1, LSN: 400}, Until: &until, Backups: 1, By: status.ByBucket, Replication: r},
		})
		report.Judge(status.Commands{Check: "pgark check", Copy: "pgark repo copy --to"})
		return report
	}
	for _, test := range []struct {
		name        string
		behind      time.Duration
		replication *status.Replication
		what, fix   string // "" for no cause
	}{
		{"on its way", 14 * time.Minute, &status.Replication{Newest: 2, Pending: 1}, "", ""},
		{"too long on its way", 16 * time.Minute, nil, "copy dr is 16m0s behind", "pgark check"},
		{"rule disabled", 0, &status.Replication{Faults: []string{"rule x is disabled"}}, "copy dr, which the bucket makes: rule x is disabled", "pgark check"},
		{"given up", 0, &status.Replication{Failed: 1, Faults: []string{"gave up"}}, "copy dr, which the bucket makes: gave up", "pgark repo copy --to dr"},
		{"not to be asked", 0, &status.Replication{Error: "denied"}, "", ""},
	} {
		r := copyBehind(test.behind, test.replication)
		found := ""
		for _, c := range r.Causes {
			if strings.Contains(c.What, "copy dr") {
				found += c.What + "|" + c.Fix
			}
		}
		wrong := found != ""
		if test.what != "" {
			wrong = !strings.HasPrefix(found, test.what) || !strings.HasSuffix(found, "|"+test.fix)
		}
		if wrong {
			t.Errorf("%s: got %q, want %q", test.name, found, test.what)
		}
	}
}
