package storage

import (
	"context"
	"errors"
	"fmt"
)

// Powers are what a credential may do to objects that are there already: what whoever steals it may.
type Powers struct {
	// Overwrite says that it may put over an object.
	Overwrite bool
	// Delete says that it may delete an object, which a bucket that keeps versions only hides.
	Delete bool
	// DeleteVersions says that it may delete a version for good. It is false where there are none.
	DeleteVersions bool
	// Versioned says that the bucket keeps the version that is put over or deleted.
	Versioned bool
}

// PowerProber is the optional ability of a store to find out what its credential may do to objects that are there already.
type PowerProber interface {
	// Powers tries it on key, an object of the caller's own that nobody needs, and on nothing else. As far as the credential may it is
	// gone afterwards. It returns an error that wraps errors.ErrUnsupported if the store knows no credentials.
	Powers(ctx context.Context, key Key) (Powers, error)
}

// ProbePowers calls store's Powers if it has one; errors.ErrUnsupported otherwise.
func ProbePowers(ctx context.Context, store Store, key Key) (Powers, error) {
	if s, ok := store.(PowerProber); ok {
		return s.Powers(ctx, key)
	}
	return Powers{}, errNoPowers
}

var errNoPowers = fmt.Errorf("powers in a store that knows no credentials: %w", errors.ErrUnsupported)
