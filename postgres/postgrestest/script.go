package postgrestest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/wal"
)

// scriptTimeout bounds a scripted conversation.
const scriptTimeout = 30 * time.Second

// Serve starts a server that plays a script to each connection, the first to
// the first, and returns its connection string. A further connection is closed
// at once. The test fails when a script sees what it does not expect, and when
// one was not played to its end.
func Serve(t testing.TB, scripts ...func(*Session)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	played := make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			if n < len(scripts) {
				play(t, conn, scripts[n])
			}
			_ = conn.Close() // its end is what the client sees
		}
		played <- n
	}()
	t.Cleanup(func() {
		_ = l.Close()
		if n := <-played; n < len(scripts) {
			t.Errorf("%d of %d scripts were played", n, len(scripts))
		}
	})
	port := portOf(l)
	return fmt.Sprintf("host=127.0.0.1 port=%d user=script sslmode=disable", port)
}

// play runs one script to its end.
func play(t testing.TB, conn net.Conn, script func(*Session)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := &Session{t: t, conn: conn, backend: pgproto3.NewBackend(conn, conn)}
		if err := conn.SetDeadline(time.Now().Add(scriptTimeout)); err != nil {
			s.fail("set deadline: %v", err)
		}
		script(s)
		s.flush()
	}()
	<-done
}

// Session is the server's side of one scripted connection. What a script sends
// goes out before it next expects something, and at its end. A method that
// does not meet what it expects fails the test and ends the script.
type Session struct {
	t       testing.TB
	conn    net.Conn
	backend *pgproto3.Backend
}

func (s *Session) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Errorf("script: "+format, args...)
	runtime.Goexit()
}

func (s *Session) flush() {
	if err := s.backend.Flush(); err != nil && !errors.Is(err, net.ErrClosed) {
		s.fail("send: %v", err)
	}
}

// Accept takes the client in as PostgreSQL does one without a password, and
// reports the settings given beside "server_version". It returns what the
// client said of itself.
func (s *Session) Accept(settings map[string]string) map[string]string {
	s.t.Helper()
	m, err := s.backend.ReceiveStartupMessage()
	if err != nil {
		s.fail("receive startup: %v", err)
	}
	start, ok := m.(*pgproto3.StartupMessage)
	if !ok || start.Parameters["replication"] != "true" {
		s.fail("got %+v, want a replication connection", m)
	}
	s.Send(&pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "server_version", Value: "17.0"})
	for name, value := range settings {
		s.Send(&pgproto3.ParameterStatus{Name: name, Value: value})
	}
	s.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 1}})
	s.Ready()
	return start.Parameters
}

// Refuse answers the client's greeting with a fatal error.
func (s *Session) Refuse(code, routine, message string) {
	s.t.Helper()
	if _, err := s.backend.ReceiveStartupMessage(); err != nil {
		s.fail("receive startup: %v", err)
	}
	s.Error("FATAL", code, routine, message, "")
}

// Send sends messages as they are.
func (s *Session) Send(messages ...pgproto3.BackendMessage) {
	for _, m := range messages {
		s.backend.Send(m)
	}
}

// Write sends bytes as they are, after all that was sent.
func (s *Session) Write(b []byte) {
	s.t.Helper()
	s.flush()
	if _, err := s.conn.Write(b); err != nil {
		s.fail("send: %v", err)
	}
}

// Expect reads one command and compares it.
func (s *Session) Expect(sql string) {
	s.t.Helper()
	q, ok := s.receive().(*pgproto3.Query)
	if !ok || q.String != sql {
		s.fail("got %+v, want %s", q, sql)
	}
}

func (s *Session) receive() pgproto3.FrontendMessage {
	s.t.Helper()
	s.flush()
	m, err := s.backend.Receive()
	if err != nil {
		s.fail("receive: %v", err)
	}
	return m
}

// ExpectEnd waits until the client has left, whatever it says before.
func (s *Session) ExpectEnd() {
	s.t.Helper()
	s.flush()
	if _, err := io.Copy(io.Discard, s.conn); err != nil {
		s.fail("wait for the client's end: %v", err)
	}
}

// Rows sends a result; in a row, nil is NULL and all else its text.
func (s *Session) Rows(columns int, rows ...[]any) {
	fields := make([]pgproto3.FieldDescription, columns)
	for i := range fields {
		fields[i] = pgproto3.FieldDescription{Name: []byte{'a' + byte(i)}, DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1}
	}
	s.Send(&pgproto3.RowDescription{Fields: fields})
	for _, row := range rows {
		values := make([][]byte, len(row))
		for i, v := range row {
			if v != nil {
				values[i] = []byte(fmt.Sprint(v))
			}
		}
		s.Send(&pgproto3.DataRow{Values: values})
	}
	s.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT")})
}

// Ready says that the next command may come.
func (s *Session) Ready() { s.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'}) }

// Show expects SHOW name and answers it.
func (s *Session) Show(name, value string) {
	s.t.Helper()
	s.Expect("SHOW " + name)
	s.Rows(1, []any{value})
	s.Ready()
}

// Identify expects IDENTIFY_SYSTEM and answers it.
func (s *Session) Identify(id wal.SystemID, tli wal.TimelineID, flush wal.LSN) {
	s.t.Helper()
	s.Expect("IDENTIFY_SYSTEM")
	s.Rows(4, []any{id, uint32(tli), flush, nil})
	s.Ready()
}

// Error sends an error whose text is in no language that anyone reads.
func (s *Session) Error(severity, code, routine, message, detail string) {
	s.Send(&pgproto3.ErrorResponse{
		Severity: "?", SeverityUnlocalized: severity, Code: code, Message: message, Detail: detail, Routine: routine,
	})
}

// Stream answers START_REPLICATION.
func (s *Session) Stream() { s.Send(&pgproto3.CopyBothResponse{}) }

// Data sends WAL.
func (s *Session) Data(d postgres.Data) {
	b := binary.BigEndian.AppendUint64([]byte{'w'}, uint64(d.Start))
	b = binary.BigEndian.AppendUint64(b, uint64(d.ServerEnd))
	b = binary.BigEndian.AppendUint64(b, uint64(d.ServerTime))
	s.Send(&pgproto3.CopyData{Data: append(b, d.Bytes...)})
}

// Keepalive sends a keepalive.
func (s *Session) Keepalive(k postgres.Keepalive) {
	b := binary.BigEndian.AppendUint64([]byte{'k'}, uint64(k.End))
	b = binary.BigEndian.AppendUint64(b, uint64(k.ServerTime))
	reply := byte(0)
	if k.ReplyRequested {
		reply = 1
	}
	s.Send(&pgproto3.CopyData{Data: append(b, reply)})
}

// Status reads one status update.
func (s *Session) Status() postgres.Status {
	s.t.Helper()
	m := s.receive()
	d, ok := m.(*pgproto3.CopyData)
	if !ok || len(d.Data) != 34 || d.Data[0] != 'r' {
		s.fail("got %+v, want a status update", m)
	}
	at := func(i int) wal.LSN { return wal.LSN(binary.BigEndian.Uint64(d.Data[i:])) }
	return postgres.Status{Write: at(1), Flush: at(9), Apply: at(17), RequestReply: d.Data[33] != 0}
}

// EndTimeline ends the stream as the server does where the next timeline
// begins.
func (s *Session) EndTimeline(e postgres.EndOfTimeline) {
	s.t.Helper()
	s.Send(&pgproto3.CopyDone{})
	for {
		m := s.receive()
		if _, done := m.(*pgproto3.CopyDone); done {
			break
		}
		if _, status := m.(*pgproto3.CopyData); !status {
			s.fail("got %+v, want CopyDone", m)
		}
	}
	s.Rows(2, []any{uint32(e.Next), e.At})
	s.Send(&pgproto3.CommandComplete{CommandTag: []byte("START_STREAMING")})
	s.Ready()
}
