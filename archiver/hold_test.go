package archiver_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/storage/memory"
)

// hasSlot tells whether the server has a slot, and how many connections stream.
func (s *server) hasSlot() (slot bool, streams int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		if c.streaming {
			streams++
		}
	}
	return s.slot, streams
}

// While it is held nothing receives from the slot, so that it can be dropped; and the archiver makes none anew before the repository has
// taken what was received: a slot would keep WAL for a repository that takes nothing (I11).
func TestHoldFreesTheSlot(t *testing.T) {
	for name, hangs := range map[string]memory.Op{"puts hang": memory.Put, "all calls hang": memory.Any} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t)
				l.start()
				l.server.write(2_100_000)
				l.await()
				durable := l.archiver.Durable()
				release := l.store.Hang(hangs, "")
				l.server.write(300_000)
				time.Sleep(5 * time.Second)
				if slot, streams := l.server.hasSlot(); !slot || streams != 1 {
					t.Fatalf("while the store hangs: slot %t, %d streams", slot, streams)
				}

				l.archiver.Hold(true)
				time.Sleep(time.Second)
				if _, streams := l.server.hasSlot(); streams != 0 {
					t.Fatalf("%d streams while it is held", streams)
				}
				l.server.change(func() { l.server.slot = false }) // somebody drops it
				l.archiver.Hold(false)
				l.server.write(300_000)
				time.Sleep(10 * time.Minute)
				if slot, streams := l.server.hasSlot(); slot || streams != 0 {
					t.Errorf("while the store still hangs: slot %t, %d streams", slot, streams)
				}
				if s := l.archiver.Status(); s.State != archiver.Waiting || s.Durable != durable {
					t.Errorf("status: got %+v", s)
				}

				release()
				l.await()
				if slot, streams := l.server.hasSlot(); !slot || streams != 1 {
					t.Errorf("when the store is back: slot %t, %d streams", slot, streams)
				}
				l.finish()
				l.compare(1, l.anchor, l.server.end())
			})
		})
	}
}

// An archiver that is held stops when it is told to, with what it has received or without.
func TestStopWhileHeld(t *testing.T) {
	for _, outstanding := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t)
			l.start()
			l.server.write(300_000)
			l.await()
			release := l.store.Hang(memory.Put, "*/wal/*")
			if outstanding {
				l.server.write(300_000)
			}
			time.Sleep(5 * time.Second)
			l.archiver.Hold(true)
			time.Sleep(time.Minute)
			if !strings.Contains(l.archiver.Status().Error, "slot can be dropped") {
				t.Errorf("status: got %+v", l.archiver.Status())
			}
			began := time.Now()
			l.finish()
			if took := time.Since(began); took > time.Minute {
				t.Errorf("took %s to stop", took)
			}
			release()
		})
	}
}
