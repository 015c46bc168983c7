package verify_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/verify"
	"github.com/pgark/pgark/wal"
)

// classes are one object of each class of the archive, and another of the same class to be swapped with.
func classes() map[repository.Class][2]storage.Key {
	in := func(rest string) storage.Key { return storage.Key(fmt.Sprintf("%d/%s", system, rest)) }
	backup := func(id, name string) storage.Key { return in("backups/" + id + "/" + name) }
	return map[repository.Class][2]storage.Key{
		repository.ClassMarker:  {"pgark.json", ""},
		repository.ClassHistory: {in("wal/00000002.history"), in("wal/00000003.history")},
		repository.ClassSegment: {in("wal/00000001/000000010000000000000003.zst"), in("wal/00000001/000000010000000000000004.zst")},
		repository.ClassPiece: {
			in("wal/00000002/000000020000000000000007.part/0000000000700000-0000000000720000.zst"),
			in("wal/00000002/000000020000000000000007.part/0000000000720000-0000000000740000.zst"),
		},
		repository.ClassBeat:     {in("beats/20261121T020730Z-00000003-0000000000780000"), ""},
		repository.ClassSync:     {in("sync/20261121T020000Z-in.json"), ""},
		repository.ClassGap:      {in("gaps/00000001-0000000000050000-0000000000100000.json"), ""},
		repository.ClassRecord:   {backup(first, "record.json"), backup(second, "record.json")},
		repository.ClassIndex:    {backup(first, "index.zst"), backup(second, "index.zst")},
		repository.ClassManifest: {backup(first, "backup_manifest.zst"), backup(second, "backup_manifest.zst")},
		repository.ClassPack:     {backup(first, "base-00001.tar.zst"), backup(second, "base-00001.tar.zst")},
		repository.ClassDrill:    {in("drills/20261121T020100Z.json"), in("drills/20261121T020200Z.json")},
		repository.ClassNames:    {in("drills/20261121T020100Z-names.zst"), in("drills/20261121T020200Z-names.zst")},
	}
}

func TestArchiveIsSound(t *testing.T) {
	store := archive(t)
	r := run(t, two(store, store.Clone()), deep())
	if r.Verdict != verify.Sound || len(r.Damage)+len(r.Risks)+len(r.Unusable)+len(r.Notes) > 0 {
		t.Errorf("got %+v", r)
	}
	want := int64(len(objects(store)))
	for _, p := range r.Repositories {
		if p.Listed != want || p.Read != want {
			t.Errorf("%s: listed %d, read %d of %d objects", p.Name, p.Listed, p.Read, want)
		}
	}
	for class, keys := range classes() {
		for _, k := range keys {
			if k != "" && store.Bytes(k) == nil {
				t.Errorf("the archive has no %s %s; it has %v", class, k, store.Keys())
			}
		}
	}
}

// TestFrozenRepositoryIsSound: what the first release of the format wrote is what was written. Its made-up beat speaks of more WAL than there is.
func TestFrozenRepositoryIsSound(t *testing.T) {
	store := memory.New()
	root := os.DirFS("../repository/testdata/v1/repository")
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(root, path)
		store.Replace(storage.Key(path), b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, two(store, nil)[:1], deep())
	if len(r.Damage) != 1 || r.Damage[0].Start != 0x2800000 || r.Damage[0].End != 0x28003E8 || r.Repositories[0].Read != int64(len(objects(store))) {
		t.Errorf("got %+v", r)
	}
}

// ways are the kinds of damage to an object, one of which takes another of its class.
func ways() map[string]func(s *memory.Store, k, other storage.Key) {
	flip := func(b []byte) []byte { b[len(b)/2] ^= 0x10; return b }
	return map[string]func(s *memory.Store, k, other storage.Key){
		"flipped":     func(s *memory.Store, k, _ storage.Key) { s.Replace(k, flip(s.Bytes(k))) },
		"truncated":   func(s *memory.Store, k, _ storage.Key) { s.Replace(k, s.Bytes(k)[:len(s.Bytes(k))-7]) },
		"lengthened":  func(s *memory.Store, k, _ storage.Key) { s.Replace(k, append(s.Bytes(k), 'x')) },
		"zero-length": func(s *memory.Store, k, _ storage.Key) { s.Replace(k, []byte{}) },
		"deleted":     func(s *memory.Store, k, _ storage.Key) { s.Replace(k, nil) },
		"swapped": func(s *memory.Store, k, other storage.Key) {
			if other != "" {
				a, b := s.Bytes(k), s.Bytes(other)
				s.Replace(k, b)
				s.Replace(other, a)
			}
		},
	}
}

// TestDamage guards D1: every way of damage to an object of every class is found and named, put right from the copy, what lay there is kept, and
// then nothing is wrong any more.
func TestDamage(t *testing.T) {
	sound := archive(t)
	for class, keys := range classes() {
		for way, damage := range ways() {
			key, other := keys[0], keys[1]
			if way == "swapped" && other == "" {
				continue // the archive holds one alone
			}
			if testing.Short() && way != "flipped" && way != "deleted" {
				continue
			}
			t.Run(fmt.Sprintf("%s %s", class, way), func(t *testing.T) {
				want := []storage.Key{key}
				if way == "swapped" {
					want = append(want, other)
				}
				primary := sound.Clone()
				damage(primary, key, other)
				bad := primary.Bytes(key)
				r := run(t, two(primary, sound), deep())
				checkNamed(t, r, want)
				if !slices.Equal(r.Damage[0].Elsewhere, []string{"dr"}) {
					if r.Damage[0].Kind != verify.Different {
						t.Errorf("held right by %v, want dr", r.Damage[0].Elsewhere)
					}
				}
				healing := deep()
				healing.Repair, healing.Trust = true, "dr"
				healed := run(t, two(primary, sound), healing)
				if healed.Verdict != verify.Healed {
					t.Fatalf("not healed: %+v", healed)
				}
				if got := run(t, two(primary, sound), deep()); got.Verdict != verify.Sound {
					t.Errorf("after healing: %+v", got)
				}
				if !bytes.Equal(primary.Bytes(key), sound.Bytes(key)) {
					t.Error("the healed object is not that of the copy")
				}
				if older := primary.Older(key); bad != nil && (len(older) != 1 || !bytes.Equal(older[0], bad)) {
					t.Errorf("the damaged object was not kept: %d older versions", len(older))
				}
			})
		}
	}
}

// TestDamagedReading: the record of an earlier verification that is damaged is believed in nothing. What it says was read is read again, and it is said why.
func TestDamagedReading(t *testing.T) {
	readings := func(s *memory.Store) []storage.Key {
		return slices.DeleteFunc(s.Keys(), func(k storage.Key) bool { return !strings.Contains(string(k), "/verify/") })
	}
	for way, damage := range ways() {
		t.Run(way, func(t *testing.T) {
			store := archive(t)
			place := two(store, nil)[:1]
			hours := []time.Duration{2 * time.Hour, time.Hour}
			if way != "swapped" {
				hours = hours[:1]
			}
			for _, ago := range hours {
				run(t, place, verify.Options{SystemID: system, Deep: true, Now: func() time.Time { return time.Now().Add(-ago) }})
			}
			keys := append(readings(store), "")
			if len(keys) != len(hours)+1 {
				t.Fatalf("got records %v", keys)
			}
			damage(store, keys[0], keys[1])
			r := run(t, place, verify.Options{SystemID: system})
			if r.Verdict != verify.Sound {
				t.Errorf("got %+v", r)
			}
			if said := strings.Contains(strings.Join(r.Notes, "\n"), string(keys[0])); said != (way != "deleted") {
				t.Errorf("it is said: %t, in %q", said, r.Notes)
			}
			if again := int64(len(objects(store))); r.Repositories[0].Read != again {
				t.Errorf("read %d of %d objects again", r.Repositories[0].Read, again)
			}
		})
	}
}

// checkNamed checks that the report names these objects and no other.
func checkNamed(t testing.TB, r verify.Report, want []storage.Key) {
	t.Helper()
	var got []storage.Key
	for _, d := range r.Damage {
		if !slices.Contains(got, d.Key) {
			got = append(got, d.Key)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("named %v, want %v", got, want)
	}
	if r.Verdict == verify.Sound || r.Verdict == verify.Healed {
		t.Errorf("verdict %s", r.Verdict)
	}
}

// TestOlderVersion guards D1: an object in whose place an earlier, whole one was put back is found. What has a hash elsewhere is known to be the
// wrong one; of the others it is not known which is right, and nothing is changed until a person says whom to believe.
func TestOlderVersion(t *testing.T) {
	sound, earlier := archive(t), memory.New()
	r, err := repository.Create(t.Context(), earlier)
	if err != nil {
		t.Fatal(err)
	}
	c := r.Cluster(system)
	for _, o := range []repository.WALObject{
		{SystemID: system, Timeline: 1, SegmentSize: segSize, Kind: repository.KindSegment, Range: segSize.Range(3)},
		{SystemID: system, Timeline: 2, SegmentSize: segSize, Kind: repository.KindPiece, Range: wal.Range{Start: 0x700000, End: 0x720000}},
	} {
		putSeeded(t, c, o, 7)
	}
	putBackup(t, c, first, 0x200028+0x100000, "")
	if err := c.PutHistory(t.Context(), 2, []byte(strings.Replace(history2, "58", "59", 1))); err != nil {
		t.Fatal(err)
	}
	for class, keys := range classes() {
		old := earlier.Bytes(keys[0])
		if old == nil {
			continue // of this class there never was another
		}
		t.Run(string(class), func(t *testing.T) {
			primary := sound.Clone()
			primary.Replace(keys[0], old)
			decided := slices.Contains([]repository.Class{
				repository.ClassHistory, repository.ClassRecord, repository.ClassIndex, repository.ClassManifest, repository.ClassPack,
			}, class)
			r := run(t, two(primary, sound), deep())
			checkNamed(t, r, []storage.Key{keys[0]})
			healing := deep()
			healing.Repair = true
			if got := run(t, two(primary, sound), healing); decided != (got.Verdict == verify.Healed) {
				t.Errorf("decided %t, got %+v", decided, got)
			}
			if !decided && !bytes.Equal(primary.Bytes(keys[0]), old) {
				t.Error("it was changed though nobody said which is right")
			}
			healing.Trust = "dr"
			run(t, two(primary, sound), healing)
			if got := run(t, two(primary, sound), deep()); got.Verdict != verify.Sound {
				t.Errorf("after healing: %+v", got)
			}
			if older := primary.Older(keys[0]); len(older) != 1 || !bytes.Equal(older[0], old) {
				t.Error("what lay there was not kept")
			}
		})
	}
}

// TestFlips guards D1: flips of random bits in random objects are all found, and the object is named.
func TestFlips(t *testing.T) {
	flips, seed := number(t, "PGARK_TEST_FLIPS", 2000), number(t, "PGARK_TEST_SEED", 4)
	if testing.Short() {
		flips = 60
	}
	sound := archive(t)
	keys := objects(sound)
	primary := sound.Clone()
	random := rand.New(rand.NewPCG(uint64(seed), 2))
	named := 0
	for i := range flips {
		key := keys[random.IntN(len(keys))]
		good := primary.Bytes(key)
		bad := bytes.Clone(good)
		at, bit := random.IntN(len(bad)), random.IntN(8)
		bad[at] ^= 1 << bit
		primary.Replace(key, bad)
		r := run(t, two(primary, sound), deep())
		if len(r.Damage) != 1 || r.Damage[0].Key != key || r.Verdict == verify.Sound {
			t.Fatalf("flip %d, bit %d of byte %d of %s: got %s, %+v", i, bit, at, key, r.Verdict, r.Damage)
		}
		primary.Replace(key, good)
		named++
	}
	t.Logf("%d flips in %d objects, seed %d: %d found and named", flips, len(keys), seed, named)
}

// number reads a number from the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
