package repository_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// archive is a repository with an object of each class, and what reading all of it gives.
func archive(t testing.TB) (*memory.Store, string) {
	t.Helper()
	c, store := cluster(t)
	for n := wal.SegmentNumber(1); n < 4; n++ {
		putSegment(t, c, 1, n)
	}
	putPiece(t, c, 1, r(4*mib, 4*mib+500))
	putPiece(t, c, 1, r(4*mib+500, 4*mib+900))
	putPiece(t, c, 2, r(4*mib, 4*mib+700))
	if err := c.PutHistory(t.Context(), 2, []byte("1\t0/400200\tno recovery target specified\n")); err != nil {
		t.Fatal(err)
	}
	gap := repository.Gap{Timeline: 1, Range: r(8*mib, 9*mib), Cause: repository.CauseSlotLost, FirstSeen: modTime, ServerFlush: 9 * mib}
	if err := c.PutGap(t.Context(), gap); err != nil {
		t.Fatal(err)
	}
	if _, _, err := writeBackup(t, c, compression.Zstd(), smallDirectory()); err != nil {
		t.Fatal(err)
	}
	said, err := readAll(t, c)
	if err != nil {
		t.Fatal(err)
	}
	return store, said
}

// readAll reads every object of a cluster that a restore may need, and says what it read.
func readAll(t testing.TB, c *repository.Cluster) (string, error) {
	t.Helper()
	var s strings.Builder
	backups, err := c.Backups(t.Context())
	if err != nil {
		return "", err
	}
	for _, b := range backups {
		fmt.Fprintln(&s, b.ID, b.Index.SHA256)
		held, err := c.DataInventory(t.Context(), b)
		if err != nil {
			return "", err
		}
		if len(held.Lacks) > 0 {
			return "", fmt.Errorf("inventory: %v", held.Lacks)
		}
		reader, err := c.OpenBackup(t.Context(), b)
		if err != nil {
			return "", err
		}
		raw, err := reader.Manifest(t.Context())
		if err != nil {
			return "", err
		}
		fmt.Fprintln(&s, sum(raw))
		for _, p := range reader.Packs() {
			table, err := reader.Table(t.Context(), p)
			if err != nil {
				return "", err
			}
			stored, err := reader.ReadRuns(t.Context(), table, 0, table.RunCount())
			if err != nil {
				return "", err
			}
			fmt.Fprintln(&s, p.Name, sum(stored))
		}
	}
	gaps, err := c.Gaps(t.Context())
	if err != nil {
		return "", err
	}
	fmt.Fprintln(&s, gaps)
	histories, err := c.Histories(t.Context())
	if err != nil {
		return "", err
	}
	fmt.Fprintln(&s, histories)
	timelines, err := c.Timelines(t.Context())
	if err != nil {
		return "", err
	}
	for _, tli := range timelines {
		for e, err := range c.ListWAL(t.Context(), tli, 0) {
			if err != nil {
				return "", err
			}
			h, err := c.ReadHeader(t.Context(), e)
			if err != nil {
				return "", err
			}
			plain, err := c.ReadWAL(t.Context(), e)
			if err != nil {
				return "", err
			}
			fmt.Fprintln(&s, e.Key, h.Range, sum(plain))
		}
	}
	return s.String(), nil
}

func sum(b []byte) string { return fmt.Sprintf("%x", b[:min(len(b), 8)]) + fmt.Sprint(len(b)) }

func sources(t testing.TB, stores ...storage.Store) (*repository.Cluster, *repository.Sources) {
	t.Helper()
	names := []string{"primary", "dr", "near"}
	var list []repository.Source
	for i, store := range stores {
		list = append(list, repository.Source{Name: names[i], Store: store})
	}
	repo, s, err := repository.OpenSources(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	return repo.Cluster(system), s
}

// TestSources guards I25: an object of any class that one repository holds damaged, or lost, is read from the copy, and it is said which; where both
// hold it damaged nothing of it is read.
func TestSources(t *testing.T) {
	whole, want := archive(t)
	keys := whole.Keys()
	another := map[storage.Key]storage.Key{} // an object of the same class
	class := func(key storage.Key) string { return string(key[strings.LastIndexByte(string(key), '.'):]) }
	for i, key := range keys {
		for _, other := range append(slices.Clone(keys[i+1:]), keys[:i]...) {
			if class(other) == class(key) && another[key] == "" {
				another[key] = other
			}
		}
	}
	faults := map[string]func(store *memory.Store, key storage.Key){
		"flipped": func(store *memory.Store, key storage.Key) {
			b := store.Bytes(key)
			at := 2 * len(b) / 5
			if strings.HasSuffix(string(key), ".history") {
				at = 0 // elsewhere it may be another history that can be read: TestSourcesDisagree
			}
			b[at] ^= 0x40
			store.Replace(key, b)
		},
		"cut": func(store *memory.Store, key storage.Key) {
			b := store.Bytes(key)
			n := len(b) / 3
			if strings.HasSuffix(string(key), ".history") {
				n = 2 // behind that it is another history
			}
			store.Replace(key, b[:n])
		},
		"zero-length": func(store *memory.Store, key storage.Key) { store.Replace(key, []byte{}) },
		"lost":        func(store *memory.Store, key storage.Key) { store.Replace(key, nil) },
		"swapped": func(store *memory.Store, key storage.Key) {
			if other := another[key]; other != "" {
				store.Replace(key, store.Bytes(other))
				return
			}
			store.Replace(key, []byte("something else"))
		},
	}
	names := slices.Sorted(maps.Keys(faults))
	for n, name := range names {
		for i, key := range keys {
			if testing.Short() && i%len(names) != n {
				continue
			}
			fault := faults[name]
			primary, dr := whole.Clone(), whole.Clone()
			fault(primary, key)
			c, s := sources(t, primary, dr)
			got, err := readAll(t, c)
			if err != nil || got != want {
				t.Errorf("%s, %s: %v; got\n%swant\n%s", key, name, err, got, want)
			}
			list, all := s.Substitutes()
			if key == repository.MarkerKey {
				if away := s.Away(); len(away) != 1 || away[0].Source != "primary" || all != 0 {
					t.Errorf("%s, %s: left out %v, substitutes %v", key, name, away, list)
				}
				continue
			}
			if all != 1 || list[0].Key != key || list[0].Source != "dr" || list[0].Faults[0].Source != "primary" || len(s.Away()) != 0 {
				t.Errorf("%s, %s: got substitutes %v, away %v", key, name, list, s.Away())
			}

			fault(dr, key)
			c, _ = sources(t, primary, dr)
			if got, err = readAll(t, c); err == nil && got == want {
				t.Errorf("%s, %s in both: nothing was found", key, name)
			}
			if err != nil && strings.HasPrefix(err.Error(), "inventory:") {
				continue // named by its size already
			}
			if name != "lost" && (err == nil || !strings.Contains(err.Error(), "primary: ") || !strings.Contains(err.Error(), "dr: ")) {
				t.Errorf("%s, %s in both: got %v, want what each said", key, name, err)
			}
		}
	}
}

// TestSourcesBeat: the newest sign of life is read from the copy where the first repository holds it damaged, aloud, and one that is replaced just now is no damage.
func TestSourcesBeat(t *testing.T) {
	c, store := cluster(t)
	want := beat(10, 500)
	if err := c.PutBeat(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	name := string(repository.BeatName(want))
	for what, change := range map[string]func(store *memory.Store, key storage.Key){
		"damaged":  func(store *memory.Store, key storage.Key) { store.Replace(key, []byte("{}")) },
		"replaced": func(store *memory.Store, key storage.Key) { store.Replace(key, nil) },
	} {
		primary, dr := store.Clone(), store.Clone()
		for _, key := range primary.Keys() {
			if strings.HasSuffix(string(key), name) {
				change(primary, key)
			}
		}
		c, s := sources(t, primary, dr)
		if got, found, err := c.NewestBeat(t.Context()); err != nil || !found || got != want {
			t.Errorf("%s: got %v, %t, %v", what, got, found, err)
		}
		if list, all := s.Substitutes(); (all > 0) != (what == "damaged") {
			t.Errorf("%s: got substitutes %v", what, list)
		}
	}
}

// TestSourcesEachOtherHalf: neither repository is whole, both together are.
func TestSourcesEachOtherHalf(t *testing.T) {
	whole, want := archive(t)
	primary, dr := whole.Clone(), whole.Clone()
	for i, key := range whole.Keys() {
		if key == repository.MarkerKey {
			continue
		}
		if i%2 == 0 {
			primary.Replace(key, nil)
			continue
		}
		dr.Replace(key, dr.Bytes(key)[:1])
	}
	c, _ := sources(t, primary, dr)
	if got, err := readAll(t, c); err != nil || got != want {
		t.Errorf("%v; got\n%swant\n%s", err, got, want)
	}
}

// TestSourcesDisagree: nothing proves the bytes of a history file. Two that differ in a switch point are refused, not chosen from.
func TestSourcesDisagree(t *testing.T) {
	whole, want := archive(t)
	key := storage.Key(system.String() + "/wal/00000002.history")
	for text, right := range map[string]bool{"1\t0/400200\tother words\n": true, "1\t0/400300\tno recovery target specified\n": false} {
		primary := whole.Clone()
		primary.Replace(key, []byte(text))
		c, _ := sources(t, primary, whole)
		_, _, err := c.History(t.Context(), 2)
		var corrupt *repository.CorruptError
		if !right && (!errors.As(err, &corrupt) || corrupt.Key != key) || right && err != nil {
			t.Errorf("%q: got %v", text, err)
		}
	}
	c, _ := sources(t, whole)
	if got, err := readAll(t, c); err != nil || got != want {
		t.Errorf("one source: %v, %s", err, got)
	}
}

// TestSourceAway: a source that does not answer is left out as long as another does, absence is then no proof, and when none answers that
// is the error.
func TestSourceAway(t *testing.T) {
	whole, want := archive(t)
	for _, op := range []memory.Op{memory.Any, memory.Get, memory.List} {
		primary, dr := whole.Clone(), whole.Clone()
		primary.Fail(op, "", 0, storage.ErrUnavailable)
		c, s := sources(t, primary, dr)
		if got, err := readAll(t, c); err != nil || got != want {
			t.Errorf("%s: %v; got\n%swant\n%s", op, err, got, want)
		}
		if op == memory.Any {
			if away := s.Away(); len(away) != 1 || away[0].Source != "primary" || !errors.Is(away[0].Err, storage.ErrUnavailable) {
				t.Errorf("%s: away: %v", op, away)
			}
			_, err := c.ReadSegment(t.Context(), segSize, wal.SegmentID{Timeline: 1, Number: 40})
			if !errors.Is(err, repository.ErrNoWAL) || c.AbsenceProved() == nil {
				t.Errorf("%s: absent: %v, proved: %v", op, err, c.AbsenceProved())
			}
		}
		if list, all := s.Substitutes(); all != 0 {
			t.Errorf("%s: got substitutes %v of a source that says nothing", op, list)
		}
		dr.Fail(memory.Any, "", 0, storage.ErrUnavailable)
		if _, err := readAll(t, c); !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, repository.ErrNoWAL) {
			t.Errorf("%s: both away: %v", op, err)
		}
	}
	first, dr := whole.Clone(), whole.Clone()
	dr.Fail(memory.Any, "", 0, storage.ErrUnavailable)
	c, _ := sources(t, first, dr)
	if _, err := c.ReadSegment(t.Context(), segSize, wal.SegmentID{Timeline: 1, Number: 40}); !errors.Is(err, repository.ErrNoWAL) || c.AbsenceProved() != nil {
		t.Errorf("a copy is away: absent: %v, proved: %v", err, c.AbsenceProved())
	}
	first.Replace(entries(t, openCluster(t, whole), 1, 0)[0].Key, []byte("damaged"))
	_, err := c.ReadSegment(t.Context(), segSize, wal.SegmentID{Timeline: 1, Number: 1})
	if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, repository.ErrNoWAL) {
		t.Errorf("damaged, and the copy is away: %v", err)
	}
}

// TestSourceHangs: one that never answers does not hold a restore up.
func TestSourceHangs(t *testing.T) {
	whole, want := archive(t)
	for _, op := range []memory.Op{memory.Get, memory.List} {
		primary := whole.Clone()
		c, s := sources(t, primary, whole)
		if _, err := c.Timelines(t.Context()); err != nil { // both were looked at
			t.Fatal(err)
		}
		repository.SetPatience(s, 50*time.Millisecond)
		release := primary.Hang(op, "*/*")
		if got, err := readAll(t, c); err != nil || got != want {
			t.Errorf("%s: %v; got\n%swant\n%s", op, err, got, want)
		}
		release()
	}
}

// TestSourcesSlow: a link that is slow to all of them is no outage. Once that is known each object is asked for once.
func TestSourcesSlow(t *testing.T) {
	whole, _ := archive(t)
	primary, dr := whole.Clone(), whole.Clone()
	c, s := sources(t, primary, dr)
	if _, err := c.Timelines(t.Context()); err != nil { // both were looked at
		t.Fatal(err)
	}
	repository.SetPatience(s, 20*time.Millisecond)
	for _, store := range []*memory.Store{primary, dr} {
		store.Delay(memory.Get, "*/*", 100*time.Millisecond)
	}
	for again := range 2 {
		primary.Reset()
		dr.Reset()
		for _, store := range []*memory.Store{primary, dr} {
			store.Delay(memory.Get, "*/*", 100*time.Millisecond)
		}
		if _, err := c.ReadSegment(t.Context(), segSize, wal.SegmentID{Timeline: 1, Number: 1}); err != nil {
			t.Fatal(err)
		}
		if n := primary.Count(memory.Get, "") + dr.Count(memory.Get, ""); again == 0 && n < 3 || again == 1 && n > 2 {
			t.Errorf("reading %d: asked %d times", again, n)
		}
	}
}

// stutterStore fails each list after a few keys.
type stutterStore struct {
	storage.Store

	keys int
}

func (s *stutterStore) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		n := 0
		for info, err := range s.Store.List(ctx, prefix, after) {
			if n++; n > s.keys {
				yield(storage.Info{}, storage.ErrUnavailable)
				return
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// TestSourcesList: the union, in order, each key once, also when a list breaks off; and sizes that differ are not known.
func TestSourcesList(t *testing.T) {
	whole, _ := archive(t)
	primary, dr := whole.Clone(), whole.Clone()
	segment := entries(t, openCluster(t, whole), 1, 0)[1]
	dr.Replace(segment.Key, []byte{})
	for _, first := range []storage.Store{primary, &stutterStore{primary, 3}} {
		_, s := sources(t, first, dr)
		var got []storage.Key
		for info, err := range s.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.Key)
			if first == storage.Store(primary) && (info.Size == 0) != (info.Key == segment.Key) {
				t.Errorf("%s: size %d", info.Key, info.Size)
			}
		}
		if !slices.Equal(got, whole.Keys()) {
			t.Errorf("got %v, want %v", got, whole.Keys())
		}
	}
	_, s := sources(t, &stutterStore{primary, 3}, &stutterStore{dr, 5})
	var last error
	for _, err := range s.List(t.Context(), "", "") {
		last = err
	}
	if !errors.Is(last, storage.ErrUnavailable) {
		t.Errorf("both break off: got %v", last)
	}
}

// TestSourcesOfAnother: a source that holds another repository gives nothing.
func TestSourcesOfAnother(t *testing.T) {
	whole, want := archive(t)
	other, _ := archive(t)
	key := entries(t, openCluster(t, whole), 1, 0)[0].Key
	other.Replace(key, nil)
	c, s := sources(t, whole, other)
	if got, err := readAll(t, c); err != nil || got != want {
		t.Errorf("%v: got %s", err, got)
	}
	if away := s.Away(); len(away) != 1 || away[0].Source != "dr" || !strings.Contains(away[0].Err.Error(), "it holds repository") {
		t.Errorf("away: %v", away)
	}
	damaged := whole.Clone()
	damaged.Replace(key, []byte("x"))
	c, _ = sources(t, damaged, other)
	if _, err := readAll(t, c); err == nil {
		t.Error("an object came from another repository")
	}
	if _, _, err := repository.OpenSources(t.Context(), []repository.Source{{Name: "a", Store: memory.New()}, {Name: "b", Err: io.EOF}}); !errors.Is(err, repository.ErrNoRepository) {
		t.Errorf("nothing anywhere: %v", err)
	}
}

// TestSourcesAreReadOnly: nothing is written through them.
func TestSourcesAreReadOnly(t *testing.T) {
	whole, _ := archive(t)
	c, s := sources(t, whole)
	_, begun := s.Begin(t.Context(), "x")
	if s.Put(t.Context(), "x", nil) == nil || begun == nil || s.Delete(t.Context(), "x") == nil {
		t.Error("a write was taken")
	}
	if err := c.PutHistory(t.Context(), 3, []byte("1\t0/300000\tx\n")); err == nil {
		t.Error("a history was put")
	}
}

// heldMarker is a store that gives its marker only once it is released.
type heldMarker struct {
	*memory.Store

	reached, release chan struct{} // nil: at once
}

func (h *heldMarker) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	if key == repository.MarkerKey && h.reached != nil {
		close(h.reached)
		<-h.release
	}
	return h.Store.Get(ctx, key, span)
}

// TestSourceLeftOutOfAList: what a list without the primary may have hidden is not forgotten because another reading reached it meanwhile, until the same is listed with it.
func TestSourceLeftOutOfAList(t *testing.T) {
	for _, how := range []string{"the list fails", "passed over after a failure"} {
		primary, _ := archive(t)
		behind := primary.Clone()
		last := entries(t, openCluster(t, primary), 1, 0)[2].Key
		if err := behind.Delete(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		held := &heldMarker{Store: primary}
		c, s := sources(t, held, behind)
		has := func() bool {
			found := false
			for o, err := range c.Stock(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				found = found || o.Key == last
			}
			return found
		}
		if !has() {
			t.Fatal("the primary's newest is not listed")
		}
		held.reached, held.release = make(chan struct{}), make(chan struct{})
		// Another goroutine's reading is on its way at the primary while the list fails there.
		read := make(chan error)
		go func() {
			_, err := s.Get(t.Context(), repository.MarkerKey, storage.All())
			read <- err
		}()
		<-held.reached
		if how == "the list fails" {
			primary.Fail(memory.List, "", 1, storage.ErrDenied)
		} else { // a reading does, and the primary is passed over for a while
			primary.Fail(memory.Get, string(last), 1, storage.ErrDenied)
			if _, err := s.Get(t.Context(), last, storage.All()); err == nil {
				t.Fatal("the copy has it")
			}
		}
		if has() {
			t.Fatalf("%s: the primary's newest is listed", how)
		}
		close(held.release)
		if err := <-read; err != nil {
			t.Fatal(err)
		}
		if away := s.Away(); len(away) != 1 || away[0].Source != "primary" || !errors.Is(away[0].Err, storage.ErrDenied) || !errors.Is(c.AbsenceProved(), storage.ErrDenied) {
			t.Errorf("%s: away %v, proved: %v", how, away, c.AbsenceProved())
		}
		held.reached = nil
		if _, err := readAll(t, c); err != nil { // lists of less
			t.Fatal(err)
		}
		if away := s.Away(); len(away) != 1 || c.AbsenceProved() == nil {
			t.Errorf("%s, and lists of less came whole: away %v, proved: %v", how, away, c.AbsenceProved())
		}
		if !has() || len(s.Away()) > 0 || c.AbsenceProved() != nil {
			t.Errorf("%s, and later it did not: away %v, proved: %v", how, s.Away(), c.AbsenceProved())
		}
	}
}
