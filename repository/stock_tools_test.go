package repository_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
)

// TestStockToolsReadBackup reads packs and index with zstd and tar of the machine.
func TestStockToolsReadBackup(t *testing.T) {
	zstd, tarProgram := program(t, "zstd"), program(t, "tar")
	c, store := cluster(t)
	_, tars, err := writeBackup(t, c, compression.Zstd(), smallDirectory())
	if err != nil {
		t.Fatal(err)
	}
	prefix := storage.Key(system.String()) + "/backups/" + backupID + "/"
	plain := run(t, store.Bytes(prefix+"base-00001.tar.zst"), zstd, "-dc")
	if !bytes.Equal(plain, tars[0]) {
		t.Error("zstd -dc of a pack gives other bytes")
	}
	list := strings.Fields(string(run(t, plain, tarProgram, "t")))
	if want := smallDirectory()[:3]; len(list) != len(want) || strings.TrimSuffix(list[0], "/") != want[0].path || list[2] != want[2].path {
		t.Errorf("tar t lists %v", list)
	}
	dir := t.TempDir()
	run(t, run(t, store.Bytes(prefix+"base-00002.tar.zst"), zstd, "-dc"), tarProgram, "x", "-C", dir)
	if got, err := os.ReadFile(filepath.Join(dir, smallDirectory()[3].path)); err != nil || !bytes.Equal(got, smallDirectory()[3].content) {
		t.Errorf("tar x gives other content, %v", err)
	}
	index := run(t, store.Bytes(prefix+"index.zst"), zstd, "-dc")
	if lines := strings.Split(strings.TrimSuffix(string(index), "\n"), "\n"); len(lines) != 4 || !json.Valid([]byte(lines[3])) {
		t.Errorf("index has %d lines", len(lines))
	}
	if got := run(t, store.Bytes(prefix+"backup_manifest.zst"), zstd, "-dc"); !bytes.Equal(got, manifest()) {
		t.Error("zstd -dc of the manifest gives other bytes")
	}
	checkSeekTable(t, store.Bytes(prefix+"index.zst"), len(index))
}

// checkSeekTable reads the seek table as contrib/seekable_format describes it.
func checkSeekTable(t *testing.T, index []byte, plain int) {
	t.Helper()
	le := binary.LittleEndian
	footer := index[len(index)-9:]
	n := int(le.Uint32(footer))
	if n != 4 || footer[4] != 0 || le.Uint32(footer[5:]) != 0x8F92EAB1 {
		t.Fatalf("footer %x", footer)
	}
	frame := index[len(index)-9-8*n-8:]
	if le.Uint32(frame) != 0x184D2A5E || int(le.Uint32(frame[4:])) != 8*n+9 {
		t.Fatalf("frame header %x", frame[:8])
	}
	stored, total := repository.HeaderSize, 0
	for i := range n {
		size := int(le.Uint32(frame[8+8*i:]))
		got, err := compression.Zstd().NewDecoder().DecodeFrame(nil, index[stored:stored+size], int(le.Uint32(frame[12+8*i:])))
		if err != nil || got[len(got)-1] != '\n' {
			t.Errorf("line %d: %v", i, err)
		}
		stored, total = stored+size, total+len(got)
	}
	if stored != len(index)-len(frame) || total != plain {
		t.Errorf("got %d stored and %d plain bytes", stored, total)
	}
}

// program finds a program of the machine, or skips; where everything is required it fails.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("REQUIRE_ALL") == "1" {
		t.Fatalf("the %s program is missing", name)
	}
	t.Skipf("the %s program is missing", name)
	return ""
}

func run(t *testing.T, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, stderr.Bytes())
	}
	return out
}
