package asof

import (
	"context"
	"iter"
	"time"

	"github.com/pgark/pgark/storage"
)

// Change is what became of one key since an instant.
type Change struct {
	// Was is the version that was there then; its key is empty if there was none.
	Was storage.Info
	// Now is the newest version or delete marker of the key. It is that of Was where nothing happened.
	Now storage.Version
}

// Same reports whether nothing happened.
func (c Change) Same() bool { return c.Was.Key != "" && c.Was.Version == c.Now.Version }

// Compare yields, in the order of the keys, what became of each key that begins with prefix and is greater than after, and which was there at the instant or is there now.
// It ends after the first error.
func Compare(ctx context.Context, store storage.Store, at time.Time, prefix, after storage.Key) iter.Seq2[Change, error] {
	options := Options{At: at.Truncate(time.Second)}
	return func(yield func(Change, error) bool) {
		var c Change
		p := pick{options: options}
		give := func() bool {
			c.Was = p.found
			return c.Now.Key == "" || c.Was.Key == "" && c.Now.Marker || yield(c, nil)
		}
		for v, err := range storage.Versions(ctx, store, prefix, after) {
			if err != nil {
				yield(Change{}, err)
				return
			}
			if v.Key != c.Now.Key {
				if !give() {
					return
				}
				c, p = Change{Now: v}, pick{options: options}
			}
			p.add(v)
		}
		give()
	}
}
