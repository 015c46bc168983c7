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

// Prefetch reads a plan's WAL into the folder from which Fetch and TakeCommand
// take it, always some segments ahead of the server that recovers.
type Prefetch struct {
	spool    *spool
	plan     *Plan
	landlord landlord
}

// NewPrefetch makes the folder below dataDir, empty: what an earlier restore
// left there may not be whole, and TakeCommand does not look. It is called
// before the server starts. Of the options Owner, Within and Replaces count.
func NewPrefetch(plan *Plan, dataDir string, o RecoverOptions) (*Prefetch, error) {
	s := newSpool(filepath.Join(dataDir, walFolder), plan.FetchOptions())
	s.owner = o.Owner
	err := errors.Join(os.RemoveAll(s.dir), os.MkdirAll(s.dir, 0o700))
	if err == nil {
		err = s.give(s.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("prefetch WAL: %w", err)
	}
	return &Prefetch{s, plan, landlord{dataDir: dataDir, within: o.Within, replaced: o.Replaces}}, nil
}

// Run reads until all of the plan's WAL was read or ctx ends. What it cannot
// read is left to Fetch, which judges it; the first *DamageError or *TablespaceError is returned.
func (p *Prefetch) Run(ctx context.Context, cluster *repository.Cluster) error {
	return p.spool.prefetch(ctx, cluster, p.plan, &p.landlord)
}

// Late is how many segments the server asked for before they were there. It is
// final when Run has returned.
func (p *Prefetch) Late() int { return int(p.spool.late.Load()) }

// Remove deletes the folder, when the server needs no more.
func (p *Prefetch) Remove() { p.spool.remove() }

// TakeCommand returns a restore_command that takes what Prefetch has ready and
// calls otherwise, which is a restore_command itself, for all else. It costs the
// server a rename, less than cp of the segment would; otherwise costs a process
// that checks 16 MiB again. It may only be given to a server that Prefetch
// feeds from before its start, on its command line and not in a file: the
// content is not checked again, and only a crash of the host could make another
// of it than what was written, which no such server survives. It has no
// double quotes: postmaster.opts, which pg_ctl restart reads, puts the words of
// the command line between such and escapes nothing (CreateOptsFile,
// src/backend/postmaster/postmaster.c).
func TakeCommand(plan *Plan, otherwise string) string {
	dir := newSpool(walFolder, plan.FetchOptions()).dir // the server's working directory is its data directory
	return fmt.Sprintf(`mv -f %s/%%f.%s %%p 2>/dev/null || %s`, dir, strings.Repeat("?", crcDigits), otherwise)
}

// prefetch fills the spool, and counts in late what the server asked for before it was there.
func (s *spool) prefetch(ctx context.Context, cluster *repository.Cluster, plan *Plan, l *landlord) error {
	r := reader{cluster: cluster, size: s.options.SegmentSize, options: s.options}
	segments := plan.segments()
	if len(segments) > 0 {
		l.first = segments[0]
	}
	keep := max(1, min(prefetchBytes/int(r.size), len(segments)))
	atOnce := min(prefetchAtOnce, keep)
	readers := make(chan *repository.SegmentReader, atOnce)
	for range atOnce {
		readers <- new(repository.SegmentReader)
	}
	written := make(chan string, keep+atOnce) // not on disk yet
	var g errgroup.Group
	var once sync.Once
	var wrong error
	looked := make(chan *wal.Decoder, 1) // what the segment before was looked through with; nil: it was not
	looked <- nil
	tick := time.NewTicker(prefetchTick)
	defer tick.Stop()
	for next := 0; next < len(segments) && ctx.Err() == nil; {
		if s.passed(r.size.FileName(segments[next])) {
			s.late.Add(1)
			next++
			looked = make(chan *wal.Decoder, 1)
			looked <- nil
			continue
		}
		if s.ready() >= keep { // only then the disk is idle for certain
			select {
			case <-ctx.Done():
			case name := <-written:
				s.sync(name)
			case <-tick.C:
			}
			continue
		}
		r, id := r, segments[next]
		r.segments = <-readers
		before, after := looked, make(chan *wal.Decoder, 1)
		looked = after
		g.Go(func() error {
			var damage *DamageError
			var tablespace *TablespaceError
			var d *wal.Decoder
			err := s.fill(ctx, r, id, func(plain []byte) (err error) {
				select {
				case d = <-before:
				case <-ctx.Done():
					return ctx.Err()
				}
				d, err = l.inTurn(d, r.size, id, plain)
				return err
			})
			after <- d
			readers <- r.segments
			if s.passed(r.size.FileName(id)) {
				s.late.Add(1)
			}
			if errors.As(err, &damage) || errors.As(err, &tablespace) {
				once.Do(func() { wrong = err })
			}
			select {
			case written <- r.size.FileName(id):
			default: // the server is faster
			}
			return nil // Fetch reads it itself, and judges
		})
		next++
	}
	_ = g.Wait() // fills fail one by one
	for len(written) > 0 && ctx.Err() == nil {
		s.sync(<-written)
	}
	return errors.Join(wrong, ctx.Err())
}

// sync writes a file that is ready to disk, if the server has not taken it yet.
// It would do so before replaying it, and wait (durable_rename in
// KeepFileRestoredFromArchive, src/backend/access/transam/xlogarchive.c).
func (s *spool) sync(name string) {
	path, _, ok := s.find(name)
	if !ok {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		return
	}
	_ = errors.Join(f.Sync(), f.Close()) // the server's own tells of a failure
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
