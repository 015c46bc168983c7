package agent

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
)

// Past is what a bucket still holds of an object that is deleted, or no more what was written.
type Past struct {
	Repository string // primary, or a copy's name
	Key        storage.Key
	// Earlier is the number of versions behind the current one, or behind its deletion, and Newest when the newest of them was made.
	Earlier int
	Newest  time.Time
	// Lost is when the object was deleted, or put over: with Begun that is the earliest that it can have been, since what was put over it was sent in parts.
	Lost    time.Time
	Begun   bool
	Deleted bool
	// Looked is when that was found, by this host's clock.
	Looked time.Time
}

// AsOf is an instant as of which the object can be read: the last one that the store can tell from that of the loss, as it tells time to the second. Where the loss may have come days
// after its time, that would hide what was archived meanwhile. It is now then: what is damaged is taken in its first version.
func (p Past) AsOf() time.Time {
	if p.Begun {
		return p.Looked.Truncate(time.Second)
	}
	return p.Lost.Truncate(time.Second).Add(-time.Second)
}

// pastPatience is how long looking for earlier versions may take, beside an error that is told anyway.
const pastPatience = 5 * time.Second

// pastLooked is how many versions are looked through for one that was deleted.
const pastLooked = 1000

// FindPast looks for earlier versions of the object that an error of reading speaks of: of the repository's marker if there is no repository, of any object if there
// is no cluster. It returns nil if the error speaks of none, or no repository of the cluster has any to show.
func FindPast(ctx context.Context, c config.Cluster, cause error, o StoreOptions) *Past {
	key, any := lostKey(cause)
	if key == "" && !any {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pastPatience)
	defer cancel()
	for _, one := range c.Repositories() {
		store, err := OpenStore(ctx, one.URL, o.of(one))
		if err != nil {
			continue
		}
		p := pastOf(ctx, store, key)
		_ = store.Close() // only reads were made
		if p != nil {
			p.Repository, p.Looked = one.Name, time.Now()
			return p
		}
	}
	return nil
}

// lostKey returns the key of the object that the error speaks of; any says that it speaks of all.
func lostKey(err error) (key storage.Key, any bool) {
	var corrupt *repository.CorruptError
	var absent *storage.Error
	switch {
	case errors.Is(err, repository.ErrNoRepository):
		return repository.MarkerKey, false
	case errors.Is(err, ErrEmpty):
		return "", true
	case errors.As(err, &corrupt):
		return corrupt.Key, false
	case errors.As(err, &absent) && errors.Is(err, storage.ErrNotFound):
		return absent.Key, false
	}
	return "", false
}

// pastOf returns nil if there are no earlier versions of the object. With an empty key it takes the first object of a cluster that was deleted.
func pastOf(ctx context.Context, store storage.Store, key storage.Key) *Past {
	var p Past
	looked := 0
	for v, err := range storage.Versions(ctx, store, key, "") {
		switch looked++; {
		case err != nil, looked > pastLooked, key != "" && v.Key != key:
			return p.found()
		case v.Current:
			if p.Earlier > 0 {
				return p.found()
			}
			p = Past{Key: v.Key, Lost: v.Modified, Begun: v.Begun && !v.Marker, Deleted: v.Marker}
		case key == "" && (!p.Deleted || !strings.Contains(string(v.Key), "/")):
		case v.Marker:
			if p.Deleted && p.Earlier == 0 && v.Key == p.Key { // deleted again: it was lost the first time
				p.Lost = v.Modified
			}
		default:
			if p.Earlier++; p.Earlier == 1 {
				p.Newest = v.Modified
			}
		}
	}
	return p.found()
}

func (p Past) found() *Past {
	if p.Earlier == 0 {
		return nil
	}
	return &p
}
