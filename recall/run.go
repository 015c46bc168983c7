package recall

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/asof"
	"github.com/pgark/pgark/wal"
)

// Options of Run. At is required.
type Options struct {
	// At is the instant whose objects are brought back; its whole second counts.
	At time.Time
	// Expired brings back what retention let go, too.
	Expired bool
	// Act brings back; without it nothing is changed.
	Act bool
	// Progress, if not nil, is told of each object that is back, one after the other.
	Progress func(objects, bytes int64)
}

// copying is how many versions are put on top at a time. The store does the work.
const copying = 16

// batched is how many objects are collected for that.
const batched = 256

// NotBackError says that an object which was brought back is not what was put on top: somebody writes there.
type NotBackError struct {
	Key  storage.Key
	Want storage.Info // the version of then
	Got  storage.Info
}

// Error names the object.
func (e *NotBackError) Error() string {
	return fmt.Sprintf("%s was brought back with %d bytes and holds %d: somebody else writes there", e.Key, e.Want.Size, e.Got.Size)
}

// Run finds what of the repository in store, which must implement storage.Versioner, was deleted or put over since the instant, and brings it back if it is to. What is
// back already counts as that. It may be broken off and called again. The report is returned with an error too, as far as it came.
//
// Each object comes back after what FORMAT.md, section 8, says must be there before it, so that the repository can be read while it goes on.
func Run(ctx context.Context, store storage.Store, o Options) (Report, error) {
	r := &run{store: store, then: asof.New(store, asof.Options{At: o.At}), options: o, report: Report{AsOf: o.At.UTC().Truncate(time.Second), Acted: o.Act}}
	err := r.all(ctx)
	r.report.Lossy = r.then.Lossy()
	r.report.finish()
	if err != nil {
		return r.report, fmt.Errorf("as of %s: %w", r.report.AsOf.Format(time.RFC3339), err)
	}
	return r.report, nil
}

type run struct {
	store   storage.Store
	then    *asof.Store
	options Options

	mu     sync.Mutex // guards report
	report Report
}

func (r *run) all(ctx context.Context) error {
	versioning, err := storage.BucketVersioning(ctx, r.store)
	switch {
	case errors.Is(err, errors.ErrUnsupported), err == nil && versioning == storage.VersioningOff:
		return storage.ErrNoVersions
	case err != nil && !errors.Is(err, storage.ErrDenied):
		return err
	}
	for _, key := range []storage.Key{repository.MarkerKey, repository.EncryptionMarkerKey} {
		one := func(info storage.Info) (repository.Object, storage.Key, bool) {
			return repository.Object{Key: info.Key, Class: repository.ClassMarker, Size: info.Size}, info.Key, info.Key == key
		}
		if err := r.folder(ctx, key, scene{}, one); err != nil {
			return err
		}
	}
	ids, err := repository.Unchecked(r.then).Clusters(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := r.cluster(ctx, id); err != nil {
			return fmt.Errorf("cluster %s: %w", id, err)
		}
	}
	return nil
}

func (r *run) cluster(ctx context.Context, id wal.SystemID) error {
	then := repository.Unchecked(r.then).Cluster(id)
	c := scene{then: then, now: repository.Unchecked(r.store).Cluster(id)}
	if err := r.letGo(ctx, &c); err != nil {
		return err
	}
	size, err := then.SegmentSize(ctx)
	if err != nil && !errors.Is(err, repository.ErrNoWAL) && !repository.OnlyUnreadable(err) {
		return err
	}
	classify := func(info storage.Info) (repository.Object, storage.Key, bool) {
		o, ours := then.Classify(size, info)
		return o, groupOf(o), ours
	}
	for _, folder := range then.ClusterFolders() {
		if err := r.folder(ctx, folder, c, classify); err != nil {
			return err
		}
	}
	return nil
}

// scene is a cluster then and now, and what its retention let go. The zero value is that of objects of no cluster.
type scene struct {
	then, now *repository.Cluster
	let       repository.Expiry
}

// letGo reads what retention let go, by the records of then and of now. What cannot be read, as it may have been put over, says nothing.
func (r *run) letGo(ctx context.Context, s *scene) error {
	for _, c := range []*repository.Cluster{s.then, s.now} {
		one, err := c.Expiry(ctx)
		if err != nil && !repository.OnlyUnreadable(err) {
			return err
		}
		s.let.Add(one)
	}
	return nil
}

// look reads of the beats or expiry records of a cluster, if any is gone, what tells whether another follows it.
func (r *run) look(ctx context.Context, s scene, group []entry) error {
	if !has(group, entry.gone) {
		return nil
	}
	for i := range slices.Backward(group) {
		e := &group[i]
		unknown := func(err error) bool {
			return err != nil && !errors.Is(err, storage.ErrNotFound) && !repository.OnlyUnreadable(err)
		}
		switch {
		case e.object.Class == repository.ClassExpiry && (e.gone() || e.is() && !e.altered()):
			c := s.now
			if e.gone() {
				c = s.then
			}
			says, err := c.ExpiryRecord(ctx, e.object.Key)
			if unknown(err) {
				return err
			}
			if err == nil {
				e.says = &says
			}
		case e.object.Class == repository.ClassBeat && e.is() && !e.was():
			_, err := s.now.CheckRecord(ctx, e.object)
			e.sound = err == nil
			if unknown(err) {
				return err
			}
			return nil // the newest is enough to tell that others were replaced
		}
	}
	return nil
}

// groupOf is what the objects have in common that are judged together.
func groupOf(o repository.Object) storage.Key {
	switch o.Class {
	case repository.ClassSegment, repository.ClassPiece:
		return repository.SegmentOf(o.Key)
	case repository.ClassRecord, repository.ClassIndex, repository.ClassManifest, repository.ClassPack:
		return storage.Key(o.Backup)
	case repository.ClassBeat, repository.ClassExpiry:
		return storage.Key(o.Class)
	case repository.ClassMarker, repository.ClassHistory, repository.ClassSync, repository.ClassGap, repository.ClassDrill, repository.ClassNames,
		repository.ClassPin, repository.ClassFence, repository.ClassHold, repository.ClassReading, repository.ClassCensus:
	}
	return o.Key
}

// classifier says what an object is and what it is judged with; false if it is none of ours.
type classifier func(storage.Info) (o repository.Object, group storage.Key, ours bool)

// folder brings back what begins with a prefix.
func (r *run) folder(ctx context.Context, prefix storage.Key, s scene, classify classifier) error {
	var group []entry
	var name storage.Key
	var batch []Item
	decide := func() error {
		if err := r.look(ctx, s, group); err != nil {
			return err
		}
		batch = append(batch, judge(group, s.let)...)
		return nil
	}
	for c, err := range asof.Compare(ctx, r.store, r.options.At, prefix, "") {
		if err != nil {
			return err
		}
		info := c.Was
		if info.Key == "" {
			info = c.Now.Info
		}
		o, of, ours := classify(info)
		if !ours {
			continue
		}
		if of != name {
			if err := decide(); err != nil {
				return err
			}
			group, name = nil, of
			if len(batch) >= batched {
				if err := r.bringAll(ctx, batch); err != nil {
					return err
				}
				batch = nil
			}
		}
		group = append(group, entry{Change: c, object: o})
	}
	if err := decide(); err != nil {
		return err
	}
	return r.bringAll(ctx, batch)
}

// bringAll brings items back: histories first, and the records of backups after all else.
func (r *run) bringAll(ctx context.Context, items []Item) error {
	turn := map[repository.Class]int{repository.ClassHistory: 1, repository.ClassRecord: 3}
	parts := make([][]Item, 3)
	for _, i := range items {
		n := cmp.Or(turn[i.Class], 2) - 1
		parts[n] = append(parts[n], i)
	}
	for _, part := range parts {
		work, working := errgroup.WithContext(ctx)
		work.SetLimit(copying)
		for _, i := range part {
			if i.Fate != Back && (i.Fate != Expired || !r.options.Expired) {
				r.count(i)
				continue
			}
			work.Go(func() error { return r.bring(working, i) })
		}
		if err := work.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// bring puts the version of then on top, unless it is there, and looks whether it is.
func (r *run) bring(ctx context.Context, i Item) error {
	var err error
	if i.back, err = r.isBack(ctx, i); err != nil {
		return err
	}
	if i.back || !r.options.Act {
		r.count(i)
		return nil
	}
	if err := storage.RenewVersion(ctx, r.store, i.Was); err != nil {
		return fmt.Errorf("bring back %s: %w", i.Was.Key, err)
	}
	now, err := r.store.Stat(ctx, i.Was.Key)
	if err != nil {
		return fmt.Errorf("bring back %s: %w", i.Was.Key, err)
	}
	if now.Size != i.Was.Size {
		return &NotBackError{Key: i.Was.Key, Want: i.Was, Got: now}
	}
	i.back = true
	r.count(i)
	return nil
}

// isBack tells whether an object was brought back before.
func (r *run) isBack(ctx context.Context, i Item) (bool, error) {
	if i.Deleted() || i.Now.Size != i.Was.Size {
		return false, nil
	}
	from, err := storage.RenewedFrom(ctx, r.store, i.Was.Key)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil // it was deleted meanwhile
	}
	return err == nil && from == i.Was.Version, err
}

func (r *run) count(i Item) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.add(i)
	if i.back && r.options.Progress != nil {
		r.options.Progress(r.report.Back.Objects, r.report.Back.Bytes)
	}
}
