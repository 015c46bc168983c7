package repository

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// fences copies the fences. Corrupt ones are left out and told at the end: who asks for one where it is gets no answer that counts. Of the newest timeline in any of the two the
// records must be the same as far as both have them: who knows those of one repository asks the other for later ones only, and would pass over a fence that
// two who could not see each other put under one number. Of timelines that others came after nobody asks any more.
func (c copier) fences(ctx context.Context, id wal.SystemID) error {
	newest, err := c.newestTimeline(ctx, id)
	if err != nil {
		return err
	}
	var corrupt error
	for info, err := range c.from.List(ctx, fencePrefix(id), "") {
		if err != nil {
			return err
		}
		if _, tli, _, ours := parseFenceKey(info.Key); !ours || tli < newest {
			err = c.object(ctx, info, storage.ReadSettled, verifyFence)
		} else {
			err = c.sameFence(ctx, info)
		}
		if err != nil && !isCorrupt(err) {
			return err
		}
		corrupt = errors.Join(corrupt, err)
	}
	return corrupt
}

// sameFence copies a fence, or makes sure that it is there already.
func (c copier) sameFence(ctx context.Context, info storage.Info) error {
	body, err := storage.ReadSettled(ctx, c.from, info.Key, info.Size)
	if err == nil {
		err = verifyFence(info.Key, body)
	}
	if err == nil {
		err = putEqual(ctx, c.to, info.Key, body)
	}
	var conflict *ConflictError
	if errors.As(err, &conflict) {
		return fmt.Errorf("two servers were to take over: %w: %w", storage.ErrConflict, err)
	}
	return err
}

// newestTimeline returns the newest timeline that any of the two stores has.
func (c copier) newestTimeline(ctx context.Context, id wal.SystemID) (wal.TimelineID, error) {
	newest := wal.TimelineID(1)
	for _, store := range []storage.Store{c.from, c.to} {
		timelines, err := (&Cluster{store: store, id: id}).Timelines(ctx)
		if err != nil {
			return 0, err
		}
		for _, tli := range timelines {
			newest = max(newest, tli)
		}
	}
	return newest, nil
}
