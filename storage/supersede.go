package storage

import "context"

// Superseder is the optional ability of a store to put an object in the place of a damaged one and to keep that: what is damaged is
// evidence, and may be less damaged than was thought. Nothing but healing may use it; every other object is created once.
type Superseder interface {
	// Supersede starts an object as Begin does. Its Commit takes the place of the object under key, if there is one, at one instant: no
	// reader finds the key free meanwhile. What lay there stays, as an older version or beside it, where neither Get nor List finds it.
	// It returns ErrNoVersions, having changed nothing, if the store would lose it.
	Supersede(ctx context.Context, key Key) (Upload, error)
}

// Supersede calls store's Supersede if it has one, and otherwise returns ErrNoVersions.
func Supersede(ctx context.Context, store Store, key Key) (Upload, error) {
	if s, ok := store.(Superseder); ok {
		return s.Supersede(ctx, key)
	}
	return nil, &Error{Op: "supersede", Key: key, Err: ErrNoVersions}
}
