package integration_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/wal"
)

const decodeSegment = wal.SegmentSize(1 << 20)

// decodeWork makes records of every kind that the decoder must understand or must pass over.
const decodeWork = `
	create table t(id serial primary key, v text);
	insert into t(v) select repeat('x', 50) from generate_series(1, 100);
	begin; savepoint a; insert into t(v) values('a'); savepoint b; insert into t(v) values('b'); release b; rollback to a; insert into t(v) values('c'); commit;
	begin; savepoint a; insert into t(v) values('a'); release a; savepoint b; insert into t(v) values('b'); release b; commit;
	begin; insert into t(v) values('p'); prepare transaction 'one';
	begin; savepoint s; insert into t(v) values('p'); release s; create table gone(i int); prepare transaction 'two';
	begin; insert into t(v) values('p'); prepare transaction 'three';
	commit prepared 'one';
	rollback prepared 'two';
	begin; insert into t(v) values('x'); rollback;
	create table d1 as select g from generate_series(1, 10) g; drop table d1;
	commit prepared 'three';
	create index on t(v);
	checkpoint;
	select pg_create_restore_point('first point');
	update t set v = v || 'y';
	select pg_logical_emit_message(true, 'p', repeat('m', 1000000));
	select pg_switch_wal();
	select pg_logical_emit_message(true, 'p', repeat('n', 5000000));
	do $$ begin for i in 1..6000 loop begin insert into t(v) values('s'); exception when others then null; end; end loop; end $$;
	begin; create table d2(a int primary key, b text); drop table t cascade; create table t(id serial primary key, v text); savepoint q; truncate d2; rollback to q; prepare transaction 'four';
	commit prepared 'four';
	select pg_create_restore_point(repeat('z', 63));
	select pg_switch_wal();
	do $$ begin for i in 1..300 loop execute 'create table many' || i || '(a int primary key, b text)'; end loop; end $$;
	do $$ begin for i in 1..300 loop execute 'drop table many' || i; end loop; end $$;
	create unlogged table u1(a int primary key, b text); create table u2(a int primary key); truncate u1, u2; drop table u1;
	create database gone_database;
	drop database gone_database;
	vacuum full;
	insert into t(v) select md5(g::text) from generate_series(1, 5000) g;
	checkpoint;`

func TestDecodeRealWAL(t *testing.T) {
	t.Parallel()
	for _, v := range postgrestest.Versions(t) {
		t.Run(fmt.Sprint(v.Major), func(t *testing.T) {
			t.Parallel()
			c := postgrestest.Start(t, v, postgrestest.Options{SegmentSize: decodeSegment, Settings: map[string]string{
				"wal_keep_size": "1GB", "max_wal_size": "1GB", "wal_level": "logical", "wal_compression": "on",
				"track_commit_timestamp": "on", "autovacuum": "off", "max_locks_per_transaction": "1000", "wal_log_hints": "on",
			}})
			for _, statement := range strings.Split(decodeWork, ";\n") {
				c.Exec(t, statement)
			}
			clientSees := transactions(t, c)
			loseContinuation(t, c)
			compareDecoded(t, c, 1, clientSees)
			promote(t, c)
			clientSees = transactions(t, c)
			compareDecoded(t, c, 2, clientSees)
		})
	}
}

// transactions runs some and returns the xids of those that committed, with the server's commit times.
func transactions(t *testing.T, c *postgrestest.Cluster) map[wal.XID]wal.Time {
	t.Helper()
	conn, ctx := c.Conn(t), t.Context()
	seen := map[wal.XID]wal.Time{}
	for i := range 30 {
		tx, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var xid uint32
		err = errors.Join(
			tx.QueryRow(ctx, "select (pg_current_xact_id()::text::int8 % 4294967296)::int8").Scan(&xid),
			second(tx.Exec(ctx, "insert into t(v) values($1)", fmt.Sprint(i))),
			tx.Commit(ctx))
		if err != nil {
			t.Fatal(err)
		}
		var committed time.Time
		if err := conn.QueryRow(ctx, "select pg_xact_commit_timestamp($1::text::xid)", fmt.Sprint(xid)).Scan(&committed); err != nil {
			t.Fatal(err)
		}
		seen[wal.XID(xid)] = wal.FromGo(committed)
	}
	return seen
}

func second[T any](_ T, err error) error { return err }

// loseContinuation crashes the server so that the record at the end of a segment goes on in one that was never
// written, which the server marks when it starts again (src/test/recovery/t/026_overwrite_contrecord.pl).
func loseContinuation(t *testing.T, c *postgrestest.Cluster) {
	t.Helper()
	c.Exec(t, "select pg_switch_wal()")
	c.Exec(t, "checkpoint")
	c.Exec(t, "select pg_logical_emit_message(false, 'p', repeat('q', 600000))")
	before := segmentAt(t, c)
	c.Exec(t, "select pg_logical_emit_message(true, 'p', repeat('r', 800000))")
	after := segmentAt(t, c)
	if before == after {
		t.Fatalf("the record does not leave segment %s", before)
	}
	c.Stop(t, postgrestest.Immediate)
	if err := os.Remove(filepath.Join(c.DataDir, "pg_wal", after)); err != nil {
		t.Fatal(err)
	}
	c.Start(t)
}

// segmentAt returns the file name of the segment being written.
func segmentAt(t *testing.T, c *postgrestest.Cluster) string {
	t.Helper()
	return decodeSegment.FileName(decodeSegment.Segment(1, flushed(t, c)-1))
}

func flushed(t *testing.T, c *postgrestest.Cluster) wal.LSN {
	t.Helper()
	lsn, err := wal.ParseLSN(c.Text(t, "select pg_current_wal_flush_lsn()"))
	if err != nil {
		t.Fatal(err)
	}
	return lsn
}

// promote makes the cluster a standby of nobody, and ends that on a new timeline.
func promote(t *testing.T, c *postgrestest.Cluster) {
	t.Helper()
	c.Stop(t, postgrestest.Fast)
	c.Append(t, "standby.signal", "")
	c.Start(t)
	c.Promote(t)
	b, err := os.ReadFile(filepath.Join(c.DataDir, "pg_wal", wal.TimelineID(2).HistoryFileName()))
	if err != nil {
		t.Fatal(err)
	}
	h, err := wal.ParseHistory(2, b)
	if err != nil {
		t.Fatal(err)
	}
	at, ok := h.SwitchOf(1)
	if !ok || h.TimelineAt(at) != 2 || h.TimelineAt(at-1) != 1 {
		t.Errorf("history %+v: timeline 1 ends at %s, %v", h, at, ok)
	}
}

// compareDecoded decodes the WAL that the server keeps on the timeline and compares it with what the server and
// its client say of it.
func compareDecoded(t *testing.T, c *postgrestest.Cluster, tli wal.TimelineID, clientSees map[wal.XID]wal.Time) {
	t.Helper()
	c.Exec(t, "insert into t(v) values('flushed')")
	end := flushed(t, c)
	got, d := decodeFiles(t, c, tli, end)
	if d.LastEnd() != end || d.AtEnd() {
		t.Errorf("last record ends at %s (zeros: %v), server's WAL at %s", d.LastEnd(), d.AtEnd(), end)
	}
	if page, _ := d.Page(); page.Major != c.Version.Major || page.Timeline != tli || page.SystemID.String() != c.Text(t, "select system_identifier from pg_control_system()") {
		t.Errorf("page header %+v", page)
	}
	ends := map[wal.XID]*wal.TransactionEnd{}
	for _, r := range got {
		if e, ok := r.Event.(*wal.TransactionEnd); ok {
			ends[e.XID] = e
		}
	}
	for xid, at := range clientSees {
		if e := ends[xid]; e == nil || e.Kind != wal.Commit || e.Time != at {
			t.Errorf("transaction %d committed at %s; decoded: %+v", xid, at, e)
		}
	}
	if c.Version.Major < 15 { // has no pg_walinspect, nor has its package pg_waldump
		t.Logf("%d records up to %s", len(got), end)
		requireEvents(t, got, tli)
		return
	}
	want := inspected(t, c, got[0].Start, end)
	if len(got) != len(want) {
		t.Errorf("%d records, server says %d", len(got), len(want))
	}
	wrong := 0
	for i := range min(len(got), len(want)) {
		if g := asInspected(got[i]); g != want[i] && wrong < 10 {
			t.Errorf("record %d:\n got %+v\nwant %+v", i, g, want[i])
			wrong++
		}
	}
	t.Logf("%d records from %s to %s are the server's", len(got), got[0].Start, end)
	requireEvents(t, got, tli)
}

// requireEvents makes sure that the comparison was of something.
func requireEvents(t *testing.T, records []wal.Record, tli wal.TimelineID) {
	t.Helper()
	count := map[string]int{}
	for _, r := range records {
		switch e := r.Event.(type) {
		case *wal.TransactionEnd:
			count[e.Kind.String()]++
			if e.SubxactCount > 4096 && len(e.Subxacts) == 4096 {
				count["many subtransactions"]++
			}
			if len(e.DroppedRels) > 100 {
				count["many relations"]++
			}
		case *wal.RelFileCreate:
			count["file"]++
		case *wal.DatabaseDrop:
			count["database"]++
		case *wal.Truncate:
			count["truncate"] += e.RelationCount
		case *wal.InPlaceUpdate:
			if e.File.Tablespace == wal.GlobalTablespace {
				count["mark of a database"]++
			}
		case *wal.RunningXacts:
			count["running"]++
		case *wal.RestorePoint:
			count[e.Name]++
		case *wal.Checkpoint:
			count[fmt.Sprint("checkpoint ", e.Shutdown)]++
		case *wal.EndOfRecovery:
			count["end of recovery"]++
		}
		if r.RM == 0 && r.Info&0xF0 == 0xD0 { // XLOG_OVERWRITE_CONTRECORD
			count["overwritten record"]++
		}
	}
	want := []string{"COMMIT", "end of recovery"}
	if tli == 1 {
		want = []string{
			"COMMIT", "ABORT", "COMMIT_PREPARED", "ABORT_PREPARED", "many subtransactions", "many relations",
			"checkpoint false", "overwritten record", "first point", strings.Repeat("z", 63),
			"file", "database", "truncate", "running", "mark of a database",
		}
	}
	for _, name := range want {
		if count[name] == 0 {
			t.Errorf("no %s among the records: %v", name, count)
		}
	}
}

// decodeFiles feeds the decoder with the segment files of the timeline up to end, cut anywhere.
func decodeFiles(t *testing.T, c *postgrestest.Cluster, tli wal.TimelineID, end wal.LSN) ([]wal.Record, *wal.Decoder) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(c.DataDir, "pg_wal", tli.String()+"????????????????"))
	if err != nil || len(names) == 0 {
		t.Fatal("no segments: ", err)
	}
	first, err := decodeSegment.ParseFileName(filepath.Base(names[0]))
	if err != nil {
		t.Fatal(err)
	}
	d := wal.NewDecoder(decodeSegment, decodeSegment.Start(first.Number), wal.CheckCRC, wal.StorageEvents)
	rng := rand.New(rand.NewPCG(1, uint64(c.Version.Major)))
	var records []wal.Record
	for n := first.Number; decodeSegment.Start(n) < end; n++ {
		b, err := os.ReadFile(filepath.Join(c.DataDir, "pg_wal", decodeSegment.FileName(wal.SegmentID{Timeline: tli, Number: n})))
		if err != nil {
			t.Fatal(err)
		}
		b = b[:min(uint64(len(b)), uint64(end-decodeSegment.Start(n)))]
		for len(b) > 0 {
			cut := min(len(b), 1+rng.IntN(20000))
			if err := d.Write(b[:cut]); err != nil {
				t.Fatal(err)
			}
			b = b[cut:]
			for r, ok := d.Next(); ok; r, ok = d.Next() {
				records = append(records, r)
			}
		}
	}
	return records, d
}

// inspectedRecord is a record as pg_walinspect shows it.
type inspectedRecord struct {
	start, end wal.LSN
	xid        wal.XID
	length     uint32
	rm         string
	event      string // what we decode of its description
}

// inspected asks the server for its records in [from, to).
func inspected(t *testing.T, c *postgrestest.Cluster, from, to wal.LSN) []inspectedRecord {
	t.Helper()
	conn, ctx := c.Conn(t), t.Context()
	if _, err := conn.Exec(ctx, "set timezone = 'UTC'"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, "create extension if not exists pg_walinspect"); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(ctx, `select start_lsn::text, end_lsn::text, xid::text::int8, record_length, resource_manager, record_type, coalesce(description, ''), coalesce(block_ref, '')
		from pg_get_wal_records_info($1::text::pg_lsn, $2::text::pg_lsn)`, from.String(), to.String())
	if err != nil {
		t.Fatal(err)
	}
	records, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r inspectedRecord, err error) {
		var start, end, kind, description, blocks string
		if err = row.Scan(&start, &end, &r.xid, &r.length, &r.rm, &kind, &description, &blocks); err != nil {
			return r, err
		}
		if r.start, err = wal.ParseLSN(start); err != nil {
			return r, err
		}
		r.end, err = wal.ParseLSN(end)
		if r.event = describe(r.rm, kind, description); r.event == "" {
			r.event = describeStorage(r.rm, kind, description, blocks)
		}
		return r, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// describe brings a description of pg_walinspect into the form of describeEvent.
func describe(rm, kind, description string) string {
	switch {
	case rm == "XLOG" && (kind == "RESTORE_POINT" || kind == "BACKUP_END"):
		return kind + " " + description
	case rm == "XLOG" && strings.HasPrefix(kind, "CHECKPOINT_") && kind != "CHECKPOINT_REDO":
		m := regexp.MustCompile(`^redo (\S+); tli (\d+); prev tli (\d+); .*?; xid (\d+):(\d+); `).FindStringSubmatch(description)
		if m == nil {
			return "not understood: " + description
		}
		epoch, _ := strconv.ParseUint(m[4], 10, 32)
		xid, _ := strconv.ParseUint(m[5], 10, 32)
		return fmt.Sprint(kind, " ", m[1], " ", m[2], " ", m[3], " ", epoch<<32|xid)
	case rm == "XLOG" && kind == "END_OF_RECOVERY":
		var tli, previous uint32
		_, at, _ := strings.Cut(description, "time ")
		if _, err := fmt.Sscanf(description, "tli %d; prev tli %d;", &tli, &previous); err != nil {
			return err.Error() + description
		}
		return fmt.Sprint(kind, " ", tli, " ", previous, " ", printedTime(strings.Split(at, ";")[0]))
	case rm == "Transaction" && (strings.HasPrefix(kind, "COMMIT") || strings.HasPrefix(kind, "ABORT")):
		parts := strings.Split(description, "; ")
		s := kind + " "
		if xid, at, prepared := strings.Cut(parts[0], ": "); prepared {
			s += xid + ": " + printedTime(at)
		} else {
			s += printedTime(parts[0])
		}
		for _, p := range parts[1:] {
			if what, list, found := strings.Cut(p, ": "); found && (what == "rels" || what == "subxacts") {
				items := strings.Fields(list)
				s += fmt.Sprintf(" %s %d %s", what, len(items), items[:min(len(items), 4096)])
			} else if found && what == "inval msgs" {
				s += relcacheMessages(list)
			}
		}
		return s
	}
	return ""
}

// relcacheMessages picks those of the relation cache from what standby_desc_invalidations (src/backend/access/rmgrdesc/standbydesc.c) prints.
func relcacheMessages(list string) string {
	var oids []string
	for _, m := range regexp.MustCompile(`relcache (\d+)`).FindAllStringSubmatch(list, -1) {
		oids = append(oids, m[1])
	}
	if len(oids) == 0 {
		return ""
	}
	return fmt.Sprintf(" changed %d %s", len(oids), oids[:min(len(oids), 4096)])
}

// describeStorage brings a description of a record that is an event only with wal.StorageEvents into the form of describeStorageEvent.
func describeStorage(rm, kind, description, blocks string) string {
	kind = strings.TrimSuffix(kind, "+INIT")
	switch rm + " " + kind {
	case "Storage CREATE", "Database DROP":
		return kind + " " + strings.TrimPrefix(description, "dir ")
	case "Standby RUNNING_XACTS":
		var next, completed, oldest uint32
		if _, err := fmt.Sscanf(description, "nextXid %d latestCompletedXid %d oldestRunningXid %d", &next, &completed, &oldest); err != nil {
			return err.Error() + description
		}
		return fmt.Sprint(kind, " ", next, " ", oldest)
	case "Heap TRUNCATE":
		m := regexp.MustCompile(`nrelids:? (\d+),? relids:? \[?([\d, ]+)`).FindStringSubmatch(description)
		if m == nil {
			return "not understood: " + description
		}
		return fmt.Sprint(kind, " ", m[1], " ", strings.Fields(strings.ReplaceAll(m[2], ",", " ")))
	case "Heap INPLACE":
		m := regexp.MustCompile(`rel (\d+/\d+/\d+)`).FindStringSubmatch(blocks)
		if m == nil {
			return "not understood: " + blocks
		}
		return kind + " " + m[1]
	}
	return ""
}

// describeStorageEvent returns what describeStorage does of the same record.
func describeStorageEvent(r wal.Record) string {
	switch e := r.Event.(type) {
	case *wal.RelFileCreate:
		return "CREATE " + e.File.String() + []string{"", "_fsm", "_vm", "_init"}[e.Fork]
	case *wal.DatabaseDrop:
		s := "DROP"
		for _, space := range e.Tablespaces {
			s += fmt.Sprintf(" %d/%d", space, e.Database)
		}
		return s
	case *wal.RunningXacts:
		return fmt.Sprint("RUNNING_XACTS ", e.NextXID, " ", e.OldestXID)
	case *wal.Truncate:
		return fmt.Sprint("TRUNCATE ", e.RelationCount, " ", e.Relations)
	case *wal.InPlaceUpdate:
		return fmt.Sprintf("INPLACE %d/%d/%d", e.File.Tablespace, e.File.Database, e.File.Number)
	}
	return ""
}

// printedTime brings a time as PostgreSQL prints it into the form of wal.Time.
func printedTime(s string) string {
	t, err := time.Parse("2006-01-02 15:04:05.999999-07", s)
	if err != nil {
		return err.Error()
	}
	return wal.FromGo(t).String()
}

// describeEvent returns what describe does of the same record.
func describeEvent(r wal.Record) string {
	switch e := r.Event.(type) {
	case *wal.TransactionEnd:
		s := e.Kind.String() + " "
		if e.Kind == wal.CommitPrepared || e.Kind == wal.AbortPrepared {
			s += fmt.Sprint(e.XID, ": ")
		}
		s += e.Time.String()
		if e.DroppedRelCount > 0 {
			s += fmt.Sprint(" rels ", e.DroppedRelCount, " ", e.DroppedRels)
		}
		if e.SubxactCount > 0 {
			s += fmt.Sprint(" subxacts ", e.SubxactCount, " ", e.Subxacts)
		}
		if e.ChangedCount > 0 {
			var oids []uint32
			for _, c := range e.Changed {
				oids = append(oids, c.OID)
			}
			s += fmt.Sprint(" changed ", e.ChangedCount, " ", oids)
		}
		return s
	case *wal.RestorePoint:
		return "RESTORE_POINT " + e.Name
	case *wal.BackupEnd:
		return "BACKUP_END " + e.BackupStart.String()
	case *wal.Checkpoint:
		kind := "CHECKPOINT_ONLINE"
		if e.Shutdown {
			kind = "CHECKPOINT_SHUTDOWN"
		}
		return fmt.Sprint(kind, " ", e.Redo, " ", uint32(e.Timeline), " ", uint32(e.Previous), " ", e.NextXID)
	case *wal.EndOfRecovery:
		return fmt.Sprint("END_OF_RECOVERY ", uint32(e.Timeline), " ", uint32(e.Previous), " ", e.Time)
	}
	return describeStorageEvent(r)
}

// asInspected brings a decoded record into the form of pg_walinspect.
func asInspected(r wal.Record) inspectedRecord {
	names := strings.Fields(`XLOG Transaction Storage CLOG Database Tablespace MultiXact RelMap Standby Heap2 Heap Btree
		Hash Gin Gist Sequence SPGist BRIN CommitTs ReplicationOrigin Generic LogicalMessage`)
	return inspectedRecord{start: r.Start, end: r.End, xid: r.XID, length: r.Len, rm: names[r.RM], event: describeEvent(r)}
}
