package storage

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Archive says of an object that it lies where it must be thawed before it can be read. The zero value is an object that can be read at once.
type Archive struct {
	// Class is the store's word for where it lies, such as GLACIER; empty if it can be read at once.
	Class string
	// Listed says that it is the word of a listing, which knows the class alone: neither whether the object is thawed, nor whether one that moves by
	// itself is archived now. Stat and StatVersion know.
	Listed bool
	// Asked says that it is being thawed.
	Asked bool
	// Until is when it freezes again; zero while it is not thawed.
	Until time.Time
}

// Readability says whether an object can be read, the better the smaller.
type Readability int

const (
	// Readable is an object that can be read.
	Readable Readability = iota
	// Uncertain is one of which Stat tells.
	Uncertain
	// Frozen is one that must be thawed, or be thawed for longer.
	Frozen
)

// Readability says whether the object can be read from now until an instant.
func (a Archive) Readability(until time.Time) Readability {
	switch {
	case a.Class == "", a.Until.After(until):
		return Readable
	case a.Listed:
		return Uncertain
	}
	return Frozen
}

// ThawTier is how soon, and at what price, an object is thawed.
type ThawTier string

// The tiers, the cheapest first. https://docs.aws.amazon.com/AmazonS3/latest/userguide/restoring-objects-retrieval-options.html
const (
	ThawBulk      ThawTier = "bulk"
	ThawStandard  ThawTier = "standard"
	ThawExpedited ThawTier = "expedited"
)

// Thaw is how an object is to be thawed.
type Thaw struct {
	Days int // how long it stays readable, 1 or more
	Tier ThawTier
}

// Thawer is the optional ability of a store to thaw archived objects.
type Thawer interface {
	// Thaw asks for an archived object to be made readable, which takes minutes to days: Stat tells. Asked again while it is under way it does
	// nothing; of an object that is thawed it sets the time anew. Of several versions it is object.Version, the current one if that is empty. It
	// returns ErrNotFound if the object does not exist.
	Thaw(ctx context.Context, object Info, how Thaw) error
}

// ThawObject calls store's Thaw if it has one; it does nothing for an object that can be read, and otherwise returns errors.ErrUnsupported.
func ThawObject(ctx context.Context, store Store, object Info, how Thaw) error {
	if s, ok := store.(Thawer); ok {
		return s.Thaw(ctx, object, how)
	}
	if object.Archive.Class == "" {
		return nil
	}
	return &Error{Op: "thaw", Key: object.Key, Err: fmt.Errorf("a store without archives: %w", errors.ErrUnsupported)}
}
