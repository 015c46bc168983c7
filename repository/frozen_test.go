package repository_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// frozen is a whole repository of version 1, written once by the first release of the format. Its bytes never change: every later program
// reads them as this test does.
const frozen = "testdata/v1/repository"

// frozenStore loads it into a store in memory.
func frozenStore(t *testing.T) *memory.Store {
	t.Helper()
	store := memory.New()
	root := os.DirFS(frozen)
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(root, path)
		store.Replace(storage.Key(path), b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// writeFrozen writes what the frozen repository holds.
func writeFrozen(t *testing.T, store storage.Store) {
	t.Helper()
	c := openCluster(t, store)
	if err := c.PutHistory(t.Context(), 2, []byte("1\t0/2800000\tno recovery target specified\n")); err != nil {
		t.Fatal(err)
	}
	putSegment(t, c, 1, 38)
	putPiece(t, c, 1, r(39*mib, 39*mib+8192))
	putPiece(t, c, 1, r(39*mib+8192, 39*mib+8200))
	span := r(40*mib, 40*mib+1000)
	o := object(repository.KindPiece, 2, segSize, span)
	o.Summary = repository.Summary{
		Ends: 2, RestorePoints: 1, FirstXID: 740, LastXID: 741, FirstTime: 848544001123456, LastTime: 848544000123456,
		MinTime: 848544000123456, MaxTime: 848544001123456, HeadUnknown: true, ShutdownCheckpoint: true,
	}
	if err := c.PutWAL(t.Context(), encode(t, compression.S2(), o, walBytes(span))); err != nil {
		t.Fatal(err)
	}
	if err := c.PutBeat(t.Context(), beat(60, span.End)); err != nil {
		t.Fatal(err)
	}
	if err := c.PutSyncEvent(t.Context(), frozenSyncEvent()); err != nil {
		t.Fatal(err)
	}
	if err := c.PutGap(t.Context(), frozenGap()); err != nil {
		t.Fatal(err)
	}
	putFrozenDrill(t, c)
	start := startBackup(nil)
	start.SegmentSize = segSize
	w, err := c.NewBackup(t.Context(), start)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writePack(t, w, "base", compression.Zstd(), frozenMembers()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context(), record(), []byte(frozenManifest)); err != nil {
		t.Fatal(err)
	}
}

const frozenManifest = `{ "PostgreSQL-Backup-Manifest-Version": 1 }`

func frozenMembers() []member {
	large := member{path: "base/5/2", kind: repository.TypeFile, content: bytes.Repeat([]byte("0123456789abcdef"), mib/16+100)}
	return append(smallDirectory()[:3:3], large, smallDirectory()[4], smallDirectory()[5], file("bad \xff name", 10))
}

func TestFrozenRepository(t *testing.T) {
	if os.Getenv("PGARK_WRITE_VECTORS") == "1" { // for a new version of the format, into a folder that is not there yet
		writeVectors(t)
	}
	store := frozenStore(t)
	r1, err := repository.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	clusters, err := r1.Clusters(t.Context())
	if err != nil || len(clusters) != 1 || clusters[0] != system {
		t.Fatal(clusters, err)
	}
	c := r1.Cluster(system)
	for seg, want := range map[wal.SegmentID]wal.Range{
		{Timeline: 1, Number: 38}: r(38*mib, 39*mib), {Timeline: 1, Number: 39}: r(39*mib, 39*mib+8200), {Timeline: 2, Number: 40}: r(40*mib, 40*mib+1000),
	} {
		got, err := c.ReadSegment(t.Context(), segSize, seg)
		if err != nil || !bytes.Equal(got, walBytes(want)) {
			t.Errorf("%v: got %d bytes, %v", seg, len(got), err)
		}
	}
	h, err := c.ReadHeader(t.Context(), entries(t, c, 2, 0)[0])
	if err != nil || h.Summary.Ends != 2 || !h.Summary.HeadUnknown || !h.Summary.ShutdownCheckpoint || h.Summary.MinTime != 848544000123456 {
		t.Errorf("got %+v, %v", h, err)
	}
	histories, err := c.Histories(t.Context())
	if err != nil || histories[2].Parents[0].At != 40*mib {
		t.Errorf("got %v, %v", histories, err)
	}
	if b, found, err := c.NewestBeat(t.Context()); err != nil || !found || b != beat(60, 40*mib+1000) {
		t.Errorf("got %+v, %t, %v", b, found, err)
	}
	if gaps, err := c.Gaps(t.Context()); err != nil || len(gaps) != 1 || gaps[0] != frozenGap() {
		t.Errorf("got %+v, %v", gaps, err)
	}
	checkFrozenBackup(t, c)
}

// frozenGap is the hole before the switch to timeline 2.
func frozenGap() repository.Gap {
	return repository.Gap{
		Timeline: 1, Range: r(39*mib+8200, 40*mib), Cause: repository.CauseFailover, Detail: "the promoted server had only <WAL> from 0/2800000 on",
		FirstSeen: modTime, ServerFlush: 40*mib + 1000,
	}
}

func checkFrozenBackup(t *testing.T, c *repository.Cluster) {
	t.Helper()
	all, err := c.Backups(t.Context())
	if err != nil || len(all) != 1 || all[0].StopLSN != 0x2000138 || all[0].Files != 5 || all[0].Tablespaces[0].Path != "/srv/ts \xfe" {
		t.Fatalf("got %+v, %v", all, err)
	}
	b, err := c.OpenBackup(t.Context(), all[0])
	if err != nil {
		t.Fatal(err)
	}
	if m, err := b.Manifest(t.Context()); err != nil || string(m) != frozenManifest {
		t.Errorf("got %q, %v", m, err)
	}
	if err := b.VerifyIndex(t.Context()); err != nil {
		t.Error(err)
	}
	table, err := b.Table(t.Context(), b.Packs()[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := b.VerifyPack(t.Context(), table); err != nil {
		t.Error(err)
	}
	var plain []byte
	stored, err := b.ReadRuns(t.Context(), table, 0, table.RunCount())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range table.Frames {
		from := f.Offset - repository.HeaderSize
		if plain, err = b.Codec().NewDecoder().DecodeFrame(plain, stored[from:from+int64(f.Stored)], f.Plain); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range frozenMembers() {
		f := table.Files[i]
		start := table.Frames[f.Frame].PlainOffset + int64(f.Offset)
		if f.Path != m.path || f.Link != m.link || !bytes.Equal(plain[start:start+f.Size], m.content) {
			t.Errorf("%q: differs", m.path)
		}
	}
}

// writeVectors writes the frozen repository. It never overwrites.
func writeVectors(t *testing.T) {
	t.Helper()
	store := memory.New()
	writeFrozen(t, store)
	for _, key := range store.Keys() {
		path := filepath.Join(frozen, filepath.FromSlash(string(key)))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(store.Bytes(key)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
