package verify_test

import (
	"archive/tar"
	"bytes"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/verify"
	"github.com/pgark/pgark/wal"
)

const (
	system  wal.SystemID    = 7312345678901234567
	segSize wal.SegmentSize = 1 << 20
	mib                     = 1 << 20

	first  = "20261121T020000Z" // backups
	second = "20261121T030000Z"

	history2 = "1\t0/580000\tno recovery target specified\n"
	history3 = history2 + "\n2\t0/740000\tno recovery target specified\n"
)

var epoch = time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)

// instant is when the made-up server had written up to an LSN: a minute for each segment.
func instant(lsn wal.LSN) time.Time {
	return epoch.Add(time.Duration(uint64(lsn) * uint64(time.Minute) / mib))
}

// made is the archive, which nobody changes.
var (
	made    *memory.Store
	makeOne sync.Once
)

// archive returns a repository with objects of every class: three timelines, two base backups.
func archive(t testing.TB) *memory.Store {
	t.Helper()
	makeOne.Do(func() { made = makeArchive(t) })
	return made.Clone()
}

func makeArchive(t testing.TB) *memory.Store {
	t.Helper()
	return makeArchiveWith(t, encryption.Keys{})
}

// makeArchiveWith is makeArchive, encrypted if there are public keys.
func makeArchiveWith(t testing.TB, keys encryption.Keys) *memory.Store {
	t.Helper()
	store := memory.New()
	r, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	c := r.With(keys).Cluster(system)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.PutGap(t.Context(), repository.Gap{
		Timeline: 1, Range: wal.Range{Start: 0x50000, End: 0x100000}, Cause: repository.CauseNotArchived, FirstSeen: epoch, ServerFlush: 0x100000,
	}))
	for n := wal.SegmentNumber(1); n < 5; n++ {
		putWAL(t, c, repository.KindSegment, 1, segSize.Range(n))
	}
	putWAL(t, c, repository.KindPiece, 1, wal.Range{Start: 0x500000, End: 0x580000})
	putBackup(t, c, first, 0x200028, "")
	must(c.PutHistory(t.Context(), 2, []byte(history2)))
	putWAL(t, c, repository.KindSegment, 2, segSize.Range(5))
	putWAL(t, c, repository.KindSegment, 2, segSize.Range(6))
	putWAL(t, c, repository.KindPiece, 2, wal.Range{Start: 0x700000, End: 0x720000})
	putWAL(t, c, repository.KindPiece, 2, wal.Range{Start: 0x720000, End: 0x740000})
	putBackup(t, c, second, 0x600028, history2)
	must(c.PutHistory(t.Context(), 3, []byte(history3)))
	putWAL(t, c, repository.KindPiece, 3, wal.Range{Start: 0x700000, End: 0x780000})
	must(c.PutSyncEvent(t.Context(), repository.SyncEvent{
		Change: repository.SyncIn, Time: epoch, Timeline: 1, LSN: 0x200000, Actor: repository.ByAgent, Names: "pgark",
	}))
	for i, id := range []string{"20261121T020100Z", "20261121T020200Z"} {
		began := epoch.Add(time.Duration(i+1) * time.Minute)
		report := repository.Drill{ID: id, Started: began, Ended: began, Host: "h", Result: repository.DrillPassed, Target: repository.DrillTarget{Time: began}}
		_, err := c.PutDrill(t.Context(), report, &repository.Names{Databases: []repository.NamedDatabase{{}, {OID: 5, Name: strings.Repeat("x", i+1)}}})
		must(err)
	}
	must(c.PutBeat(t.Context(), repository.Beat{Time: instant(0x780000), Timeline: 3, LSN: 0x780000}))
	return store
}

// putWAL puts WAL whose bytes depend on its place, with one transaction that ends at its end.
func putWAL(t testing.TB, c *repository.Cluster, kind repository.Kind, tli wal.TimelineID, r wal.Range) {
	t.Helper()
	putSeeded(t, c, repository.WALObject{SystemID: system, Timeline: tli, SegmentSize: segSize, Kind: kind, Range: r}, 0)
}

// putSeeded is putWAL with other bytes for another seed.
func putSeeded(t testing.TB, c *repository.Cluster, o repository.WALObject, seed uint64) {
	t.Helper()
	r := o.Range
	o.Summary.Add(wal.Record{Event: &wal.TransactionEnd{XID: wal.XID(r.End >> 16), Time: wal.FromGo(instant(r.End))}})
	plain := make([]byte, r.Len())
	random := rand.New(rand.NewPCG(uint64(r.Start), seed+1))
	for i := 0; i < len(plain); i += 4096 {
		plain[i] = byte(random.Uint32())
	}
	e, err := repository.NewWALEncoder(compression.Zstd()).Encode(o, plain)
	if err == nil {
		err = c.PutWAL(t.Context(), e)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// putBackup puts a base backup of two packs that ends 272 bytes behind its start.
func putBackup(t testing.TB, c *repository.Cluster, id string, start wal.LSN, history string) {
	t.Helper()
	tli := wal.TimelineID(1)
	if history != "" {
		tli = 2
	}
	w, err := c.NewBackup(t.Context(), repository.BackupStart{ID: id, Timeline: tli, StartLSN: start, SegmentSize: segSize})
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range []string{"PG_VERSION", "base"} {
		putPack(t, w, path, 1000+int(start>>20)+i)
	}
	_, err = w.Commit(t.Context(), repository.Backup{
		PGVersionNum: 150004, CatalogVersion: 202209061, StopLSN: start + 0x110, Started: instant(start), Stopped: instant(start + 0x110),
		Label: "pgark", Checksums: repository.ChecksumsVerified, Writer: "test", History: []byte(history),
	}, bytes.Repeat([]byte(`{"Path": "PG_VERSION"}`+"\n"), 3+int(tli)))
	if err != nil {
		t.Fatal(err)
	}
}

func putPack(t testing.TB, w *repository.BackupWriter, path string, size int) {
	t.Helper()
	content := make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(size)})
	_, _ = random.Read(content)
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	h := &tar.Header{Name: path, Mode: 0o600, Size: int64(size), ModTime: epoch, Typeflag: tar.TypeReg, Format: tar.FormatGNU}
	if err := tw.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	at := b.Len()
	_, _ = tw.Write(content)
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	p, err := w.NewPack("base")
	if err != nil {
		t.Fatal(err)
	}
	p.File(repository.File{
		Path: path, Type: repository.TypeFile, Mode: 0o600, Size: int64(size), ModTime: epoch, Offset: at,
		CRC32C: crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli)),
	})
	stored := compression.Zstd().NewEncoder().EncodeFrame(nil, b.Bytes())
	if err := p.Frame(t.Context(), stored, b.Len()); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// two are a primary and its copy.
func two(primary, dr storage.Store) []verify.Place {
	return []verify.Place{{Name: "primary", URL: "memory://a", ID: "a", Store: primary}, {Name: "dr", URL: "memory://b", ID: "b", Store: dr}}
}

// deep reads everything and records nothing.
func deep() verify.Options {
	return verify.Options{SystemID: system, Deep: true, Forget: true, Grace: -1}
}

func run(t testing.TB, places []verify.Place, o verify.Options) verify.Report {
	t.Helper()
	r, err := verify.Run(t.Context(), places, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// objects returns the keys of a store's objects, without the probe's and the records of verifications.
func objects(s *memory.Store) []storage.Key {
	var keys []storage.Key
	for _, k := range s.Keys() {
		if !strings.Contains(string(k), "/verify/") {
			keys = append(keys, k)
		}
	}
	return keys
}
