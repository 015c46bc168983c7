package restore_test

import (
	"archive/tar"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

const fakeSystem wal.SystemID = 7710460978105624599

// member is a file of a made-up backup.
type member struct {
	path    string
	kind    repository.FileType
	link    string
	content []byte
	mode    uint32
	crc     uint32 // added to the right one
}

func folder(path string) member { return member{path: path, kind: repository.TypeDir, mode: 0o700} }

func content(path string, b []byte) member {
	return member{path: path, kind: repository.TypeFile, content: b, mode: 0o600}
}

// noise is a file with content of its own; with -short there is less of it
// between the zeros.
func noise(path string, size int) member {
	seed := uint64(crc32.ChecksumIEEE([]byte(path)))
	random := rand.New(rand.NewPCG(seed, seed))
	every := 64
	if testing.Short() {
		every = 512
	}
	b := make([]byte, size)
	for i := 0; i+8 <= size; i += every {
		binary.LittleEndian.PutUint64(b[i:], random.Uint64())
	}
	return content(path, b)
}

// control is a pg_control of PostgreSQL 15 for the system.
func control(id wal.SystemID) []byte {
	b := make([]byte, 8192)
	le := binary.LittleEndian
	le.PutUint64(b[0:], uint64(id))
	le.PutUint32(b[8:], 1300)
	le.PutUint32(b[48:], 1)
	le.PutUint32(b[180:], 100)
	le.PutUint32(b[192:], 5)
	le.PutUint32(b[204:], 8)
	le.PutUint64(b[208:], 0x4132d68700000000)
	le.PutUint32(b[216:], 8192)
	le.PutUint32(b[228:], uint32(mib))
	le.PutUint32(b[288:], crc32.Checksum(b[:288], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

const fakeLabel = `START WAL LOCATION: 0/200028 (file 000000010000000000000002)
CHECKPOINT LOCATION: 0/200060
BACKUP METHOD: streamed
BACKUP FROM: primary
START TIME: 2026-11-20 12:00:00 UTC
LABEL: pgark
START TIMELINE: 1
`

const own, frame = repository.OwnFrameSize, repository.FrameSize

// dataDirectory has files around every border.
func dataDirectory() []member {
	sizes := []int{1, 511, 513, 8192, own - 1, own, own + 1, frame - 1, frame, frame + 1}
	if testing.Short() { // as many files, of fewer frames
		return directory(append(sizes, 2*frame-1, 2*frame, 2*frame+1, 4*frame+77)...)
	}
	return directory(append(sizes, 4*frame-1, 4*frame, 4*frame+1, 23*frame+77)...)
}

// smallDirectory has the kinds of files and places, and few bytes.
func smallDirectory() []member {
	large := 5*frame + 1
	if testing.Short() {
		large = 2*frame + 1
	}
	return directory(1, 511, 513, 8192, own-1, own, own+1, large)
}

// directory is a data directory whose tables have these sizes.
func directory(sizes ...int) []member {
	list := []member{
		folder("global"), folder("base"), folder("base/5"), folder("pg_wal"),
		content("backup_label", []byte(fakeLabel)), content("PG_VERSION", []byte("15\n")),
		content("postgresql.auto.conf", []byte("restore_command = 'old'\nwork_mem = '5MB'\nprimary_conninfo = 'host=live'\n")),
		content("standby.signal", nil), content("postmaster.pid", []byte("1\n")), content("base/5/empty", nil),
		content("global/pg_control", control(fakeSystem)),
	}
	for _, size := range sizes {
		list = append(list, noise(fmt.Sprintf("base/5/%d", size), size))
	}
	return list
}

// packer cuts members into frames as docs/FORMAT.md, section 5.1, says.
type packer struct {
	t       testing.TB
	pack    *repository.PackWriter
	encoder compression.FrameEncoder
	plain   []byte
}

func (p *packer) frame(n int) {
	if err := p.pack.Frame(p.t.Context(), p.encoder.EncodeFrame(nil, p.plain[:n]), n); err != nil {
		p.t.Fatal(err)
	}
	p.plain = p.plain[n:]
}

func (p *packer) Write(b []byte) (int, error) {
	p.plain = append(p.plain, b...)
	for len(p.plain) >= repository.FrameSize {
		p.frame(repository.FrameSize)
	}
	return len(b), nil
}

func (p *packer) member(tw *tar.Writer, m member) {
	h := &tar.Header{Name: m.path, Mode: int64(m.mode), Size: int64(len(m.content)), Typeflag: tar.TypeReg, Format: tar.FormatGNU}
	switch m.kind {
	case repository.TypeDir:
		h.Typeflag = tar.TypeDir
	case repository.TypeLink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, m.link
	case repository.TypeFile:
	}
	if err := tw.WriteHeader(h); err != nil {
		p.t.Fatal(err)
	}
	f := repository.File{Path: m.path, Type: m.kind, Mode: m.mode, Size: h.Size, Link: m.link}
	if h.Size >= repository.OwnFrameSize && len(p.plain) > 0 {
		p.frame(len(p.plain))
	}
	if h.Size > 0 {
		f.Frame, f.Offset = p.pack.Frames(), len(p.plain)
	}
	if m.kind == repository.TypeFile {
		f.CRC32C = crc32.Checksum(m.content, crc32.MakeTable(crc32.Castagnoli)) + m.crc
	}
	p.pack.File(f)
	if _, err := tw.Write(m.content); err != nil {
		p.t.Fatal(err)
	}
	if err := tw.Flush(); err != nil {
		p.t.Fatal(err)
	}
}

// pack is one pack of a made-up backup.
type pack struct {
	archive string
	members []member
}

// fakeBackup puts a made-up backup into a new memory store.
func fakeBackup(t testing.TB, tablespaces []repository.Tablespace, packs ...pack) (*memory.Store, *restore.Plan) {
	t.Helper()
	return fakeBackupWith(t, encryption.Keys{}, tablespaces, packs...)
}

// fakeBackupWith is fakeBackup, encrypted if there are public keys.
func fakeBackupWith(t testing.TB, keys encryption.Keys, tablespaces []repository.Tablespace, packs ...pack) (*memory.Store, *restore.Plan) {
	t.Helper()
	store := memory.New()
	repo, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	w, err := repo.With(keys).Cluster(fakeSystem).NewBackup(t.Context(), repository.BackupStart{
		ID: "20261120T120000Z", Timeline: 1, StartLSN: 0x200028, SegmentSize: mib, PartSize: storage.MinPart,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range packs {
		pw, err := w.NewPack(list.archive)
		if err != nil {
			t.Fatal(err)
		}
		p := &packer{t: t, pack: pw, encoder: compression.Zstd().NewEncoder()}
		tw := tar.NewWriter(p)
		for _, m := range list.members {
			p.member(tw, m)
		}
		if err := tw.Close(); err != nil {
			t.Fatal(err)
		}
		p.frame(len(p.plain))
		if err := pw.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b, err := w.Commit(t.Context(), repository.Backup{
		PGVersionNum: 150018, CatalogVersion: 202209061, StopLSN: 0x200100, Started: at(0).Go(), Stopped: at(0).Go().Add(time.Second),
		Tablespaces: tablespaces, Checksums: repository.ChecksumsVerified, Writer: "test",
	}, []byte(`{"PostgreSQL-Backup-Manifest-Version": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	return store, &restore.Plan{
		SystemID: fakeSystem, Backup: b, Timeline: 1, Until: 0x300000,
		Stop: restore.Stop{Rule: restore.StopBefore, LSN: 0x2fff00},
	}
}

// clusterIn opens the made-up cluster in a store.
func clusterIn(t testing.TB, store storage.Store) *repository.Cluster {
	t.Helper()
	repo, err := repository.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	return repo.Cluster(fakeSystem)
}

// target is a new folder's path and the options to restore there.
func layInto(t testing.TB) restore.LayOptions {
	t.Helper()
	return restore.LayOptions{Dir: filepath.Join(t.TempDir(), "data"), RestoreCommand: "fetch '%f' %p", Jobs: 4}
}
