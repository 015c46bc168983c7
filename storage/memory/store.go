// Package memory keeps objects in memory, for tests. By script it fails the nth call of an operation,
// delays it, hangs until released, applies a write and loses the answer, hides objects from lists and
// drops what was not committed; and it records every call. Without a script it is a correct
// storage.Store.
package memory

import (
	"bytes"
	"context"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pgark/pgark/storage"
)

const place = "memory://"

// Store is a storage.Store in memory. The zero value is not usable; call New. It is safe for
// concurrent use.
type Store struct {
	mu      sync.Mutex
	objects map[storage.Key]object
	older   map[storage.Key][]object // what lies behind the current versions, the oldest first
	uploads map[*upload]struct{}
	hidden  map[string]struct{} // patterns that lists leave out
	rules   []*rule
	calls   []Call
	crash   chan struct{} // closed by Crash
	version int
	keeps   bool // versions
	clock   func() time.Time
}

type object struct {
	body     []byte
	modified time.Time
	version  string
	marker   bool
	archive  storage.Archive
	from     string // the version that it was renewed from
}

// New returns an empty store without a script.
func New() *Store {
	return &Store{
		objects: make(map[storage.Key]object),
		older:   make(map[storage.Key][]object),
		uploads: make(map[*upload]struct{}),
		hidden:  make(map[string]struct{}),
		crash:   make(chan struct{}),
		clock:   time.Now,
	}
}

// Put implements storage.Store.
func (s *Store) Put(ctx context.Context, key storage.Key, body []byte) error {
	if err := key.Validate(); err != nil {
		return fault(Put, key, err)
	}
	return s.do(ctx, Call{Op: Put, Key: key, Size: int64(len(body))}, func() error {
		return s.create(key, bytes.Clone(body))
	})
}

// create is called with s.mu held.
func (s *Store) create(key storage.Key, body []byte) error {
	if _, ok := s.objects[key]; ok {
		return storage.ErrExists
	}
	s.set(key, body)
	return nil
}

func (s *Store) set(key storage.Key, body []byte) {
	s.objects[key] = s.object(body)
}

func (s *Store) object(body []byte) object {
	s.version++
	return object{body: body, modified: s.clock(), version: strconv.Itoa(s.version)}
}

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	if err := key.Validate(); err != nil {
		return nil, fault(Get, key, err)
	}
	var body []byte
	err := s.do(ctx, Call{Op: Get, Key: key, Span: span}, func() error {
		o, ok := s.objects[key]
		if !ok {
			return storage.ErrNotFound
		}
		if o.archive.Readability(s.clock()) != storage.Readable {
			return storage.ErrArchived
		}
		n, err := span.Resolve(int64(len(o.body)))
		if err != nil {
			return err
		}
		body = o.body[span.Offset : span.Offset+n]
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.reader(ctx, key, body), nil
}

// Stat implements storage.Store.
func (s *Store) Stat(ctx context.Context, key storage.Key) (storage.Info, error) {
	if err := key.Validate(); err != nil {
		return storage.Info{}, fault(Stat, key, err)
	}
	var info storage.Info
	err := s.do(ctx, Call{Op: Stat, Key: key}, func() error {
		o, ok := s.objects[key]
		if !ok {
			return storage.ErrNotFound
		}
		info = o.info(key)
		return nil
	})
	return info, err
}

func (o object) info(key storage.Key) storage.Info {
	return storage.Info{Key: key, Size: int64(len(o.body)), Modified: o.modified, Version: o.version, Archive: o.archive}
}

// List implements storage.Store. It yields the objects that were there when it began.
func (s *Store) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		var infos []storage.Info
		err := prefix.ValidatePrefix()
		if err == nil {
			err = s.do(ctx, Call{Op: List, Key: prefix}, func() error {
				infos = s.snapshot(prefix, after)
				return nil
			})
		} else {
			err = fault(List, prefix, err)
		}
		if err != nil {
			yield(storage.Info{}, err)
			return
		}
		for _, info := range infos {
			if ctx.Err() != nil {
				yield(storage.Info{}, fault(List, prefix, context.Cause(ctx)))
				return
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (s *Store) snapshot(prefix, after storage.Key) []storage.Info {
	var infos []storage.Info
	for key, o := range s.objects {
		if strings.HasPrefix(string(key), string(prefix)) && key > after && !s.isHidden(key) {
			info := o.info(key)
			info.Archive = listed(info.Archive)
			infos = append(infos, info)
		}
	}
	slices.SortFunc(infos, func(a, b storage.Info) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return infos
}

// Delete implements storage.Store.
func (s *Store) Delete(ctx context.Context, key storage.Key) error {
	if err := key.Validate(); err != nil {
		return fault(Delete, key, err)
	}
	return s.do(ctx, Call{Op: Delete, Key: key}, func() error {
		if o, ok := s.objects[key]; ok && s.keeps {
			marker := s.object(nil)
			marker.marker = true
			s.older[key] = append(s.older[key], o, marker)
		}
		delete(s.objects, key)
		return nil
	})
}

// Keys returns the keys of all objects in ascending order, hidden ones included.
func (s *Store) Keys() []storage.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.objects))
}

// Bytes returns a copy of an object's content, nil if there is none. It runs no script and records no
// call.
func (s *Store) Bytes(key storage.Key) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.objects[key].body)
}

// Older returns the contents that were superseded under a key, the oldest first.
func (s *Store) Older(key storage.Key) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var bodies [][]byte
	for _, o := range s.older[key] {
		if !o.marker {
			bodies = append(bodies, o.body)
		}
	}
	return bodies
}

// Replace sets the content of an object behind the store's back, as a broken disk would; nil removes
// the object.
func (s *Store) Replace(key storage.Key, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if body == nil {
		delete(s.objects, key)
		return
	}
	s.set(key, bytes.Clone(body))
}

// Clone returns a store with the same objects, without the script, the calls and the uploads.
func (s *Store) Clone() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := New()
	maps.Copy(c.objects, s.objects) // contents are never changed in place
	for key, older := range s.older {
		c.older[key] = slices.Clone(older)
	}
	c.version, c.keeps, c.clock = s.version, s.keeps, s.clock
	return c
}

func fault(op Op, key storage.Key, err error) error {
	return &storage.Error{Op: string(op), Key: key, Place: place, Err: err}
}
