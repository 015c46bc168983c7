package integration_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// marks measure how late a row is seen on a standby, as a user would: a session commits rows with the primary's clock, each by itself, and another asks the standby for what is new, all the time.
type marks struct {
	pace atomic.Int64 // between two rows, a time.Duration; 0: none are written

	mu      sync.Mutex
	primary *postgrestest.Cluster
	seen    []sighting // in the order in which they were written
}

// sighting is of one row.
type sighting struct {
	at   time.Time     // when it was written, by the primary's clock
	late time.Duration // until a query on the standby showed it
}

// lookEvery is how often the standby is asked: no lag is known better.
const lookEvery = 20 * time.Millisecond

// startMarks begins to look; nothing is written before a pace is set.
func startMarks(t *testing.T, primary, standby *postgrestest.Cluster) *marks {
	t.Helper()
	t.Helper()
	primary.Exec(t, "create table mark (id bigint generated always as identity primary key, at timestamptz not null default clock_timestamp())")
	m := &marks{primary: primary}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var both sync.WaitGroup
	both.Go(func() {
		sessions(ctx, func() string { return m.at().ConnString() }, m.write)
	})
	last := int64(0)
	both.Go(func() {
		sessions(ctx, standby.ConnString, func(ctx context.Context, c *pgx.Conn) error { return m.look(ctx, c, &last) })
	})
	t.Cleanup(func() { stop(); both.Wait() })
	return m
}

// sessions calls do again and again, with a new session when one has failed, until ctx ends.
func sessions(ctx context.Context, conn func() string, do func(context.Context, *pgx.Conn) error) {
	for ctx.Err() == nil {
		func() {
			opening, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			c, err := pgx.Connect(opening, conn())
			if err != nil {
				return
			}
			defer hangUp(opening, c)
			for ctx.Err() == nil && err == nil {
				err = do(ctx, c)
			}
		}()
		wait(ctx, 50*time.Millisecond)
	}
}

func (m *marks) write(ctx context.Context, c *pgx.Conn) error {
	pace := time.Duration(m.pace.Load())
	if pace == 0 {
		wait(ctx, lookEvery)
		return nil
	}
	one, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := c.Exec(one, "insert into mark default values")
	wait(ctx, pace/2+rand.N(pace)) // in no step with anybody's interval
	return err
}

func (m *marks) look(ctx context.Context, c *pgx.Conn, last *int64) error {
	one, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	rows, err := c.Query(one, "select id, at, extract(epoch from clock_timestamp() - at)::float8 from mark where id > $1 order by id", *last)
	if err != nil {
		return err
	}
	var s sighting
	var late float64
	_, err = pgx.ForEachRow(rows, []any{last, &s.at, &late}, func() error {
		s.late = time.Duration(late * float64(time.Second))
		m.mu.Lock()
		defer m.mu.Unlock()
		m.seen = append(m.seen, s)
		return nil
	})
	wait(ctx, lookEvery)
	return err
}

func (m *marks) at() *postgrestest.Cluster {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.primary
}

// move has the rows written into another server.
func (m *marks) move(to *postgrestest.Cluster) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.primary = to
}

// between returns how late the rows were seen that were written in a length of time.
func (m *marks) between(from, to time.Time) (late []time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.seen {
		if !s.at.Before(from) && s.at.Before(to) {
			late = append(late, s.late)
		}
	}
	return late
}

// firstWithin returns the first row written after an instant that was seen within a bound; false if there is none yet.
func (m *marks) firstWithin(bound time.Duration, after time.Time) (sighting, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.seen {
		if s.at.After(after) && s.late <= bound {
			return s, true
		}
	}
	return sighting{}, false
}
