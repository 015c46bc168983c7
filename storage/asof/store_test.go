package asof_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/asof"
	"github.com/pgark/pgark/storage/memory"
)

// clock is a store's own, moved by the test.
type clock struct{ now time.Time }

func (c *clock) at(seconds float64) { c.now = began.Add(time.Duration(seconds * float64(time.Second))) }

var began = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// past returns a store in which keys were put, put over and deleted at known seconds.
func past(t *testing.T) *memory.Store {
	t.Helper()
	c, m := &clock{}, memory.New()
	m.KeepVersions()
	m.SetClock(func() time.Time { return c.now })
	steps := []struct {
		at   float64
		what func() error
	}{
		{10, func() error { return m.Put(t.Context(), "a/old", []byte("old")) }},
		{10.7, func() error { return m.Put(t.Context(), "a/piece", []byte("piece")) }},
		{20, func() error { return m.Delete(t.Context(), "a/piece") }},
		{20, func() error { return m.Put(t.Context(), "a/segment", []byte("segment")) }},
		{30.9, func() error { return m.Put(t.Context(), "a/late", []byte("late")) }},
		{40, func() error { m.Overwrite("a/old", []byte("garbage")); return nil }},
		{41, func() error { m.Overwrite("a/old", []byte("more garbage")); return nil }},
		{50, func() error { return m.Delete(t.Context(), "a/old") }},
		{50, func() error { return m.Delete(t.Context(), "a/segment") }},
		{60, func() error { m.Overwrite("a/old", []byte("made anew")); return nil }},
		{70, func() error { m.Overwrite("a/old", []byte("put over again")); return nil }},
	}
	for _, s := range steps {
		c.at(s.at)
		if err := s.what(); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// TestInstants guards what is seen at each instant, in lists and by key: no less than was there, and nothing that came since.
func TestInstants(t *testing.T) {
	m := past(t)
	for _, tt := range []struct {
		at    float64
		first bool
		want  []string
	}{
		{at: 9, want: nil},
		{at: 10, want: []string{"a/old=old", "a/piece=piece"}}, // the whole second counts
		{at: 19.999, want: []string{"a/old=old", "a/piece=piece"}},
		{at: 20, want: []string{"a/old=old", "a/segment=segment"}},
		{at: 30, want: []string{"a/late=late", "a/old=old", "a/segment=segment"}},
		{at: 40, want: []string{"a/late=late", "a/old=garbage", "a/segment=segment"}},
		{at: 45, want: []string{"a/late=late", "a/old=more garbage", "a/segment=segment"}},
		{at: 45, first: true, want: []string{"a/late=late", "a/old=old", "a/segment=segment"}},
		{at: 55, want: []string{"a/late=late"}},
		{at: 55, first: true, want: []string{"a/late=late"}},
		{at: 60, want: []string{"a/late=late", "a/old=made anew"}},
		{at: 100, want: []string{"a/late=late", "a/old=put over again"}},
		{at: 100, first: true, want: []string{"a/late=late", "a/old=made anew"}},
	} {
		t.Run(fmt.Sprintf("%v %v", tt.at, tt.first), func(t *testing.T) {
			o := asof.Options{At: began.Add(time.Duration(tt.at * float64(time.Second))), First: tt.first}
			listed, s := asof.New(m, o), asof.New(m, o)
			var got []string
			for info, err := range listed.List(t.Context(), "a/", "") {
				if err != nil {
					t.Fatal(err)
				}
				for _, view := range []*asof.Store{listed, s} { // one remembers the version, the other looks for it
					body, err := storage.ReadAll(t.Context(), view, info.Key, info.Size)
					if err != nil {
						t.Fatal(err)
					}
					if view == s {
						got = append(got, fmt.Sprintf("%s=%s", info.Key, body))
					}
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			for _, key := range []storage.Key{"a/late", "a/old", "a/piece", "a/segment", "a/never", "a"} {
				_, err := asof.New(m, o).Stat(t.Context(), key)
				there := slices.ContainsFunc(tt.want, func(w string) bool { return len(w) > len(key) && w[:len(key)+1] == string(key)+"=" })
				if there != (err == nil) || !there && !errors.Is(err, storage.ErrNotFound) {
					t.Errorf("%s: got %v, there is %v", key, err, there)
				}
			}
		})
	}
}

// TestListAfter guards that a list goes on behind a key, and has what the prefix says.
func TestListAfter(t *testing.T) {
	s := asof.New(past(t), asof.Options{At: began.Add(35 * time.Second)})
	for _, tt := range []struct {
		prefix, after storage.Key
		want          []storage.Key
	}{
		{"", "", []storage.Key{"a/late", "a/old", "a/segment"}},
		{"a/", "a/late", []storage.Key{"a/old", "a/segment"}},
		{"a/o", "", []storage.Key{"a/old"}},
		{"b", "", nil},
	} {
		var got []storage.Key
		for info, err := range s.List(t.Context(), tt.prefix, tt.after) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.Key)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q after %q: got %v, want %v", tt.prefix, tt.after, got, tt.want)
		}
	}
}

// TestPastCannotBeWritten guards that nothing is changed through a view: the present would be.
func TestPastCannotBeWritten(t *testing.T) {
	m := past(t)
	m.Reset()
	s := asof.New(m, asof.Options{At: began.Add(35 * time.Second)})
	_, beginErr := s.Begin(t.Context(), "a/new")
	_, supersedeErr := storage.Supersede(t.Context(), s, "a/old")
	_, probeErr := storage.Probe(t.Context(), s)
	for name, err := range map[string]error{
		"put": s.Put(t.Context(), "a/new", nil), "begin": beginErr, "delete": s.Delete(t.Context(), "a/late"), "probe": probeErr, "supersede": supersedeErr,
		"renew":       storage.RenewVersion(t.Context(), s, storage.Info{Key: "a/old", Version: "1"}),
		"remove":      storage.RemoveVersion(t.Context(), s, "a/old", "1"),
		"drop upload": storage.DropUpload(t.Context(), s, storage.StaleUpload{Key: "a/old"}),
	} {
		if !errors.Is(err, storage.ErrReadOnly) {
			t.Errorf("%s: got %v, want ErrReadOnly", name, err)
		}
	}
	if calls := m.Calls(); len(calls) > 0 {
		t.Errorf("the store was called: %v", calls)
	}
}

// changed is a store whose bucket's versioning is something else by now, and some of whose versions have no id of their own.
type changed struct {
	*memory.Store

	versioning storage.Versioning
	null       string // the versions and markers of this key
}

func (c changed) Versioning(context.Context) (storage.Versioning, error) { return c.versioning, nil }

func (c changed) Versions(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Version, error] {
	return func(yield func(storage.Version, error) bool) {
		for v, err := range c.Store.Versions(ctx, prefix, after) {
			if string(v.Key) == c.null {
				v.Version = storage.NullVersion
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// TestLossy guards that a view which may lack what was there says so: versions were not kept all the time since.
func TestLossy(t *testing.T) {
	for name, test := range map[string]struct {
		at         float64
		versioning storage.Versioning
		null       string
		want       bool
	}{
		"kept all the time":                        {35, storage.VersioningEnabled, "", false},
		"suspended":                                {35, storage.VersioningSuspended, "", true},
		"put over while it was suspended":          {35, storage.VersioningEnabled, "a/old", true},
		"deleted while it was suspended":           {15, storage.VersioningEnabled, "a/piece", true},
		"put before versions were kept, and since": {45, storage.VersioningEnabled, "a/late", false},
	} {
		o := asof.Options{At: began.Add(time.Duration(test.at * float64(time.Second)))}
		store := changed{past(t), test.versioning, test.null}
		listed, asked := asof.New(store, o), asof.New(store, o)
		for _, err := range listed.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, key := range []storage.Key{"a/old", "a/piece", "a/late"} {
			if _, err := asked.Stat(t.Context(), key); err != nil && !errors.Is(err, storage.ErrNotFound) {
				t.Fatal(err)
			}
		}
		if listed.Lossy() != test.want || asked.Lossy() != test.want {
			t.Errorf("%s: got %t by lists, %t by key, want %t", name, listed.Lossy(), asked.Lossy(), test.want)
		}
	}
}

// TestNoPast guards that a store which shows only what it holds now is not taken for one that shows what it held then.
func TestNoPast(t *testing.T) {
	m := memory.New() // keeps no versions
	if err := m.Put(t.Context(), "a", []byte("now")); err != nil {
		t.Fatal(err)
	}
	s := asof.New(m, asof.Options{At: time.Now().Add(time.Hour)})
	if _, err := s.Get(t.Context(), "a", storage.All()); !errors.Is(err, storage.ErrNoVersions) {
		t.Errorf("get: got %v, want ErrNoVersions", err)
	}
	for _, err := range s.List(t.Context(), "", "") {
		if !errors.Is(err, storage.ErrNoVersions) {
			t.Errorf("list: got %v, want ErrNoVersions", err)
		}
	}
	if _, err := asof.New(struct{ storage.Store }{m}, asof.Options{At: time.Now()}).Stat(t.Context(), "a"); !errors.Is(err, storage.ErrNoVersions) {
		t.Errorf("a store without versions: got %v, want ErrNoVersions", err)
	}

	m.KeepVersions()
	m.Fail(memory.Versioning, "", 0, storage.ErrDenied) // who may not ask is not kept from reading
	if _, err := s.Get(t.Context(), "a", storage.All()); err != nil {
		t.Errorf("not allowed to ask: got %v", err)
	}
}

// TestArchivedVersion: a version of then that lies in an archive is not taken for one that can be read, and can be thawed.
func TestArchivedVersion(t *testing.T) {
	m := past(t)
	m.Archive("a/segment", "GLACIER")
	s := asof.New(m, asof.Options{At: began.Add(45 * time.Second)})
	for info, err := range s.List(t.Context(), "a/segment", "") {
		if err != nil || info.Archive.Readability(began) == storage.Readable {
			t.Errorf("listed: got %+v, %v", info, err)
		}
	}
	stat := func(want storage.Archive) {
		t.Helper()
		if got, err := s.Stat(t.Context(), "a/segment"); err != nil || got.Archive != want {
			t.Errorf("got %+v, %v, want %+v", got.Archive, err, want)
		}
	}
	stat(storage.Archive{Class: "GLACIER"})
	if _, err := storage.ReadAll(t.Context(), s, "a/segment", 100); !errors.Is(err, storage.ErrArchived) {
		t.Errorf("read: got %v, want ErrArchived", err)
	}
	if err := storage.ThawObject(t.Context(), s, storage.Info{Key: "a/segment", Archive: storage.Archive{Class: "GLACIER"}}, storage.Thaw{Days: 1}); err != nil {
		t.Fatal(err)
	}
	stat(storage.Archive{Class: "GLACIER", Asked: true})
	until := began.Add(time.Hour)
	m.Thawed("a/segment", until)
	stat(storage.Archive{Class: "GLACIER", Until: until})
	if got, err := storage.ReadAll(t.Context(), s, "a/segment", 100); err != nil || string(got) != "segment" {
		t.Errorf("thawed: got %q, %v", got, err)
	}
}

// TestAll: everything that has a version is shown, whatever was put over it or deleted since, in its first version.
func TestAll(t *testing.T) {
	m := past(t)
	s := asof.New(m, asof.Options{All: true, First: true})
	want := map[storage.Key]string{"a/old": "old", "a/piece": "piece", "a/segment": "segment", "a/late": "late"}
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // by the list, and by the key
			body, err := storage.ReadAll(t.Context(), s, info.Key, 100)
			if err != nil || string(body) != want[info.Key] {
				t.Errorf("%s: got %q, %v", info.Key, body, err)
			}
			s = asof.New(m, asof.Options{All: true, First: true})
		}
		delete(want, info.Key)
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
}
