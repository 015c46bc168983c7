package postgres_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/wal"
)

const systemID = wal.SystemID(7423474350493388827)

func TestScriptedSystem(t *testing.T) {
	conn := connect(t, postgrestest.Serve(t, func(s *postgrestest.Session) {
		s.Accept(nil)
		for _, size := range []string{"1GB", "16MB", "1024kB"} {
			s.Expect("IDENTIFY_SYSTEM")
			s.Rows(4, []any{systemID, -1, "FF/1", nil}) // timeline 2^32-1 as int4
			s.Ready()
			if size == "1GB" {
				s.Show("server_version_num", "170004")
			}
			s.Show("wal_segment_size", size)
		}
		s.ExpectEnd()
	}))
	for _, size := range []wal.SegmentSize{1 << 30, 16 << 20, 1 << 20} {
		got, err := conn.System(deadline(t))
		want := postgres.System{ID: systemID, Timeline: 1<<32 - 1, Flush: 0xFF00000001, SegmentSize: size, VersionNum: 170004}
		if err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

func TestScriptedSystemRefused(t *testing.T) {
	for name, script := range map[string]func(*postgrestest.Session){
		"too old": func(s *postgrestest.Session) {
			s.Identify(systemID, 1, 1)
			s.Show("server_version_num", "130009")
		},
		"segment size of no power of two": func(s *postgrestest.Session) {
			s.Identify(systemID, 1, 1)
			s.Show("server_version_num", "150000")
			s.Show("wal_segment_size", "3MB")
		},
		"segment size without a number": func(s *postgrestest.Session) {
			s.Identify(systemID, 1, 1)
			s.Show("server_version_num", "150000")
			s.Show("wal_segment_size", "MB")
		},
		"junk after the LSN": func(s *postgrestest.Session) {
			s.Expect("IDENTIFY_SYSTEM")
			s.Rows(4, []any{systemID, 1, "0/1x", nil})
			s.Ready()
		},
		"timeline 0": func(s *postgrestest.Session) { s.Identify(systemID, 0, 1) },
		"no row": func(s *postgrestest.Session) {
			s.Expect("IDENTIFY_SYSTEM")
			s.Rows(4)
			s.Ready()
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, postgrestest.Serve(t, func(s *postgrestest.Session) {
				s.Accept(nil)
				script(s)
				s.ExpectEnd()
			}))
			if got, err := conn.System(deadline(t)); err == nil {
				t.Errorf("got %+v, want an error", got)
			}
		})
	}
}

// TestErrorsInAnyLanguage gives each condition by code and routine alone.
func TestErrorsInAnyLanguage(t *testing.T) {
	start := postgres.Start{Slot: "s", Timeline: 1, LSN: 100}
	for _, tt := range []struct {
		code, routine, detail string
		want                  error
	}{
		{"55006", "ReplicationSlotAcquire", "", postgres.ErrSlotActive},
		{"42704", "ReplicationSlotAcquire", "", postgres.ErrNoSlot},
		{"55000", "ReplicationSlotAcquire", "", postgres.ErrSlotInvalidated},
		{"55000", "StartReplication", "", postgres.ErrSlotUnusable},
		{"58P01", "CheckXLogRemoved", "", postgres.ErrWALRemoved},
		{"XX000", "StartReplication", "Поток", postgres.ErrNotInHistory},
		{"XX000", "StartReplication", "", postgres.ErrAheadOfServer},
		{"XX000", "tliSwitchPoint", "", postgres.ErrNotInHistory},
		{"57P01", "ProcessInterrupts", "", postgres.ErrShuttingDown},
	} {
		for _, late := range []bool{false, true} {
			conn := connect(t, postgrestest.Serve(t, func(s *postgrestest.Session) {
				s.Accept(nil)
				s.Identify(systemID, 1, 200)
				s.Expect(`START_REPLICATION SLOT "s" PHYSICAL 0/64 TIMELINE 1`)
				if late {
					s.Stream()
				}
				s.Error("ERROR", tt.code, tt.routine, "запрошенная точка", tt.detail)
				s.Ready()
				s.ExpectEnd()
			}))
			err := conn.StartReplication(deadline(t), start)
			if late && err == nil {
				_, err = conn.Receive(deadline(t))
			}
			var e *postgres.ServerError
			if !errors.Is(err, tt.want) || !errors.As(err, &e) || e.Code != tt.code {
				t.Errorf("%s from %s, late %t: got %v, want %v", tt.code, tt.routine, late, err, tt.want)
			}
		}
	}
}

func TestConnectErrors(t *testing.T) {
	for _, tt := range []struct {
		code, routine string
		want          error
	}{
		{"28P01", "auth_failed", postgres.ErrAuth},
		{"28000", "auth_failed", postgres.ErrAuth},
		{"28000", "InitializeSessionUserId", postgres.ErrNoRole},
		{"28000", "InitializeSessionUserId", postgres.ErrAuth},
		{"28000", "ClientAuthentication", postgres.ErrNotReplication},
		{"42501", "InitPostgres", postgres.ErrNotReplication},
		{"57P03", "ProcessStartupPacket", postgres.ErrShuttingDown},
		{"53300", "InitWalSenderSlot", postgres.ErrTooManyConnections},
	} {
		conn := postgrestest.Serve(t, func(s *postgrestest.Session) { s.Refuse(tt.code, tt.routine, "нет") })
		_, err := postgres.Connect(deadline(t), config(t, conn+" password=hunter2"))
		if !errors.Is(err, tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s from %s: got %v, want %v", tt.code, tt.routine, err, tt.want)
		}
	}
}

func TestConnectGivesUp(t *testing.T) {
	silent := postgrestest.Serve(t, func(s *postgrestest.Session) { s.ExpectEnd() })
	_ = silent // a server that accepts and says nothing
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := postgres.Connect(ctx, config(t, silent))
	if !errors.Is(err, postgres.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ErrUnreachable and DeadlineExceeded", err)
	}
}

// TestVanishedServerLeavesTime asks two servers, of which the first says nothing: whatever the time there is in all, the second is asked.
func TestVanishedServerLeavesTime(t *testing.T) {
	for _, ask := range []func(ctx context.Context, conn string) error{
		func(ctx context.Context, conn string) error {
			_, err := postgres.Connect(ctx, config(t, conn))
			return err
		},
		func(ctx context.Context, conn string) error {
			_, err := postgres.Query(ctx, conn, "select 1")
			return err
		},
	} {
		h1, p1 := host(postgrestest.Serve(t, func(s *postgrestest.Session) { s.ExpectEnd() }))
		h2, p2 := host(postgrestest.Serve(t, func(s *postgrestest.Session) { s.Refuse("28P01", "auth_failed", "I am here") }))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := ask(ctx, "host="+h1+","+h2+" port="+p1+","+p2+" user=u sslmode=disable")
		cancel()
		if !errors.Is(err, postgres.ErrAuth) {
			t.Errorf("got %v, want the second server's refusal", err)
		}
	}
}

// host takes a scripted server's connection string apart.
func host(conn string) (host, port string) {
	f := strings.Fields(conn)
	return strings.TrimPrefix(f[0], "host="), strings.TrimPrefix(f[1], "port=")
}

// TestAttributes picks the server among several by what they report.
func TestAttributes(t *testing.T) {
	serve := func(standby string) string {
		return postgrestest.Serve(t, func(s *postgrestest.Session) {
			s.Accept(map[string]string{"in_hot_standby": standby, "default_transaction_read_only": "off"})
			s.ExpectEnd()
		})
	}
	for attrs, wantErr := range map[string]bool{"primary": false, "read-write": false, "standby": true, "read-only": true} {
		h1, p1 := host(serve("on"))
		h2, p2 := host(serve("off"))
		hosts := "host=" + h1 + "," + h2 + " port=" + p1 + "," + p2
		if wantErr {
			hosts = "host=" + h2 + " port=" + p2
			connect(t, "user=u sslmode=disable host="+h1+" port="+p1+" target_session_attrs="+attrs)
		}
		conn, err := postgres.Connect(deadline(t), config(t, hosts+" user=u sslmode=disable target_session_attrs="+attrs))
		if (err != nil) != wantErr {
			t.Errorf("%s: got %v", attrs, err)
		}
		if err == nil {
			_ = conn.Close(deadline(t))
		}
	}
}

// TestStatusBytes reads what SendStatus puts on the wire.
func TestStatusBytes(t *testing.T) {
	sent := []postgres.Status{
		{Write: 0x100, Flush: 0, Apply: 0},
		{Write: 0x200, Flush: 0x100, Apply: 0x80, RequestReply: true},
		{},
	}
	conn := connect(t, postgrestest.Serve(t, func(s *postgrestest.Session) {
		s.Accept(nil)
		s.Identify(systemID, 1, 0x300)
		s.Expect("START_REPLICATION PHYSICAL 0/64 TIMELINE 1")
		s.Stream()
		for _, want := range sent {
			if got := s.Status(); got != want {
				t.Errorf("server read %+v, want %+v", got, want)
			}
		}
		s.ExpectEnd()
	}))
	if err := conn.StartReplication(deadline(t), postgres.Start{Timeline: 1, LSN: 100}); err != nil {
		t.Fatal(err)
	}
	for _, st := range sent {
		if err := conn.SendStatus(deadline(t), st); err != nil {
			t.Error(err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	wantIs(t, conn.SendStatus(ended, postgres.Status{}), context.Canceled)
}

// TestReceiveTimer lets deadlines pass at every byte of a message: the stream
// must come out whole, while another goroutine sends status updates.
func TestReceiveTimer(t *testing.T) {
	const updates = 300
	payload := []byte("write-ahead log")
	message := binary.BigEndian.AppendUint32([]byte{'d'}, uint32(4+25+len(payload)))
	message = append(message, 'w')
	message = binary.BigEndian.AppendUint64(message, 0x64)
	message = binary.BigEndian.AppendUint64(message, 0x1000)
	message = binary.BigEndian.AppendUint64(message, 42)
	message = append(message, payload...)
	conn := connect(t, postgrestest.Serve(t, func(s *postgrestest.Session) {
		s.Accept(nil)
		s.Identify(systemID, 1, 0x1000)
		s.Expect("START_REPLICATION PHYSICAL 0/64 TIMELINE 1")
		s.Stream()
		for i := range message {
			s.Write(message[i : i+1])
			time.Sleep(3 * time.Millisecond)
		}
		for i := range updates {
			if got := s.Status(); got.Write != wal.LSN(i+1) {
				t.Errorf("update %d says %s", i, got.Write)
			}
		}
		s.Keepalive(postgres.Keepalive{End: 0x1000, ServerTime: 7, ReplyRequested: true})
		s.ExpectEnd()
	}))
	ctx := deadline(t)
	if err := conn.StartReplication(ctx, postgres.Start{Timeline: 1, LSN: 100}); err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	g.Go(func() error {
		for i := range updates {
			if err := conn.SendStatus(ctx, postgres.Status{Write: wal.LSN(i + 1)}); err != nil {
				return err
			}
		}
		return nil
	})
	timeouts := 0
	next := func() postgres.Message {
		for {
			short, cancel := context.WithTimeout(ctx, time.Millisecond)
			m, err := conn.Receive(short)
			cancel()
			if err == nil {
				return m
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			timeouts++
		}
	}
	d, ok := next().(*postgres.Data)
	if !ok || d.Start != 0x64 || d.ServerEnd != 0x1000 || d.ServerTime != 42 || string(d.Bytes) != string(payload) {
		t.Errorf("got %+v", d)
	}
	k, ok := next().(*postgres.Keepalive)
	if !ok || *k != (postgres.Keepalive{End: 0x1000, ServerTime: 7, ReplyRequested: true}) {
		t.Errorf("got %+v", k)
	}
	if timeouts < len(message)/2 {
		t.Errorf("%d deadlines passed, want the test to see many", timeouts)
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// TestStreamGarbage sends what no server should.
func TestStreamGarbage(t *testing.T) {
	for name, send := range map[string]func(*postgrestest.Session){
		"empty message":     func(s *postgrestest.Session) { s.Send(&pgproto3.CopyData{}) },
		"unknown message":   func(s *postgrestest.Session) { s.Send(&pgproto3.CopyData{Data: []byte("x")}) },
		"short WAL":         func(s *postgrestest.Session) { s.Send(&pgproto3.CopyData{Data: make([]byte, 24)}) },
		"short keepalive":   func(s *postgrestest.Session) { s.Send(&pgproto3.CopyData{Data: []byte("k1234567")}) },
		"no next timeline":  func(s *postgrestest.Session) { s.Send(&pgproto3.CopyDone{}); s.Ready() },
		"ready in a stream": func(s *postgrestest.Session) { s.Ready() },
		"junk in the end": func(s *postgrestest.Session) {
			s.Send(&pgproto3.CopyDone{})
			s.Rows(2, []any{"x", "0/1"})
			s.Ready()
		},
		"end of one column": func(s *postgrestest.Session) {
			s.Send(&pgproto3.CopyDone{})
			s.Rows(1, []any{"2"})
			s.Ready()
		},
		"no protocol at all": func(s *postgrestest.Session) { s.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
		"hang-up":            func(*postgrestest.Session) {},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, postgrestest.Serve(t, func(s *postgrestest.Session) {
				s.Accept(nil)
				s.Identify(systemID, 1, 0x1000)
				s.Expect("START_REPLICATION PHYSICAL 0/64 TIMELINE 1")
				s.Stream()
				send(s)
			}))
			if err := conn.StartReplication(deadline(t), postgres.Start{Timeline: 1, LSN: 100}); err != nil {
				t.Fatal(err)
			}
			if m, err := conn.Receive(deadline(t)); err == nil {
				t.Errorf("got %+v, want an error", m)
			}
			if m, err := conn.Receive(deadline(t)); err == nil {
				t.Errorf("after an error got %+v", m)
			}
		})
	}
}

// TestScriptedEnd takes the end of a timeline apart with deadlines.
func TestScriptedEnd(t *testing.T) {
	want := postgres.EndOfTimeline{Next: 5, At: 0x500}
	conn := connect(t, postgrestest.Serve(t, func(s *postgrestest.Session) {
		s.Accept(nil)
		s.Identify(systemID, 5, 0x1000)
		s.Expect("START_REPLICATION PHYSICAL 0/64 TIMELINE 4")
		s.Stream()
		s.EndTimeline(want)
		s.Show("server_version_num", "170000")
		s.ExpectEnd()
	}))
	ctx := deadline(t)
	if err := conn.StartReplication(ctx, postgres.Start{Timeline: 4, LSN: 100}); err != nil {
		t.Fatal(err)
	}
	m, err := conn.Receive(ctx)
	if end, ok := m.(*postgres.EndOfTimeline); err != nil || !ok || *end != want {
		t.Errorf("got %+v, %v; want %+v", m, err, want)
	}
	if _, err := conn.Receive(ctx); err == nil {
		t.Error("received past the end of the timeline")
	}
	if got, err := conn.Setting(ctx, "server_version_num"); err != nil || got != "170000" {
		t.Errorf("the connection is not idle: %q, %v", got, err)
	}
}

// backupScript plays BASE_BACKUP of 15 and later with the messages given.
func backupScript(send func(*postgrestest.Session)) func(*postgrestest.Session) {
	return func(s *postgrestest.Session) {
		s.Accept(nil)
		s.Show("server_version_num", "170000")
		s.Show("data_checksums", "on")
		s.Expect(`BASE_BACKUP (LABEL 'pgark', TABLESPACE_MAP, MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', PROGRESS, WAIT false, WAL false, CHECKPOINT 'fast')`)
		s.Rows(2, []any{"0/28", 1})
		s.Rows(3, []any{16400, "/far", 3}, []any{nil, nil, 4})
		s.Send(&pgproto3.CopyOutResponse{})
		send(s)
	}
}

func tagged(tag byte, rest string) *pgproto3.CopyData {
	return &pgproto3.CopyData{Data: append([]byte{tag}, rest...)}
}

func TestScriptedBackup(t *testing.T) {
	conn := connect(t, postgrestest.Serve(t, backupScript(func(s *postgrestest.Session) {
		s.Send(tagged('n', "16400.tar\x00/far\x00"), tagged('d', "ab"), tagged('p', "12345678"), tagged('d', ""), tagged('d', "c"))
		s.Send(tagged('n', "base.tar\x00\x00"), tagged('d', "skipped"))
		s.Send(tagged('m', ""), tagged('d', "mani"), tagged('d', "fest"), &pgproto3.CopyDone{})
		s.Rows(2, []any{"0/100", 1})
		s.Send(&pgproto3.NoticeResponse{SeverityUnlocalized: "WARNING", Code: "01000", Routine: "perform_base_backup", Message: "insgesamt 17 Prüfsummenfehler"})
		s.Error("ERROR", "XX001", "perform_base_backup", "Prüfsummenfehler", "")
		s.Ready()
		s.Show("server_version", "17")
		s.ExpectEnd()
	})))
	ctx := deadline(t)
	b, err := conn.BaseBackup(ctx, postgres.BackupOptions{Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	space, r, err := b.Next(ctx)
	if err != nil || space != (postgres.Tablespace{OID: 16400, Path: "/far", Size: 3072}) {
		t.Fatalf("got %+v, %v", space, err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "abc" {
		t.Errorf("read %q, %v; want abc", got, err)
	}
	if space, _, err = b.Next(ctx); err != nil || space != (postgres.Tablespace{Size: 4096}) {
		t.Fatalf("got %+v, %v", space, err)
	}
	for range 2 {
		if _, _, err = b.Next(ctx); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want EOF", err)
		}
	}
	if string(b.Manifest()) != "manifest" {
		t.Errorf("manifest is %q", b.Manifest())
	}
	end, err := b.Finish(ctx)
	if err != nil || end.Stop != 0x100 || end.Checksums != postgres.ChecksumsFailed || end.ChecksumFailures != 17 || len(end.Notices) != 1 {
		t.Errorf("got %+v, %v", end, err)
	}
	if got, err := conn.Setting(ctx, "server_version"); err != nil || got != "17" {
		t.Errorf("the connection is not idle: %q, %v", got, err)
	}
}

// TestScriptedBackupBroken ends and spoils a backup in many ways: none may look
// complete.
func TestScriptedBackupBroken(t *testing.T) {
	base := tagged('n', "base.tar\x00\x00")
	far := tagged('n', "16400.tar\x00/far\x00")
	done := &pgproto3.CopyDone{}
	for name, messages := range map[string][]pgproto3.BackendMessage{
		"nothing":                 nil,
		"one archive":             {far, tagged('d', "x")},
		"no manifest":             {far, base, done},
		"an archive is missing":   {base, tagged('m', ""), done},
		"manifest cut":            {far, base, tagged('m', ""), tagged('d', "x")},
		"no stop position":        {far, base, tagged('m', ""), tagged('d', "x"), done, &pgproto3.ReadyForQuery{TxStatus: 'I'}},
		"archive out of the list": {tagged('n', "99.tar\x00/x\x00"), tagged('d', "x")},
		"archive without a name":  {tagged('n', ""), tagged('d', "x")},
		"archive not tar":         {tagged('n', "base.zip\x00\x00"), tagged('d', "x")},
		"archive name of a path":  {tagged('n', "../1.tar\x00\x00"), tagged('d', "x")},
		"unknown message":         {far, tagged('q', "x")},
		"empty message":           {far, &pgproto3.CopyData{}},
		"corruption in the middle": {far, base, &pgproto3.ErrorResponse{
			SeverityUnlocalized: "ERROR", Code: "XX001", Routine: "perform_base_backup",
		}, &pgproto3.ReadyForQuery{TxStatus: 'I'}},
		"fatal at the end": {
			far, base, tagged('m', ""), tagged('d', "x"), done,
			&pgproto3.DataRow{Values: [][]byte{[]byte("0/100"), []byte("1")}},
			&pgproto3.ErrorResponse{SeverityUnlocalized: "FATAL", Code: "57P01"},
		},
		"hang-up at the end": {
			far, base, tagged('m', ""), tagged('d', "x"), done,
			&pgproto3.DataRow{Values: [][]byte{[]byte("0/100"), []byte("1")}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, postgrestest.Serve(t, backupScript(func(s *postgrestest.Session) { s.Send(messages...) })))
			ctx := deadline(t)
			b, err := conn.BaseBackup(ctx, postgres.BackupOptions{Fast: true})
			for err == nil {
				_, _, err = b.Next(ctx)
			}
			if errors.Is(err, io.EOF) {
				var end postgres.BackupEnd
				if end, err = b.Finish(ctx); err == nil {
					t.Errorf("the backup ended well: %+v", end)
				}
			}
		})
	}
}
