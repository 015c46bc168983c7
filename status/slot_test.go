package status_test

import (
	"testing"
	"time"

	"github.com/pgark/pgark/status"
)

// TestBound: the nearest limit is told; the time to it only where WAL that was written since is known to be outstanding for a while.
func TestBound(t *testing.T) {
	const mb = 1_000_000
	// The archive ends at 0/900, at minute 9; the server goes on from there.
	const later = 0x900 + 600*mb
	for _, test := range []struct {
		name    string
		change  func(*status.Slot)
		now     time.Time
		by      string
		left    int64
		about   string
		verdict status.Verdict
		what    string // of a cause
	}{
		{"no limit", func(*status.Slot) {}, minute(19), "", 0, "", status.AtRisk, ""},
		{
			"the server's", func(s *status.Slot) { s.Limit, s.Safe = know(int64(2400*mb)), know(int64(1800*mb)) },
			minute(19), status.BoundByServer, 1800 * mb, "30 min", status.AtRisk, "",
		},
		{
			"the configuration's", func(s *status.Slot) { s.KeepMax, s.OnLimit = know(int64(700*mb)), "drop" },
			minute(19), status.BoundByKeepMax, 100 * mb, "2 min", status.AtRisk,
			"the server keeps 600 MB of WAL for slot pgark and reaches slot.keep_max (700 MB) in about 2 min: then the agent drops the slot, and what is not archived is lost",
		},
		{
			"it is reached, and only told of", func(s *status.Slot) { s.KeepMax, s.OnLimit = know(int64(500*mb)), "alert" },
			minute(19), status.BoundByKeepMax, 0, "", status.AtRisk,
			"the server keeps 600 MB of WAL for slot pgark and has reached slot.keep_max (500 MB): it keeps more all the same, because slot.on_limit is alert",
		},
		{
			"the disk", func(s *status.Slot) { s.KeepMax, s.DiskFree = know(int64(9000*mb)), know(int64(60*mb)) },
			minute(19), status.BoundByDisk, 60 * mb, "1 min", status.AtRisk,
			"the server keeps 600 MB of WAL for slot pgark and reaches the end of the disk in about 1 min: then PostgreSQL stops",
		},
		{
			"too short a time to tell a rate", func(s *status.Slot) { s.KeepMax = know(int64(700 * mb)) },
			minute(9).Add(20 * time.Second), status.BoundByKeepMax, 100 * mb, "", status.AtRisk,
			"the server keeps 600 MB of WAL for slot pgark and comes near slot.keep_max (700 MB): then it keeps more all the same, because slot.on_limit is alert",
		},
		{
			"far", func(s *status.Slot) { s.KeepMax = know(int64(64_000 * mb)) },
			minute(9).Add(20 * time.Second), status.BoundByKeepMax, 63_400 * mb, "", status.Protected, "",
		},
		{"lost", func(s *status.Slot) { s.WALStatus, s.KeepMax = "lost", know(int64(700*mb)) }, minute(19), "", 0, "", status.Unprotected, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := received(later)
			server.Slot.Restart, server.Slot.Retained = 0x900, 600*mb
			test.change(server.Slot)
			r := status.Make(archived(), test.now)
			r.SetServer(*server)
			r.Judge(commands)
			by, left, about := "", int64(0), ""
			if b := r.Server.Slot.Bound; b != nil {
				by, left, about = b.By, b.Left, b.About()
			}
			if by != test.by || left != test.left || about != test.about || r.Verdict != test.verdict {
				t.Errorf("got %s, %d left, about %q, %s", by, left, about, r.Verdict)
			}
			found := test.what == ""
			for _, c := range r.Causes {
				found = found || c.What == test.what
				t.Log(c.What)
			}
			if !found {
				t.Errorf("no cause %q", test.what)
			}
		})
	}
}
