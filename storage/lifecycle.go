package storage

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// LifecycleRule is one rule by which a bucket moves, hides and removes objects by itself, as far as it concerns the store. Ages are in days
// since an object was created.
type LifecycleRule struct {
	// ID is the rule's name; it may be empty.
	ID      string
	Enabled bool
	// Prefix is the part of the store that it concerns; empty for all of it.
	Prefix Key
	// Tagged says that it concerns objects with certain tags alone. Those of a store have no tags.
	Tagged bool
	// Larger and Smaller bound the sizes of the objects, in bytes, both exclusive; 0 is no bound.
	Larger, Smaller int64
	// Expires is when current objects are removed, or hidden where the bucket keeps versions; nil for never.
	Expires *Age
	// Moves are those of current objects to other storage classes.
	Moves []LifecycleMove
	// OlderMoves are those of versions that were put over or deleted, by the time since.
	OlderMoves []LifecycleMove
	// OlderDays is how long after it was put over or deleted a version is removed; 0 for never.
	OlderDays int
	// Markers says that delete markers are removed that hide nothing any more.
	Markers bool
	// UploadDays is how long after its beginning an upload is ended that never was; 0 for never.
	UploadDays int
}

// Age is when a rule acts on an object: after so many days, or, if On is set, on that day for all that is there then. The zero value is at once.
type Age struct {
	Days int
	On   time.Time
}

// LifecycleMove is a move to another storage class.
type LifecycleMove struct {
	After Age
	Class string
	// Larger bounds the sizes of what is moved further than the rule itself does, in bytes, exclusive; 0 is no bound.
	Larger int64
	// Archive says that objects of the class must be thawed before they are read.
	Archive bool
}

// Lifecycler is the optional ability of a store to tell by which rules its bucket moves and removes objects by itself.
type Lifecycler interface {
	// Lifecycle returns the rules that concern the store. It returns an error that wraps errors.ErrUnsupported if the store does not know
	// such a thing.
	Lifecycle(ctx context.Context) ([]LifecycleRule, error)
}

// BucketLifecycle calls store's Lifecycle if it has one; errors.ErrUnsupported otherwise.
func BucketLifecycle(ctx context.Context, store Store) ([]LifecycleRule, error) {
	if s, ok := store.(Lifecycler); ok {
		return s.Lifecycle(ctx)
	}
	return nil, fmt.Errorf("lifecycle rules of a store that is no bucket: %w", errors.ErrUnsupported)
}
