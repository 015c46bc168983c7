package postgres_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/postgres/postgrestest"
)

// TestCut cuts the files at each byte: none may be taken for a whole one, and
// nothing may panic.
func TestCut(t *testing.T) {
	for name, tt := range map[string]struct {
		whole []byte
		parse func([]byte) error
		least int // from here on the rest does not matter
	}{
		"manifest": {manifest(2, manifestFile), func(b []byte) error { _, err := postgres.ParseManifest(b); return err }, -1},
		"label": {
			golden(t, "backup_label"), func(b []byte) error { _, err := postgres.ParseBackupLabel(b); return err },
			bytes.Index(golden(t, "backup_label"), []byte("TIMELINE: 1")) + len("TIMELINE: 1"),
		},
		"tablespace map": {[]byte("16400 /a\n"), func(b []byte) error {
			m, err := postgres.ParseTablespaceMap(b)
			if err == nil && len(m) == 0 && len(b) > 0 {
				t.Errorf("%q has no entry and no error", b)
			}
			if len(b) == 0 { // no tablespaces at all
				return errEmpty
			}
			return err
		}, -1},
		"control 14": {golden(t, "pg_control-14"), func(b []byte) error { _, err := postgres.ParseControl(b); return err }, 292},
		"control 18": {golden(t, "pg_control-18"), func(b []byte) error { _, err := postgres.ParseControl(b); return err }, 296},
	} {
		if err := tt.parse(tt.whole); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i := range tt.whole {
			if err := tt.parse(tt.whole[:i]); err == nil && (tt.least < 0 || i < tt.least) {
				t.Errorf("%s: cut at byte %d and nothing said", name, i)
			}
		}
	}
}

var errEmpty = errors.New("empty")

func FuzzParseManifest(f *testing.F) {
	f.Add(manifest(1, manifestFile))
	f.Add(manifest(2, strings.Replace(manifestFile, `"Path": "base/1/2"`, `"Encoded-Path": "61ff62"`, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := postgres.ParseManifest(b)
		if err != nil {
			// Most inputs fail at the checksum: let the rest of the parser see them too.
			got, err = postgres.ParseManifest(manifest(2, string(b)))
		}
		if err != nil {
			return
		}
		for _, file := range got.Files {
			if file.Path == "" || file.Path[0] == '/' || slices.Contains(strings.Split(file.Path, "/"), "..") || file.Size < 0 {
				t.Errorf("accepted %+v", file)
			}
		}
	})
}

func FuzzParseBackupLabel(f *testing.F) {
	f.Add(golden(f, "backup_label"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := postgres.ParseBackupLabel(b)
		if err == nil && (l.Start == 0 || l.Timeline == 0) {
			t.Errorf("accepted %+v", l)
		}
		l.Started()
	})
}

func FuzzParseTablespaceMap(f *testing.F) {
	f.Add([]byte("16400 /mnt/a b\n4294967295 /x\\\ny\\\\z\\\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := postgres.ParseTablespaceMap(b)
		if err != nil {
			return
		}
		again, err := postgres.ParseTablespaceMap(m.Encode())
		if err != nil || !slices.Equal(again, m) {
			t.Errorf("%q became %+v and then %+v, %v", b, m, again, err)
		}
	})
}

func FuzzParseControl(f *testing.F) {
	f.Add(golden(f, "pg_control-14"))
	f.Add(golden(f, "pg_control-18"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := postgres.ParseControl(b); err == nil && (c.SystemID == 0 || c.WALSegmentSize.Validate() != nil) {
			t.Errorf("accepted %+v", c)
		}
	})
}

// catalogOf is a data directory with a page of pg_authid, and a row of role 10 at offset 120.
func catalogOf() (relationMap, heap []byte) {
	relationMap = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 0x592717), 1)
	relationMap = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(relationMap, 1260), 1260)
	heap = make([]byte, 1024)
	heap[12], heap[18], heap[19] = 28, 4, 4 // one line pointer; a page of 1024 bytes, layout 4
	binary.LittleEndian.PutUint32(heap[24:], 120|1<<15|200<<17)
	heap[120+22] = 24
	copy(heap[144:], "\x0a\x00\x00\x00dba")
	heap[144+68], heap[144+72] = 1, 1
	return relationMap, heap
}

func FuzzRoles(f *testing.F) {
	relationMap, heap := catalogOf()
	f.Add(relationMap, heap)
	f.Fuzz(func(t *testing.T, relationMap, heap []byte) {
		data := fstest.MapFS{"global/pg_filenode.map": {Data: relationMap}, "global/1260": {Data: heap}, "global/1262": {Data: heap}}
		roles, err := postgres.Roles(data)
		if err == nil && len(roles) > len(heap)/4 {
			t.Errorf("%d roles in %d bytes", len(roles), len(heap))
		}
		_, _ = postgres.Databases(data)
	})
}

// TestRolesOfNonsense: what is no catalog is an error, and nothing is read beyond what is there.
func TestRolesOfNonsense(t *testing.T) {
	relationMap, heap := catalogOf()
	files := func(m, h []byte) fstest.MapFS {
		return fstest.MapFS{"global/pg_filenode.map": {Data: m}, "global/1260": {Data: h}}
	}
	got, err := postgres.Roles(files(relationMap, heap))
	if want := (postgres.Role{OID: postgres.BootstrapRole, Name: "dba", Super: true, Login: true}); err != nil || len(got) != 1 || got[0] != want {
		t.Fatalf("got %+v, %v", got, err)
	}
	for name, data := range map[string]fstest.MapFS{
		"no map": {}, "an empty map": files(nil, heap), "a cut map": files(relationMap[:12], heap),
		"another catalog": files(append(slices.Clone(relationMap[:8]), relationMap[4:12]...), heap),
		"no file":         {"global/pg_filenode.map": {Data: relationMap}},
		"a cut page":      files(relationMap, heap[:500]), "a cut header": files(relationMap, heap[:20]),
		"a row past the page": files(relationMap, append(append(slices.Clone(heap[:24]), 0xff, 0xff, 0xfe, 0xff), heap[28:]...)),
		"a row cut short":     files(relationMap, append(append(slices.Clone(heap[:24]), 120, 0x80, 8, 0), heap[28:]...)),
	} {
		if got, err := postgres.Roles(data); err == nil {
			t.Errorf("%s: got %+v and no error", name, got)
		}
	}
}

func FuzzRewriteAutoConf(f *testing.F) {
	f.Add([]byte("restore_command = 'x'\nport=1"), "cp '%f' \\")
	f.Fuzz(func(t *testing.T, old []byte, command string) {
		s := postgres.RecoverySettings{VersionNum: 180000, RestoreCommand: command}
		once, err := postgres.RewriteAutoConf(old, s)
		if err != nil {
			if !strings.ContainsAny(command, "\x00\r\n") {
				t.Errorf("%q: %v", command, err)
			}
			return
		}
		twice, err := postgres.RewriteAutoConf(once, s)
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("not the same twice: %v\n%s\n%s", err, once, twice)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	f.Add("postgres://me:pw@db:5433/x?sslmode=disable")
	f.Add("host=a port=1 user='b c'")
	f.Fuzz(func(_ *testing.T, conn string) {
		if strings.Contains(conn, "file") || strings.Contains(conn, "ssl") { // no reading of files it may name
			return
		}
		if c, err := postgres.ParseConfig(conn); err == nil {
			_ = c.String()
		}
	})
}

// FuzzConversation lets the server say anything once it streams or sends a
// backup: there is an end and no panic.
func FuzzConversation(f *testing.F) {
	f.Add([]byte("d\x00\x00\x00\x05x"), true)
	f.Add([]byte("c\x00\x00\x00\x04Z\x00\x00\x00\x05I"), true)
	f.Add([]byte("d\x00\x00\x00\x0fnbase.tar\x00\x00"), false)
	f.Fuzz(func(t *testing.T, said []byte, stream bool) {
		if stream {
			converse(t, func(s *postgrestest.Session) {
				s.Accept(nil)
				s.Identify(systemID, 1, 0x1000)
				s.Expect("START_REPLICATION PHYSICAL 0/64 TIMELINE 1")
				s.Stream()
				s.Write(said)
			}, func(conn *postgres.Conn) error {
				err := conn.StartReplication(deadline(t), postgres.Start{Timeline: 1, LSN: 100})
				for err == nil {
					_, err = conn.Receive(deadline(t))
				}
				return err
			})
			return
		}
		converse(t, backupScript(func(s *postgrestest.Session) { s.Write(said) }), func(conn *postgres.Conn) error {
			b, err := conn.BaseBackup(deadline(t), postgres.BackupOptions{Fast: true})
			for err == nil {
				_, _, err = b.Next(deadline(t))
			}
			return err
		})
	})
}

func converse(t *testing.T, script func(*postgrestest.Session), talk func(*postgres.Conn) error) {
	t.Helper()
	conn := connect(t, postgrestest.Serve(t, script))
	if talk(conn) == nil {
		t.Error("no end")
	}
}

// TestConversationCut cuts the server's side of an end of timeline and of a
// backup at each byte.
func TestConversationCut(t *testing.T) {
	encode := func(messages ...pgproto3.BackendMessage) []byte {
		var b []byte
		for _, m := range messages {
			var err error
			if b, err = m.Encode(b); err != nil {
				t.Fatal(err)
			}
		}
		return b
	}
	row := func(a, b string) *pgproto3.DataRow {
		return &pgproto3.DataRow{Values: [][]byte{[]byte(a), []byte(b)}}
	}
	end := encode(&pgproto3.CopyDone{}, row("2", "0/500"), &pgproto3.ReadyForQuery{TxStatus: 'I'})
	for i := range end {
		converse(t, func(s *postgrestest.Session) {
			s.Accept(nil)
			s.Identify(systemID, 1, 0x1000)
			s.Expect("START_REPLICATION PHYSICAL 0/64 TIMELINE 1")
			s.Stream()
			s.Write(end[:i])
		}, func(conn *postgres.Conn) error {
			if err := conn.StartReplication(deadline(t), postgres.Start{Timeline: 1, LSN: 100}); err != nil {
				return err
			}
			_, err := conn.Receive(deadline(t))
			return err
		})
	}
	backup := encode(tagged('n', "base.tar\x00\x00"), tagged('n', "16400.tar\x00/far\x00"), tagged('m', ""), tagged('d', "x"),
		&pgproto3.CopyDone{}, row("0/100", "1"), &pgproto3.ReadyForQuery{TxStatus: 'I'})
	for i := range backup {
		converse(t, backupScript(func(s *postgrestest.Session) { s.Write(backup[:i]) }), func(conn *postgres.Conn) error {
			b, err := conn.BaseBackup(deadline(t), postgres.BackupOptions{Fast: true})
			if err != nil {
				return err
			}
			for err == nil {
				_, _, err = b.Next(deadline(t))
			}
			_, err = b.Finish(deadline(t))
			return err
		})
	}
}
