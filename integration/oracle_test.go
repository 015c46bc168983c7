package integration_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/wal"
)

// txEnd is one commit or abort record of the server's own WAL, in WAL order: the truth that restores are held against.
type txEnd struct {
	start, end wal.LSN
	xid        uint32
	commit     bool
	time       time.Time
}

// truth reads the transaction ends of [from, to) from the server's own pg_wal by pg_walinspect, PostgreSQL's decoder and not ours (15 and
// later; the server must still have the WAL).
func truth(ctx context.Context, conn string, from, to wal.LSN) ([]txEnd, error) {
	c, err := pgx.Connect(ctx, conn)
	if err != nil {
		return nil, err
	}
	defer hangUp(ctx, c)
	if _, err := c.Exec(ctx, "create extension if not exists pg_walinspect"); err != nil {
		return nil, err
	}
	rows, err := c.Query(ctx, `
		select start_lsn::text as start, end_lsn::text, xid::text, record_type, description
		from pg_get_wal_records_info($1::text::pg_lsn, $2::text::pg_lsn)
		where resource_manager = 'Transaction' and record_type in ('COMMIT', 'ABORT', 'COMMIT_PREPARED', 'ABORT_PREPARED')
		order by start_lsn`, from.String(), to.String())
	if err != nil {
		return nil, err
	}
	var ends []txEnd
	for rows.Next() {
		var start, end, xid, kind, description string
		if err := rows.Scan(&start, &end, &xid, &kind, &description); err != nil {
			return nil, err
		}
		e, err := parseEnd(xid, kind, description)
		if err != nil {
			return nil, err
		}
		if e.start, err = wal.ParseLSN(start); err != nil {
			return nil, err
		}
		if e.end, err = wal.ParseLSN(end); err != nil {
			return nil, err
		}
		ends = append(ends, e)
	}
	return ends, rows.Err()
}

// A record of the second phase names its transaction in front of the time (xact_desc_commit, src/backend/access/rmgrdesc/xactdesc.c).
var endDescription = regexp.MustCompile(`^(?:(\d+): )?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?)(?:\+00| UTC)`)

func parseEnd(xid, kind, description string) (txEnd, error) {
	m := endDescription.FindStringSubmatch(description)
	if m == nil {
		return txEnd{}, fmt.Errorf("no time in UTC in description %q", description)
	}
	if m[1] != "" {
		xid = m[1]
	}
	n, err := strconv.ParseUint(xid, 10, 32)
	if err != nil {
		return txEnd{}, err
	}
	at, err := time.Parse("2006-01-02 15:04:05.999999", m[2])
	return txEnd{xid: uint32(n), commit: kind == "COMMIT" || kind == "COMMIT_PREPARED", time: at.UTC()}, err
}

// cut is where recovery stops, by PostgreSQL's rules in recoveryStopsBefore and recoveryStopsAfter (xlogrecovery.c): everything in WAL order
// before the first record that stops it.
type cut func(e txEnd) (stop, includeIt bool)

func untilTime(t time.Time) cut { return func(e txEnd) (bool, bool) { return e.time.After(t), false } }

func untilBeforeTime(t time.Time) cut {
	return func(e txEnd) (bool, bool) { return !e.time.Before(t), false }
}
func untilXID(x uint32) cut   { return func(e txEnd) (bool, bool) { return e.xid == x, true } }
func beforeXID(x uint32) cut  { return func(e txEnd) (bool, bool) { return e.xid == x, false } }
func beforeLSN(l wal.LSN) cut { return func(e txEnd) (bool, bool) { return e.start >= l, false } }

// untilLSN is for the start of a transaction's end, which is the last record that is applied.
func untilLSN(l wal.LSN) cut { return func(e txEnd) (bool, bool) { return e.start >= l, e.start == l } }
func toTheEnd() cut          { return func(txEnd) (bool, bool) { return false, false } }

// expected is the set of ledger rows that a restore to the cut must hold: exactly the commits of the prefix. The rows of the
// final primary say which row each transaction made.
func expected(ends []txEnd, final map[rowKey]uint64, c cut) map[rowKey]bool {
	byXID := make(map[uint32][]rowKey, len(final))
	for k, xid := range final {
		byXID[uint32(xid)] = append(byXID[uint32(xid)], k)
	}
	want := make(map[rowKey]bool, len(final))
	for _, e := range ends {
		stop, include := c(e)
		if stop && !include {
			break
		}
		if e.commit {
			for _, k := range byXID[e.xid] {
				want[k] = true
			}
		}
		if stop {
			break
		}
	}
	return want
}

// compareRows names the first differences between what a restored database holds and what it must hold.
func compareRows(got map[rowKey]uint64, want map[rowKey]bool) error {
	var missing, extra []rowKey
	for k := range want {
		if _, ok := got[k]; !ok {
			missing = append(missing, k)
		}
	}
	for k := range got {
		if !want[k] {
			extra = append(extra, k)
		}
	}
	if len(missing) == 0 && len(extra) == 0 {
		return nil
	}
	order := func(a, b rowKey) int { return int(a.seq - b.seq) }
	slices.SortFunc(missing, order)
	slices.SortFunc(extra, order)
	return fmt.Errorf("got %d rows, want %d: %d missing (first %v), %d extra (first %v)",
		len(got), len(want), len(missing), first(missing), len(extra), first(extra))
}

func first(keys []rowKey) any {
	if len(keys) == 0 {
		return "none"
	}
	return keys[0]
}

// inversions counts the transaction ends whose time is before that of one earlier in WAL order: where a filter on time and the prefix rule differ.
func inversions(ends []txEnd) (n int) {
	var latest time.Time
	for _, e := range ends {
		if e.time.Before(latest) {
			n++
		} else {
			latest = e.time
		}
	}
	return n
}

// truthFromFiles reads the transaction ends up to end from the pg_wal of a server with our own decoder: of PostgreSQL 14, which has no pg_walinspect, and of servers that are dead.
// TestDecodeRealWAL holds that decoder against PostgreSQL's.
func truthFromFiles(t testing.TB, dataDir string, end wal.LSN) []txEnd {
	t.Helper()
	ends, err := readEnds(newestSegments(t, dataDir), end)
	if err != nil {
		t.Fatal(err)
	}
	return ends
}

// readEnds reads the transaction ends up to end from segments that follow each other.
func readEnds(files []string, end wal.LSN) ([]txEnd, error) {
	size := wal.DefaultSegmentSize
	var ends []txEnd
	var d *wal.Decoder
	for i, f := range files {
		id, err := size.ParseFileName(filepath.Base(f))
		if err != nil || size.Start(id.Number) >= end {
			continue
		}
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		if d == nil {
			d = wal.NewDecoder(size, size.Start(id.Number))
		}
		raw = raw[:min(len(raw), int(end-size.Start(id.Number)))]
		wrong := d.Write(raw)
		for r, ok := d.Next(); ok; r, ok = d.Next() {
			if e, ok := r.Event.(*wal.TransactionEnd); ok {
				ends = append(ends, txEnd{
					start: e.Start, end: e.End, xid: uint32(e.XID), time: e.Time.Go(),
					commit: e.Kind == wal.Commit || e.Kind == wal.CommitPrepared,
				})
			}
		}
		var corrupt *wal.CorruptError
		if errors.As(wrong, &corrupt) && inLastPage(size, corrupt.At, raw, files[i+1:]) {
			return ends, nil
		}
		if wrong != nil {
			return nil, fmt.Errorf("%s: %w", f, wrong)
		}
	}
	return ends, nil
}

// inLastPage reports whether a server wrote nothing behind the page that holds at, which is in a segment of these bytes with the later ones behind it. That page's end may be anything when the
// server dies: pages are written whole, up to what is flushed and with whatever other sessions have copied by then of the records behind it (XLogWrite, src/backend/access/transam/xlog.c); where one
// has its place and is not copied yet, zeros stand before bytes of the next. Nothing of that was ever sent or acknowledged, and recovery clears it (FinishWalRecovery, xlogrecovery.c).
func inLastPage(size wal.SegmentSize, at wal.LSN, raw []byte, later []string) bool {
	next := min(int(size.Offset(at))/wal.PageSize*wal.PageSize+wal.PageSize, len(raw))
	if wal.ZeroTail(raw[next:]) != len(raw)-next {
		return false
	}
	return !slices.ContainsFunc(later, func(f string) bool {
		raw, err := os.ReadFile(f)
		return err != nil || wal.ZeroTail(raw) != len(raw)
	})
}

// TestTruthOfADeadServer guards the oracle itself: what a dying server left behind the end of its WAL is no part of it, damage before that is never taken for the end.
func TestTruthOfADeadServer(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t, postgrestest.Need(t, 15), postgrestest.Options{Settings: ledgerSettings()})
	server.Exec(t, "create table t (n int)")
	for range 20 {
		server.Exec(t, "insert into t values (1)")
	}
	server.Kill(t)
	files := newestSegments(t, server.DataDir)
	last := files[len(files)-1]
	whole, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	want, err := readEnds(files, 1<<62)
	if err != nil || len(want) < 20 {
		t.Fatalf("%d transaction ends, %v", len(want), err)
	}
	end := (len(whole) - wal.ZeroTail(whole) + 7) &^ 7
	record := want[len(want)-1]
	start, length := int(wal.DefaultSegmentSize.Offset(record.start)), int(record.end-record.start)
	page := end / wal.PageSize * wal.PageSize
	for _, c := range []struct {
		name    string
		put     []byte
		at      int
		damaged bool
	}{
		{"a record that is not there before one that is", whole[start : start+length], end + 64, false},
		{"the beginning of a record", whole[start : start+length-8], end, false},
		{"another address in a page before", []byte{1}, page - wal.PageSize + 9, true},
		{"bytes in a page behind", []byte{1}, page + 2*wal.PageSize, true},
	} {
		if c.at < page+wal.PageSize && c.at+len(c.put) > page+wal.PageSize {
			t.Fatalf("the WAL ends at %d of its page: no room", end-page)
		}
		if err := os.WriteFile(last, slices.Replace(slices.Clone(whole), c.at, c.at+len(c.put), c.put...), 0o600); err != nil {
			t.Fatal(err)
		}
		switch got, err := readEnds(files, 1<<62); {
		case c.damaged && err == nil:
			t.Errorf("%s: no error", c.name)
		case !c.damaged && (err != nil || !slices.Equal(got, want)):
			t.Errorf("%s: %d transaction ends, want %d: %v", c.name, len(got), len(want), err)
		}
	}
}

// newestSegments lists the segments of a pg_wal in order, each of the newest timeline that has it: a segment in which a timeline was left
// begins with the bytes of its ancestor. What a rewound server wrote beside its successor is gone from there (pg_rewind).
func newestSegments(t testing.TB, dataDir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dataDir, "pg_wal", strings.Repeat("[0-9A-F]", 24)))
	if err != nil || len(files) == 0 {
		t.Fatalf("no WAL in %s: %v", dataDir, err)
	}
	slices.Sort(files)
	newest := map[string]string{} // by the name without the timeline
	for _, f := range files {
		newest[filepath.Base(f)[8:]] = f
	}
	var chosen []string
	for _, number := range slices.Sorted(maps.Keys(newest)) {
		chosen = append(chosen, newest[number])
	}
	return chosen
}
