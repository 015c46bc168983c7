package repository_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
)

// member is a file of a made-up data directory.
type member struct {
	path    string
	kind    repository.FileType
	link    string
	content []byte
}

func file(path string, size int) member {
	return member{path: path, kind: repository.TypeFile, content: fileBytes(path, size)}
}

// fileBytes is half noise, half repetition.
//
//go:norace
func fileBytes(path string, size int) []byte {
	b := make([]byte, size)
	seed := uint64(crc32.ChecksumIEEE([]byte(path)))
	random := rand.New(rand.NewPCG(seed, seed))
	for i := 0; i+16 <= size; i += 32 {
		binary.LittleEndian.PutUint64(b[i:], random.Uint64())
		binary.LittleEndian.PutUint64(b[i+8:], random.Uint64())
	}
	return b
}

// noise is a file that cannot shrink.
func noise(path string, size int) member {
	m := member{path: path, kind: repository.TypeFile, content: make([]byte, size)}
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(m.content)
	return m
}

// smallDirectory is enough for every kind of object and of call.
func smallDirectory() []member {
	return []member{
		{path: "base", kind: repository.TypeDir},
		file("PG_VERSION", 3), file("base/1", 8192), file("base/2", repository.OwnFrameSize+1),
		file("base/3", 100),
		{path: "pg_tblspc/16400", kind: repository.TypeLink, link: "/srv/ts \xfe"},
	}
}

// dataDirectory has sizes around every border.
func dataDirectory() []member {
	const own, frame = repository.OwnFrameSize, repository.FrameSize
	m := []member{{path: "base", kind: repository.TypeDir}, {path: "base/5", kind: repository.TypeDir}, file("PG_VERSION", 3), file("empty", 0)}
	for _, size := range []int{1, 511, 512, 513, 8192, own - 1, own, own + 1, frame - 1, frame, frame + 1, 4 * frame, 4*frame + 1} {
		m = append(m, file(fmt.Sprintf("base/5/%d", size), size))
	}
	return append(m, file("bad \xff name", 10), member{path: "pg_tblspc/16400", kind: repository.TypeLink, link: "/srv/ts \xfe"})
}

// packer cuts members into frames as FORMAT.md section 5.1 says.
type packer struct {
	t       testing.TB
	pack    *repository.PackWriter
	encoder compression.FrameEncoder
	plain   []byte // of the frame that is not full yet
	tar     []byte // all of it
	err     error
}

func (p *packer) frame(n int) {
	stored := p.encoder.EncodeFrame(nil, p.plain[:n])
	if p.err == nil {
		p.err = p.pack.Frame(p.t.Context(), stored, n)
	}
	p.plain = p.plain[n:]
}

func (p *packer) Write(b []byte) (int, error) {
	p.tar = append(p.tar, b...)
	p.plain = append(p.plain, b...)
	for len(p.plain) >= repository.FrameSize {
		p.frame(repository.FrameSize)
	}
	return len(b), nil
}

// writePack writes one pack and returns its tar file.
func writePack(t testing.TB, w *repository.BackupWriter, archive string, codec compression.Codec, members []member) ([]byte, error) {
	pack, err := w.NewPack(archive)
	if err != nil {
		return nil, err
	}
	p := &packer{t: t, pack: pack, encoder: codec.NewEncoder()}
	tw := tar.NewWriter(p)
	for _, m := range members {
		if err := p.member(tw, m); err != nil {
			return nil, errors.Join(err, pack.Abort(context.WithoutCancel(t.Context())))
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if len(p.plain) > 0 {
		p.frame(len(p.plain))
	}
	if p.err != nil {
		return nil, errors.Join(p.err, pack.Abort(t.Context()))
	}
	return p.tar, pack.Close(t.Context())
}

func (p *packer) member(tw *tar.Writer, m member) error {
	h := &tar.Header{Name: m.path, Mode: 0o600, Size: int64(len(m.content)), ModTime: modTime, Typeflag: tar.TypeReg, Format: tar.FormatGNU}
	switch m.kind {
	case repository.TypeDir:
		h.Typeflag, h.Mode = tar.TypeDir, 0o700
	case repository.TypeLink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, m.link
	case repository.TypeFile:
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	f := repository.File{Path: m.path, Type: m.kind, Mode: uint32(h.Mode), Size: h.Size, ModTime: modTime, Link: m.link}
	if h.Size >= repository.OwnFrameSize && len(p.plain) > 0 {
		p.frame(len(p.plain))
	}
	if h.Size > 0 {
		f.Frame, f.Offset = p.pack.Frames(), len(p.plain)
	}
	if m.kind == repository.TypeFile {
		f.CRC32C = crc32.Checksum(m.content, crc32.MakeTable(crc32.Castagnoli))
	}
	p.pack.File(f)
	if _, err := tw.Write(m.content); err != nil {
		return err
	}
	if err := tw.Flush(); err != nil { // the padding
		return err
	}
	return p.err
}

func startBackup(codec compression.Codec) repository.BackupStart {
	return repository.BackupStart{ID: backupID, Timeline: 1, StartLSN: 0x2000028, SegmentSize: 16 * mib, Codec: codec, PartSize: storage.MinPart, Uploads: 2}
}

func record() repository.Backup {
	return repository.Backup{
		PGVersionNum: 150004, CatalogVersion: 202209061, StopLSN: 0x2000138, Started: modTime, Stopped: modTime.Add(time.Minute),
		Label: "pgark", Tablespaces: []repository.Tablespace{{OID: 16400, Path: "/srv/ts \xfe"}}, Checksums: repository.ChecksumsVerified,
		Writer: "test", Labels: map[string]string{"why": "because"},
	}
}

// manifest is one that nobody changes.
var manifest = sync.OnceValue(func() []byte { return bytes.Repeat([]byte(`{"Path": "base/5/1"}`+"\n"), 50000) })

// writeBackup writes a backup of members in two packs of base, and one of a tablespace.
func writeBackup(t testing.TB, c *repository.Cluster, codec compression.Codec, members []member) (repository.Backup, [][]byte, error) {
	w, err := c.NewBackup(t.Context(), startBackup(codec))
	if err != nil {
		return repository.Backup{}, nil, err
	}
	abort := func(err error) (repository.Backup, [][]byte, error) {
		return repository.Backup{}, nil, errors.Join(err, w.Abort(t.Context()))
	}
	var tars [][]byte
	half := len(members) / 2
	for i, part := range []struct {
		archive string
		members []member
	}{{"base", members[:half]}, {"base", members[half:]}, {"16400", []member{file("PG_15_202209061/5/1", 700)}}} {
		b, err := writePack(t, w, part.archive, codec, part.members)
		if err != nil {
			return abort(fmt.Errorf("pack %d: %w", i, err))
		}
		tars = append(tars, b)
	}
	rec, err := w.Commit(t.Context(), record(), manifest())
	if err != nil {
		return abort(err)
	}
	return rec, tars, nil
}

// readBackup reads all of a backup by runs and compares it with the tar files.
func readBackup(t testing.TB, c *repository.Cluster, rec repository.Backup, tars [][]byte) error {
	t.Helper()
	b, err := c.OpenBackup(t.Context(), rec)
	if err != nil {
		return err
	}
	packs := b.Packs()
	if len(packs) != len(tars) {
		return fmt.Errorf("%d packs, want %d", len(packs), len(tars))
	}
	decoder, buffer := b.Codec().NewDecoder(), []byte(nil)
	for i, p := range packs {
		table, err := b.Table(t.Context(), p)
		if err != nil {
			return err
		}
		if err := b.VerifyPack(t.Context(), table); err != nil {
			return err
		}
		for _, n := range []int{3, table.RunCount()} {
			rest := tars[i]
			for run := 0; run < table.RunCount(); run += n {
				k := min(n, table.RunCount()-run)
				stored, err := b.ReadRuns(t.Context(), table, run, k)
				if err != nil {
					return err
				}
				first, _ := table.RunFrames(run)
				_, end := table.RunFrames(run + k - 1)
				for _, f := range table.Frames[first:end] {
					from := f.Offset - table.Frames[first].Offset
					buffer = slices.Grow(buffer, f.Plain)
					plain, err := decoder.DecodeFrame(buffer, stored[from:from+int64(f.Stored)], f.Plain)
					if err != nil {
						return err
					}
					if !bytes.HasPrefix(rest, plain) {
						return fmt.Errorf("%s: plain bytes differ", p.Name)
					}
					rest = rest[len(plain):]
				}
			}
			if len(rest) > 0 {
				return fmt.Errorf("%s: lacks its last %d plain bytes", p.Name, len(rest))
			}
		}
		checkFiles(t, table, tars[i])
	}
	got, err := b.Manifest(t.Context())
	if err != nil {
		return err
	}
	if !bytes.Equal(got, manifest()) {
		return errors.New("manifest differs")
	}
	return nil
}

// checkFiles compares the content that the index points at with what tar says.
func checkFiles(t testing.TB, table *repository.PackTable, tarred []byte) {
	t.Helper()
	tr := tar.NewReader(bytes.NewReader(tarred))
	for _, f := range table.Files {
		h, err := tr.Next()
		if err != nil || strings.TrimSuffix(h.Name, "/") != f.Path || h.Size != f.Size || h.Linkname != f.Link || !f.ModTime.Equal(modTime) {
			t.Fatalf("got %+v, tar says %+v, %v", f, h, err)
		}
		if f.Size == 0 {
			if first, end := table.FileFrames(&f); first != end {
				t.Errorf("%s is empty and has frames %d to %d", f.Path, first, end)
			}
			continue
		}
		start := table.Frames[f.Frame].PlainOffset + int64(f.Offset)
		content := tarred[start : start+f.Size]
		if crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli)) != f.CRC32C {
			t.Errorf("%s: the index points at other bytes", f.Path)
		}
		first, end := table.FileFrames(&f)
		last := table.Frames[end-1]
		if first != f.Frame || last.PlainOffset >= start+f.Size || last.PlainOffset+int64(last.Plain) < start+f.Size {
			t.Errorf("%s: frames %d to %d", f.Path, first, end)
		}
	}
}
