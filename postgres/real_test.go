package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/wal"
)

// each runs a test against a cluster of every major.
func each(t *testing.T, o postgrestest.Options, test func(t *testing.T, c *postgrestest.Cluster)) {
	for _, v := range postgrestest.Versions(t) {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			test(t, postgrestest.Start(t, v, o))
		})
	}
}

func config(t *testing.T, conn string) *postgres.Config {
	t.Helper()
	c, err := postgres.ParseConfig(conn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// connect opens a replication connection that is closed with the test.
func connect(t *testing.T, conn string) *postgres.Conn {
	t.Helper()
	c, err := postgres.Connect(deadline(t), config(t, conn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Log(err)
		}
	})
	return c
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func lsn(t *testing.T, s string) wal.LSN {
	t.Helper()
	l, err := wal.ParseLSN(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func wantIs(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

func TestSystem(t *testing.T) {
	each(t, postgrestest.Options{SegmentSize: 64 << 20}, func(t *testing.T, c *postgrestest.Cluster) {
		conn := connect(t, c.ConnString())
		before := lsn(t, c.Text(t, "select pg_current_wal_flush_lsn()"))
		s, err := conn.System(deadline(t))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := s.ID.String(), c.Text(t, "select system_identifier from pg_control_system()"); got != want {
			t.Errorf("system id is %s, want %s", got, want)
		}
		if s.Timeline != 1 || s.SegmentSize != 64<<20 || s.VersionNum/10000 != c.Version.Major {
			t.Errorf("got %+v, want timeline 1, 64 MiB, major %d", s, c.Version.Major)
		}
		if s.Flush < before {
			t.Errorf("flush is %s, want at least %s", s.Flush, before)
		}
		if got, err := conn.Setting(deadline(t), "application_name"); err != nil || got != "pgark" {
			t.Errorf("application_name is %q, %v; want pgark", got, err)
		}
		if _, err := conn.Setting(deadline(t), "x; drop table y"); err == nil {
			t.Error("a setting with a semicolon was asked for")
		}
		if _, err := conn.Setting(deadline(t), "no_such_setting"); err == nil {
			t.Error("no error for a setting that is not there")
		}
		if _, _, err := conn.TimelineHistory(deadline(t), 7); !errors.Is(err, postgres.ErrNoHistory) {
			t.Errorf("history of timeline 7: got %v, want ErrNoHistory", err)
		}
		if _, err := conn.System(deadline(t)); err != nil { // errors leave the connection usable
			t.Error(err)
		}
	})
}

func TestSlots(t *testing.T) {
	each(t, postgrestest.Options{}, func(t *testing.T, c *postgrestest.Cluster) {
		ctx := deadline(t)
		conn := connect(t, c.ConnString())
		wantIs(t, conn.DropSlot(ctx, "pgark"), postgres.ErrNoSlot)
		if s, known, err := conn.Slot(ctx, "pgark"); err != nil || s.Exists || known != (c.Version.Major >= 15) {
			t.Errorf("no slot: got %+v, known %t, %v", s, known, err)
		}
		if err := conn.CreateSlot(ctx, "pgark"); err != nil {
			t.Fatal(err)
		}
		wantIs(t, conn.CreateSlot(ctx, "pgark"), postgres.ErrSlotExists)
		if conn.CreateSlot(ctx, `x" LOGICAL`) == nil {
			t.Error("a slot name with a quote was sent")
		}
		want := lsn(t, c.Text(t, "select restart_lsn from pg_replication_slots where slot_name = 'pgark'"))
		if want == 0 {
			t.Error("the slot reserves no WAL")
		}
		s, known, err := conn.Slot(ctx, "pgark")
		if err != nil {
			t.Fatal(err)
		}
		if known && (!s.Exists || s.RestartLSN != want || s.Timeline != 1) {
			t.Errorf("got %+v, want restart at %s on timeline 1", s, want)
		}

		start := postgres.Start{Slot: "pgark", Timeline: 1, LSN: want}
		holder := connect(t, c.ConnString())
		if err := holder.StartReplication(ctx, start); err != nil {
			t.Fatal(err)
		}
		wantIs(t, conn.StartReplication(ctx, start), postgres.ErrSlotActive)
		wantIs(t, conn.DropSlot(ctx, "pgark"), postgres.ErrSlotActive)
		if err := holder.Close(ctx); err != nil {
			t.Fatal(err)
		}
		for err = conn.DropSlot(ctx, "pgark"); errors.Is(err, postgres.ErrSlotActive) && ctx.Err() == nil; {
			err = conn.DropSlot(ctx, "pgark") // a slot stays active for a moment
		}
		if err != nil {
			t.Error(err)
		}
		start.Slot = "gone"
		wantIs(t, conn.StartReplication(ctx, start), postgres.ErrNoSlot)
	})
}

// receive gives the next message that is not a keepalive.
func receive(ctx context.Context, t *testing.T, c *postgres.Conn) postgres.Message {
	t.Helper()
	for {
		m, err := c.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, alive := m.(*postgres.Keepalive); !alive {
			return m
		}
	}
}

func TestStream(t *testing.T) {
	each(t, postgrestest.Options{SegmentSize: 1 << 20}, func(t *testing.T, c *postgrestest.Cluster) {
		ctx := deadline(t)
		conn := connect(t, c.ConnString())
		s, err := conn.System(ctx)
		if err != nil {
			t.Fatal(err)
		}
		from := s.SegmentSize.Floor(s.Flush)
		if err := conn.StartReplication(ctx, postgres.Start{Timeline: 1, LSN: from}); err != nil {
			t.Fatal(err)
		}
		c.Exec(t, "create table t as select g, md5(g::text) from generate_series(1, 20000) g")
		end := lsn(t, c.Text(t, "select pg_current_wal_flush_lsn()"))
		var read []byte
		for from+wal.LSN(len(read)) < end {
			d, ok := receive(ctx, t, conn).(*postgres.Data)
			if !ok {
				t.Fatal("the timeline ended")
			}
			if got, want := d.Start, from+wal.LSN(len(read)); got != want {
				t.Fatalf("data starts at %s, want %s", got, want)
			}
			if d.ServerEnd < d.Start+wal.LSN(len(d.Bytes)) {
				t.Errorf("server ends at %s before its data %s+%d", d.ServerEnd, d.Start, len(d.Bytes))
			}
			if off := time.Since(d.ServerTime.Go()); off < -time.Minute || off > time.Minute {
				t.Errorf("server time is %s off", off)
			}
			read = append(read, d.Bytes...)
		}
		checkSegments(t, c, s.SegmentSize, from, read)

		// A deadline that passes leaves the conversation whole.
		for range 5 {
			short, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
			for {
				if _, err = conn.Receive(short); err != nil {
					break
				}
			}
			cancel()
			wantIs(t, err, context.DeadlineExceeded)
		}
		if err := conn.SendStatus(ctx, postgres.Status{Write: end, RequestReply: true}); err != nil {
			t.Fatal(err)
		}
		for {
			m, err := conn.Receive(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if k, alive := m.(*postgres.Keepalive); alive {
				if k.End < end {
					t.Errorf("keepalive ends at %s, want at least %s", k.End, end)
				}
				break
			}
		}
		// The update said nothing of flush: the server must not think otherwise.
		if got := c.Text(t, "select coalesce(flush_lsn::text, 'none') || ' ' || write_lsn from pg_stat_replication"); got != "none "+end.String() {
			t.Errorf("server believes %q, want none %s", got, end)
		}
		if err := conn.SendStatus(ctx, postgres.Status{Write: end, Flush: from, Apply: from - 8, RequestReply: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		want := from.String() + " " + (from - 8).String()
		if got := c.Text(t, "select flush_lsn || ' ' || replay_lsn from pg_stat_replication"); got != want {
			t.Errorf("server believes %q, want %q", got, want)
		}
	})
}

// checkSegments compares what was streamed with the server's own files.
func checkSegments(t *testing.T, c *postgrestest.Cluster, size wal.SegmentSize, from wal.LSN, read []byte) {
	t.Helper()
	whole := 0
	for len(read) >= int(size) {
		name := size.FileName(size.Segment(1, from))
		file := c.ReadFile(t, "pg_wal/"+name)
		if string(file) != string(read[:size]) {
			t.Errorf("segment %s was streamed with other bytes than the server has", name)
		}
		read, from = read[size:], size.End(size.Number(from))
		whole++
	}
	if whole == 0 {
		t.Error("no whole segment was streamed")
	}
}

func TestStreamRefused(t *testing.T) {
	each(t, postgrestest.Options{SegmentSize: 1 << 20, Settings: map[string]string{"max_wal_size": "2MB", "min_wal_size": "2MB"}},
		func(t *testing.T, c *postgrestest.Cluster) {
			ctx := deadline(t)
			conn := connect(t, c.ConnString())
			s, err := conn.System(ctx)
			if err != nil {
				t.Fatal(err)
			}
			wantIs(t, conn.StartReplication(ctx, postgres.Start{Timeline: 1, LSN: s.Flush + 1<<20}), postgres.ErrAheadOfServer)
			wantIs(t, conn.StartReplication(ctx, postgres.Start{Timeline: 9, LSN: s.Flush}), postgres.ErrNotInHistory)

			for range 12 {
				c.Exec(t, "select pg_switch_wal(); checkpoint")
			}
			if err := conn.StartReplication(ctx, postgres.Start{Timeline: 1, LSN: s.SegmentSize.Floor(s.Flush)}); err != nil {
				t.Fatal(err)
			}
			_, err = conn.Receive(ctx)
			wantIs(t, err, postgres.ErrWALRemoved)
		})
}

func TestEndOfTimeline(t *testing.T) {
	each(t, postgrestest.Options{SegmentSize: 1 << 20}, func(t *testing.T, c *postgrestest.Cluster) {
		ctx := deadline(t)
		c.Exec(t, "create table t (n int)")
		c.Stop(t, postgrestest.Fast)
		c.Append(t, "standby.signal", "")
		c.Start(t)
		conn := connect(t, c.ConnString())
		s, err := conn.System(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.StartReplication(ctx, postgres.Start{Timeline: 1, LSN: s.SegmentSize.Floor(s.Flush)}); err != nil {
			t.Fatal(err)
		}
		c.Promote(t)
		var at wal.LSN
		for {
			m := receive(ctx, t, conn)
			if d, ok := m.(*postgres.Data); ok {
				at = d.Start + wal.LSN(len(d.Bytes))
				continue
			}
			end, ok := m.(*postgres.EndOfTimeline)
			if !ok || end.Next != 2 || end.At != at {
				t.Fatalf("got %+v, want timeline 2 at %s", m, at)
			}
			break
		}
		// The connection is idle again and serves the next timeline.
		h, raw, err := conn.TimelineHistory(ctx, 2)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := h.SwitchOf(1); !ok || got != at {
			t.Errorf("history says timeline 1 ended at %s, want %s", got, at)
		}
		if string(raw) != string(c.ReadFile(t, "pg_wal/00000002.history")) {
			t.Error("history is not the server's file")
		}
		// Nothing of timeline 1 is past its end: the server does not stream at all.
		if err := conn.StartReplication(ctx, postgres.Start{Timeline: 1, LSN: at}); err != nil {
			t.Fatal(err)
		}
		if m, ok := receive(ctx, t, conn).(*postgres.EndOfTimeline); !ok || m.Next != 2 || m.At != at {
			t.Errorf("got %+v, want the end of timeline 1 at %s", m, at)
		}
		wantIs(t, conn.StartReplication(ctx, postgres.Start{Timeline: 1, LSN: at + 8}), postgres.ErrNotInHistory)
		if err := conn.StartReplication(ctx, postgres.Start{Timeline: 2, LSN: at}); err != nil {
			t.Fatal(err)
		}
		if d, ok := receive(ctx, t, conn).(*postgres.Data); !ok || d.Start != at {
			t.Errorf("got %+v, want data at %s", d, at)
		}
	})
}

func TestShutdownEndsStream(t *testing.T) {
	each(t, postgrestest.Options{}, func(t *testing.T, c *postgrestest.Cluster) {
		ctx := deadline(t)
		conn := connect(t, c.ConnString())
		s, err := conn.System(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.StartReplication(ctx, postgres.Start{Timeline: 1, LSN: s.Flush}); err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() { result <- confirmAll(ctx, conn) }()
		c.Stop(t, postgrestest.Fast)
		if err := <-result; !errors.Is(err, postgres.ErrShuttingDown) {
			t.Errorf("got %v, want ErrShuttingDown", err)
		}
		_, err = postgres.Connect(ctx, config(t, c.TCPConnString()))
		wantIs(t, err, postgres.ErrUnreachable)
	})
}

// confirmAll receives and tells the server that all of it is durable.
func confirmAll(ctx context.Context, conn *postgres.Conn) error {
	var end wal.LSN
	for {
		m, err := conn.Receive(ctx)
		if err != nil {
			return err
		}
		if d, ok := m.(*postgres.Data); ok {
			end = d.Start + wal.LSN(len(d.Bytes))
		}
		// The server may have gone after its last message, which waits to be read.
		_ = conn.SendStatus(ctx, postgres.Status{Write: end, Flush: end, Apply: end})
	}
}

func TestConnectRefused(t *testing.T) {
	each(t, postgrestest.Options{Settings: map[string]string{"password_encryption": "scram-sha-256"}},
		func(t *testing.T, c *postgrestest.Cluster) {
			ctx := deadline(t)
			c.Exec(t, "create role plain login; create role secret login replication password 'right'; create role stranger login replication")
			hba := "local all all trust\nlocal replication postgres,plain trust\nhost replication secret 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
			c.WriteFile(t, "pg_hba.conf", hba)
			c.Exec(t, "select pg_reload_conf()")
			c.Text(t, "select 1")
			for name, tt := range map[string]struct {
				conn string
				want error
			}{
				"wrong password":   {c.TCPConnString() + " user=secret password=wrong", postgres.ErrAuth},
				"no REPLICATION":   {c.ConnString() + " user=plain", postgres.ErrNotReplication},
				"no line in hba":   {c.TCPConnString() + " user=stranger", postgres.ErrNotReplication},
				"nobody listens":   {"host=127.0.0.1 port=1 user=x sslmode=disable", postgres.ErrUnreachable},
				"no such host":     {"host=no-such-host.invalid user=x", postgres.ErrUnreachable},
				"only a primary":   {c.ConnString() + " target_session_attrs=standby", postgres.ErrUnreachable},
				"only a read-only": {c.ConnString() + " target_session_attrs=read-only", postgres.ErrUnreachable},
			} {
				conn, err := postgres.Connect(ctx, config(t, tt.conn))
				if err == nil {
					t.Errorf("%s: connected", name)
					_ = conn.Close(ctx)
				}
				if !errors.Is(err, tt.want) {
					t.Errorf("%s: got %v, want %v", name, err, tt.want)
				}
			}
			for _, attrs := range []string{"any", "primary", "read-write", "prefer-standby"} {
				conn, err := postgres.Connect(ctx, config(t, c.ConnString()+" target_session_attrs="+attrs))
				if err != nil {
					t.Errorf("target_session_attrs=%s: %v", attrs, err)
					continue
				}
				_ = conn.Close(ctx)
			}
			var err error
			for range 12 { // the server has 10 walsenders
				var conn *postgres.Conn
				if conn, err = postgres.Connect(ctx, config(t, c.ConnString())); err != nil {
					break
				}
				t.Cleanup(func() { _ = conn.Close(ctx) })
			}
			wantIs(t, err, postgres.ErrTooManyConnections)
		})
}

func TestQuery(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Need(t, 15), postgrestest.Options{})
	ctx := deadline(t)
	rows, err := postgres.Query(ctx, c.ConnString(), "select 1, null, 'a b' union all select 2, 'x', ''")
	if err != nil || len(rows) != 2 || strings.Join(rows[0], "|") != "1||a b" || strings.Join(rows[1], "|") != "2|x|" {
		t.Errorf("got %q, %v", rows, err)
	}
	var e *postgres.ServerError
	if _, err := postgres.Query(ctx, c.ConnString(), "select nothing"); !errors.As(err, &e) || e.Code != "42703" {
		t.Errorf("got %v, want SQLSTATE 42703", err)
	}
	_, err = postgres.Query(ctx, c.ConnString()+" user=nobody", "select 1")
	wantIs(t, err, postgres.ErrAuth)
	_, err = postgres.Query(ctx, "host=127.0.0.1 port=1 user=u", "select 1")
	wantIs(t, err, postgres.ErrUnreachable)
	if _, err = postgres.Query(ctx, "password=hunter2 'x", "select 1"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want an error without the password", err)
	}
}

// TestPulse: a role that may only replicate is told how many walsenders are taken, and what time it is at the server.
func TestPulse(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Need(t, 15), postgrestest.Options{})
	ctx := deadline(t)
	c.Exec(t, "create role ark login replication")
	conn := c.ConnString() + " user=ark"
	before, err := postgres.AskPulse(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := postgres.Connect(ctx, config(t, conn))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close(ctx) }()
	after, err := postgres.AskPulse(ctx, conn)
	if err != nil || after.Walsenders != before.Walsenders+1 {
		t.Errorf("%d walsenders, then %d, %v", before.Walsenders, after.Walsenders, err)
	}
	if after.Ahead.Abs() > after.Within+time.Second { // one host, one clock
		t.Errorf("its clock is %s ahead, give or take %s", after.Ahead, after.Within)
	}
}
