package storage

import (
	"context"
	"time"
)

// StaleUpload is an upload that was begun and neither committed nor aborted: its writer died, or is still at it.
type StaleUpload struct {
	Key   Key
	ID    string // the store's own
	Begun time.Time
}

// Sweeper is the optional ability of a store to find and drop uploads that nobody ends any more. What they hold is not visible, and paid for all the same.
type Sweeper interface {
	// StaleUploads returns the uploads that were begun before that time.
	StaleUploads(ctx context.Context, before time.Time) ([]StaleUpload, error)
	// DropUpload aborts one. One that has ended meanwhile is success.
	DropUpload(ctx context.Context, u StaleUpload) error
}

// StaleUploads calls store's StaleUploads if it has one; a store without it has none.
func StaleUploads(ctx context.Context, store Store, before time.Time) ([]StaleUpload, error) {
	if s, ok := store.(Sweeper); ok {
		return s.StaleUploads(ctx, before)
	}
	return nil, nil
}

// DropUpload calls store's DropUpload if it has one.
func DropUpload(ctx context.Context, store Store, u StaleUpload) error {
	if s, ok := store.(Sweeper); ok {
		return s.DropUpload(ctx, u)
	}
	return nil
}
