package backup_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/wal"
)

// eventful is a source whose backup makes every kind of storage call: two packs, one of them in parts; with -short
// there is no need of parts.
func eventful() *fakeSource {
	size := int64(17 << 20)
	if testing.Short() {
		size = 2 << 20
	}
	src := newSource(append(files("base/5", 100, 300<<10), fakeFile{path: "base/5/noise", kind: repository.TypeFile, size: size, noise: true})...)
	src.start.Tablespaces = []repository.Tablespace{{OID: 16400, Path: "/srv/one"}}
	src.archives = append([]fakeArchive{{tablespace: 16400, files: files("PG_15_202209061", 5)}}, src.archives...)
	return src
}

// checkNone checks that no backup is visible, and that the next one succeeds and is whole.
func checkNone(t *testing.T, what string, c *repository.Cluster) {
	t.Helper()
	if all, err := c.Backups(t.Context()); err != nil || len(all) != 0 {
		t.Fatalf("%s: visible: %v, %v", what, all, err)
	}
	src := newSource(files("base/5", 100, 300<<10)...)
	b, err := backup.Run(t.Context(), src, c, backup.Options{WaitDurable: durable})
	if err != nil {
		t.Fatalf("%s: the next backup: %v", what, err)
	}
	checkBackup(t, c, b, src)
}

// TestRunEachCallFails lets each storage call fail in turn: before it does anything, and after it was
// done with its answer lost.
func TestRunEachCallFails(t *testing.T) {
	store := memory.New()
	c := newCluster(t, store)
	store.Reset()
	if _, err := backup.Run(t.Context(), eventful(), c, backup.Options{WaitDurable: durable}); err != nil {
		t.Fatal(err)
	}
	calls := len(store.Calls())
	if calls < 7 {
		t.Fatalf("the backup made %d calls only", calls)
	}
	step := 1
	if testing.Short() {
		step = 3
	}
	kinds := map[string]func(s *memory.Store, nth int){
		"denied": func(s *memory.Store, nth int) { s.Fail(memory.Any, "", nth, storage.ErrDenied) },
		"lost":   func(s *memory.Store, nth int) { s.LoseResponse(memory.Any, "", nth) },
	}
	for kind, fail := range kinds {
		t.Run(kind, func(t *testing.T) {
			for nth := 1 + len(kind)%step; nth <= calls; nth += step { // other calls in each kind
				store := memory.New()
				c := newCluster(t, store)
				store.Reset()
				fail(store, nth)
				src := eventful()
				b, err := backup.Run(t.Context(), src, c, backup.Options{WaitDurable: durable})
				failed := store.Calls()[nth-1]
				store.Reset()
				if nameless := kind == "lost" && failed.Op == memory.Begin; len(store.Uploads()) > 0 && !nameless {
					t.Errorf("call %d, %s %s: uploads left: %v", nth, failed.Op, failed.Key, store.Uploads())
				}
				if err == nil {
					checkBackup(t, c, b, src)
					continue
				}
				if cause := errors.Is(err, storage.ErrDenied) || errors.Is(err, storage.ErrUnavailable); !cause {
					t.Errorf("call %d, %s %s: got %v", nth, failed.Op, failed.Key, err)
				}
				// A record whose answer was lost may be there; then the backup is whole.
				if all, listErr := c.Backups(t.Context()); listErr == nil && len(all) == 1 && strings.HasSuffix(string(failed.Key), "/record.json") {
					checkBackup(t, c, all[0], src)
					continue
				}
				checkNone(t, string(failed.Op)+" "+string(failed.Key), c)
			}
		})
	}
}

// A store that loses one answer in turn does not harm a backup behind the retry loop.
func TestRunRetries(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 3
	}
	for nth := 1; nth <= 11; nth += step {
		store := memory.New()
		c := newCluster(t, retry.New(store, retry.Options{}))
		store.Reset()
		store.LoseResponse(memory.Any, "", nth)
		src := eventful()
		b, err := backup.Run(t.Context(), src, c, backup.Options{WaitDurable: durable})
		if err != nil {
			t.Fatalf("call %d: %v", nth, err)
		}
		checkBackup(t, c, b, src)
	}
}

// mortal is a store whose process is killed: from some call on nothing reaches it any more.
type mortal struct {
	storage.Store

	left atomic.Int64
}

var errKilled = errors.New("killed")

// alive counts a call; the one that is last may be done without an answer.
func (m *mortal) alive() error {
	if m.left.Add(-1) < 0 {
		return errKilled
	}
	return nil
}

func (m *mortal) Put(ctx context.Context, key storage.Key, body []byte) error {
	if err := m.alive(); err != nil {
		return err
	}
	return m.Store.Put(ctx, key, body)
}

func (m *mortal) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	if err := m.alive(); err != nil {
		return nil, err
	}
	return m.Store.Get(ctx, key, span)
}

func (m *mortal) Stat(ctx context.Context, key storage.Key) (storage.Info, error) {
	if err := m.alive(); err != nil {
		return storage.Info{}, err
	}
	return m.Store.Stat(ctx, key)
}

func (m *mortal) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	if err := m.alive(); err != nil {
		return func(yield func(storage.Info, error) bool) { yield(storage.Info{}, err) }
	}
	return m.Store.List(ctx, prefix, after)
}

func (m *mortal) Delete(ctx context.Context, key storage.Key) error {
	if err := m.alive(); err != nil {
		return err
	}
	return m.Store.Delete(ctx, key)
}

func (m *mortal) Begin(ctx context.Context, key storage.Key) (storage.Upload, error) {
	if err := m.alive(); err != nil {
		return nil, err
	}
	u, err := m.Store.Begin(ctx, key)
	return &mortalUpload{Upload: u, mortal: m}, err
}

type mortalUpload struct {
	storage.Upload

	mortal *mortal
}

func (u *mortalUpload) Part(ctx context.Context, n int, body []byte) error {
	if err := u.mortal.alive(); err != nil {
		return err
	}
	return u.Upload.Part(ctx, n, body)
}

func (u *mortalUpload) Commit(ctx context.Context) error {
	if err := u.mortal.alive(); err != nil {
		return err
	}
	return u.Upload.Commit(ctx)
}

func (u *mortalUpload) Abort(ctx context.Context) error {
	if err := u.mortal.alive(); err != nil {
		return err
	}
	return u.Upload.Abort(ctx)
}

// TestRunKilled kills the backup between any two storage calls: what it leaves is invisible, and the next
// backup succeeds beside it.
func TestRunKilled(t *testing.T) {
	for calls := int64(0); ; calls++ {
		store := memory.New()
		newCluster(t, store)
		dying := &mortal{Store: store}
		dying.left.Store(1000)
		c := emptyCluster(t, dying)
		dying.left.Store(calls)
		_, err := backup.Run(t.Context(), eventful(), c, backup.Options{WaitDurable: durable})
		store.Crash()
		if err == nil {
			if calls < 7 {
				t.Errorf("only %d calls were made", calls)
			}
			return
		}
		if !errors.Is(err, errKilled) {
			t.Errorf("killed after %d calls: got %v", calls, err)
		}
		checkNone(t, "killed", emptyCluster(t, store))
	}
}

// TestRunCancelled ends the context at random points of the stream.
func TestRunCancelled(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for range 8 {
		store := memory.New()
		c := newCluster(t, store)
		before := store.Keys()
		ctx, cancel := context.WithCancel(t.Context())
		after := random.Int64N(2 << 20)
		if !testing.Short() {
			after = random.Int64N(17 << 20)
		}
		_, err := backup.Run(ctx, eventful(), c, backup.Options{
			WaitDurable: durable,
			Progress: func(p backup.Progress) {
				if p.Done >= after {
					cancel()
				}
			},
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("seed %d, cancelled after %d bytes: got %v", seed, after, err)
		}
		if keys := store.Keys(); !slices.Equal(keys, before) || len(store.Uploads()) > 0 {
			t.Errorf("seed %d, cancelled after %d bytes: left behind %v, %v", seed, after, keys, store.Uploads())
		}
	}
}

// A store that cannot delete keeps what a failed backup left; it is no backup, and no hindrance.
func TestRunAbortDenied(t *testing.T) {
	store := memory.New()
	c := newCluster(t, store)
	store.Fail(memory.Delete, "", 0, storage.ErrDenied)
	src := eventful()
	src.stop.Timeline = 2
	if _, err := backup.Run(t.Context(), src, c, backup.Options{WaitDurable: durable}); err == nil || errors.Is(err, storage.ErrDenied) {
		t.Errorf("got %v, want the cause and not the clearing's", err)
	}
	checkNone(t, "abort denied", c)
}

// Two processes that begin in the same second may not see each other: the one that finds a pack of the
// other fails and touches nothing of it.
func TestRunTwoProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		c := newCluster(t, store)
		first, second := newSource(files("base/5", 100)...), newSource(files("base/5", 101)...)
		var secondErr error
		b, err := backup.Run(t.Context(), first, c, backup.Options{WaitDurable: func(ctx context.Context, _ wal.TimelineID, _ wal.LSN) error {
			show := store.Hide("*/backups/*")
			defer show()
			_, secondErr = backup.Run(ctx, second, c, backup.Options{WaitDurable: durable})
			return nil
		}})
		if err != nil || secondErr == nil {
			t.Fatalf("first: got %v; second: got %v, want an error", err, secondErr)
		}
		checkBackup(t, c, b, first)
	})
}

// TestRunHugeFile backs up a file that is far larger than the memory it may take.
func TestRunHugeFile(t *testing.T) {
	if testing.Short() {
		t.Skip("a file of 3 GiB is not for -short")
	}
	size := int64(3 << 30)
	src := newSource(fakeFile{path: "base/5/16384", kind: repository.TypeFile, size: size})
	store := memory.New()
	c := newCluster(t, store)
	var most uint64
	var frames int
	b, err := backup.Run(t.Context(), src, c, backup.Options{
		WaitDurable: durable,
		Progress: func(backup.Progress) {
			if frames++; frames%100 == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if b.Plain < size {
		t.Errorf("plain: got %d", b.Plain)
	}
	if most -= min(most, uint64(2*b.Stored)); most > 160<<20 { // the store holds the parts and the object
		t.Errorf("heap in use: got %d MiB, want at most 160", most>>20)
	}
	r, err := c.OpenBackup(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	packs := r.Packs()
	if len(packs) != 3 { // what comes before and after, and the file alone
		t.Errorf("packs: got %d", len(packs))
	}
	for _, p := range packs {
		table, err := r.Table(t.Context(), p)
		if err == nil {
			err = r.VerifyPack(t.Context(), table)
		}
		if err != nil {
			t.Error(err)
		}
	}
}
