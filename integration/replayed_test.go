package integration_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/wal"
)

// untilFork is the end of a timeline of which nothing but what its successor took of it counts.
const untilFork wal.LSN = 1 << 62

// note keeps how far the primary's timeline goes, and where its WAL lies.
func (f *family) note(t *testing.T) {
	t.Helper()
	tli, end := flushOf(t, f.server)
	f.ends[tli] = end
	f.wal[tli] = filepath.Join(f.server.DataDir, "pg_wal")
}

// benchRows is what a server shows of the tables of steady: the rows of pgbench_history by transaction, and how many balances are not what these rows add up to.
type benchRows struct {
	rows  map[uint32]string
	wrong string
}

const wrongBalances = `select concat_ws('/',
	(select count(*) from (select aid as id, sum(delta) s from pgbench_history group by 1) h full join
		(select aid as id, abalance b from pgbench_accounts where abalance <> 0) a using (id) where coalesce(s, 0) <> coalesce(b, 0)),
	(select count(*) from (select tid as id, sum(delta) s from pgbench_history group by 1) h full join
		(select tid as id, tbalance b from pgbench_tellers where tbalance <> 0) a using (id) where coalesce(s, 0) <> coalesce(b, 0)),
	(select count(*) from (select bid as id, sum(delta) s from pgbench_history group by 1) h full join
		(select bid as id, bbalance b from pgbench_branches where bbalance <> 0) a using (id) where coalesce(s, 0) <> coalesce(b, 0)))`

func readBench(ctx context.Context, c *pgx.Conn) (benchRows, error) {
	b := benchRows{rows: map[uint32]string{}}
	rows, err := c.Query(ctx, "select h.xid::text::bigint, h::text from pgbench_history h")
	if err != nil {
		return b, err
	}
	var xid int64
	var text string
	if _, err := pgx.ForEachRow(rows, []any{&xid, &text}, func() error { b.rows[uint32(xid)] = text; return nil }); err != nil {
		return b, err
	}
	return b, c.QueryRow(ctx, wrongBalances).Scan(&b.wrong)
}

// equalAtReplayed stops replay on a standby wherever that is just now, under load, and holds what its queries show against what the primary had committed at that LSN by the order of its WAL: each row of
// pgbench_history, all balances, and nothing else. It returns how many transactions of the primary the standby lacked then.
func (f *family) equalAtReplayed(t *testing.T, what string, far *postgrestest.Cluster) (lacks int) {
	t.Helper()
	got, at := f.replayed(t, far)
	f.note(t)
	conn := f.server.Conn(t)
	defer hangUp(t.Context(), conn)
	now, err := readBench(t.Context(), conn)
	if err != nil {
		t.Fatalf("%s: read the primary: %v", what, err)
	}
	want := map[uint32]bool{}
	for _, e := range f.truth(t, f.timeline(t)) {
		switch _, ours := now.rows[e.xid]; {
		case !e.commit || !ours:
		case e.start < at:
			want[e.xid] = true
		default:
			lacks++
		}
	}
	var missing, other, extra int
	for xid := range want {
		switch row, ok := got.rows[xid]; {
		case !ok:
			missing++
		case row != now.rows[xid]:
			other++
		}
	}
	for xid := range got.rows {
		if !want[xid] {
			extra++
		}
	}
	if missing+other+extra > 0 || got.wrong != "0/0/0" {
		t.Errorf("%s: at %s the standby shows %d transactions of %d, %d missing, %d with other rows, %d too many; wrong balances of accounts, tellers, branches: %s",
			what, at, len(got.rows), len(want), missing, other, extra, got.wrong)
	}
	return lacks
}

// replayed pauses the replay of a standby and returns what it shows, and how far it had replayed.
func (f *family) replayed(t *testing.T, far *postgrestest.Cluster) (benchRows, wal.LSN) {
	t.Helper()
	conn := far.Conn(t)
	defer hangUp(t.Context(), conn)
	text := func(sql string) (s string) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), sql).Scan(&s); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return s
	}
	if _, err := conn.Exec(t.Context(), "select pg_wal_replay_pause()"); err != nil {
		t.Fatal(err)
	}
	defer func() { text("select pg_wal_replay_resume()::text") }()
	eventually(t, waitLong, "replay to pause", func() bool { return text("select pg_get_wal_replay_pause_state()") == "paused" })
	const place = "select pg_last_wal_replay_lsn()::text"
	at, err := wal.ParseLSN(text(place))
	if err != nil {
		t.Fatal(err)
	}
	got, err := readBench(t.Context(), conn)
	if err != nil {
		t.Fatal(fmt.Errorf("read the standby: %w", err))
	}
	if after := text(place); after != at.String() {
		t.Fatalf("replay went on from %s to %s while it was paused", at, after)
	}
	return got, at
}
