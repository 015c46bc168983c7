package repository_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

const backupID = "20261121T024000Z"

var modTime = time.Date(2026, 11, 21, 2, 40, 0, 0, time.UTC)

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
		{path: "base", kind: repository.TypeDir}, file("PG_VERSION", 3), file("base/1", 8192), file("base/2", repository.OwnFrameSize+1),
		file("base/3", 100), {path: "pg_tblspc/16400", kind: repository.TypeLink, link: "/srv/ts \xfe"},
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

func manifest() []byte { return []byte(strings.Repeat(`{"Path": "base/5/1"}`+"\n", 50000)) }

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
	decoder := b.Codec().NewDecoder()
	for i, p := range packs {
		table, err := b.Table(t.Context(), p)
		if err != nil {
			return err
		}
		if err := b.VerifyPack(t.Context(), table); err != nil {
			return err
		}
		for _, n := range []int{3, len(table.Runs)} {
			var plain []byte
			for run := 0; run < len(table.Runs); run += n {
				k := min(n, len(table.Runs)-run)
				stored, err := b.ReadRuns(t.Context(), table, run, k)
				if err != nil {
					return err
				}
				first, _ := table.RunFrames(run)
				_, end := table.RunFrames(run + k - 1)
				for _, f := range table.Frames[first:end] {
					from := f.Offset - table.Frames[first].Offset
					if plain, err = decoder.DecodeFrame(plain, stored[from:from+int64(f.Stored)], f.Plain); err != nil {
						return err
					}
				}
			}
			if !bytes.Equal(plain, tars[i]) {
				return fmt.Errorf("%s: plain bytes differ", p.Name)
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

func TestBackupRoundTrip(t *testing.T) {
	for _, codec := range []compression.Codec{compression.Zstd(), compression.S2()} {
		t.Run(codec.Name(), func(t *testing.T) {
			c, store := cluster(t)
			rec, tars, err := writeBackup(t, c, codec, dataDirectory())
			if err != nil {
				t.Fatal(err)
			}
			if uploads := store.Uploads(); len(uploads) != 0 {
				t.Errorf("uploads are left: %v", uploads)
			}
			all, err := c.Backups(t.Context())
			if err != nil || len(all) != 1 {
				t.Fatalf("got %v, %v", all, err)
			}
			if got, want := fmt.Sprintf("%+v", all[0]), fmt.Sprintf("%+v", rec); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if all[0].Tablespaces[0].Path != "/srv/ts \xfe" {
				t.Errorf("got path %q", all[0].Tablespaces[0].Path)
			}
			var files, plain, stored int64
			for _, m := range append(dataDirectory(), file("x", 700)) {
				if m.kind == repository.TypeFile {
					files, plain = files+1, plain+int64(len(m.content))
				}
			}
			for _, k := range store.Keys() {
				if strings.Contains(string(k), backupID) && !strings.HasSuffix(string(k), "record.json") {
					stored += int64(len(store.Bytes(k)))
				}
			}
			if rec.Files != files || rec.Plain != plain || rec.Stored != stored {
				t.Errorf("got %d files, %d plain, %d stored, want %d, %d, %d", rec.Files, rec.Plain, rec.Stored, files, plain, stored)
			}
			if err := readBackup(t, c, all[0], tars); err != nil {
				t.Fatal(err)
			}
			if err := c.DeleteBackup(t.Context(), backupID); err != nil {
				t.Fatal(err)
			}
			if keys := store.Keys(); len(keys) != 1 {
				t.Errorf("left: %v", keys)
			}
		})
	}
}

// TestOrders: the record is the last that is put and the first that is deleted.
func TestOrders(t *testing.T) {
	c, store := cluster(t)
	if _, _, err := writeBackup(t, c, compression.Zstd(), smallDirectory()); err != nil {
		t.Fatal(err)
	}
	writes := func() []memory.Call {
		return slices.DeleteFunc(store.Calls(), func(call memory.Call) bool {
			return call.Op == memory.Get || call.Op == memory.List || call.Op == memory.Stat
		})
	}
	calls := writes()
	if last := calls[len(calls)-1]; last.Op != memory.Put || !strings.HasSuffix(string(last.Key), "/record.json") {
		t.Errorf("last write: %+v", last)
	}
	store.Reset()
	if err := c.DeleteBackup(t.Context(), backupID); err != nil {
		t.Fatal(err)
	}
	if first := writes()[0]; first.Op != memory.Delete || !strings.HasSuffix(string(first.Key), "/record.json") {
		t.Errorf("first delete: %+v", first)
	}
	if _, _, err := writeBackup(t, c, compression.Zstd(), smallDirectory()); err != nil {
		t.Fatal(err)
	}
	store.Reset()
	store.Fail(memory.Delete, "*record.json", 1, storage.ErrDenied)
	before := len(store.Keys())
	if err := c.DeleteBackup(t.Context(), backupID); !errors.Is(err, storage.ErrDenied) || len(store.Keys()) != before {
		t.Errorf("got %v, and %d of %d objects", err, len(store.Keys()), before)
	}
}

// TestEachStorageCallFails makes each call of a backup fail, or lose its answer, in turn. Then there is no visible backup or a correct one, and
// the same again succeeds after the failed one was removed.
func TestEachStorageCallFails(t *testing.T) {
	small := smallDirectory()
	large := append(smallDirectory(), noise("base/4", storage.MinPart+mib/4)) // more than a part
	for _, mode := range []string{"fail", "lose"} {
		for op, members := range map[memory.Op][]member{memory.Any: small, memory.Begin: large, memory.Part: large, memory.Commit: large} {
			nth := 1
			for ; storageCallFails(t, mode, op, nth, members); nth++ {
				if t.Failed() {
					t.Fatalf("%s of call %d of %q", mode, nth, op)
				}
			}
			if want := map[memory.Op]int{memory.Any: 8, memory.Begin: 2, memory.Part: 3, memory.Commit: 2}[op]; nth < want {
				t.Errorf("only %d calls of %q", nth, op)
			}
		}
	}
}

// storageCallFails lets the nth call fail; it returns false if there were not as many.
func storageCallFails(t *testing.T, mode string, op memory.Op, nth int, members []member) bool {
	t.Helper()
	c, store := cluster(t)
	store.Reset()
	if mode == "fail" {
		store.Fail(op, "", nth, errScripted)
	} else {
		store.LoseResponse(op, "", nth)
	}
	rec, tars, err := writeBackup(t, c, compression.Zstd(), members)
	calls := store.Count(op, "")
	// Of an upload whose answer is lost nobody knows the id: the store's lifecycle rule removes it.
	beginLost := mode == "lose" && slices.ContainsFunc(store.Calls(), func(call memory.Call) bool {
		return call.Op == memory.Begin && call.Err != nil
	})
	store.Reset()
	if err == nil {
		if err := readBackup(t, c, rec, tars); err != nil {
			t.Errorf("said to be written: %v", err)
		}
		return calls >= nth
	}
	if uploads := store.Uploads(); len(uploads) != 0 && !beginLost {
		t.Errorf("uploads are left: %v", uploads)
	}
	visible, err := c.Backups(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, b := range visible {
		if err := readBackup(t, c, b, packTars(members)); err != nil {
			t.Errorf("a visible backup: %v", err)
		}
	}
	if err := c.DeleteBackup(t.Context(), backupID); err != nil {
		t.Error(err)
	}
	if rec, tars, err = writeBackup(t, c, compression.Zstd(), members); err != nil {
		t.Errorf("again: %v", err)
	} else if err := readBackup(t, c, rec, tars); err != nil {
		t.Errorf("again: %v", err)
	}
	return true
}

// packTars returns the tar files of writeBackup without writing a backup.
func packTars(members []member) [][]byte {
	var tars [][]byte
	half := len(members) / 2
	for _, part := range [][]member{members[:half], members[half:], {file("PG_15_202209061/5/1", 700)}} {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		for _, m := range part {
			h := &tar.Header{Name: m.path, Mode: 0o600, Size: int64(len(m.content)), ModTime: modTime, Typeflag: tar.TypeReg, Format: tar.FormatGNU}
			switch m.kind {
			case repository.TypeDir:
				h.Typeflag, h.Mode = tar.TypeDir, 0o700
			case repository.TypeLink:
				h.Typeflag, h.Linkname = tar.TypeSymlink, m.link
			case repository.TypeFile:
			}
			_ = tw.WriteHeader(h)
			_, _ = tw.Write(m.content)
		}
		_ = tw.Close()
		tars = append(tars, b.Bytes())
	}
	return tars
}

// TestLostRecordAnswer: whether the record was written is not known. The backup's data must stay, for it may be visible.
func TestLostRecordAnswer(t *testing.T) {
	c, store := cluster(t)
	store.LoseResponse(memory.Put, "*/record.json", 1)
	if _, _, err := writeBackup(t, c, compression.Zstd(), smallDirectory()); !storage.Retryable(err) {
		t.Fatalf("got %v, want a retryable error", err)
	}
	all, err := c.Backups(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("got %v, %v", all, err)
	}
	if err := readBackup(t, c, all[0], packTars(smallDirectory())); err != nil {
		t.Error(err)
	}
}

// TestBackupCorruption cuts and flips each object of a backup at many places. No reading gives wrong bytes.
func TestBackupCorruption(t *testing.T) {
	c, store := cluster(t)
	_, tars, err := writeBackup(t, c, compression.Zstd(), smallDirectory())
	if err != nil {
		t.Fatal(err)
	}
	read := func() error {
		all, err := c.Backups(t.Context())
		if err != nil {
			return err
		}
		if len(all) != 1 {
			return fmt.Errorf("%d backups", len(all))
		}
		if err := readBackup(t, c, all[0], tars); err != nil {
			return err
		}
		b, err := c.OpenBackup(t.Context(), all[0])
		if err != nil {
			return err
		}
		return b.VerifyIndex(t.Context())
	}
	if err := read(); err != nil {
		t.Fatal(err)
	}
	for _, key := range store.Keys() {
		if key == "pgark.json" {
			continue
		}
		body := store.Bytes(key)
		step := max(1, len(body)/40)
		for at := 0; at < len(body); at += step {
			flipped := bytes.Clone(body)
			flipped[at] ^= 1 << (at % 8)
			for what, broken := range map[string][]byte{"cut": body[:at], "flipped": flipped} {
				store.Replace(key, broken)
				var corrupt *repository.CorruptError
				if err := read(); !errors.As(err, &corrupt) {
					t.Errorf("%s %s at %d: got %v, want a *CorruptError", key, what, at, err)
				}
			}
		}
		store.Replace(key, append(bytes.Clone(body), 0))
		// Readers of ranges cannot see bytes behind: index and manifest. They do no harm.
		if err := read(); err == nil && !strings.HasSuffix(string(key), "index.zst") && !strings.HasSuffix(string(key), "manifest.zst") {
			t.Errorf("%s with a byte behind: not seen", key)
		}
		store.Replace(key, body)
	}
}

// TestRecordEachBit cuts the record at each byte and flips each bit.
func TestRecordEachBit(t *testing.T) {
	rec := goodRecord(t)
	text, err := rec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repository.ParseBackup(text); err != nil {
		t.Fatal(err)
	}
	for at := range text {
		if _, err := repository.ParseBackup(text[:at]); err == nil {
			t.Errorf("cut at %d: got nil", at)
		}
		for bit := range 8 {
			text[at] ^= 1 << bit
			if _, err := repository.ParseBackup(text); err == nil {
				t.Errorf("bit %d of byte %d flipped: got nil", bit, at)
			}
			text[at] ^= 1 << bit
		}
	}
}

// goodRecord returns a record as Commit makes it.
func goodRecord(t testing.TB) repository.Backup {
	b := record()
	b.Format, b.ID, b.Type, b.SystemID, b.SegmentSize, b.Timeline, b.StartLSN, b.Codec = 1, backupID, "full", system, 16*mib, 1, 0x2000028, "zstd"
	b.Index.Size, b.Index.Top.Size, b.Manifest.Size = 1000, 500, 1000
	if err := b.Validate(); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecordValidate(t *testing.T) {
	tests := map[string]func(*repository.Backup){
		"format":            func(b *repository.Backup) { b.Format = 0 },
		"id":                func(b *repository.Backup) { b.ID = "../../etc" },
		"id month":          func(b *repository.Backup) { b.ID = "20261321T024000Z" },
		"type":              func(b *repository.Backup) { b.Type = "incremental" },
		"system":            func(b *repository.Backup) { b.SystemID = 0 },
		"timeline":          func(b *repository.Backup) { b.Timeline = 0 },
		"history":           func(b *repository.Backup) { b.Timeline = 2 },
		"segment size":      func(b *repository.Backup) { b.SegmentSize = 3 },
		"range":             func(b *repository.Backup) { b.StopLSN = b.StartLSN - 1 },
		"codec":             func(b *repository.Backup) { b.Codec = "lz4" },
		"checksums":         func(b *repository.Backup) { b.Checksums = "perhaps" },
		"files":             func(b *repository.Backup) { b.Files = -1 },
		"index":             func(b *repository.Backup) { b.Index.Size = 1 << 40 },
		"top":               func(b *repository.Backup) { b.Index.Top.Size = b.Index.Size },
		"manifest":          func(b *repository.Backup) { b.Manifest.Size = 0 },
		"tablespace 0":      func(b *repository.Backup) { b.Tablespaces[0].OID = 0 },
		"tablespace path":   func(b *repository.Backup) { b.Tablespaces[0].Path = "a\x00b" },
		"tablespace twice":  func(b *repository.Backup) { b.Tablespaces = append(b.Tablespaces, b.Tablespaces[0]) },
		"tablespace nowere": func(b *repository.Backup) { b.Tablespaces[0].Path = "" },
	}
	for name, change := range tests {
		b := goodRecord(t)
		b.Tablespaces = slices.Clone(b.Tablespaces)
		change(&b)
		if err := b.Validate(); err == nil {
			t.Errorf("%s: got nil", name)
		}
		if _, err := b.Encode(); err == nil {
			t.Errorf("%s: it was encoded", name)
		}
	}
}

// TestRecordByHand verifies the hash on the last line as a person does, and reads fields as others do.
func TestRecordByHand(t *testing.T) {
	rec := goodRecord(t)
	text, err := rec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	sum := sha256.Sum256([]byte(strings.Join(lines[:len(lines)-1], "")))
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	if got, want := fields["sha256"], fmt.Sprintf("%x", sum); got != want {
		t.Errorf("got %v, want %s", got, want)
	}
	for name, want := range map[string]any{"system_id": system.String(), "timeline": 1.0, "start_lsn": "0/2000028", "segment_size": float64(16 * mib), "started": "2026-11-21T02:40:00Z"} {
		if fields[name] != want {
			t.Errorf("%s: got %v, want %v", name, fields[name], want)
		}
	}
}

// TestBackupsThatCannotBeRead: they do not hide the others.
func TestBackupsThatCannotBeRead(t *testing.T) {
	c, store := cluster(t)
	if _, _, err := writeBackup(t, c, compression.Zstd(), smallDirectory()); err != nil {
		t.Fatal(err)
	}
	prefix := storage.Key(system.String()) + "/backups/"
	good := store.Bytes(prefix + backupID + "/record.json")
	store.Replace(prefix+"20261120T000000Z/record.json", good) // of another id
	store.Replace(prefix+"20261119T000000Z/record.json", []byte("{}"))
	store.Replace(prefix+"20261118T000000Z/base-00001.tar.zst", []byte("no record"))
	store.Replace(prefix+"junk/record.json", good)
	store.Replace(prefix+"a", good)
	got, err := c.Backups(t.Context())
	var corrupt *repository.CorruptError
	if len(got) != 1 || got[0].ID != backupID || !errors.As(err, &corrupt) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, id := range []string{"20261118T000000Z", "x", "../x"} {
		if _, err := c.Backup(t.Context(), id); !errors.Is(err, repository.ErrNoBackup) {
			t.Errorf("%s: got %v, want ErrNoBackup", id, err)
		}
	}
	if size, err := openCluster(t, store).SegmentSize(t.Context()); err != nil || size != 16*mib {
		t.Errorf("segment size from a backup: got %d, %v", size, err)
	}
	store.Fail(memory.Get, "*/record.json", 0, storage.ErrUnavailable)
	if _, err := c.Backups(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

func TestBackupWriterRefuses(t *testing.T) {
	c, store := cluster(t)
	start := startBackup(nil)
	store.Replace(storage.Key(system.String())+"/backups/"+backupID+"/base-00001.tar.zst", []byte("left over"))
	if _, err := c.NewBackup(t.Context(), start); !errors.Is(err, repository.ErrBackupExists) {
		t.Errorf("id in use: got %v, want ErrBackupExists", err)
	}
	for name, change := range map[string]func(*repository.BackupStart){
		"id":       func(s *repository.BackupStart) { s.ID = "today" },
		"timeline": func(s *repository.BackupStart) { s.Timeline = 0 },
		"segment":  func(s *repository.BackupStart) { s.SegmentSize = 1 },
		"part":     func(s *repository.BackupStart) { s.PartSize = 1 << 20 },
		"uploads":  func(s *repository.BackupStart) { s.Uploads = -1 },
	} {
		s := startBackup(nil)
		s.ID = "20261122T000000Z"
		change(&s)
		if _, err := c.NewBackup(t.Context(), s); err == nil {
			t.Errorf("%s: got nil", name)
		}
	}
	start.ID = "20261123T000000Z"
	w, err := c.NewBackup(t.Context(), start)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.NewPack("../base"); err == nil {
		t.Error("archive ../base: got nil")
	}
	frame := compression.Zstd().NewEncoder().EncodeFrame(nil, make([]byte, 1024))
	bad := map[string]repository.File{
		"path":          {Path: "/etc/passwd", Type: repository.TypeFile},
		"outside":       {Path: "a", Type: repository.TypeFile, Size: 1025},
		"frame":         {Path: "a", Type: repository.TypeFile, Size: 1, Frame: 1},
		"link":          {Path: "pg_wal", Type: repository.TypeLink, Link: "/srv/wal"},
		"empty and not": {Path: "a", Type: repository.TypeFile, Offset: 4},
	}
	for name, f := range bad {
		s := start
		w, err := c.NewBackup(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		p, err := w.NewPack("base")
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Frame(t.Context(), frame, 1024); err != nil {
			t.Fatal(err)
		}
		p.File(f)
		if err := p.Close(t.Context()); err == nil {
			t.Errorf("%s: got nil", name)
		}
		if _, err := w.NewPack("base"); err == nil {
			t.Errorf("%s: the writer lives on after an error", name)
		}
		if _, err := w.Commit(t.Context(), record(), manifest()); err == nil {
			t.Errorf("%s: committed after an error", name)
		}
	}
	p, err := w.NewPack("base")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context(), record(), manifest()); err == nil {
		t.Error("commit with an open pack: got nil")
	}
	if err := p.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Frame(t.Context(), frame, 1024); err == nil {
		t.Error("frame after abort: got nil")
	}
}

// TestLinkMustBeDeclared: a link to a tablespace that the record does not have.
func TestLinkMustBeDeclared(t *testing.T) {
	c, store := cluster(t)
	w, err := c.NewBackup(t.Context(), startBackup(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writePack(t, w, "base", compression.Zstd(), smallDirectory()[:5]); err != nil {
		t.Fatal(err)
	}
	if _, err := writePack(t, w, "base", compression.Zstd(), []member{{path: "pg_tblspc/16400", kind: repository.TypeLink, link: "/etc"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context(), record(), manifest()); err == nil {
		t.Error("got nil")
	}
	if slices.ContainsFunc(store.Keys(), func(k storage.Key) bool { return strings.HasSuffix(string(k), "record.json") }) {
		t.Error("there is a record")
	}
}

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
