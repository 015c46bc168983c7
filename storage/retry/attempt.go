package retry

import (
	"context"
	"time"

	"github.com/pgark/pgark/storage"
)

// Attempt is one attempt that has ended, told to Options.Observe.
type Attempt struct {
	// Op is as in Event; Key is the key, or the prefix of a list.
	Op  string
	Key storage.Key
	// Size is how many bytes of an object it sent.
	Size int64
	// Took is how long one that succeeded took; 0 where Err is set.
	Took time.Duration
	// Err is what one that failed returned; nil where it succeeded. An answer of the store such as storage.ErrNotFound is one too.
	Err error
}

// succeeded tells of an attempt that began at a time.
func (s *Store) succeeded(c *call, began time.Time) {
	if s.options.Observe != nil {
		s.options.Observe(Attempt{Op: c.op, Key: c.key, Size: c.sends(), Took: time.Since(began)})
	}
}

// failed tells of an attempt that failed, unless the caller ended it.
func (s *Store) failed(ctx context.Context, c *call, err error) {
	if s.options.Observe != nil && ctx.Err() == nil {
		s.options.Observe(Attempt{Op: c.op, Key: c.key, Size: c.sends(), Err: err})
	}
}
