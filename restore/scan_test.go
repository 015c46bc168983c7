package restore_test

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// sealing is a store in which an archiver completes a segment just when a piece of it is to be read.
type sealing struct {
	storage.Store

	once sync.Once
	seal func()
}

func (s *sealing) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	if strings.Contains(string(key), ".part/") {
		s.once.Do(s.seal)
	}
	return s.Store.Get(ctx, key, span)
}

// TestResolveWhileSealed: the archiver puts a complete segment in place of the pieces that were listed. The target is resolved all the same, and to the same commit.
func TestResolveWhileSealed(t *testing.T) {
	inner := memory.New()
	store := &sealing{Store: inner}
	repo, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	c := repo.Cluster(fakeSystem)
	m := newWALMaker(lsn(2))
	begin := m.filler(100, 10)
	stop := m.filler(101, 10)
	for m.pos() < lsn(3) {
		m.filler(100, 50_000)
	}
	m.end(0, 100, at(1))
	for m.pos() < lsn(3.5) {
		m.filler(101, 50_000)
	}
	m.archive(t, c, map[wal.LSN]bool{lsn(3.125): true, lsn(3.25): true}, nil)
	inv, err := restore.Survey(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	inv.Backups = []repository.Backup{{ID: "b", Timeline: 1, StartLSN: begin.Start, StopLSN: stop.End, SegmentSize: mib, Stopped: at(0).Go()}}
	store.seal = func() {
		r, err := repository.Open(t.Context(), inner)
		if err != nil {
			t.Error(err)
			return
		}
		m.end(0, 101, at(2))
		for m.pos() < lsn(4) {
			m.filler(102, 50_000)
		}
		m.archive(t, r.Cluster(fakeSystem), nil, nil)
		if err := r.Cluster(fakeSystem).DeletePieces(t.Context(), mib, wal.SegmentID{Timeline: 1, Number: 3}); err != nil {
			t.Error(err)
		}
	}
	plan, err := restore.Resolve(t.Context(), c, inv, restore.Target{Kind: restore.TargetTime, Time: at(1)})
	if err != nil {
		t.Fatal(err)
	}
	if plan.LastCommit == nil || plan.LastCommit.XID != 100 || len(plan.Later) != 0 {
		t.Errorf("got last commit %v, later %v; want 100 and none: the rest was not there when the repository was looked at", plan.LastCommit, plan.Later)
	}
}
