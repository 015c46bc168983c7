package archiver_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/archiver/archivertest"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// furthest returns the furthest flush that the server was told from the event numbered from on.
func (c *conversation) furthest(from int) wal.LSN {
	var most wal.LSN
	for _, e := range c.Events()[from:] {
		if e.Kind == archivertest.Told {
			most = max(most, e.Flush)
		}
	}
	return most
}

// backUp puts the record of a base backup that begins at lsn.
func (l *lab) backUp(lsn wal.LSN) {
	l.t.Helper()
	b := repository.Backup{
		Format: 1, ID: "20261121T024000Z", Type: "full", SystemID: systemID, SegmentSize: segSize, Timeline: 1, StartLSN: lsn, StopLSN: lsn + 1,
		Checksums: repository.ChecksumsVerified, Codec: "zstd", Started: time.Now(), Stopped: time.Now(),
	}
	b.Index.Size, b.Index.Top.Size, b.Manifest.Size = 1000, 500, 1000
	text, err := b.Encode()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.store.Put(context.Background(), storage.Key(fmt.Sprintf("%s/backups/%s/record.json", systemID, b.ID)), text); err != nil {
		l.t.Fatal(err)
	}
}

// TestGapHoldsCommits guards I13: commits wait for the archive, and WAL was lost. No commit that lies in the gap or behind it is confirmed before
// a base backup holds what it wrote: by this agent, and by one that was started again. Without such commits the slot is moved on at once.
func TestGapHoldsCommits(t *testing.T) {
	for _, names := range []string{"pgark", ""} {
		t.Run("synchronous_standby_names="+names, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				l.server.syncNames = names
				end, back := l.away()
				l.server.removed = back
				l.server.dropSlot()
				from := l.log.told()
				for range 2 {
					l.start()
					l.server.write(1000)
					l.await()
					time.Sleep(time.Minute)
					if s := l.archiver.Status(); s.Restorable() != (archiver.Position{Timeline: 1, LSN: end}) || s.Durable.LSN != l.server.end() {
						t.Errorf("status: %+v", s)
					}
					l.finish()
				}
				told := l.log.furthest(from)
				if names == "" {
					if told != l.server.end() {
						t.Errorf("told %s, want all: %s", told, l.server.end())
					}
					return
				}
				if told != 0 {
					t.Fatalf("the server was told %s, and WAL is lost from %s to %s: no commit may return, nor the slot move back to what is gone", told, end, back)
				}
				l.start()
				l.backUp(back)
				time.Sleep(time.Minute)
				if s := l.archiver.Status(); l.log.furthest(from) != l.server.end() || s.Restorable() != s.Durable {
					t.Errorf("behind the base backup: told %s, status %+v", l.log.furthest(from), s)
				}
				l.finish()
			})
		})
	}
}

// TestGapHeldServerStops guards I12: a server whose commits are not confirmed can stop all the same.
func TestGapHeldServerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.server.syncNames = "pgark"
		_, back := l.away()
		l.server.removed = back
		l.server.dropSlot()
		l.start()
		l.await()
		time.Sleep(time.Minute)
		from := time.Now()
		l.server.shutDown()
		if took := l.server.awaitStopped(from); took > 10*time.Second {
			t.Errorf("the server took %s to stop", took)
		}
		l.stop()
		if err := <-l.done; err != nil {
			t.Fatal(err)
		}
	})
}

// TestGapHoldsCommitsThatBeginToWait guards I13: WAL was lost while commits waited for nobody, and they are let wait for the archive before a base
// backup has ended the gap. What is written from then on is not confirmed before that; the slot stays where it is.
func TestGapHoldsCommitsThatBeginToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		_, back := l.away()
		l.server.removed = back
		l.server.dropSlot()
		l.start()
		l.await()
		time.Sleep(time.Minute)
		before, from := l.server.end(), l.log.told()
		l.archiver.FlushOnDemand(true)
		time.Sleep(time.Second)
		l.server.write(1000)
		l.await()
		time.Sleep(time.Minute)
		if told := l.log.furthest(from); told != before {
			t.Errorf("the server was told %s, want %s: what lies behind cannot be restored", told, before)
		}
		for _, e := range l.log.Events()[from:] {
			if e.Kind == archivertest.Told && e.Flush < before {
				t.Fatalf("the server was told %s after %s", e.Flush, before)
			}
		}
		l.backUp(back)
		time.Sleep(time.Minute)
		if told := l.log.furthest(from); told != l.server.end() {
			t.Errorf("behind the base backup: told %s, want %s", told, l.server.end())
		}
		l.finish()
	})
}
