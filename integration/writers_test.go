package integration_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// writers commit rows, each in a transaction of its own, and note when each was acknowledged.
type writers struct {
	mu    sync.Mutex
	next  int
	acked map[int]time.Time
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// startWriters has sessions write into a server until it dies, or they are stopped.
func startWriters(t *testing.T, c *postgrestest.Cluster, sessions, from int) *writers {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	w := &writers{next: from, acked: map[int]time.Time{}, stop: stop}
	for range sessions {
		w.done.Go(func() {
			conn, err := pgx.Connect(ctx, c.ConnString())
			if err != nil {
				return
			}
			defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
			for {
				w.mu.Lock()
				w.next++
				id := w.next
				w.mu.Unlock()
				if _, err := conn.Exec(ctx, "insert into n values ($1, repeat('x', 200))", id); err != nil {
					return
				}
				w.mu.Lock()
				w.acked[id] = time.Now()
				w.mu.Unlock()
			}
		})
	}
	t.Cleanup(func() { stop(); w.done.Wait() })
	return w
}

func (w *writers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// first returns when the first row was acknowledged; long after now if none was.
func (w *writers) first() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := time.Now().Add(time.Hour)
	for _, at := range w.acked {
		if at.Before(first) {
			first = at
		}
	}
	return first
}

// lost returns of each acknowledged row that a server lacks how long before an instant it was acknowledged.
func (w *writers) lost(t *testing.T, c *postgrestest.Cluster, at time.Time) (ages []time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), waitLong)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp(ctx, conn)
	rows, err := conn.Query(ctx, "select id from n")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		t.Fatal(err)
	}
	there := map[int]bool{}
	for _, id := range ids {
		there[id] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, acked := range w.acked {
		if !there[id] {
			ages = append(ages, at.Sub(acked))
		}
	}
	return ages
}
