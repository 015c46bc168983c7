package retry_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/retry"
)

// cutting breaks each list of versions off after so many entries.
type cutting struct {
	*memory.Store

	after int
}

func (c *cutting) Versions(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Version, error] {
	return func(yield func(storage.Version, error) bool) {
		n := 0
		for v, err := range c.Store.Versions(ctx, prefix, after) {
			if n++; n > c.after {
				yield(storage.Version{}, storage.ErrUnavailable)
				return
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// TestVersionsGoOn guards that a list that breaks off, also between two versions of one key, lacks nothing and repeats nothing.
func TestVersionsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory.New()
		m.KeepVersions()
		var want []string
		for _, key := range []storage.Key{"a", "b", "c"} {
			for range 3 {
				m.Overwrite(key, []byte("x"))
			}
		}
		for v, err := range m.Versions(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, fmt.Sprint(v.Key, v.Version))
		}
		for cut := 4; cut < 10; cut++ { // less than all versions of a key and one more never get on
			var got []string
			for v, err := range retry.New(&cutting{m, cut}, retry.Options{}).Versions(t.Context(), "", "") {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprint(v.Key, v.Version))
			}
			if !slices.Equal(got, want) {
				t.Errorf("cut after %d: got %v, want %v", cut, got, want)
			}
		}
	})
}
