package repository_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

// whole returns a repository whose backup can be restored.
func whole(t *testing.T) *memory.Store {
	t.Helper()
	store := frozenStore(t)
	putPiece(t, openCluster(t, store), 1, r(32*mib, 32*mib+1000))
	return store
}

func TestCatchUp(t *testing.T) {
	from, to := whole(t), memory.New()
	if err := repository.CatchUp(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	equalStores(t, from, to)
	// What comes later is copied, what is there is not touched.
	putSegment(t, openCluster(t, from), 2, 41)
	to.Reset()
	if err := repository.CatchUp(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	equalStores(t, from, to)
	if n := to.Count(memory.Put, "") + to.Count(memory.Begin, ""); n != 2 { // the marker is tried each time
		t.Errorf("%d objects were written again: %+v", n, to.Calls())
	}
}

// TestCatchUpMendsABackup: the record is there, and an object that it names is not.
func TestCatchUpMendsABackup(t *testing.T) {
	from := whole(t)
	for _, key := range from.Keys() {
		if !strings.Contains(string(key), "/backups/") || strings.HasSuffix(string(key), "/record.json") {
			continue
		}
		to := whole(t)
		if err := to.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if err := repository.CatchUp(t.Context(), from, to); err != nil {
			t.Errorf("without %s: %v", key, err)
		}
		equalStores(t, from, to)
	}
}

// TestCopyUnfinished: of a backup that has no record yet all is copied that is there, and nothing of an older one that never got its record.
func TestCopyUnfinished(t *testing.T) {
	for name, test := range map[string]struct {
		lacks storage.Key // in from
		older bool
	}{
		"no record":               {lacks: "/record.json"},
		"has its record":          {},
		"newer one is being made": {lacks: "/record.json", older: true},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := whole(t), whole(t)
			var backup []storage.Key
			for _, key := range from.Keys() {
				if !strings.Contains(string(key), "/backups/") {
					continue
				}
				if err := to.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
				if test.lacks != "" && strings.HasSuffix(string(key), string(test.lacks)) {
					if err := from.Delete(t.Context(), key); err != nil {
						t.Fatal(err)
					}
					continue
				}
				backup = append(backup, key)
			}
			if test.older {
				root, _, _ := strings.Cut(string(backup[0]), "/backups/")
				from.Replace(storage.Key(root+"/backups/20990101T000000Z/base-00001.tar.zst"), make([]byte, 40*mib))
			}
			if err := repository.CopyUnfinished(t.Context(), from, to); err != nil {
				t.Fatal(err)
			}
			for _, key := range backup {
				if test.older {
					if err := from.Delete(t.Context(), key); err != nil {
						t.Fatal(err)
					}
				}
			}
			equalStores(t, from, to)
		})
	}
}

func equalStores(t *testing.T, from, to *memory.Store) {
	t.Helper()
	if got, want := to.Keys(), from.Keys(); !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	for _, key := range from.Keys() {
		if !bytes.Equal(from.Bytes(key), to.Bytes(key)) {
			t.Errorf("%s differs", key)
		}
	}
}

// TestCatchUpBrokenOff fails each call in turn. What is there then can be restored from, and the next run completes it.
func TestCatchUpBrokenOff(t *testing.T) {
	from := whole(t)
	for nth := 1; ; nth++ {
		to := memory.New()
		to.Fail(memory.Any, "", nth, errScripted)
		err := repository.CatchUp(t.Context(), from, to)
		if err == nil {
			if nth < 15 {
				t.Errorf("only %d calls were failed", nth-1)
			}
			return
		}
		if !errors.Is(err, errScripted) {
			t.Fatalf("call %d: got %v", nth, err)
		}
		to.Reset()
		checkUsable(t, from, to)
		if err := repository.CatchUp(t.Context(), from, to); err != nil {
			t.Fatalf("after call %d: %v", nth, err)
		}
		equalStores(t, from, to)
	}
}

// checkUsable checks that what to holds of from is in order.
func checkUsable(t *testing.T, from, to *memory.Store) {
	t.Helper()
	keys := to.Keys()
	has := func(pattern func(string) bool) bool {
		return slices.ContainsFunc(keys, func(k storage.Key) bool { return pattern(string(k)) })
	}
	if len(keys) > 0 && !slices.Contains(keys, "pgark.json") {
		t.Errorf("objects without the marker: %v", keys)
	}
	if has(func(k string) bool { return strings.Contains(k, "/wal/00000002/") }) &&
		!has(func(k string) bool { return strings.HasSuffix(k, "/wal/00000002.history") }) {
		t.Errorf("WAL of timeline 2 without its history: %v", keys)
	}
	later := func(k string) bool {
		return strings.HasSuffix(k, "/record.json") || strings.Contains(k, "/beats/")
	}
	if !has(later) {
		return
	}
	for _, key := range from.Keys() {
		k := string(key)
		if (strings.Contains(k, "/wal/") || strings.Contains(k, "/backups/") && has(func(k string) bool { return strings.HasSuffix(k, "/record.json") })) &&
			!slices.Contains(keys, key) {
			t.Errorf("a record or beat is there, %s is not", key)
		}
	}
}

func TestCatchUpRefusesAnotherRepository(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it takes seconds to be sure
		from, to := whole(t), memory.New()
		if _, err := repository.Create(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		before := to.Keys()
		if err := repository.CatchUp(t.Context(), from, to); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("got %v, want storage.ErrConflict", err)
		}
		if after := to.Keys(); !slices.Equal(before, after) {
			t.Errorf("written all the same: %v", after)
		}
	})
}

// TestCatchUpCorrupt: what is damaged is not spread, and holds up nothing else.
func TestCatchUpCorrupt(t *testing.T) {
	for _, part := range []string{"/wal/00000001/000000010000000000000026.zst", "base-00001.tar.zst", "index.zst"} {
		from, to := whole(t), memory.New()
		var bad storage.Key
		for _, key := range from.Keys() {
			if strings.HasSuffix(string(key), part) {
				bad = key
			}
		}
		body := from.Bytes(bad)
		if body == nil {
			t.Fatalf("no %s", part)
		}
		body[len(body)-1] ^= 1
		from.Replace(bad, body)
		err := repository.CatchUp(t.Context(), from, to)
		var corrupt *repository.CorruptError
		if !errors.As(err, &corrupt) || corrupt.Key != bad {
			t.Errorf("%s: got %v, want a *CorruptError for it", part, err)
		}
		keys := to.Keys()
		if slices.Contains(keys, bad) {
			t.Errorf("%s: the damage was spread", part)
		}
		needs := func(key string) bool { // what may not be there without the bad one
			if strings.Contains(string(bad), "/wal/") {
				return strings.Contains(key, "/beats/")
			}
			return strings.HasSuffix(key, "/record.json") || strings.Contains(key, "/beats/")
		}
		for _, key := range from.Keys() {
			switch {
			case needs(string(key)) && slices.Contains(keys, key):
				t.Errorf("%s: %s was copied", part, key)
			case key != bad && strings.Contains(string(key), "/wal/") && !slices.Contains(keys, key):
				t.Errorf("%s: %s was not copied", part, key)
			}
		}
	}
}

// TestCatchUpBackupWithoutItsWAL does not show a backup that cannot be restored.
func TestCatchUpBackupWithoutItsWAL(t *testing.T) {
	from, to := frozenStore(t), memory.New()
	var corrupt *repository.CorruptError
	if err := repository.CatchUp(t.Context(), from, to); !errors.As(err, &corrupt) {
		t.Errorf("got %v, want a *CorruptError", err)
	}
	for _, key := range to.Keys() {
		if strings.HasSuffix(string(key), "/record.json") {
			t.Error("the backup is visible")
		}
	}
}

func TestSameContent(t *testing.T) {
	span := r(mib, 2*mib)
	o := object(repository.KindSegment, 1, segSize, span)
	e := encode(t, compression.Zstd(), o, walBytes(span))
	again := encode(t, twoFrames{Codec: compression.Zstd()}, o, walBytes(span))
	if bytes.Equal(e.Body, again.Body) || !repository.SameContent(encryption.Keys{})(e.Key, e.Body, again.Body) {
		t.Error("the same WAL in another encoding: not the same")
	}
	other := walBytes(span)
	other[5]++
	if repository.SameContent(encryption.Keys{})(e.Key, e.Body, encode(t, compression.Zstd(), o, other).Body) {
		t.Error("other WAL: the same")
	}
	if repository.SameContent(encryption.Keys{})("pgark.json", []byte("a"), []byte("b")) {
		t.Error("other bytes: the same")
	}
}

// TestCatchUpAfterABadReading: one reading of one object comes damaged. That is spread to no copy, and is no conflict, which would leave the copy
// behind for good. The next run brings all.
func TestCatchUpAfterABadReading(t *testing.T) {
	template := whole(t)
	template.Reset()
	if err := repository.CatchUp(t.Context(), template, memory.New()); err != nil {
		t.Fatal(err)
	}
	reads := template.Count(memory.Get, "")
	if reads < 20 {
		t.Fatalf("%d reads only: nothing is tested", reads)
	}
	for _, offset := range []int{0, 30, 60, 200} {
		flip := func(b []byte) []byte {
			b = slices.Clone(b)
			if len(b) > 0 {
				b[offset%len(b)] ^= 1
			}
			return b
		}
		for nth := 1; nth <= reads; nth++ {
			from, to := whole(t), memory.New()
			from.Alter("", nth, flip)
			if err := repository.CatchUp(t.Context(), from, to); errors.Is(err, storage.ErrConflict) {
				t.Fatalf("reading %d of the source, byte %d: got %v", nth, offset, err)
			}
			from.Reset()
			if err := repository.CatchUp(t.Context(), from, to); err != nil {
				t.Fatalf("after reading %d of the source, byte %d: got %v", nth, offset, err)
			}
			equalStores(t, from, to)
			to.Alter("", 1, flip)
			if err := repository.CatchUp(t.Context(), from, to); errors.Is(err, storage.ErrConflict) {
				t.Fatalf("a reading of the copy, byte %d: got %v", offset, err)
			}
		}
	}
}

// TestCatchUpAfterBadReadingsOfTheMarker: several readings with the same wrong bit make no copy another repository's; a marker that is wrong does.
func TestCatchUpAfterBadReadingsOfTheMarker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flip := func(b []byte) []byte {
			b = slices.Clone(b)
			b[len(b)/2] ^= 1
			return b
		}
		from, to := whole(t), memory.New()
		if err := repository.CatchUp(t.Context(), from, to); err != nil {
			t.Fatal(err)
		}
		for nth := 1; nth <= 4; nth++ {
			from.Alter(string(repository.MarkerKey), nth, flip)
		}
		if err := repository.CatchUp(t.Context(), from, to); err != nil {
			t.Errorf("got %v", err)
		}
		marker, err := storage.ReadAll(t.Context(), to, repository.MarkerKey, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		to.Replace(repository.MarkerKey, flip(marker))
		if err := repository.CatchUp(t.Context(), from, to); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("of another repository: got %v", err)
		}
	})
}
