package retention_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"hash/crc32"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/verify"
	"github.com/pgark/pgark/wal"
)

// The archive of a real repository in memory, put over eight days of a clock that is not the machine's: a segment every twelve hours, a backup every day, a
// failover in the middle. Backups have the number of their day.

const system wal.SystemID = 7312345678901234567

// here is the repository by its names.
var here = retention.Place{Name: "primary", ID: "memory://"}

const history2 = "1\t0/980000\tno recovery target specified\n"

var (
	archived     *memory.Store
	archivedTill time.Time
	makeOne      sync.Once
)

// archive returns the repository, and when its last object was put.
func archive(t *testing.T) (*memory.Store, time.Time) {
	t.Helper()
	makeOne.Do(func() {
		synctest.Test(t, func(t *testing.T) {
			archived, archivedTill = makeArchive(t), time.Now()
		})
	})
	return archived.Clone(), archivedTill
}

func makeArchive(t *testing.T) *memory.Store {
	t.Helper()
	store := memory.New()
	r, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	c := r.Cluster(system)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tli := wal.TimelineID(1)
	for n := wal.SegmentNumber(1); n <= 16; n++ {
		whole := segSize.Range(n)
		if n == 9 { // the old server's last half, and the new one's segment
			putWAL(t, c, repository.KindPiece, 1, wal.Range{Start: whole.Start, End: whole.Start + 0x80000})
			must(c.PutHistory(t.Context(), 2, []byte(history2)))
			tli = 2
		}
		if n%4 == 0 {
			putWAL(t, c, repository.KindPiece, tli, wal.Range{Start: whole.Start, End: whole.Start + 0x40000})
		}
		time.Sleep(12 * time.Hour)
		putWAL(t, c, repository.KindSegment, tli, whole)
		if n%2 == 0 {
			putBackup(t, c, tli, whole.Start+0x28)
		}
	}
	must(c.PutBeat(t.Context(), repository.Beat{Time: time.Now(), Timeline: 2, LSN: segSize.Range(16).End}))
	_, err = c.PutDrill(t.Context(), repository.Drill{
		ID: backupID(1), Repository: here.Name, Started: time.Now(), Ended: time.Now(), Result: repository.DrillPassed, Backup: backupID(2), Target: repository.DrillTarget{Time: time.Now()},
	}, nil)
	must(err)
	verified, err := verify.Run(t.Context(), []verify.Place{{Name: here.Name, ID: here.ID, Store: store}}, verify.Options{SystemID: system})
	if must(err); verified.Verdict != verify.Sound {
		t.Fatalf("made up: %+v", verified)
	}
	return store
}

// day0 is where a bubble of synctest begins.
var day0 = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// backupID is that of a day, from 0.
func backupID(day int) string {
	return repository.NewBackupID(day0.Add(time.Duration(day+1) * 24 * time.Hour))
}

func putWAL(t *testing.T, c *repository.Cluster, kind repository.Kind, tli wal.TimelineID, r wal.Range) {
	t.Helper()
	o := repository.WALObject{SystemID: system, Timeline: tli, SegmentSize: segSize, Kind: kind, Range: r}
	o.Summary.Add(wal.Record{Event: &wal.TransactionEnd{XID: wal.XID(r.End >> 16), Time: wal.FromGo(time.Now())}})
	plain := make([]byte, r.Len())
	for i := 0; i < len(plain); i += 4096 {
		plain[i] = byte((uint64(r.Start) + uint64(i)) >> 12)
	}
	e, err := repository.NewWALEncoder(compression.Zstd()).Encode(o, plain)
	if err == nil {
		err = c.PutWAL(t.Context(), e)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// putBackup puts one of a single pack.
func putBackup(t *testing.T, c *repository.Cluster, tli wal.TimelineID, start wal.LSN) {
	t.Helper()
	var history []byte
	if tli == 2 {
		history = []byte(history2)
	}
	w, err := c.NewBackup(t.Context(), repository.BackupStart{ID: repository.NewBackupID(time.Now()), Timeline: tli, StartLSN: start, SegmentSize: segSize})
	if err != nil {
		t.Fatal(err)
	}
	content := []byte(fmt.Sprint("15 ", start))
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	h := &tar.Header{Name: "PG_VERSION", Mode: 0o600, Size: int64(len(content)), ModTime: day0, Typeflag: tar.TypeReg, Format: tar.FormatGNU}
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
		Path: "PG_VERSION", Type: repository.TypeFile, Mode: 0o600, Size: h.Size, ModTime: day0, Offset: at,
		CRC32C: crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli)),
	})
	if err := p.Frame(t.Context(), compression.Zstd().NewEncoder().EncodeFrame(nil, b.Bytes()), b.Len()); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = w.Commit(t.Context(), repository.Backup{
		PGVersionNum: 150004, CatalogVersion: 202209061, StopLSN: start + 0x110, Started: time.Now(), Stopped: time.Now(),
		Label: "pgark", Checksums: repository.ChecksumsVerified, Writer: "test", History: history,
	}, []byte(`{"Path": "PG_VERSION"}`+"\n"))
	if err != nil {
		t.Fatal(err)
	}
}
