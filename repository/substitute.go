package repository

import (
	"context"
	"errors"
	"maps"
	"strings"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Fault is why a source did not give an object, or is not read at all.
type Fault struct {
	Source string
	Err    error
}

// Substitute is an object that one source gave after others that hold it damaged or not at all.
type Substitute struct {
	Key    storage.Key
	Source string // that gave it
	Faults []Fault
}

// Reason says what each source that was asked before holds of the object, for a person.
func (s Substitute) Reason() string {
	var said []string
	for _, f := range s.Faults {
		what := f.Err.Error()
		var corrupt *CorruptError
		switch {
		case errors.As(f.Err, &corrupt):
			what = corrupt.Reason
			if corrupt.Err != nil {
				what += ": " + corrupt.Err.Error()
			}
		case errors.Is(f.Err, storage.ErrNotFound):
			what = "not there"
		}
		said = append(said, f.Source+": "+what)
	}
	return strings.Join(said, "; ")
}

// Forgive drops from the cluster's Sources.Substitutes what came from elsewhere only because the others let it go while it was read, as their own expiry records
// say, or did not have it yet: that is retention at work, or an archiver, and no damage. Each such source is asked; of one that does not answer nothing is dropped.
func (c *Cluster) Forgive(ctx context.Context) {
	s, several := c.store.(*Sources)
	if !several {
		return
	}
	s.mu.Lock()
	noted := maps.Clone(s.substitutes)
	s.mu.Unlock()
	if len(noted) == 0 {
		return
	}
	size, err := c.SegmentSize(ctx)
	if err != nil {
		size = 0 // no WAL is forgiven
	}
	expired := map[string]*Expiry{}
	for key, one := range noted {
		forgiven := true
		for _, f := range one.Faults {
			forgiven = forgiven && errors.Is(f.Err, storage.ErrNotFound) && (c.letGo(c.expiryIn(ctx, s, f.Source, expired), size, key) || s.holds(ctx, f.Source, key))
		}
		if forgiven {
			s.mu.Lock()
			delete(s.substitutes, key)
			s.mu.Unlock()
		}
	}
}

// holds reports whether a source has an object by now.
func (s *Sources) holds(ctx context.Context, name string, key storage.Key) bool {
	for _, one := range s.all {
		if one.Name == name && one.Store != nil {
			asking, cancel := context.WithTimeoutCause(ctx, s.patient(0), errPatience)
			defer cancel()
			_, err := one.Store.Stat(asking, key)
			return err == nil
		}
	}
	return false
}

// expiryIn returns what one source says that it let go, which it reads once; nothing if it does not answer.
func (c *Cluster) expiryIn(ctx context.Context, s *Sources, name string, read map[string]*Expiry) *Expiry {
	if e, known := read[name]; known {
		return e
	}
	e := &Expiry{}
	for _, one := range s.all {
		if one.Name == name && one.Store != nil {
			asking, cancel := context.WithTimeoutCause(ctx, s.patient(0), errPatience)
			if found, err := (&Cluster{store: one.Store, id: c.id, keys: c.keys}).Expiry(asking); err == nil {
				e = &found
			}
			cancel()
		}
	}
	read[name] = e
	return e
}

// letGo reports whether e names an object of any class.
func (c *Cluster) letGo(e *Expiry, size wal.SegmentSize, key storage.Key) bool {
	folder, name, _ := strings.Cut(strings.TrimPrefix(string(key), string(clusterPrefix(c.id))), "/")
	if folder+"/" == backupsFolder {
		id, _, _ := strings.Cut(name, "/")
		return e.HasBackup(id)
	}
	return c.expiredObject(e, size, key)
}
