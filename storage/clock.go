package storage

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Skew is how far a store's clock lies ahead of this host's, give or take Within. It is behind where Ahead is negative.
type Skew struct{ Ahead, Within time.Duration }

// Clock is the optional ability of a store to tell what time it is there.
type Clock interface {
	// Skew asks once. It returns an error that wraps errors.ErrUnsupported if the store has no clock of its own.
	Skew(ctx context.Context) (Skew, error)
}

// ClockSkew calls store's Skew if it has one; errors.ErrUnsupported otherwise.
func ClockSkew(ctx context.Context, store Store) (Skew, error) {
	if s, ok := store.(Clock); ok {
		return s.Skew(ctx)
	}
	return Skew{}, errNoClock
}

var errNoClock = fmt.Errorf("the clock of a store that is on this host: %w", errors.ErrUnsupported)
