package storagetest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
)

// testVersions is for stores that keep versions; the others must say that they do not.
func testVersions(t *testing.T, s storage.Store) {
	kept, err := storage.BucketVersioning(t.Context(), s)
	if errors.Is(err, errors.ErrUnsupported) {
		for _, err := range storage.Versions(t.Context(), s, "", "") {
			wantErr(t, "versions", err, errors.ErrUnsupported)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if kept != storage.VersioningEnabled {
		return
	}
	first, second, third := Random(5000, 1), Random(3000, 2), Random(storage.MinPart+7, 3)
	put(t, s, "v/a", first)
	put(t, s, "v/b", first)
	put(t, s, "v/a.d/x", second)
	put(t, s, "v/gone", second)
	put(t, s, "w", first)
	supersede(t, s, "v/a", second, third)
	if err := s.Delete(t.Context(), "v/gone"); err != nil {
		t.Fatal(err)
	}

	a := versions(t, s, "v/a", "")
	if got := describe(a); !slices.Equal(got, []string{"v/a 5242887 current", "v/a 3000", "v/a 5000", "v/a.d/x 3000 current"}) {
		t.Fatalf("got %q", got)
	}
	for i, want := range [][]byte{third, second, first} {
		wantBytes(t, fmt.Sprintf("version %d", i), getVersion(t, s, a[i].Info, storage.All()), want)
	}
	for _, span := range []storage.Span{at(0, 1), at(4999, 1), at(4096, -1), at(0, 0), at(5000, 0)} {
		n, _ := span.Resolve(5000)
		wantBytes(t, span.String(), getVersion(t, s, a[2].Info, span), first[span.Offset:span.Offset+n])
	}
	_, err = storage.GetVersion(t.Context(), s, a[2].Info, at(4999, 2))
	wantErr(t, "a span behind the end of the version", err, storage.ErrSpan)
	for i := range a[:2] {
		if a[i].Modified.Before(a[i+1].Modified.Truncate(time.Second)) {
			t.Errorf("version %d is of %s, the one before it of %s", i, a[i].Modified, a[i+1].Modified)
		}
	}

	all := versions(t, s, "v/", "v/a")
	if got := describe(all); !slices.Equal(got, []string{"v/a.d/x 3000 current", "v/b 5000 current", "v/gone marker current", "v/gone 3000"}) {
		t.Fatalf("got %q", got)
	}
	marker, gone := all[2].Info, all[3].Info
	if got, err := storage.StatVersion(t.Context(), s, gone); err != nil || got.Key != gone.Key || got.Size != 3000 || got.Version != gone.Version || got.Archive.Class != "" {
		t.Errorf("stat of what was deleted: got %+v, %v", got, err)
	}
	_, err = storage.StatVersion(t.Context(), s, marker)
	wantErr(t, "stat of a marker", err, storage.ErrNotFound)
	_, err = storage.GetVersion(t.Context(), s, marker, storage.All())
	wantErr(t, "get a marker", err, storage.ErrNotFound)
	wantBytes(t, "what was deleted", getVersion(t, s, gone, storage.All()), second)
	testNoVersion(t, s, a[0].Info)
	testNoneNamed(t, s, a)
	testRenew(t, s, gone, a[2].Info)
	testRemove(t, s)
}

// testNoVersion asks for a version of another object.
func testNoVersion(t *testing.T, s storage.Store, other storage.Info) {
	other.Key = "v/b"
	_, err := storage.GetVersion(t.Context(), s, other, storage.All())
	wantErr(t, "get a version that is not there", err, storage.ErrNotFound)
	_, err = storage.StatVersion(t.Context(), s, other)
	wantErr(t, "stat of a version that is not there", err, storage.ErrNotFound)
	wantErr(t, "renew a version that is not there", storage.RenewVersion(t.Context(), s, other), storage.ErrNotFound)
	if err := storage.RemoveVersion(t.Context(), s, other.Key, other.Version); err != nil {
		t.Errorf("remove a version that is not there: got %v, want nil", err)
	}
	wantBytes(t, "v/b", get(t, s, "v/b"), Random(5000, 1))
}

// testNoneNamed names no version: that is neither the current one, nor is the object deleted.
func testNoneNamed(t *testing.T, s storage.Store, before []storage.Version) {
	_, err := storage.GetVersion(t.Context(), s, storage.Info{Key: "v/a"}, storage.All())
	wantErr(t, "get no version", err, storage.ErrNoVersion)
	_, err = storage.StatVersion(t.Context(), s, storage.Info{Key: "v/a"})
	wantErr(t, "stat of no version", err, storage.ErrNoVersion)
	wantErr(t, "renew no version", storage.RenewVersion(t.Context(), s, storage.Info{Key: "v/a", Size: 1}), storage.ErrNoVersion)
	wantErr(t, "remove no version", storage.RemoveVersion(t.Context(), s, "v/a", ""), storage.ErrNoVersion)
	if got, want := describe(versions(t, s, "v/a", "")), describe(before); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// testRenew brings back what was deleted and what was put over.
func testRenew(t *testing.T, s storage.Store, deleted, superseded storage.Info) {
	for _, v := range []storage.Info{deleted, superseded} {
		before := get1(t, s, v)
		if err := storage.RenewVersion(t.Context(), s, v); err != nil {
			t.Fatal(err)
		}
		wantBytes(t, "renewed "+string(v.Key), get(t, s, v.Key), before)
		wantBytes(t, "the version itself", get1(t, s, v), before)
		if all := versions(t, s, v.Key, ""); !all[0].Current || all[0].Marker || all[0].Size != v.Size || all[0].Version == v.Version {
			t.Errorf("%s: the newest is %+v", v.Key, all[0])
		}
		if from, err := storage.RenewedFrom(t.Context(), s, v.Key); err != nil || from != v.Version {
			t.Errorf("%s: renewed from %q, %v, want %q", v.Key, from, err, v.Version)
		}
		wantErr(t, "put behind it", s.Put(t.Context(), v.Key, nil), storage.ErrExists)
	}
	if from, err := storage.RenewedFrom(t.Context(), s, "v/b"); err != nil || from != "" {
		t.Errorf("v/b: renewed from %q, %v", from, err)
	}
	_, err := storage.RenewedFrom(t.Context(), s, "v/none")
	wantErr(t, "renewed from, of nothing", err, storage.ErrNotFound)
	if got := keys(t, s, "v/", ""); !slices.Equal(got, []storage.Key{"v/a", "v/a.d/x", "v/b", "v/gone"}) {
		t.Errorf("listed %v", got)
	}
}

func get1(t *testing.T, s storage.Store, v storage.Info) []byte {
	return getVersion(t, s, v, storage.All())
}

// testRemove removes the current version of an object and a marker: what lies behind them is current then. At last it removes all.
func testRemove(t *testing.T, s storage.Store) {
	put(t, s, "v/hidden", []byte("hidden"))
	if err := s.Delete(t.Context(), "v/hidden"); err != nil {
		t.Fatal(err)
	}
	before := get1(t, s, versions(t, s, "v/a", "")[1].Info)
	for _, key := range []storage.Key{"v/a", "v/hidden"} {
		newest := versions(t, s, key, "")[0]
		for range 2 {
			if err := storage.RemoveVersion(t.Context(), s, key, newest.Version); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantBytes(t, "behind a version", get(t, s, "v/a"), before)
	wantBytes(t, "behind a marker", get(t, s, "v/hidden"), []byte("hidden"))
	for _, key := range []storage.Key{"v/gone", "v/hidden"} {
		for _, v := range versions(t, s, key, "") {
			if err := storage.RemoveVersion(t.Context(), s, key, v.Version); err != nil {
				t.Fatal(err)
			}
		}
		if all := versions(t, s, key, ""); len(all) > 0 {
			t.Errorf("got %q, want nothing", describe(all))
		}
	}
	if got := describe(versions(t, s, "w", "")); !slices.Equal(got, []string{"w 5000 current"}) {
		t.Errorf("got %q", got)
	}
}

func supersede(t *testing.T, s storage.Store, key storage.Key, bodies ...[]byte) {
	t.Helper()
	for _, body := range bodies {
		u, err := storage.Supersede(t.Context(), s, key)
		if err != nil {
			t.Fatal(err)
		}
		sendPart(t, u, 1, body)
		commit(t, u)
	}
}

func versions(t *testing.T, s storage.Store, prefix, after storage.Key) (all []storage.Version) {
	t.Helper()
	for v, err := range storage.Versions(t.Context(), s, prefix, after) {
		if err != nil {
			t.Fatalf("versions %q after %q: %v", prefix, after, err)
		}
		if v.Version == "" || v.Modified.IsZero() {
			t.Errorf("got %+v", v)
		}
		all = append(all, v)
	}
	return all
}

func describe(all []storage.Version) (lines []string) {
	for _, v := range all {
		line := string(v.Key)
		if v.Marker {
			line += " marker"
		} else {
			line += fmt.Sprintf(" %d", v.Size)
		}
		if v.Current {
			line += " current"
		}
		lines = append(lines, line)
	}
	return lines
}

func getVersion(t *testing.T, s storage.Store, v storage.Info, span storage.Span) []byte {
	t.Helper()
	r, err := storage.GetVersion(t.Context(), s, v, span)
	if err != nil {
		t.Fatalf("get version %s of %s: %v", v.Version, v.Key, err)
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatalf("read version %s of %s: %v", v.Version, v.Key, err)
	}
	return b
}
