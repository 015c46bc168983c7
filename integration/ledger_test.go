package integration_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
)

// The ledger is the workload whose outcome is known: transfers between accounts, each with one row in
// ledger, gapless per worker and chained by hash, so that a missing or an extra transaction shows in the
// restored database alone. What the client saw of each is kept outside the server.

// class says what the client knows of a transaction.
type class byte

const (
	acked   class = 'C' // COMMIT returned without a warning
	warned  class = 'W' // COMMIT returned with a warning: its wait for a synchronous standby was cancelled
	unknown class = '?' // the connection broke between COMMIT and its answer
	aborted class = 'A' // must never appear
)

// transfer is one transaction as its client saw it.
type transfer struct {
	class         class
	worker        int
	seq           int64
	xid           uint64 // full transaction id; 0 when the client never learned it
	before, after time.Time
}

// rowKey names one ledger row.
type rowKey struct {
	worker int
	seq    int64
}

type ledger struct {
	seed    uint64
	workers int
	gate    sync.RWMutex // held to keep transfers from beginning

	mu     sync.Mutex
	conn   string
	log    []transfer
	next   []int64 // per worker, the sequence number to use next
	warned map[*pgconn.PgConn]bool

	over <-chan struct{} // closed when the load is to end
}

const accounts = 200

// newLedger creates the tables of the workload.
func newLedger(ctx context.Context, t testing.TB, conn string, workers int, seed uint64) *ledger {
	t.Helper()
	c, err := pgx.Connect(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp(ctx, c)
	_, err = c.Exec(ctx, `
		create table acct (id int primary key, bal bigint not null);
		insert into acct select g, 1000 from generate_series(1, `+fmt.Sprint(accounts)+`) g;
		create table ledger (worker int, seq bigint, a int, b int, amt bigint, prev bytea, hash bytea,
			xid xid8 not null default pg_current_xact_id(), primary key (worker, seq));
		create unlogged table scratch (worker int, seq bigint);
		create table lobs (worker int, seq bigint, lob oid);
	`)
	if err != nil {
		t.Fatal(err)
	}
	return &ledger{conn: conn, seed: seed, workers: workers, next: slices.Repeat([]int64{1}, workers), warned: map[*pgconn.PgConn]bool{}}
}

// run keeps the workload going until ctx ends; a broken connection is made again for as long.
func (l *ledger) run(ctx context.Context) error {
	l.over = ctx.Done()
	g, ctx := errgroup.WithContext(ctx)
	for w := range l.workers {
		g.Go(func() error {
			rng := rand.New(rand.NewPCG(l.seed, uint64(w)))
			for ctx.Err() == nil {
				if err := l.worker(ctx, w, rng); err != nil && ctx.Err() == nil && !passing(err) {
					return fmt.Errorf("worker %d: %w", w, err)
				}
				wait(ctx, 20*time.Millisecond)
			}
			return nil
		})
	}
	return g.Wait()
}

// at is the connection string of the server that the workload runs on.
func (l *ledger) at() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

// move lets the workload go on with another server.
func (l *ledger) move(conn string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
}

// hangUp closes a session; the server notices by itself if it cannot.
func hangUp(ctx context.Context, c *pgx.Conn) { _ = c.Close(ctx) }

// passing reports whether err is what a client sees of a server that stops, crashes or starts, or of a query that is cancelled.
func passing(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "40P01" || pg.Code == "40001" || pg.Code == "57014" || strings.HasPrefix(pg.Code, "57P")
	}
	return true // no answer from the server at all
}

// wait blocks for d or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (l *ledger) worker(ctx context.Context, w int, rng *rand.Rand) error {
	config, err := pgx.ParseConfig(l.at())
	if err != nil {
		return err
	}
	config.OnNotice = l.notice
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	// A session that ends with the context would leave the outcome of its last transaction unknown.
	done := context.WithoutCancel(ctx)
	defer func() {
		closing, cancel := context.WithTimeout(done, 5*time.Second)
		defer cancel()
		_ = c.Close(closing)
	}()
	if err := l.clear(ctx, c, w); err != nil {
		return err
	}
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(done, 60*time.Second)
		l.gate.RLock()
		err := l.transfer(one, c, w, rng)
		l.gate.RUnlock()
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// notice keeps that a session was warned.
func (l *ledger) notice(c *pgconn.PgConn, n *pgconn.Notice) {
	if n.SeverityUnlocalized == "WARNING" {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.warned[c] = true
	}
}

// wasWarned reports whether a session was warned since the last call.
func (l *ledger) wasWarned(c *pgx.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	warned := l.warned[c.PgConn()]
	delete(l.warned, c.PgConn())
	return warned
}

// clear rolls back what a crash left prepared of a worker.
func (l *ledger) clear(ctx context.Context, c *pgx.Conn, w int) error {
	var gids []string
	err := c.QueryRow(ctx, "select coalesce(array_agg(gid), '{}') from pg_prepared_xacts where gid like $1", fmt.Sprintf("pgark-%d-%%", w)).Scan(&gids)
	for _, gid := range gids {
		if _, err := c.Exec(ctx, "rollback prepared '"+gid+"'"); err != nil {
			return err
		}
	}
	return err
}

// shape is what kind of transaction a transfer makes, so that every kind of commit record occurs.
type shape int

const (
	plain shape = iota
	savepoint
	prepared
	rolledBack
	withTable
	withLargeObject
	preparedRolledBack
)

func pick(rng *rand.Rand) shape {
	switch n := rng.IntN(100); {
	case n < 70:
		return plain
	case n < 78:
		return savepoint
	case n < 84:
		return prepared
	case n < 90:
		return rolledBack
	case n < 94:
		return withTable
	case n < 98:
		return withLargeObject
	default:
		return preparedRolledBack
	}
}

func (l *ledger) transfer(ctx context.Context, c *pgx.Conn, w int, rng *rand.Rand) error {
	kind := pick(rng)
	seq := l.next[w]
	tr := transfer{class: aborted, worker: w, seq: seq}
	if kind == rolledBack || kind == preparedRolledBack {
		tr.seq = -seq // a number no committed row may have
	}
	if _, err := c.Exec(ctx, "begin"); err != nil {
		return err
	}
	xid, err := l.fill(ctx, c, tr, kind, rng)
	if err != nil {
		_, _ = c.Exec(ctx, "rollback")
		return err
	}
	tr.xid = xid
	return l.finish(ctx, c, tr, kind)
}

// fill does the work of one open transaction and returns its full id.
func (l *ledger) fill(ctx context.Context, c *pgx.Conn, tr transfer, kind shape, rng *rand.Rand) (uint64, error) {
	a, b := 1+rng.IntN(accounts), 1+rng.IntN(accounts)
	if a > b {
		a, b = b, a
	}
	amt := 1 + rng.IntN(50)
	batch := &pgx.Batch{}
	batch.Queue("update acct set bal = bal - $2 where id = $1", a, amt)
	batch.Queue("update acct set bal = bal + $2 where id = $1", b, amt)
	switch kind {
	case savepoint:
		batch.Queue("savepoint s1")
		batch.Queue("update acct set bal = bal + 100000 where id = $1", a)
		batch.Queue("rollback to s1")
		batch.Queue("savepoint s2")
		batch.Queue("insert into scratch values ($1, $2)", tr.worker, tr.seq)
		batch.Queue("release s2")
	case withTable:
		name := fmt.Sprintf("private_%d", tr.worker)
		batch.Queue("drop table if exists " + name)
		batch.Queue("create table " + name + " as select g as id, repeat('x', 100) as filler from generate_series(1, 20) g")
	case withLargeObject:
		batch.Queue("insert into lobs values ($1, $2, lo_from_bytea(0, convert_to(repeat('large object ', 300), 'UTF8')))", tr.worker, tr.seq)
	case plain, prepared, rolledBack, preparedRolledBack:
	}
	if err := c.SendBatch(ctx, batch).Close(); err != nil {
		return 0, err
	}
	var xid uint64
	err := c.QueryRow(ctx, `
		insert into ledger (worker, seq, a, b, amt, prev, hash)
		select $1::int, $2::bigint, $3::int, $4::int, $5::bigint, prev,
			sha256(coalesce(prev, ''::bytea) || convert_to($1::int || '/' || $2::bigint || '/' || $5::bigint, 'UTF8'))
		from (select (select hash from ledger where worker = $1::int and seq = $2::bigint - 1) as prev) p
		returning xid::text::bigint`, tr.worker, tr.seq, a, b, amt).Scan(&xid)
	return xid, err
}

// finish ends the transaction and keeps what the client saw of it.
func (l *ledger) finish(ctx context.Context, c *pgx.Conn, tr transfer, kind shape) error {
	gid := fmt.Sprintf("pgark-%d-%d", tr.worker, tr.seq)
	switch kind {
	case rolledBack:
		_, err := c.Exec(ctx, "rollback")
		l.keep(tr)
		return err
	case preparedRolledBack:
		if _, err := c.Exec(ctx, "prepare transaction '"+gid+"'"); err != nil {
			return err
		}
		_, err := c.Exec(ctx, "rollback prepared '"+gid+"'")
		l.keep(tr)
		return err
	case prepared:
		if _, err := c.Exec(ctx, "prepare transaction '"+gid+"'"); err != nil {
			return err
		}
		return l.commit(ctx, c, tr, "commit prepared '"+gid+"'")
	case plain, savepoint, withTable, withLargeObject:
	}
	return l.commit(ctx, c, tr, "commit")
}

func (l *ledger) commit(ctx context.Context, c *pgx.Conn, tr transfer, sql string) error {
	l.wasWarned(c)
	tr.before = time.Now()
	_, err := c.Exec(ctx, sql)
	tr.after = time.Now()
	tr.class = acked
	switch {
	case err != nil:
		tr.class = unknown
	case l.wasWarned(c):
		tr.class = warned
	}
	l.next[tr.worker] = tr.seq + 1
	l.keep(tr)
	if err != nil {
		return l.settle(ctx, tr)
	}
	return nil
}

// settle finds out, once the server answers again, whether a transaction of unknown outcome is there, so that the worker's
// sequence stays gapless. What the client knew of it stays unknown.
func (l *ledger) settle(ctx context.Context, tr transfer) error {
	for ctx.Err() == nil {
		select {
		case <-l.over: // nobody will need the sequence
			return errors.New("outcome is unknown")
		default:
		}
		wait(ctx, 50*time.Millisecond)
		c, err := pgx.Connect(ctx, l.at())
		if err != nil {
			continue
		}
		_, _ = c.Exec(ctx, fmt.Sprintf("rollback prepared 'pgark-%d-%d'", tr.worker, tr.seq))
		var n int
		err = c.QueryRow(ctx, "select count(*) from ledger where worker = $1 and seq = $2", tr.worker, tr.seq).Scan(&n)
		_ = c.Close(ctx)
		if err == nil {
			if n == 0 {
				l.next[tr.worker] = tr.seq
			}
			return errors.New("outcome was unknown")
		}
	}
	return ctx.Err()
}

func (l *ledger) keep(tr transfer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = append(l.log, tr)
}

// entries returns what the clients saw so far, in the order they saw it.
func (l *ledger) entries() []transfer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.log)
}

// state is what a database, primary or restored, holds of the ledger.
type state struct {
	rows     map[rowKey]uint64 // ledger row → xid
	balance  int64             // sum over acct; constant
	broken   int               // rows whose hash chain does not hold
	scratch  int               // rows of the unlogged table
	prepared []string          // transactions prepared and not ended
	lobs     int               // rows of lobs whose large object reads back whole
	lobRows  int
}

func readState(ctx context.Context, conn string) (state, error) {
	c, err := pgx.Connect(ctx, conn)
	if err != nil {
		return state{}, err
	}
	defer hangUp(ctx, c)
	s := state{rows: map[rowKey]uint64{}}
	rows, err := c.Query(ctx, "select worker, seq, xid::text::bigint from ledger")
	if err != nil {
		return s, err
	}
	for rows.Next() {
		var k rowKey
		var xid uint64
		if err := rows.Scan(&k.worker, &k.seq, &xid); err != nil {
			return s, err
		}
		s.rows[k] = xid
	}
	if err := rows.Err(); err != nil {
		return s, err
	}
	err = c.QueryRow(ctx, `select
		(select sum(bal) from acct),
		(select count(*) from ledger l left join ledger p on p.worker = l.worker and p.seq = l.seq - 1
			where (l.seq > 1 and p.hash is null)
			   or l.hash is distinct from sha256(coalesce(p.hash, ''::bytea) || convert_to(l.worker || '/' || l.seq || '/' || l.amt, 'UTF8'))),
		(select count(*) from scratch),
		(select coalesce(array_agg(gid order by gid), '{}') from pg_prepared_xacts),
		(select count(*) from lobs),
		(select count(*) from lobs where lo_get(lob) = convert_to(repeat('large object ', 300), 'UTF8'))`,
	).Scan(&s.balance, &s.broken, &s.scratch, &s.prepared, &s.lobRows, &s.lobs)
	return s, err
}

// sound checks what must hold in every state the ledger ever was in.
func (s state) sound() error {
	switch {
	case s.balance != accounts*1000:
		return fmt.Errorf("sum of balances: got %d, want %d", s.balance, accounts*1000)
	case s.broken != 0:
		return fmt.Errorf("%d ledger rows have a broken hash chain", s.broken)
	case s.lobs != s.lobRows:
		return fmt.Errorf("large objects: %d of %d read back whole", s.lobs, s.lobRows)
	}
	for k := range s.rows {
		if k.seq < 0 {
			return fmt.Errorf("row %v of a transaction that was rolled back is there", k)
		}
	}
	return nil
}
