// Package repository knows the format of a repository, docs/FORMAT.md: keys, object headers,
// checksums, backup records and the orders of writing and deleting. It is the only package that knows
// a key. It knows no PostgreSQL server, and starts nothing that outlives its calls except the part
// uploads of a BackupWriter, which its methods wait for.
//
// What comes back from a store is treated as hostile: sizes, counts, paths and links are bounded and
// checked before they are used, and every byte is verified before it is given to the caller.
package repository

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Format is the version of the format that this package writes, and the greatest that it reads.
const Format = 1

// markerKey and markerLimit are parts of the format.
const (
	markerKey   storage.Key = "pgark.json"
	markerLimit             = 64 << 10
)

// Marker is the content of pgark.json, FORMAT.md section 2.
type Marker struct {
	Format       int       `json:"format"`
	RepositoryID string    `json:"repository_id"` // 32 lower-case hex digits, random
	Created      time.Time `json:"created"`
}

// Repository is an open repository. It is safe for concurrent use.
type Repository struct {
	store   storage.Store
	marker  Marker
	content []byte   // of the marker; nil where it was not read from one store
	keys    *keyring // nil: none
}

// Open reads the marker. It returns ErrNoRepository if there is none, a *FormatError if the format is
// newer than Format, and a *CorruptError if it cannot be read.
func Open(ctx context.Context, store storage.Store) (*Repository, error) {
	b, err := storage.ReadAll(ctx, store, markerKey, markerLimit)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("read the marker: %w: %w", ErrNoRepository, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read the marker: %w", err)
	}
	m, err := ParseMarker(b)
	if err != nil { // an agent ends on this: not for one bad reading
		if b, err = storage.ReadSettled(ctx, store, markerKey, markerLimit); err == nil {
			m, err = ParseMarker(b)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the marker: %w", err)
	}
	return &Repository{store: store, marker: m, content: b}, nil
}

// Create opens the repository, or makes the marker if there is none. Of several that create at the same
// time one makes it and the others open that. The errors are those of Open but for ErrNoRepository.
func Create(ctx context.Context, store storage.Store) (*Repository, error) {
	r, err := Open(ctx, store)
	if !errors.Is(err, ErrNoRepository) {
		return r, err
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	m := Marker{Format: Format, RepositoryID: hex.EncodeToString(id[:]), Created: time.Now().UTC().Truncate(time.Second)}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	if err := putMarker(ctx, store, append(b, '\n')); err != nil {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	return Open(ctx, store)
}

// PutBack makes the marker of a repository that Open or Create opened again, as it was read, in a store that lost it. It leaves a marker that is there.
func (r *Repository) PutBack(ctx context.Context, store storage.Store) error {
	if r.content == nil {
		return errors.New("put the marker back: it was not read")
	}
	if err := putMarker(ctx, store, r.content); err != nil {
		return fmt.Errorf("put the marker back: %w", err)
	}
	return nil
}

// putMarker makes the marker if there is none.
func putMarker(ctx context.Context, store storage.Store, content []byte) error {
	err := store.Put(ctx, markerKey, content)
	if !errors.Is(err, storage.ErrExists) {
		return err
	}
	if _, err := store.Stat(ctx, markerKey); errors.Is(err, storage.ErrNotFound) {
		// There are stores that take a delete marker for an object that exists; Amazon's does not (S3 User Guide, "How to prevent object overwrites with conditional writes").
		return mendingStore{store}.Put(ctx, markerKey, content)
	}
	return nil
}

// ParseMarker reads the content of pgark.json. The error is a *FormatError or a *CorruptError.
func ParseMarker(b []byte) (Marker, error) {
	// A newer format may change everything but this field.
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return Marker{}, &CorruptError{Key: markerKey, Reason: "no JSON", Err: err}
	}
	if version.Format > Format {
		return Marker{}, &FormatError{Got: version.Format, Known: Format}
	}
	var m Marker
	if err := json.Unmarshal(b, &m); err != nil {
		return Marker{}, &CorruptError{Key: markerKey, Reason: "no JSON", Err: err}
	}
	if m.Format < 1 {
		return Marker{}, &CorruptError{Key: markerKey, Reason: fmt.Sprintf("format %d", m.Format)}
	}
	if !isLowerHex(m.RepositoryID, 32) {
		return Marker{}, &CorruptError{Key: markerKey, Reason: fmt.Sprintf("repository id %q", m.RepositoryID)}
	}
	return m, nil
}

// Marker returns what pgark.json says.
func (r *Repository) Marker() Marker { return r.marker }

// Over returns the same repository as another store shows it, with the same keys. It reads nothing.
func (r *Repository) Over(store storage.Store) *Repository {
	return &Repository{store: store, marker: r.marker, keys: r.keys}
}

// Cluster returns the part of the repository that belongs to one PostgreSQL cluster. It reads nothing.
func (r *Repository) Cluster(id wal.SystemID) *Cluster {
	if r.keys == nil {
		return &Cluster{store: r.store, id: id, keys: &keyring{}}
	}
	return &Cluster{store: r.store, id: id, keys: r.keys}
}

// Clusters lists the system identifiers that have objects here, in the order of their keys, with about one
// request for each. One of which nothing is left but what says that it was let go is not among them.
func (r *Repository) Clusters(ctx context.Context) ([]wal.SystemID, error) {
	var ids []wal.SystemID
	after := storage.Key("")
	for {
		info, found, err := first(ctx, r.store, "", after)
		if err != nil {
			return nil, fmt.Errorf("list clusters: %w", err)
		}
		if !found {
			return ids, nil
		}
		name, _, isFolder := strings.Cut(string(info.Key), "/")
		after = info.Key
		if isFolder {
			after = pastFolder(storage.Key(name))
			id, err := wal.ParseSystemID(name)
			if err != nil {
				continue
			}
			there := true
			if strings.HasPrefix(string(info.Key), string(expiryPrefix(id))) {
				if _, there, err = first(ctx, r.store, clusterPrefix(id), pastFolder(storage.Key(strings.TrimSuffix(string(expiryPrefix(id)), "/")))); err != nil {
					return nil, fmt.Errorf("list clusters: %w", err)
				}
			}
			if there {
				ids = append(ids, id)
			}
		}
	}
}

// first returns the first object after the key after.
func first(ctx context.Context, store storage.Store, prefix, after storage.Key) (storage.Info, bool, error) {
	for info, err := range store.List(ctx, prefix, after) {
		return info, err == nil, err
	}
	return storage.Info{}, false, nil
}

// pastFolder returns a key that is greater than all keys in folder and no greater than any key beside it
// whose name has the same length.
func pastFolder(folder storage.Key) storage.Key { return folder + "0" } // '0' is the byte after '/'

// isLowerHex reports whether s is n lower-case hex digits.
func isLowerHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
