package standby

import (
	"context"
	"slices"
	"sync"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
)

// recent keeps the objects that were read last, so that several standbys near the end share one reading.
type recent struct {
	mu      sync.Mutex
	objects []*recentObject // the newest last
}

const recentBytes = 64 << 20

type recentObject struct {
	key   storage.Key
	size  int
	ready chan struct{}
	plain []byte
	err   error
}

// read returns the plain bytes of an object, which are not to be changed.
func (r *recent) read(ctx context.Context, c *repository.Cluster, e repository.Entry) ([]byte, error) {
	for {
		o, ours := r.object(e)
		if ours {
			o.plain, o.err = c.ReadWAL(ctx, e)
			if o.err != nil {
				r.forget(o)
			}
			close(o.ready)
			return o.plain, o.err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-o.ready:
		}
		if o.err == nil {
			return o.plain, nil
		}
		// Another's reading failed, perhaps because its standby left.
	}
}

// object returns the object with the entry's key, which the caller is to read if it is ours.
func (r *recent) object(e repository.Entry) (o *recentObject, ours bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.objects {
		if o.key == e.Key {
			return o, false
		}
	}
	o = &recentObject{key: e.Key, size: int(e.Range.Len()), ready: make(chan struct{})}
	r.objects = append(r.objects, o)
	r.trim()
	return o, true
}

func (r *recent) forget(o *recentObject) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.objects = slices.DeleteFunc(slices.Clone(r.objects), func(one *recentObject) bool { return one == o })
}

// trim lets go what is oldest.
func (r *recent) trim() {
	total := 0
	for i := len(r.objects) - 1; i >= 0; i-- {
		if total += r.objects[i].size; total > recentBytes && i < len(r.objects)-1 {
			r.objects = slices.Clone(r.objects[i+1:])
			return
		}
	}
}
