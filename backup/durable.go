package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

const (
	// pollLongest is the longest pause between two looks into the repository for WAL.
	pollLongest = 10 * time.Second
	// holeLongest is how long WAL may lack while later WAL is there: uploads overtake each other, and
	// one that is retried comes late. What lacks for longer was never archived.
	holeLongest = 5 * time.Minute
)

// waitWAL returns when the repository holds every byte of WAL in need on the timeline tli. What the
// archiver says of its end is not enough: its WAL may begin only after the backup's start.
func waitWAL(ctx context.Context, c *repository.Cluster, o Options, tli wal.TimelineID, need wal.Range) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.WALTimeout,
		fmt.Errorf("not all of it came within %v: %w", o.WALTimeout, ErrWALMissing))
	defer cancel()
	err := awaitWAL(ctx, c, o, tli, need)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("wait for WAL %s of timeline %s: %w", need, tli, err)
	}
	return nil
}

func awaitWAL(ctx context.Context, c *repository.Cluster, o Options, tli wal.TimelineID, need wal.Range) error {
	if o.WaitDurable == nil {
		return pollWAL(ctx, c, tli, need)
	}
	if err := o.WaitDurable(ctx, tli, need.End); err != nil {
		return err
	}
	gaps, _, err := look(ctx, c, tli, need)
	if err == nil && len(gaps) > 0 {
		err = fmt.Errorf("%w: %v", ErrWALMissing, gaps)
	}
	return err
}

// pollWAL looks into the repository until all is there.
func pollWAL(ctx context.Context, c *repository.Cluster, tli wal.TimelineID, need wal.Range) error {
	var ended time.Time // when the end was first seen
	for pause := time.Second; ; pause = min(2*pause, pollLongest) {
		gaps, end, err := look(ctx, c, tli, need)
		if err != nil || len(gaps) == 0 {
			return err
		}
		switch {
		case !end:
			ended = time.Time{}
		case ended.IsZero():
			ended = time.Now()
		case time.Since(ended) > holeLongest:
			return fmt.Errorf("%w: %v", ErrWALMissing, gaps)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// look lists what the repository lacks of the WAL in need, and whether it holds the last byte of it.
func look(ctx context.Context, c *repository.Cluster, tli wal.TimelineID, need wal.Range) ([]wal.Range, bool, error) {
	held, err := c.Coverage(ctx, tli, need.Start)
	if err != nil {
		return nil, false, err
	}
	gaps := held.Gaps(need)
	return gaps, len(gaps) == 0 || gaps[len(gaps)-1].End < need.End, nil
}
