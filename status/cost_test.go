package status_test

import (
	"math"
	"testing"
	"time"

	"github.com/pgark/pgark/cost"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/wal"
)

const month = float64(cost.Month) / float64(24*time.Hour) // days

// spent is an archive of ten days, a base backup of 10 GB each night, that grew by a GB of WAL a day, stored in a quarter of it and 64 objects.
func spent(now time.Time) status.Report {
	const gb = 1 << 30
	start := now.Add(-10 * 24 * time.Hour)
	f := status.Facts{Beat: &repository.Beat{Timeline: 1, LSN: 10 * gb, Time: now}}
	for d := range 10 {
		began := start.Add(time.Duration(d) * 24 * time.Hour)
		f.Backups = append(f.Backups, repository.Backup{
			ID: began.Format("20060102T150405Z"), Type: "full", Timeline: 1, StartLSN: wal.LSN(d)*gb + 16, StopLSN: wal.LSN(d)*gb + 32, Started: began, Stopped: began, Stored: 10e9,
		})
	}
	f.Spans = []status.Span{{Timeline: 1, Start: 0, End: 10 * gb, Stored: 10 * gb / 4, Objects: 640}}
	return status.Make(f, now)
}

// TestCosts: what came in the last days is reckoned up to a month from what every report knows.
func TestCosts(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	about := func(what string, got *float64, want float64) {
		t.Helper()
		if got == nil || math.Abs(*got-want) > want/1000 {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	r := spent(now)
	got := r.Costs(cost.Repository{Name: "primary", BackupClass: "STANDARD_IA"}, status.Archived{After: 5*24*time.Hour + time.Minute, Class: "GLACIER"}, time.Hour)
	about("WAL", got.Rates.WAL, month*(1<<30)/4)
	about("objects", got.Rates.Objects, month*64)
	about("base backups", got.Rates.Backups, month*10e9)
	want := []cost.Kept{{Kind: cost.Backups, Class: "STANDARD_IA", Bytes: 50e9}, {Kind: cost.WAL, Bytes: 10 << 30 / 4}, {Kind: cost.Backups, Class: "GLACIER", Bytes: 50e9}}
	if len(got.Kept) != 3 || got.Kept[0] != want[0] || got.Kept[1] != want[1] || got.Kept[2] != want[2] || got.Records != 10 || got.Name != "primary" {
		t.Errorf("got %+v", got)
	}

	// Two within an hour or so: the schedule tells of the next too.
	young := r
	young.Backups = []status.Backup{r.Backups[8], r.Backups[9]}
	young.Backups[0].Started = r.Backups[9].Started.Add(-time.Hour)
	about("one by hand", young.Costs(cost.Repository{}, status.Archived{}, 24*time.Hour).Rates.Backups, month*10e9)

	// One base backup: the schedule tells of the next.
	r.Backups = r.Backups[9:]
	about("by the schedule", r.Costs(cost.Repository{}, status.Archived{}, 7*24*time.Hour).Rates.Backups, month*10e9/7)
	if got := r.Costs(cost.Repository{}, status.Archived{}, 0).Rates.Backups; got != nil {
		t.Errorf("nothing tells when the next is taken, and yet %v", *got)
	}

	// Too young to tell.
	r.Backups[0].Stopped = now.Add(-30 * time.Minute)
	if got := r.Costs(cost.Repository{}, status.Archived{}, 0).Rates; got.WAL != nil || got.Objects != nil {
		t.Errorf("half an hour tells of a month: %v", *got.WAL)
	}
	if got := status.Make(status.Facts{}, now).Costs(cost.Repository{}, status.Archived{}, time.Hour); got.Rates != (cost.Rates{}) {
		t.Errorf("an empty archive has rates: %+v", got.Rates)
	}
}

// TestPutsAMonth: what an agent counted says nothing before an hour has gone by since its first put, and nothing of a repository that it does not write to.
func TestPutsAMonth(t *testing.T) {
	up := true
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	first := now.Add(-2 * time.Hour)
	l := status.Live{Now: now, Began: now.Add(-100 * 24 * time.Hour), Repositories: []status.LiveRepository{
		{Name: "primary", Up: &up, Puts: 100, PutsSince: &first}, {Name: "dr", Up: &up}, {Name: "away"},
	}}
	if got := l.PutsAMonth("primary"); got == nil || *got != 36500 {
		t.Errorf("got %v", got)
	}
	if l.PutsAMonth("dr") != nil || l.PutsAMonth("away") != nil || l.PutsAMonth("other") != nil {
		t.Error("nothing was put there")
	}
	l.Standby = &status.LiveStandby{}
	if l.PutsAMonth("primary") != nil {
		t.Error("its server is a standby now: another agent puts")
	}
	l.Standby, first = nil, now.Add(-time.Minute)
	if l.PutsAMonth("primary") != nil {
		t.Error("a minute tells of a month")
	}
}
