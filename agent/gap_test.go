package agent

import (
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

func lostWAL(tli wal.TimelineID, from, to wal.LSN) repository.Gap {
	return repository.Gap{
		Timeline: tli, Range: wal.Range{Start: from, End: to}, Cause: repository.CauseSlotLost, FirstSeen: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC),
	}
}

func backedUp(tli wal.TimelineID, start wal.LSN) repository.Backup {
	return repository.Backup{Timeline: tli, StartLSN: start, Checksums: repository.ChecksumsVerified}
}

// TestOpenGap: which gap has to be ended by a base backup.
func TestOpenGap(t *testing.T) {
	one := wal.History{Timeline: 1}
	three := wal.History{Timeline: 3, Parents: []wal.Switch{{Timeline: 1, At: 500}, {Timeline: 2, At: 800}}}
	bad := backedUp(1, 300)
	bad.Checksums = repository.ChecksumsFailed
	for name, test := range map[string]struct {
		h       wal.History
		gaps    []repository.Gap
		backups []repository.Backup
		want    wal.LSN // its end; 0 if there is none
	}{
		"no gap":                                 {one, nil, []repository.Backup{backedUp(1, 100)}, 0},
		"no backup":                              {one, []repository.Gap{lostWAL(1, 200, 300)}, nil, 300},
		"a backup before":                        {one, []repository.Gap{lostWAL(1, 200, 300)}, []repository.Backup{backedUp(1, 100)}, 300},
		"one that begins in it":                  {one, []repository.Gap{lostWAL(1, 200, 300)}, []repository.Backup{backedUp(1, 299)}, 300},
		"one that begins at its end":             {one, []repository.Gap{lostWAL(1, 200, 300)}, []repository.Backup{backedUp(1, 300), backedUp(1, 100)}, 0},
		"one with wrong pages":                   {one, []repository.Gap{lostWAL(1, 200, 300)}, []repository.Backup{bad}, 300},
		"the newest counts":                      {one, []repository.Gap{lostWAL(1, 500, 600), lostWAL(1, 200, 300)}, []repository.Backup{backedUp(1, 400)}, 600},
		"on an older timeline":                   {three, []repository.Gap{lostWAL(1, 200, 500)}, []repository.Backup{backedUp(1, 100)}, 500},
		"ended on a younger one":                 {three, []repository.Gap{lostWAL(1, 200, 500)}, []repository.Backup{backedUp(3, 900)}, 0},
		"past where the way left":                {three, []repository.Gap{lostWAL(1, 600, 700)}, nil, 0},
		"on a branch":                            {three, []repository.Gap{lostWAL(4, 200, 300)}, nil, 0},
		"not ended by a backup on a branch":      {three, []repository.Gap{lostWAL(2, 600, 700)}, []repository.Backup{backedUp(4, 900)}, 700},
		"nor by one past where the way left":     {three, []repository.Gap{lostWAL(2, 600, 700)}, []repository.Backup{backedUp(1, 750)}, 700},
		"before anything is known of the server": {wal.History{}, []repository.Gap{lostWAL(1, 200, 300)}, nil, 0},
	} {
		got, open := openGap(test.gaps, test.backups, test.h)
		if open != (test.want != 0) || got.Range.End != test.want {
			t.Errorf("%s: got %+v, %t, want one that ends at %s", name, got, open, test.want)
		}
	}
}

// TestTakeStock: an agent that was started again knows from the repository that a base backup is due.
func TestTakeStock(t *testing.T) {
	ctx := t.Context()
	r, err := repository.Create(ctx, memory.New())
	if err != nil {
		t.Fatal(err)
	}
	c := r.Cluster(7)
	if err := c.PutHistory(ctx, 2, []byte("1\t0/500\tno recovery target specified\n")); err != nil {
		t.Fatal(err)
	}
	if err := c.PutGap(ctx, lostWAL(1, 0x200, 0x500)); err != nil {
		t.Fatal(err)
	}
	for tli, want := range map[wal.TimelineID]bool{0: false, 1: true, 2: true} {
		if got, err := takeStock(ctx, c, tli); err != nil || got.lost != want || !got.newest.IsZero() {
			t.Errorf("timeline %d: got %+v, %v, want lost %t", tli, got, err, want)
		}
	}
}
