package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// newCluster makes an empty repository and puts the WAL [startLSN, stopLSN) into it.
func newCluster(t testing.TB, store storage.Store) *repository.Cluster {
	t.Helper()
	c := emptyCluster(t, store)
	putWAL(t, c, segment.Floor(startLSN), stopLSN)
	return c
}

func emptyCluster(t testing.TB, store storage.Store) *repository.Cluster {
	t.Helper()
	repo, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	return repo.Cluster(systemID)
}

// encoded is the WAL that was encoded before, by its range: nearly every test wants the same.
var encoded sync.Map

// putWAL puts zero bytes as WAL of timeline 1, in segments and a last piece.
func putWAL(t testing.TB, c *repository.Cluster, from, to wal.LSN) {
	t.Helper()
	for from < to {
		whole := segment.Range(segment.Number(from))
		o := repository.WALObject{
			SystemID: systemID, Timeline: 1, SegmentSize: segment, Kind: repository.KindPiece,
			Range: wal.Range{Start: from, End: min(to, whole.End)},
		}
		if o.Range == whole {
			o.Kind = repository.KindSegment
		}
		known, _ := encoded.Load(o.Range)
		e, ok := known.(*repository.EncodedWAL)
		if !ok {
			var err error
			if e, err = repository.NewWALEncoder(compression.Zstd()).Encode(o, make([]byte, o.Range.Len())); err != nil {
				t.Fatal(err)
			}
			encoded.Store(o.Range, e)
		}
		if err := c.PutWAL(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		from = o.Range.End
	}
}

// held describes a member for comparison.
func held(path string, kind repository.FileType, size int64, crc uint32, link string) string {
	return fmt.Sprintf("%s %s %d %08x %q", path, kind, size, crc, link)
}

// want describes what the source holds, by archive.
func (s *fakeSource) want() map[string]bool {
	want := map[string]bool{}
	for _, a := range s.archives {
		for _, f := range a.files {
			path := strings.TrimPrefix(f.path, "./")
			if f.kind != repository.TypeFile {
				want[fmt.Sprint(a.tablespace, "/", held(path, f.kind, 0, 0, f.text))] = true
				continue
			}
			n, sum := f.sum()
			want[fmt.Sprint(a.tablespace, "/", held(path, f.kind, n, sum, ""))] = true
		}
	}
	return want
}

// checkBackup reads a backup back, each pack as the tar file it is and each file by its place in the index,
// and compares both with the source.
func checkBackup(t testing.TB, c *repository.Cluster, b repository.Backup, src *fakeSource) {
	t.Helper()
	r, err := c.OpenBackup(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	byTar, byIndex := map[string]bool{}, map[string]bool{}
	for _, p := range r.Packs() {
		table, err := r.Table(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		archive := strings.Replace(p.Archive, "base", "0", 1)
		content := &frames{r: r, table: table}
		for _, f := range table.Files {
			byIndex[archive+"/"+held(f.Path, f.Type, f.Size, content.sum(t, f), f.Link)] = true
		}
		stream := packReader(t.Context(), r, table)
		if err := readPack(stream, archive, byTar); err != nil {
			t.Errorf("%s as tar: %v", p.Name, err)
		}
	}
	want := src.want()
	for name, got := range map[string]map[string]bool{"tar": byTar, "index": byIndex} {
		if !maps.Equal(got, want) {
			t.Errorf("by %s: got %d members, want %d", name, len(got), len(want))
			for w := range want {
				if !got[w] {
					t.Errorf("by %s: lacks %s", name, w)
					break
				}
			}
			for g := range got {
				if !want[g] {
					t.Errorf("by %s: has %s", name, g)
					break
				}
			}
		}
	}
	manifest, err := r.Manifest(t.Context())
	if err != nil || !bytes.Equal(manifest, src.makeManifest()) {
		t.Errorf("manifest differs, %v", err)
	}
}

// readPack reads a pack with archive/tar.
func readPack(r io.Reader, archive string, members map[string]bool) error {
	types := map[byte]repository.FileType{tar.TypeReg: repository.TypeFile, tar.TypeDir: repository.TypeDir, tar.TypeSymlink: repository.TypeLink}
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
		if h.Size > 0 {
			if _, err := io.Copy(sum, in); err != nil {
				return err
			}
		}
		path := strings.TrimPrefix(strings.TrimSuffix(h.Name, "/"), "./")
		members[archive+"/"+held(path, types[h.Typeflag], h.Size, sum.Sum32(), h.Linkname)] = true
	}
	if n, err := io.Copy(io.Discard, r); n != 0 || err != nil {
		return fmt.Errorf("%d bytes after the end, %w", n, err)
	}
	return nil
}

// packReader decodes a pack frame by frame.
func packReader(ctx context.Context, r *repository.BackupReader, t *repository.PackTable) io.Reader {
	in, out := io.Pipe()
	go func() {
		decoder := r.Codec().NewDecoder()
		for run := range t.RunCount() {
			stored, err := r.ReadRuns(ctx, t, run, 1)
			if err == nil {
				var plain []byte
				first, end := t.RunFrames(run)
				plain, err = decoder.DecodeFrame(nil, stored, (end-first)*repository.FrameSize)
				if err == nil {
					_, err = out.Write(plain)
				}
			}
			if err != nil {
				out.CloseWithError(err)
				return
			}
		}
		_ = out.Close() // never fails
	}()
	return in
}

// frames decodes frames of one pack; it keeps the run of the last one.
type frames struct {
	r     *repository.BackupReader
	table *repository.PackTable
	run   int // of plain
	plain [][]byte
}

func (d *frames) at(t testing.TB, frame int) []byte {
	t.Helper()
	run := d.table.RunOf(frame)
	first, end := d.table.RunFrames(run)
	if d.plain == nil || d.run != run {
		d.run, d.plain = run, nil
		stored, err := d.r.ReadRuns(t.Context(), d.table, run, 1)
		if err != nil {
			t.Fatal(err)
		}
		decoder := d.r.Codec().NewDecoder()
		for i := first; i < end; i++ {
			plain, err := decoder.DecodeFrame(nil, stored[:d.table.Frames[i].Stored], repository.FrameSize)
			if err != nil {
				t.Fatal(err)
			}
			d.plain = append(d.plain, plain)
			stored = stored[d.table.Frames[i].Stored:]
		}
	}
	return d.plain[frame-first]
}

// sum returns the CRC32C of a file's content, found by its place in the index.
func (d *frames) sum(t testing.TB, f repository.File) uint32 {
	t.Helper()
	if f.Size == 0 {
		return 0
	}
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	first, end := d.table.FileFrames(&f)
	left, skip := f.Size, f.Offset
	for frame := first; frame < end; frame++ {
		plain := d.at(t, frame)[skip:]
		n, _ := h.Write(plain[:min(left, int64(len(plain)))])
		left, skip = left-int64(n), 0
	}
	if left != 0 || f.CRC32C != h.Sum32() {
		t.Errorf("%s: %d bytes are missing; CRC32C: got %08x, index says %08x", f.Path, left, h.Sum32(), f.CRC32C)
	}
	return h.Sum32()
}
