package memory

import (
	"context"
	"time"

	"github.com/pgark/pgark/storage"
)

// Archive moves an object to a class in which it must be thawed before it can be read.
func (s *Store) Archive(key storage.Key, class string) { s.freeze(key, storage.Archive{Class: class}) }

// Thawed makes an archived object readable, as a store does some time after Thaw.
func (s *Store) Thawed(key storage.Key, until time.Time) {
	s.mu.Lock()
	class := s.objects[key].archive.Class
	s.mu.Unlock()
	s.freeze(key, storage.Archive{Class: class, Until: until})
}

func (s *Store) freeze(key storage.Key, a storage.Archive) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.objects[key]; ok {
		o.archive = a
		s.objects[key] = o
	}
}

// Thaw implements storage.Thawer. The object is readable after Thawed.
func (s *Store) Thaw(ctx context.Context, object storage.Info, _ storage.Thaw) error {
	return s.do(ctx, Call{Op: Thaw, Key: object.Key}, func() error {
		o, ok := s.objects[object.Key]
		if !ok {
			return storage.ErrNotFound
		}
		if !o.archive.Readable() {
			o.archive.Asked = true
			s.objects[object.Key] = o
		}
		return nil
	})
}
