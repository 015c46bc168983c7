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
