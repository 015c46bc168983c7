package postgres_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/wal"
)

// golden reads testdata, which a real server wrote.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sign ends a manifest's lines with their checksum.
func sign(lines string) []byte {
	sum := sha256.Sum256([]byte(lines))
	return []byte(lines + `"Manifest-Checksum": "` + hex.EncodeToString(sum[:]) + `"}` + "\n")
}

const manifestFile = `{ "Path": "base/1/2", "Size": 3, "Last-Modified": "2026-11-21 02:40:00 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "04030201" }`

func manifest(version int, file string) []byte {
	id := ""
	if version > 1 {
		id = "\"System-Identifier\": 7423474350493388827,\n"
	}
	return sign(fmt.Sprintf("{ \"PostgreSQL-Backup-Manifest-Version\": %d,\n%s\"Files\": [\n%s\n],\n\"WAL-Ranges\": [\n"+
		"{ \"Timeline\": 3, \"Start-LSN\": \"1/28\", \"End-LSN\": \"1/100\" }\n],\n", version, id, file))
}

func TestParseManifest(t *testing.T) {
	for version, id := range map[int]wal.SystemID{1: 0, 2: systemID} {
		got, err := postgres.ParseManifest(manifest(version, manifestFile))
		if err != nil {
			t.Fatal(err)
		}
		want := postgres.ManifestFile{
			Path: "base/1/2", Size: 3, CRC32C: 0x01020304, Modified: time.Date(2026, 11, 21, 2, 40, 0, 0, time.UTC),
		}
		if got.Version != version || got.SystemID != id || len(got.Files) != 1 || got.Files[0] != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if r := got.WALRanges; len(r) != 1 || r[0].Timeline != 3 || r[0].Start != 1<<32+0x28 || r[0].End != 1<<32+0x100 {
			t.Errorf("WAL ranges are %v", r)
		}
	}
	encoded := strings.Replace(manifestFile, `"Path": "base/1/2"`, `"Encoded-Path": "61ff62"`, 1)
	if got, err := postgres.ParseManifest(manifest(1, encoded)); err != nil || got.Files[0].Path != "a\xffb" {
		t.Errorf("encoded path: got %+v, %v", got.Files, err)
	}
}

func TestParseManifestRefuses(t *testing.T) {
	change := func(from, to string) []byte { return manifest(2, strings.Replace(manifestFile, from, to, 1)) }
	good := manifest(2, manifestFile)
	for name, b := range map[string][]byte{
		"changed byte":       bytes.Replace(good, []byte(`"Size": 3`), []byte(`"Size": 4`), 1),
		"version 3":          manifest(3, manifestFile),
		"absolute path":      change("base/1/2", "/etc/passwd"),
		"path upwards":       change("base/1/2", "base/../../x"),
		"path that is up":    change("base/1/2", ".."),
		"path not clean":     change("base/1/2", "base//2"),
		"path of nothing":    change("base/1/2", ""),
		"zero byte":          change("base/1/2", `a\u0000`),
		"no path":            change(`"Path": "base/1/2", `, ""),
		"two paths":          change(`"Path"`, `"Encoded-Path": "61", "Path"`),
		"bad encoded path":   change(`"Path": "base/1/2"`, `"Encoded-Path": "6"`),
		"no size":            change(`"Size": 3, `, ""),
		"negative size":      change(`"Size": 3`, `"Size": -3`),
		"other algorithm":    change("CRC32C", "SHA256"),
		"no checksum":        change(`, "Checksum": "04030201"`, ""),
		"short checksum":     change("04030201", "040302"),
		"time of no meaning": change("GMT", "CET"),
		"same file twice":    manifest(2, manifestFile+",\n"+manifestFile),
		"no checksum line":   []byte("{}\n"),
		"not JSON":           []byte("x"),
		"no line end":        bytes.TrimSuffix(good, []byte("\n")),
		"more after the end": append(slices.Clone(good), '\n'),
		"WAL backwards":      bytes.Replace(good, []byte("1/100"), []byte("1/10"), 1),
	} {
		if got, err := postgres.ParseManifest(b); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
}

func TestParseBackupLabel(t *testing.T) {
	got, err := postgres.ParseBackupLabel(golden(t, "backup_label"))
	want := postgres.BackupLabel{
		Start: 0x2000028, StartFile: "000000010000000000000002", Checkpoint: 0x2000060, Method: "streamed",
		From: "primary", StartTime: "2026-11-21 02:40:00 UTC", Label: "nightly: main", Timeline: 1,
	}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for zone, ok := range map[string]bool{"UTC": true, "GMT": true, "+00": true, "EST": false, "CET": false, "": false} {
		at, known := postgres.BackupLabel{StartTime: "2026-11-21 02:40:00 " + zone}.Started()
		if known != ok || ok && !at.Equal(time.Date(2026, 11, 21, 2, 40, 0, 0, time.UTC)) {
			t.Errorf("zone %q: got %s, %t", zone, at, known)
		}
	}
	for _, bad := range []string{
		"", "START WAL LOCATION: 0/1 (file x)\n", "START WAL LOCATION: 0/1\nCHECKPOINT LOCATION: 0/1\nSTART TIMELINE: 1\n",
		"START WAL LOCATION: x (file y)\nCHECKPOINT LOCATION: 0/1\nSTART TIMELINE: 1\n",
		"START WAL LOCATION: 0/1 (file y)\nCHECKPOINT LOCATION: 0/1\nSTART TIMELINE: 0\n",
	} {
		if got, err := postgres.ParseBackupLabel([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
}

func TestTablespaceMap(t *testing.T) {
	m := postgres.TablespaceMap{{OID: 16400, Path: "/mnt/a b"}, {OID: 4294967295, Path: "/x\ny\\z\r"}}
	text := "16400 /mnt/a b\n4294967295 /x\\\ny\\\\z\\\r\n"
	if got := string(m.Encode()); got != text {
		t.Errorf("encoded %q, want %q", got, text)
	}
	for _, ends := range []string{text, "\n" + text + "\n", strings.ReplaceAll(text, "b\n", "b\r\n")} {
		if got, err := postgres.ParseTablespaceMap([]byte(ends)); err != nil || !slices.Equal(got, m) {
			t.Errorf("%q: got %+v, %v", ends, got, err)
		}
	}
	for _, bad := range []string{"16400\n", "16400 \n", "x /y\n", "0 /y\n", "-1 /y\n", "16400 /y", "16400 /y\\", "4294967296 /y\n", "1 /\x00\n"} {
		if got, err := postgres.ParseTablespaceMap([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
}

func TestParseControlGolden(t *testing.T) {
	for major, version := range map[int]int{14: 1300, 17: 1700, 18: 1800} {
		b := golden(t, fmt.Sprintf("pg_control-%d", major))
		got, err := postgres.ParseControl(b)
		if err != nil {
			t.Errorf("%d: %v", major, err)
			continue
		}
		if got.Version != version || got.Timeline != 1 || got.WALSegmentSize != 1<<20 || got.State != postgres.StateShutDown {
			t.Errorf("%d: got %+v", major, got)
		}
		for i := range b { // a change anywhere is seen, up to the CRC
			spoiled := slices.Clone(b)
			spoiled[i] ^= 0x10
			if _, err := postgres.ParseControl(spoiled); err == nil && i < 292 {
				t.Errorf("%d: byte %d was changed and nothing said", major, i)
			}
		}
	}
	b := golden(t, "pg_control-17")
	for name, set := range map[string]func([]byte){
		"other major":   func(b []byte) { b[8]++ },
		"other machine": func(b []byte) { b[208]++ },
		"no timeline":   func(b []byte) { clear(b[48:52]) },
		"segment size":  func(b []byte) { b[228]++ },
	} {
		spoiled := slices.Clone(b)
		set(spoiled)
		crc := crc32.Checksum(spoiled[:288], crc32.MakeTable(crc32.Castagnoli))
		copy(spoiled[288:], []byte{byte(crc), byte(crc >> 8), byte(crc >> 16), byte(crc >> 24)})
		if got, err := postgres.ParseControl(spoiled); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
	if got := postgres.ClusterState(9).String(); got != "state 9" {
		t.Errorf("unknown state prints %q", got)
	}
}

func TestRewriteAutoConf(t *testing.T) {
	old := "# Do not edit\n" + `work_mem = '4MB'
  Recovery_Target_Time='2020-01-01'
restore_command 'cp x'
primary_conninfo = 'host=a password=''b'''
 include 'more.conf'
archive_command = 'x'   # comment
recovery_target_timelines_of_an_extension.x = 1
port = 1`
	got, err := postgres.RewriteAutoConf([]byte(old), postgres.RecoverySettings{
		VersionNum: 170000, RestoreCommand: `pgark wal fetch '%f' "%p" \x`, Target: postgres.TargetXID, TargetValue: "77",
		Exclusive: true, Timeline: "3", Action: "pause", Extra: []postgres.Setting{{Name: "port", Value: "5433"}},
	})
	want := "# Do not edit\n" + `work_mem = '4MB'
 include 'more.conf'
recovery_target_timelines_of_an_extension.x = 1
restore_command = 'pgark wal fetch ''%f'' "%p" \\x'
archive_cleanup_command = ''
recovery_end_command = ''
recovery_target = ''
recovery_target_name = ''
recovery_target_time = ''
recovery_target_lsn = ''
recovery_target_xid = '77'
recovery_target_inclusive = 'off'
recovery_target_timeline = '3'
recovery_target_action = 'pause'
recovery_min_apply_delay = '0'
archive_mode = 'off'
archive_command = ''
primary_conninfo = ''
primary_slot_name = ''
synchronous_standby_names = ''
archive_library = ''
synchronized_standby_slots = ''
port = '5433'
`
	if err != nil || string(got) != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
	}
	again, err := postgres.RewriteAutoConf(got, postgres.RecoverySettings{VersionNum: 140000})
	if err != nil || strings.Contains(string(again), "archive_library") || strings.Contains(string(again), "'77'") ||
		strings.Count(string(again), "restore_command") != 1 {
		t.Errorf("for 14 got %v\n%s", err, again)
	}
	for _, s := range []postgres.RecoverySettings{
		{RestoreCommand: "a\nb = 'c'"},
		{TargetValue: "\x00", Target: postgres.TargetName},
		{Extra: []postgres.Setting{{Name: "a b"}}},
		{Extra: []postgres.Setting{{}}},
	} {
		if got, err := postgres.RewriteAutoConf(nil, s); err == nil {
			t.Errorf("%+v: got\n%s\nwant an error", s, got)
		}
	}
}

func TestParseConfig(t *testing.T) {
	for conn, want := range map[string]string{
		"postgres://me:hunter2@db.example:5433/x":                           "me@db.example:5433",
		"host=a,b port=1,2 user=u password=hunter2":                         "u@a:1,b:2",
		"host=/run/postgresql user=u application_name=x connect_timeout=77": "u@/run/postgresql:5432",
	} {
		c, err := postgres.ParseConfig(conn)
		if err != nil || c.String() != want {
			t.Errorf("got %s, %v; want %s", c, err, want)
		}
		if s := fmt.Sprintf("%v %+v %s", c, c, c); strings.Contains(s, "hunter2") {
			t.Errorf("prints a password: %s", s)
		}
	}
	for _, conn := range []string{
		"postgres://me:hunter2@db:port/x", "host=a password=hunter2 port=70000 ", "password=hunter2 'x",
		"postgres://me:hunter2@db/x?target_session_attrs=whatever", "host=a password=hunter2 sslmode=maybe",
	} {
		if c, err := postgres.ParseConfig(conn); err == nil {
			t.Errorf("%s: got %s, want an error", conn, c)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error holds the password: %v", err)
		}
	}
}
