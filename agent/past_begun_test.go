package agent

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

// begun is a store that dates versions when their upload began.
type begun struct{ *memory.Store }

func (b begun) Versions(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Version, error] {
	return func(yield func(storage.Version, error) bool) {
		for v, err := range b.Store.Versions(ctx, prefix, after) {
			v.Begun = true
			if !yield(v, err) {
				return
			}
		}
	}
}

// again is a store in which what was deleted was deleted once more, a day later.
type again struct{ *memory.Store }

func (a again) Versions(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Version, error] {
	return func(yield func(storage.Version, error) bool) {
		for v, err := range a.Store.Versions(ctx, prefix, after) {
			if v.Marker && v.Current {
				later := v
				later.Modified = v.Modified.Add(24 * time.Hour)
				if v.Current = false; !yield(later, err) {
					return
				}
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// TestPastDeletedAgain: an object was lost when it was deleted first. As of the second time it was gone already.
func TestPastDeletedAgain(t *testing.T) {
	monday := time.Date(2026, 11, 16, 10, 0, 0, 500, time.UTC)
	m := memory.New()
	m.KeepVersions()
	m.SetClock(func() time.Time { return monday })
	m.Overwrite("7/wal/x", []byte("right"))
	if err := m.Delete(t.Context(), "7/wal/x"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []storage.Key{"7/wal/x", ""} {
		if p := pastOf(t.Context(), again{m}, key); p == nil || !p.Lost.Equal(monday) || p.Earlier != 1 || !p.Deleted {
			t.Errorf("of %q: got %+v", key, p)
		}
	}
}

// TestPastBegun: an object that was put over by one sent in parts may have been whole until long after that version's time. No instant is proposed that would hide what was
// archived meanwhile; when it was deleted is known.
func TestPastBegun(t *testing.T) {
	monday := time.Date(2026, 11, 16, 10, 0, 0, 500, time.UTC)
	saturday := monday.Add(5 * 24 * time.Hour)
	for name, test := range map[string]struct {
		deleted bool
		begun   bool
		want    time.Time
	}{
		"put over in parts":         {false, true, saturday.Truncate(time.Second)},
		"put over at once":          {false, false, monday.Truncate(time.Second).Add(-time.Second)},
		"put over and then deleted": {true, true, monday.Truncate(time.Second).Add(-time.Second)},
		"put over at once, deleted": {true, false, monday.Truncate(time.Second).Add(-time.Second)},
	} {
		m := memory.New()
		m.KeepVersions()
		m.SetClock(func() time.Time { return monday })
		m.Overwrite("7/wal/x", []byte("right"))
		m.Overwrite("7/wal/x", []byte("wrong"))
		if test.deleted {
			if err := m.Delete(t.Context(), "7/wal/x"); err != nil {
				t.Fatal(err)
			}
		}
		var store storage.Store = m
		if test.begun {
			store = begun{m}
		}
		p := pastOf(t.Context(), store, "7/wal/x")
		if p == nil || !p.Lost.Equal(monday) || p.Begun != (test.begun && !test.deleted) {
			t.Errorf("%s: got %+v", name, p)
			continue
		}
		if p.Looked = saturday; !p.AsOf().Equal(test.want) {
			t.Errorf("%s: as of %s, want %s", name, p.AsOf(), test.want)
		}
	}
}
