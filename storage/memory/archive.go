package memory

import (
	"context"
	"time"

	"github.com/pgark/pgark/storage"
)

// Archive moves an object, all its versions, to a class in which it must be thawed before it can be read.
func (s *Store) Archive(key storage.Key, class string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.move(key, func(a *storage.Archive) { *a = storage.Archive{Class: class} })
}

// Thawed makes an archived object, all its versions, readable, as a store does some time after Thaw.
func (s *Store) Thawed(key storage.Key, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.move(key, func(a *storage.Archive) { *a = storage.Archive{Class: a.Class, Until: until} })
}

// move is called with s.mu held.
func (s *Store) move(key storage.Key, where func(a *storage.Archive)) {
	if o, ok := s.objects[key]; ok {
		where(&o.archive)
		s.objects[key] = o
	}
	for i := range s.older[key] {
		where(&s.older[key][i].archive)
	}
}

// listed is what a listing knows.
func listed(a storage.Archive) storage.Archive {
	return storage.Archive{Class: a.Class, Listed: a.Class != ""}
}

// Thaw implements storage.Thawer, of all versions. The object is readable after Thawed; one that is readable stays so for as long as is asked now.
func (s *Store) Thaw(ctx context.Context, object storage.Info, how storage.Thaw) error {
	return s.do(ctx, Call{Op: Thaw, Key: object.Key}, func() error {
		if len(s.history(object.Key)) == 0 {
			return storage.ErrNotFound
		}
		s.move(object.Key, func(a *storage.Archive) {
			switch now := s.clock(); {
			case a.Class == "":
			case a.Readability(now) == storage.Readable:
				a.Until = now.AddDate(0, 0, how.Days)
			default:
				a.Asked = true
			}
		})
		return nil
	})
}
