package postgres_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/wal"
)

// taken is a base backup as it came.
type taken struct {
	*postgres.BaseBackup
	end      postgres.BackupEnd
	manifest postgres.Manifest
	archives map[uint32][]byte // tar, by tablespace
	sums     map[string]uint32 // CRC32C of each file, by its path in the manifest
}

// take runs a base backup to its end.
func take(ctx context.Context, t *testing.T, conn *postgres.Conn, o postgres.BackupOptions) taken {
	t.Helper()
	b, err := conn.BaseBackup(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	all := taken{BaseBackup: b, archives: map[uint32][]byte{}, sums: map[string]uint32{}}
	for {
		space, r, err := b.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if b.Manifest() != nil {
			t.Error("manifest before the end of the archives")
		}
		whole, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all.archives[space.OID] = whole
		all.sum(t, space, whole)
	}
	if all.manifest, err = postgres.ParseManifest(b.Manifest()); err != nil {
		t.Fatal(err)
	}
	if all.end, err = b.Finish(ctx); err != nil {
		t.Fatal(err)
	}
	return all
}

func (a *taken) sum(t *testing.T, space postgres.Tablespace, archive []byte) {
	t.Helper()
	prefix := ""
	if space.OID != 0 {
		prefix = fmt.Sprintf("pg_tblspc/%d", space.OID)
	}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		a.sums[path.Join(prefix, h.Name)] = crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli))
	}
}

// file returns a file of an archive.
func (a *taken) file(t *testing.T, name string) []byte {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(a.archives[0])); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if h.Name == name || h.Name == "./"+name {
			content, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return content
		}
	}
}

// checkManifest compares the manifest with what came, both ways.
func (a *taken) checkManifest(t *testing.T) {
	t.Helper()
	for _, f := range a.manifest.Files {
		sum, came := a.sums[f.Path]
		if !came {
			t.Errorf("%s is in the manifest and did not come", f.Path)
		}
		if sum != f.CRC32C {
			t.Errorf("%s: CRC32C is %08x, the manifest says %08x", f.Path, sum, f.CRC32C)
		}
		delete(a.sums, f.Path)
	}
	for name := range a.sums {
		t.Errorf("%s came and is not in the manifest", name)
	}
	want := []postgres.WALRange{{Timeline: a.Timeline, Range: wal.Range{Start: a.Start, End: a.end.Stop}}}
	if got := a.manifest.WALRanges; len(got) != 1 || got[0] != want[0] {
		t.Errorf("WAL ranges are %v, want %v", got, want)
	}
}

func TestBaseBackup(t *testing.T) {
	keep := map[string]string{"wal_keep_size": "1GB"}
	each(t, postgrestest.Options{SegmentSize: 1 << 20, Settings: keep}, func(t *testing.T, c *postgrestest.Cluster) {
		ctx := deadline(t)
		space := filepath.Join(postgrestest.TempDir(t), `odd \ name`)
		if err := os.Mkdir(space, 0o700); err != nil {
			t.Fatal(err)
		}
		postgrestest.Own(t, space)
		c.Exec(t, `create tablespace other location '`+space+`'`)
		c.Exec(t, "create table big as select g, md5(g::text) from generate_series(1, 30000) g; create table far tablespace other as select * from big")
		var oid uint32
		c.Scan(t, "select oid from pg_tablespace where spcname = 'other'", &oid)

		conn := connect(t, c.ConnString())
		got := take(ctx, t, conn, postgres.BackupOptions{Label: "it's", Fast: true, MaxRate: 1 << 20})
		if got.Timeline != 1 || got.Start == 0 || got.end.Timeline != 1 || got.end.Stop <= got.Start {
			t.Errorf("got start %s, end %+v", got.Start, got.end)
		}
		if got.end.Checksums != postgres.ChecksumsVerified || got.end.ChecksumFailures != 0 {
			t.Errorf("checksums are %s with %d failures, want verified", got.end.Checksums, got.end.ChecksumFailures)
		}
		for _, s := range got.Tablespaces {
			if s.Size <= 0 || len(got.archives[s.OID]) == 0 || s.OID != 0 && (s.OID != oid || s.Path != space) {
				t.Errorf("tablespace %+v came with %d bytes", s, len(got.archives[s.OID]))
			}
		}
		if len(got.Tablespaces) != 2 || len(got.archives) != 2 {
			t.Errorf("got %d tablespaces in %d archives, want 2", len(got.Tablespaces), len(got.archives))
		}
		got.checkManifest(t)
		checkFiles(t, c, got, oid, space)

		// The connection can be used again, also for another backup.
		if again := take(ctx, t, conn, postgres.BackupOptions{Fast: true, NoSizes: true}); again.Tablespaces[0].Size != -1 {
			t.Errorf("size is %d, want -1", again.Tablespaces[0].Size)
		}
		restart(t, c, got, oid)
	})
}

// checkFiles reads the small files of a backup.
func checkFiles(t *testing.T, c *postgrestest.Cluster, got taken, oid uint32, space string) {
	t.Helper()
	label, err := postgres.ParseBackupLabel(got.file(t, "backup_label"))
	if err != nil {
		t.Fatal(err)
	}
	if label.Start != got.Start || label.Timeline != 1 || label.Label != "it's" || label.Checkpoint < label.Start ||
		label.From != "primary" || label.Method != "streamed" || label.StartFile != wal.SegmentSize(1<<20).FileName(wal.SegmentSize(1<<20).Segment(1, got.Start)) {
		t.Errorf("got label %+v", label)
	}
	if began, ok := label.Started(); !ok || time.Since(began) > 2*time.Minute || time.Since(began) < -time.Minute {
		t.Errorf("backup began at %s, %t; want now (%q)", began, ok, label.StartTime)
	}
	links, err := postgres.ParseTablespaceMap(got.file(t, "tablespace_map"))
	if err != nil || len(links) != 1 || links[0] != (postgres.TablespaceLink{OID: oid, Path: space}) {
		t.Errorf("tablespace_map is %+v, %v", links, err)
	}
	control, err := postgres.ParseControl(got.file(t, "global/pg_control"))
	if err != nil {
		t.Fatal(err)
	}
	if control.Redo < label.Start || control.Checkpoint < label.Checkpoint || control.Timeline != 1 {
		t.Errorf("control file %+v is older than the label %+v", control, label)
	}
	if got := got.manifest.SystemID; c.Version.Major >= 17 && got != control.SystemID || c.Version.Major < 17 && got != 0 {
		t.Errorf("manifest has system id %d", got)
	}
}

// restart lays the backup down, recovers it with the server's own WAL and looks
// at what came out.
func restart(t *testing.T, c *postgrestest.Cluster, got taken, oid uint32) {
	t.Helper()
	c.Exec(t, "drop table big; select pg_switch_wal()")
	dir := filepath.Join(postgrestest.TempDir(t), "data")
	far := postgrestest.TempDir(t)
	untar(t, dir, got.archives[0])
	untar(t, far, got.archives[oid])
	links := postgres.TablespaceMap{{OID: oid, Path: far}}
	put(t, filepath.Join(dir, "tablespace_map"), links.Encode())
	put(t, filepath.Join(dir, "recovery.signal"), nil)
	conf, err := postgres.RewriteAutoConf(got.file(t, "postgresql.auto.conf"), postgres.RecoverySettings{
		VersionNum:     c.Version.Major * 10000,
		RestoreCommand: `cp '` + c.DataDir + `/pg_wal/%f' "%p"`,
		Target:         postgres.TargetLSN, TargetValue: got.end.Stop.String(),
	})
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "postgresql.auto.conf"), conf)
	postgrestest.Own(t, far)
	restored := postgrestest.StartFrom(t, c.Version, dir)
	restored.WaitReady(t)
	for restored.Text(t, "select pg_is_in_recovery()") == "t" {
	}
	if got := restored.Text(t, "select (select count(*) from big) || ' ' || (select count(*) from far)"); got != "30000 30000" {
		t.Errorf("restored tables have %s rows, want 30000 30000", got)
	}
	for name, want := range map[string]string{
		"archive_mode": "off", "recovery_target_lsn": got.end.Stop.String(), "recovery_target_action": "promote",
		"restore_command": `cp '` + c.DataDir + `/pg_wal/%f' "%p"`,
	} {
		if got := restored.Text(t, "show "+name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func put(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// untar lays an archive down.
func untar(t *testing.T, dir string, archive []byte) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(name, 0o700)
		case tar.TypeReg:
			var content []byte
			if content, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(name, content, 0o600)
			}
		default:
			t.Fatalf("%s: type %q", h.Name, h.Typeflag)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestBaseBackupFindsBadPages damages pages of a table: the backup is whole and
// says how many.
func TestBaseBackupFindsBadPages(t *testing.T) {
	each(t, postgrestest.Options{}, func(t *testing.T, c *postgrestest.Cluster) {
		ctx := deadline(t)
		c.Exec(t, "create table t as select g, repeat('x', 500) from generate_series(1, 2000) g; checkpoint")
		file := c.Text(t, "select pg_relation_filepath('t')")
		c.Stop(t, postgrestest.Fast)
		for bad := 1; bad <= 3; bad += 2 {
			damage(t, filepath.Join(c.DataDir, file), bad)
			c.Start(t)
			got := take(ctx, t, connect(t, c.ConnString()), postgres.BackupOptions{Fast: true})
			if got.end.Checksums != postgres.ChecksumsFailed || got.end.ChecksumFailures != int64(bad) {
				t.Errorf("checksums are %s with %d failures, want failed with %d", got.end.Checksums, got.end.ChecksumFailures, bad)
			}
			named := false
			for _, n := range got.end.Notices {
				named = named || strings.Contains(n.Message, file)
			}
			if !named {
				t.Errorf("no notice names %s: %v", file, got.end.Notices)
			}
			got.checkManifest(t)
			c.Stop(t, postgrestest.Fast)
		}
	})
}

// TestCheckPages: a server finds what is damaged in its own pages, says where, and says of a whole cluster that it is; the connection can be used again. What
// is no whole page is not passed over.
func TestCheckPages(t *testing.T) {
	each(t, postgrestest.Options{}, func(t *testing.T, c *postgrestest.Cluster) {
		ctx := deadline(t)
		space := postgrestest.TempDir(t)
		c.Exec(t, `create tablespace other location '`+space+`'`)
		c.Exec(t, "create table t tablespace other as select g, repeat('x', 500) from generate_series(1, 2000) g; create table u as select 1; checkpoint")
		far, near := filepath.Join(c.DataDir, c.Text(t, "select pg_relation_filepath('t')")), filepath.Join(c.DataDir, c.Text(t, "select pg_relation_filepath('u')"))
		socket, err := new(net.ListenConfig).Listen(ctx, "unix", filepath.Join(c.DataDir, "s")) // as a restored server has its own there
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = socket.Close() }()
		if got := checkPages(ctx, t, connect(t, c.ConnString())); got.Checksums != postgres.ChecksumsVerified || got.Bytes < 10<<20 || len(got.Warnings) > 0 {
			t.Errorf("a whole cluster: got %+v", got)
		}
		c.Stop(t, postgrestest.Fast)
		whole, err := os.ReadFile(far)
		if err != nil {
			t.Fatal(err)
		}
		damage(t, far, 3)
		c.Start(t)
		got := checkPages(ctx, t, connect(t, c.ConnString()))
		if got.Checksums != postgres.ChecksumsFailed || got.Failures != 3 || len(got.Warnings) == 0 || !strings.Contains(got.Warnings[0].Message, filepath.Base(far)) {
			t.Errorf("three damaged pages: got %+v", got)
		}
		c.Stop(t, postgrestest.Fast)
		put(t, far, whole)
		put(t, near, append(page(t, near), "cut"...))
		c.Start(t)
		if got := checkPages(ctx, t, connect(t, c.ConnString())); got.Checksums != postgres.ChecksumsFailed || got.Failures != 0 || len(got.Warnings) == 0 || !strings.Contains(got.Warnings[0].Message, filepath.Base(near)) {
			t.Errorf("a file that is no whole pages: got %+v", got)
		}
	})
}

// checkPages checks twice over one connection.
func checkPages(ctx context.Context, t *testing.T, conn *postgres.Conn) (got postgres.PageCheck) {
	t.Helper()
	for range 2 {
		var err error
		if got, err = conn.CheckPages(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

func page(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// damage flips a byte in the middle of each of the first n pages.
func damage(t *testing.T, file string, n int) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		b[i*8192+4000] = byte(0xa5 ^ i)
	}
	put(t, file, b)
}

func TestBaseBackupWithoutChecksums(t *testing.T) {
	for _, major := range []int{14, 18} {
		c := postgrestest.Start(t, postgrestest.Need(t, major), postgrestest.Options{NoChecksums: true})
		got := take(deadline(t), t, connect(t, c.ConnString()), postgres.BackupOptions{Fast: true})
		if got.end.Checksums != postgres.ChecksumsOff {
			t.Errorf("%d: checksums are %s, want off", major, got.end.Checksums)
		}
		got.checkManifest(t)
	}
}

// TestBaseBackupBroken ends the server in the middle.
func TestBaseBackupBroken(t *testing.T) {
	each(t, postgrestest.Options{}, func(t *testing.T, c *postgrestest.Cluster) {
		ctx := deadline(t)
		conn := connect(t, c.ConnString())
		if _, err := conn.BaseBackup(ctx, postgres.BackupOptions{Label: "a\nb"}); err == nil {
			t.Error("a label of two lines was taken")
		}
		if _, err := conn.BaseBackup(ctx, postgres.BackupOptions{MaxRate: 1}); err == nil {
			t.Error("a rate below the server's least was taken")
		}
		b, err := conn.BaseBackup(ctx, postgres.BackupOptions{Fast: true, MaxRate: 32})
		if err != nil {
			t.Fatal(err)
		}
		_, r, err := b.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Finish(ctx); err == nil {
			t.Error("finished without the archives")
		}
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		if _, _, err := b.Next(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want DeadlineExceeded", err)
		}
		c.Stop(t, postgrestest.Immediate)
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, postgres.ErrUnreachable) && !errors.Is(err, postgres.ErrShuttingDown) {
			t.Errorf("got %v, want ErrUnreachable or ErrShuttingDown", err)
		}
		if _, _, err := b.Next(ctx); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("after the server's end Next gives %v", err)
		}
	})
}

// TestControl compares the parsed file with what the server says of it.
func TestControl(t *testing.T) {
	each(t, postgrestest.Options{SegmentSize: 4 << 20, Settings: map[string]string{"max_connections": "37", "max_prepared_transactions": "3"}},
		func(t *testing.T, c *postgrestest.Cluster) {
			c.Exec(t, "checkpoint")
			got, err := postgres.ParseControl(c.ReadFile(t, "global/pg_control"))
			if err != nil {
				t.Fatal(err)
			}
			said := c.Text(t, `select format('%s %s %s %s %s %s %s %s', s.system_identifier, s.pg_control_version,
				s.catalog_version_no, k.checkpoint_lsn, k.redo_lsn, k.timeline_id, k.next_xid, i.bytes_per_wal_segment)
				from pg_control_system() s, pg_control_checkpoint() k, pg_control_init() i`)
			read := fmt.Sprintf("%s %d %d %s %s %d %d:%d %d", got.SystemID, got.Version, got.CatalogVersion, got.Checkpoint,
				got.Redo, got.Timeline, got.NextXID>>32, uint32(got.NextXID), got.WALSegmentSize)
			if read != said {
				t.Errorf("read %s, the server says %s", read, said)
			}
			var at time.Time
			c.Scan(t, "select checkpoint_time from pg_control_checkpoint()", &at)
			if !got.CheckpointTime.Go().Equal(at) {
				t.Errorf("checkpoint time is %s, want %s", got.CheckpointTime, at.UTC())
			}
			if got.State != postgres.StateInProduction || !got.DataChecksums || got.MaxConnections != 37 ||
				got.MaxPreparedXacts != 3 || got.WALLevel != 1 || got.BlockSize != 8192 || got.MaxWALSenders != 10 ||
				got.MaxLocksPerXact != 64 || got.MaxWorkers != 8 || got.MinRecovery != 0 {
				t.Errorf("got %+v", got)
			}
			c.Stop(t, postgrestest.Fast)
			if got, err = postgres.ParseControl(c.ReadFile(t, "global/pg_control")); err != nil || got.State != postgres.StateShutDown {
				t.Errorf("after the stop got state %s, %v", got.State, err)
			}
		})
}
