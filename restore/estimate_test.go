package restore_test

import (
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
)

const (
	gb = 1e9
	mb = 1e6
)

// took is how many seconds some bytes took.
type took struct{ bytes, seconds float64 }

// drilled is the report of a drill; open is in seconds.
func drilled(hour int, fetch, replay took, open float64) repository.Drill {
	d := repository.Drill{Started: at(float64(60 * hour)).Go(), Host: "db-1", RTO: repository.Seconds(fetch.seconds + replay.seconds + open)}
	d.Fetch.Bytes, d.Fetch.Seconds = int64(fetch.bytes), repository.Seconds(fetch.seconds)
	d.Replay.Bytes, d.Replay.Seconds = uint64(replay.bytes), repository.Seconds(replay.seconds)
	d.Open.Seconds = repository.Seconds(open)
	return d
}

func TestEstimate(t *testing.T) {
	elsewhere := drilled(9, took{100 * gb, 1000}, took{gb, 100}, 1)
	elsewhere.Host = "dr-1"
	failed := repository.Drill{Started: at(900).Go(), Host: "db-1"}
	failed.Fetch.Bytes, failed.Fetch.Seconds = gb, 1
	for _, tt := range []struct {
		name                string
		bytes, wal          float64
		drills              []repository.Drill
		fetch, replay, open time.Duration
		used                int
	}{
		{"the mock-up's", 412 * gb, 16 * gb, []repository.Drill{drilled(1, took{206 * gb, 87.5}, took{8 * gb, 25}, 5)}, 175 * time.Second, 50 * time.Second, 5 * time.Second, 1},
		{"none", gb, gb, nil, 0, 0, 0, 0},
		{"one that failed", gb, gb, []repository.Drill{failed}, 0, 0, 0, 0},
		{"one that failed since", 2 * gb, gb, []repository.Drill{failed, drilled(1, took{gb, 10}, took{gb, 20}, 1)}, 20 * time.Second, 20 * time.Second, time.Second, 1},
		{"of this host", gb, gb, []repository.Drill{elsewhere, drilled(1, took{gb, 10}, took{gb, 20}, 1)}, 10 * time.Second, 20 * time.Second, time.Second, 1},
		{"of another host alone", 100 * gb, gb, []repository.Drill{elsewhere}, 1000 * time.Second, 100 * time.Second, time.Second, 1},
		{
			"a small cluster, most of whose time is fixed", 30 * mb, 320 * mb,
			[]repository.Drill{drilled(1, took{24 * mb, .4}, took{16 * mb, .5}, .1), drilled(2, took{48 * mb, .6}, took{160 * mb, 1.4}, .2)},
			450 * time.Millisecond, 2400 * time.Millisecond, 200 * time.Millisecond, 2,
		},
		{
			"all alike in size", 50 * gb, 5 * gb,
			[]repository.Drill{drilled(1, took{100 * gb, 100}, took{gb, 10}, 1), drilled(2, took{101 * gb, 80}, took{1.1 * gb, 11}, 9), drilled(3, took{102 * gb, 123}, took{gb, 10}, 2)},
			50 * time.Second, 50 * time.Second, 2 * time.Second, 3,
		},
		{
			"a larger one was faster", 2 * gb, gb, []repository.Drill{drilled(1, took{gb, 30}, took{gb, 10}, 1), drilled(2, took{2 * gb, 15}, took{gb, 10}, 1)}, 30 * time.Second, 10 * time.Second, time.Second, 2,
		},
		{
			"the line begins before 0", 2 * gb, gb, []repository.Drill{drilled(1, took{gb, 10}, took{gb, 10}, 1), drilled(2, took{2 * gb, 50}, took{gb, 10}, 1)}, 40 * time.Second, 10 * time.Second, time.Second, 2,
		},
	} {
		plan := &restore.Plan{Backup: repository.Backup{Plain: int64(tt.bytes)}, WAL: uint64(tt.wal)}
		got := restore.MakeEstimate(plan, tt.drills, "db-1")
		if tt.used == 0 {
			if got != nil {
				t.Errorf("%s: got %+v, want none", tt.name, got)
			}
			continue
		}
		if got == nil || got.Fetch != tt.fetch || got.Replay != tt.replay || got.Open != tt.open || got.Drills != tt.used || got.Total() != tt.fetch+tt.replay+tt.open {
			t.Errorf("%s: got %+v, want fetch %s, replay %s, open %s of %d drills", tt.name, got, tt.fetch, tt.replay, tt.open, tt.used)
		}
	}
	var many []repository.Drill
	for hour := range 30 {
		many = append(many, drilled(hour, took{gb, float64(hour + 1)}, took{gb, 1}, 1))
	}
	if got := restore.MakeEstimate(&restore.Plan{Backup: repository.Backup{Plain: gb}}, many, ""); got.Drills != 8 || got.Fetch < 26*time.Second || !got.Drill.Started.Equal(many[29].Started) {
		t.Errorf("of many drills: got %+v, want the newest", got)
	}
}

// An RTO holds more than its phases: the plan, which a drill's own is known for when it estimates, and the proof, which counts as opening.
func TestEstimateOfAll(t *testing.T) {
	d := drilled(1, took{gb, 10}, took{gb, 20}, 1)
	d.Plan.Seconds, d.RTO = 4, 4+10+20+1+2
	e := restore.MakeEstimate(&restore.Plan{Backup: repository.Backup{Plain: gb}, WAL: gb}, []repository.Drill{d}, "db-1")
	if e.Total() != 33*time.Second {
		t.Errorf("got %s, want 33 s", e.Total())
	}
	if e.Plan = 5 * time.Second; e.Total() != 38*time.Second {
		t.Errorf("with a plan of 5 s: got %s, want 38 s", e.Total())
	}
}
