package repository_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	filestore "github.com/pgark/pgark/storage/file"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// countStore counts the parts that are on their way.
type countStore struct {
	storage.Store

	now, most atomic.Int64
}

type countUpload struct {
	storage.Upload

	store *countStore
}

func (s *countStore) Begin(ctx context.Context, key storage.Key) (storage.Upload, error) {
	u, err := s.Store.Begin(ctx, key)
	return countUpload{u, s}, err
}

func (u countUpload) Part(ctx context.Context, n int, body []byte) error {
	now := u.store.now.Add(1)
	defer u.store.now.Add(-1)
	for most := u.store.most.Load(); now > most && !u.store.most.CompareAndSwap(most, now); {
		most = u.store.most.Load()
	}
	return u.Upload.Part(ctx, n, body)
}

// TestPackAtPartBorders writes packs that end just before, at and after the end of a part, and of a run.
func TestPackAtPartBorders(t *testing.T) {
	random := noise("", 2*mib).content
	for _, frames := range []int{4, 5, 11} {
		if testing.Short() && frames == 11 {
			break
		}
		for _, off := range []int{-1, 0, 1} {
			if frames < 5 && off != 0 {
				continue // the fifth is the one of another size
			}
			store := memory.New()
			count := &countStore{Store: store}
			c := openCluster(t, count)
			w, err := c.NewBackup(t.Context(), startBackup(nil))
			if err != nil {
				t.Fatal(err)
			}
			p, err := w.NewPack("base")
			if err != nil {
				t.Fatal(err)
			}
			// Stored bytes are free to be chosen: they are not decoded here. Five frames of 1 MiB fill a part but for the header.
			want := make([]byte, repository.HeaderSize)
			for i := range frames {
				size := mib
				if i == 4 {
					size += off - repository.HeaderSize
				}
				stored := random[i : i+size]
				if err := p.Frame(t.Context(), stored, mib); err != nil {
					t.Fatal(err)
				}
				want = append(want, stored...)
			}
			p.File(repository.File{Path: "1", Type: repository.TypeFile, Size: int64(frames) * mib, ModTime: modTime})
			if err := p.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := store.Bytes(storage.Key(system.String() + "/backups/" + backupID + "/" + p.Name()))
			if !bytes.Equal(got[repository.HeaderSize:], want[repository.HeaderSize:]) {
				t.Errorf("%d frames %+d: the pack differs", frames, off)
			}
			rec, err := w.Commit(t.Context(), record(), manifest())
			if err != nil {
				t.Fatal(err)
			}
			b, err := c.OpenBackup(t.Context(), rec)
			if err != nil {
				t.Fatal(err)
			}
			table, err := b.Table(t.Context(), b.Packs()[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := b.VerifyPack(t.Context(), table); err != nil || len(table.Runs) != (frames+3)/4 {
				t.Errorf("%d frames %+d: %d runs, %v", frames, off, len(table.Runs), err)
			}
			if most := count.most.Load(); most > 2+1 {
				t.Errorf("%d parts were on their way, want at most 3", most)
			}
		}
	}
}

// TestPacksAtTheSameTime writes as many packs as may be open from as many goroutines.
func TestPacksAtTheSameTime(t *testing.T) {
	c, store := cluster(t)
	w, err := c.NewBackup(t.Context(), startBackup(nil))
	if err != nil {
		t.Fatal(err)
	}
	frame := noise("", mib).content
	done := make(chan error)
	for range 2 {
		p, err := w.NewPack("base")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for range 12 {
				if err := p.Frame(t.Context(), frame, mib); err != nil {
					done <- err
					return
				}
			}
			done <- p.Close(t.Context())
		}()
	}
	if _, err := w.NewPack("base"); err == nil {
		t.Error("more packs than uploads: got nil")
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if _, err := w.Commit(t.Context(), record(), manifest()); err != nil {
		t.Error(err)
	}
	if len(store.Uploads()) != 0 {
		t.Error("uploads are left")
	}
}

// TestPartFails: the failure of a part that is on its way ends the pack and the backup, and nothing is left.
func TestPartFails(t *testing.T) {
	c, store := cluster(t)
	store.Fail(memory.Part, "", 2, errScripted)
	w, err := c.NewBackup(t.Context(), startBackup(nil))
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.NewPack("base")
	if err != nil {
		t.Fatal(err)
	}
	frame := noise("", mib).content
	for range 100 {
		if err = p.Frame(t.Context(), frame, mib); err != nil {
			break
		}
	}
	if !errors.Is(err, errScripted) {
		t.Errorf("got %v, want the scripted failure before the end", err)
	}
	if err := errors.Join(p.Abort(t.Context()), p.Abort(t.Context()), w.Abort(t.Context())); err != nil {
		t.Error(err)
	}
	if len(store.Uploads()) != 0 || len(store.Keys()) != 1 {
		t.Errorf("left: %v, %v", store.Uploads(), store.Keys())
	}
}

// TestAbortWhileThePartsHang must not wait for them.
func TestAbortWhileThePartsHang(t *testing.T) {
	c, store := cluster(t)
	defer store.Hang(memory.Part, "")()
	w, err := c.NewBackup(t.Context(), startBackup(nil))
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.NewPack("base")
	if err != nil {
		t.Fatal(err)
	}
	frame := noise("", mib).content
	for range 10 { // two parts and a little of the third
		if err := p.Frame(t.Context(), frame, mib); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the caller gave up
	if err := errors.Join(p.Abort(ctx), w.Abort(ctx)); err != nil {
		t.Error(err)
	}
	if len(store.Uploads()) != 0 {
		t.Error("uploads are left")
	}
}

// TestFileStore writes and reads all kinds of objects through the file store, and puts a segment that is large enough to go up in parts.
func TestFileStore(t *testing.T) {
	if testing.Short() {
		t.Skip("a segment of 64 MiB is not for -short")
	}
	store, err := filestore.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := openCluster(t, store)
	span := wal.Range{Start: 64 * mib, End: 128 * mib}
	o := object(repository.KindSegment, 1, 64*mib, span)
	plain := bytes.Repeat(noise("", mib).content, 64)
	e := encode(t, compression.S2(), o, plain)
	if len(e.Body) < 33*mib {
		t.Fatal("the segment shrank")
	}
	for range 2 {
		if err := c.PutWAL(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.ReadSegment(t.Context(), 64*mib, wal.SegmentID{Timeline: 1, Number: 1})
	if err != nil || !bytes.Equal(got, plain) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	rec, tars, err := writeBackup(t, c, compression.Zstd(), smallDirectory())
	if err != nil {
		t.Fatal(err)
	}
	if err := readBackup(t, c, rec, tars); err != nil {
		t.Error(err)
	}
}

// TestS2ByHand: what stands behind the header is an s2 stream for the stock tool.
func TestS2ByHand(t *testing.T) {
	span := r(mib, mib+100_000)
	e := encode(t, compression.S2(), object(repository.KindPiece, 1, segSize, span), walBytes(span))
	if !strings.HasPrefix(string(e.Body[repository.HeaderSize:]), "\xff\x06\x00\x00S2sTwO") {
		t.Errorf("got %x", e.Body[repository.HeaderSize:][:10])
	}
}

func BenchmarkPackFrames(b *testing.B) {
	stored := noise("", 300_000).content
	c := openCluster(b, &nullStore{memory.New()})
	start := startBackup(nil)
	start.PartSize, start.Uploads = 0, 0
	w, err := c.NewBackup(context.Background(), start)
	if err != nil {
		b.Fatal(err)
	}
	p, err := w.NewPack("base")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(mib)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Frame(context.Background(), stored, mib); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	_ = p.Abort(context.Background())
}

// nullStore drops what is sent in parts.
type nullStore struct{ storage.Store }

type nullUpload struct{}

func (nullStore) Begin(context.Context, storage.Key) (storage.Upload, error) {
	return nullUpload{}, nil
}
func (nullUpload) Part(context.Context, int, []byte) error { return nil }
func (nullUpload) Commit(context.Context) error            { return nil }
func (nullUpload) Abort(context.Context) error             { return nil }

// BenchmarkTable reads the line of a pack of ten thousand files.
func BenchmarkTable(b *testing.B) {
	c, _ := cluster(b)
	var members []member
	for i := range 10_000 {
		members = append(members, file(fmt.Sprintf("base/5/%d", i), 100))
	}
	rec, _, err := writeBackup(b, c, compression.Zstd(), members)
	if err != nil {
		b.Fatal(err)
	}
	r, err := c.OpenBackup(context.Background(), rec)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Table(context.Background(), r.Packs()[0]); err != nil {
			b.Fatal(err)
		}
	}
}
