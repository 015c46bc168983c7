package repository_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

func reading(ended time.Time, read ...repository.Fingerprint) repository.Reading {
	return repository.Reading{
		Place: "s3://bucket/main", Began: ended.Add(-time.Minute), Ended: ended, Objects: int64(len(read)), Bytes: 17, Marker: repository.Sum{1},
		Timelines: []repository.Seen{{Timeline: 1, End: 0x3000000}, {Timeline: 2, End: 0x4000000, History: repository.Sum{2}}}, Read: read,
	}
}

func TestReadings(t *testing.T) {
	c, store := cluster(t)
	week := 7 * 24 * time.Hour
	for _, r := range []repository.Reading{
		reading(modTime.Add(-30*time.Hour*24), 1), reading(modTime.Add(-week-time.Second), 2, 3), reading(modTime.Add(-week), 5, 4), reading(modTime), reading(modTime, 6),
	} {
		if err := c.PutReading(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := reading(modTime, 7)
	elsewhere.Place = "s3://bucket-dr/main"
	if err := c.PutReading(t.Context(), elsewhere); err != nil {
		t.Fatal(err)
	}
	got, err := c.Readings(t.Context(), "s3://bucket/main", modTime.Add(-week))
	if err != nil || len(got) != 4 {
		t.Fatalf("got %d, %v, want those of the period and the one before", len(got), err)
	}
	if !slices.Equal(got[0].Read, []repository.Fingerprint{2, 3}) || !slices.Equal(got[1].Read, []repository.Fingerprint{4, 5}) {
		t.Errorf("got %+v", got)
	}
	want := reading(modTime.Add(-week), 4, 5)
	if !slices.Equal(got[1].Timelines, want.Timelines) || got[1].Marker != want.Marker || !got[1].Ended.Equal(want.Ended) || got[1].Bytes != want.Bytes {
		t.Errorf("got  %+v\nwant %+v", got[1], want)
	}

	// A copy has records of its own.
	to := memory.New()
	if err := repository.CatchUp(t.Context(), store, to); err != nil {
		t.Fatal(err)
	}
	for _, k := range to.Keys() {
		if strings.Contains(string(k), "/verify/") {
			t.Errorf("%s was copied", k)
		}
	}

	// One that is damaged does not hide the others.
	var key storage.Key
	for _, k := range store.Keys() {
		if strings.Contains(string(k), "/verify/20261121") && bytes.Contains(store.Bytes(k), []byte("bucket-dr")) {
			key = k
		}
	}
	good := store.Bytes(key)
	for n := range len(good) {
		store.Replace(key, good[:n])
		got, err := c.Readings(t.Context(), "s3://bucket/main", modTime)
		var corrupt *repository.CorruptError
		if len(got) != 3 || !errors.As(err, &corrupt) || !repository.OnlyUnreadable(err) {
			t.Fatalf("cut at %d: got %d, %v", n, len(got), err)
		}
	}
}

func TestReadingRefusesWhatCannotBe(t *testing.T) {
	c, store := cluster(t)
	for name, change := range map[string]func(*repository.Reading){
		"year":  func(r *repository.Reading) { r.Ended = time.Time{} },
		"place": func(r *repository.Reading) { r.Place = strings.Repeat("x", 5000) },
		"count": func(r *repository.Reading) { r.Bytes = -1 },
		"most":  func(r *repository.Reading) { r.Read = make([]repository.Fingerprint, repository.MostFingerprints+1) },
	} {
		r := reading(modTime)
		change(&r)
		if err := c.PutReading(t.Context(), r); err == nil {
			t.Errorf("%s: was put", name)
		}
	}
	if n := len(store.Keys()); n != 1 {
		t.Errorf("%d objects", n)
	}
}

// TestFingerprint guards FORMAT.md section 12: an object that changed in any way that a listing shows is another one.
func TestFingerprint(t *testing.T) {
	o := repository.Object{Key: "7/wal/x", Size: 5, Modified: modTime}
	// printf 'a\0007/wal/x\0005\0001795228800000000000' | sha256sum | cut -c -16
	if got := repository.FingerprintOf("a", o); got != 0x4f2769cbec7f7158 {
		t.Errorf("got %016x", uint64(got))
	}
	seen := map[repository.Fingerprint]bool{repository.FingerprintOf("a", o): true}
	for _, change := range []func(*repository.Object){
		func(o *repository.Object) { o.Key += "y" }, func(o *repository.Object) { o.Size++ },
		func(o *repository.Object) { o.Modified = o.Modified.Add(time.Millisecond) }, func(*repository.Object) {},
	} {
		other, place := o, "a"
		if change(&other); other == o {
			place = "b"
		}
		f := repository.FingerprintOf(place, other)
		if seen[f] {
			t.Errorf("%+v in %s looks like another", other, place)
		}
		seen[f] = true
	}
}

// frozenReading is the record whose bytes lie in testdata.
func frozenReading() repository.Reading { return reading(modTime.Add(time.Hour), 7, 1<<63, 0) }

// TestFrozenReading: the bytes of version 1 never change.
func TestFrozenReading(t *testing.T) {
	const name = "20261121T034000Z-0123abcd.json"
	got, err := os.ReadFile("testdata/v1/verify/" + name)
	if err != nil {
		t.Fatal(err)
	}
	c, store := cluster(t)
	store.Replace(storage.Key(system.String()+"/verify/"+name), got)
	all, err := c.Readings(t.Context(), frozenReading().Place, modTime)
	if err != nil || len(all) != 1 {
		t.Fatalf("got %d, %v", len(all), err)
	}
	want, err := repository.EncodeReading(system, frozenReading())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if again, err := repository.EncodeReading(system, all[0]); err != nil || !bytes.Equal(again, want) {
		t.Errorf("read and written again: got %s, %v", again, err)
	}
}

func FuzzReading(f *testing.F) {
	text, err := repository.EncodeReading(system, frozenReading())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := repository.ParseReading(system, text)
		if err != nil {
			return
		}
		if _, err := repository.EncodeReading(system, r); err != nil {
			t.Fatal(err)
		}
	})
}
