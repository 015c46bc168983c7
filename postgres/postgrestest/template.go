package postgrestest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// makeCluster makes a fresh data directory. initdb costs a second of CPU, so
// it runs once for each kind of cluster and leaves a template in .parts; a
// cluster is a copy of it with a system identifier of its own.
func makeCluster(t testing.TB, v Version, dataDir string, args []string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(v.BinDir, "postgres"), "--version").Output()
	if err != nil {
		t.Fatalf("ask PostgreSQL %s for its version: %v", v, err)
	}
	kind := fmt.Sprintf("%s-%08x", v, crc32.ChecksumIEEE([]byte(string(out)+strings.Join(args, " "))))
	template := filepath.Join(moduleRoot(t), ".parts", "initdb", kind)
	if _, err := os.Stat(template); errors.Is(err, fs.ErrNotExist) {
		makeTemplate(t, v, template, args)
	}
	if err := copyTree(template, dataDir); err != nil {
		t.Fatalf("copy the template of a cluster: %v", err)
	}
	if err := identify(dataDir); err != nil {
		t.Fatalf("give the cluster an identifier: %v", err)
	}
	Own(t, dataDir)
}

// makeTemplate runs initdb. Several tests may do so at once: one of them wins.
func makeTemplate(t testing.TB, v Version, template string, args []string) {
	t.Helper()
	made := filepath.Join(TempDir(t), "data")
	run(t, v, "initdb", append(args, "-D", made)...)
	if err := os.MkdirAll(filepath.Dir(template), 0o755); err != nil {
		t.Fatal(err)
	}
	work, err := os.MkdirTemp(filepath.Dir(template), "new-") //nolint:usetesting // it is renamed beside it
	if err != nil {
		t.Fatal(err)
	}
	if err := copyTree(made, filepath.Join(work, "data")); err != nil {
		t.Fatal(err)
	}
	err = os.Rename(filepath.Join(work, "data"), template)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	if err := os.RemoveAll(work); err != nil {
		t.Fatal(err)
	}
}

// copyTree copies folders and files with their modes. Zeros, most of a fresh
// WAL segment, become holes.
func copyTree(from, to string) error {
	buf := make([]byte, 2*chunk)
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		if d.IsDir() {
			return os.Mkdir(target, info.Mode().Perm())
		}
		return copySparse(name, target, info, buf)
	})
}

// chunk is the unit of holes.
const chunk = 32 << 10

// copySparse copies one file. buf is two chunks, of which the second is zero.
func copySparse(from, to string, info fs.FileInfo, buf []byte) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	for at := int64(0); at < info.Size() && err == nil; at += chunk {
		piece := buf[:min(chunk, info.Size()-at)]
		if _, err = in.ReadAt(piece, at); err == nil && !bytes.Equal(piece, buf[chunk:chunk+len(piece)]) {
			_, err = out.WriteAt(piece, at)
		}
	}
	if err == nil {
		err = out.Truncate(info.Size())
	}
	return errors.Join(err, out.Close())
}

// identify gives a cluster that never ran a new system identifier: it stands
// in pg_control, under its CRC32C, and in the first page of each segment
// (ControlFileData, XLogLongPageHeaderData).
func identify(dataDir string) error {
	id := binary.LittleEndian.AppendUint64(nil, uint64(time.Now().Unix())<<32|uint64(rand.Uint32()))
	control := filepath.Join(dataDir, "global", "pg_control")
	b, err := os.ReadFile(control)
	if err != nil {
		return err
	}
	crcAt := 288
	if binary.LittleEndian.Uint32(b[8:]) >= 1800 {
		crcAt = 292
	}
	copy(b, id)
	binary.LittleEndian.PutUint32(b[crcAt:], crc32.Checksum(b[:crcAt], crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(control, b, 0o600); err != nil {
		return err
	}
	segments, err := filepath.Glob(filepath.Join(dataDir, "pg_wal", "0000*"))
	if err != nil || len(segments) == 0 {
		return fmt.Errorf("find segments: got %d, %w", len(segments), err)
	}
	for _, name := range segments {
		if err := writeAt(name, id, 24); err != nil {
			return err
		}
	}
	return nil
}

// writeAt changes a few bytes of a file.
func writeAt(name string, b []byte, at int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, at); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}
