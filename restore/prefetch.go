package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// FetchOptions returns the options under which the server's restore_command
// is to fetch for this plan.
func (p *Plan) FetchOptions() FetchOptions {
	return FetchOptions{Until: p.Until, Timeline: p.Timeline, SegmentSize: p.Backup.SegmentSize, Ahead: fetchAhead}
}

const (
	fetchAhead = 4 // segments, in each call of Fetch that finds none read ahead

	// prefetchBytes is how much WAL Prefetch keeps ready, and prefetchAtOnce
	// how many segments it reads at the same time.
	prefetchBytes  = 256 << 20
	prefetchAtOnce = 4
	prefetchTick   = 10 * time.Millisecond
)

// Prefetch reads the plan's WAL into the folder from which Fetch takes it,
// always some segments ahead of the server that recovers in dataDir, until
// all of it was read or ctx ends. What it cannot read is left to Fetch, which
// judges it; the first *DamageError is returned. It gives the files to owner, if
// that is not nil.
func Prefetch(ctx context.Context, cluster *repository.Cluster, plan *Plan, dataDir string, owner *Owner) error {
	o := plan.FetchOptions()
	s := newSpool(filepath.Join(dataDir, "pg_wal"), o)
	s.owner = owner
	_ = os.RemoveAll(s.dir) // what an earlier restore left; a Fetch may be at work already, and is verified
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("prefetch WAL: %w", err)
	}
	if err := s.give(s.dir); err != nil {
		return fmt.Errorf("prefetch WAL: %w", err)
	}
	r := reader{cluster: cluster, size: o.SegmentSize, options: o}
	segments := plan.segments()
	keep := max(1, min(prefetchBytes/int(r.size), len(segments)))
	var g errgroup.Group
	var once sync.Once
	var damaged error
	g.SetLimit(min(prefetchAtOnce, keep))
	tick := time.NewTicker(prefetchTick)
	defer tick.Stop()
	for next := 0; next < len(segments) && ctx.Err() == nil; {
		if s.passed(r.size.FileName(segments[next])) {
			next++
			continue
		}
		id := segments[next]
		if s.ready() < keep && g.TryGo(func() error {
			var damage *DamageError
			if err := s.fill(ctx, r, id); errors.As(err, &damage) {
				once.Do(func() { damaged = err })
			}
			return nil // Fetch reads it itself, and judges
		}) {
			next++
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	_ = g.Wait() // fills fail one by one
	return errors.Join(damaged, ctx.Err())
}

// segments lists the segment files that recovery asks for, in order.
func (p *Plan) segments() []wal.SegmentID {
	size := p.Backup.SegmentSize
	var list []wal.SegmentID
	for _, leg := range p.Legs {
		first := size.Number(leg.Range.Start)
		for i := range leg.Segments {
			list = append(list, wal.SegmentID{Timeline: leg.Timeline, Number: first + wal.SegmentNumber(i)})
		}
	}
	return list
}

// passed reports whether the server asked for this file or a later one.
func (s *spool) passed(name string) bool {
	asked := s.lastAsked()
	return len(asked) == segmentNameLen && name[8:] <= asked[8:]
}

// ready counts the files that wait to be taken or are just read.
func (s *spool) ready() int {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return 0
	}
	names := map[string]bool{}
	for _, e := range entries {
		if file, _, ok := strings.Cut(e.Name(), "."); ok && len(file) == segmentNameLen {
			names[file] = true
		}
	}
	return len(names)
}
