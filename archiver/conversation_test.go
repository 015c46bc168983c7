package archiver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// conversation records, in one order, what the store acknowledged and what the
// server was told. It is judged afterwards, by code that shares nothing with
// the archiver.
type conversation struct {
	mu     sync.Mutex
	events []event
}

type event struct {
	put    string // a key that the store acknowledged, or
	status *postgres.Status
	tli    wal.TimelineID
}

func (c *conversation) status(tli wal.TimelineID, s postgres.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, event{status: &s, tli: tli})
}

// recorder is a store that notes what it acknowledged.
type recorder struct {
	storage.Store

	log *conversation
}

func (r recorder) Put(ctx context.Context, key storage.Key, body []byte) error {
	err := r.Store.Put(ctx, key, body)
	if err == nil || errors.Is(err, storage.ErrExists) {
		r.log.mu.Lock()
		defer r.log.mu.Unlock()
		r.log.events = append(r.log.events, event{put: string(key)})
	}
	return err
}

// judge checks invariant I1 at every status update: flush, write and apply never
// pass the end of the bytes that acknowledged objects hold without a hole. It
// also checks that a timeline's history came before its WAL (I8).
func (c *conversation) judge(t testing.TB, anchor wal.LSN) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	covered := map[wal.TimelineID]*repository.Coverage{}
	histories := map[wal.TimelineID]bool{1: true}
	statuses := 0
	for i, e := range c.events {
		if e.put != "" {
			tli, r, history := parseKey(e.put)
			switch {
			case history:
				histories[tli] = true
			case tli != 0 && !histories[tli]:
				t.Fatalf("event %d: %s was put before the history of its timeline", i, e.put)
			case tli != 0:
				if covered[tli] == nil {
					covered[tli] = &repository.Coverage{Timeline: tli}
				}
				covered[tli].Add(r)
			}
			continue
		}
		statuses++
		s := e.status
		durable := anchor
		if v := covered[e.tli]; v != nil {
			if e.tli == 1 {
				durable = max(anchor, firstEnd(v, anchor))
			} else {
				durable = v.Spans[0].End
			}
		}
		if e.tli != 1 && covered[e.tli] == nil && s.Flush != 0 {
			durable = s.Flush &^ (wal.LSN(segSize) - 1) // the start of the timeline's first segment
		}
		if s.Flush > durable || s.Apply > durable || s.Write > durable {
			t.Fatalf("event %d: server was told %+v on timeline %d, durable is %s", i, *s, e.tli, durable)
		}
	}
	if statuses == 0 {
		t.Fatal("the server was never told anything: nothing was judged")
	}
}

func firstEnd(v *repository.Coverage, anchor wal.LSN) wal.LSN {
	end, ok := v.EndFrom(anchor)
	if !ok {
		return 0
	}
	return end
}

// parseKey reads the keys of docs/FORMAT.md section 1 by hand.
func parseKey(key string) (tli wal.TimelineID, r wal.Range, history bool) {
	parts := strings.Split(key, "/")
	if len(parts) < 3 || parts[1] != "wal" {
		return 0, wal.Range{}, false
	}
	if len(parts) == 3 {
		_, err := fmt.Sscanf(parts[2], "%08X.history", &tli)
		return tli, wal.Range{}, err == nil
	}
	var number [3]uint32
	if _, err := fmt.Sscanf(parts[3], "%08X%08X%08X", &number[0], &number[1], &number[2]); err != nil {
		return 0, wal.Range{}, false
	}
	tli = wal.TimelineID(number[0])
	start := wal.LSN(number[1])<<32 | wal.LSN(number[2])*wal.LSN(segSize)
	r = wal.Range{Start: start, End: start + wal.LSN(segSize)}
	if len(parts) == 5 {
		var a, b uint64
		if _, err := fmt.Sscanf(parts[4], "%016X-%016X.zst", &a, &b); err != nil {
			return 0, wal.Range{}, false
		}
		r = wal.Range{Start: wal.LSN(a), End: wal.LSN(b)}
	}
	return tli, r, false
}
