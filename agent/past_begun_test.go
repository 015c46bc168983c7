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
