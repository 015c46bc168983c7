package retention

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
)

// looks is how many backups are looked at at a time: a year has hundreds, and each takes a store two answers, one behind the other.
const looks = 16

// ErrIncomplete says that a list of the repository left out what is there. Nothing is decided by it.
var ErrIncomplete = errors.New("the list of the repository is not complete")

// Place says which repository it is that is read.
type Place struct {
	Name string // in the configuration: what the reports of drills call it
	ID   string // in the records of verifications: verify.Place
}

// Load reads what the repository of a place holds. Whatever cannot be read is an error, a *repository.CorruptError among them: nothing may be decided by the rest.
// Of the data of backups names and sizes are looked at.
func Load(ctx context.Context, r *repository.Repository, place Place) (*Catalog, error) {
	ids, err := r.Clusters(ctx)
	if err != nil {
		return nil, fmt.Errorf("take stock: %w", err)
	}
	c := &Catalog{}
	for _, id := range ids {
		one, err := loadCluster(ctx, r.Cluster(id), place)
		if err != nil {
			return nil, fmt.Errorf("take stock of cluster %s: %w", id, err)
		}
		c.Clusters = append(c.Clusters, one)
	}
	return c, nil
}

// shelves are the objects of a listing that belong together.
type shelves struct {
	folders map[string][]repository.Object // of backups, by id
	drills  map[string][]repository.Object
	ids     []string // of folders, and of drills, as they come
	drillID []string
}

func loadCluster(ctx context.Context, r *repository.Cluster, place Place) (Cluster, error) {
	c := Cluster{SystemID: r.SystemID()}
	s := shelves{folders: map[string][]repository.Object{}, drills: map[string][]repository.Object{}}
	for o, err := range r.Stock(ctx) {
		if err != nil {
			return c, err
		}
		c.shelve(&s, o)
	}
	var err error
	if c.SegmentSize, err = r.SegmentSize(ctx); err != nil && !errors.Is(err, repository.ErrNoWAL) {
		return c, err
	}
	if c.Histories, err = r.Histories(ctx); err != nil {
		return c, err
	}
	if c.Pins, err = r.Pins(ctx); err != nil {
		return c, err
	}
	if c.Expiry, err = r.Expiry(ctx); err != nil {
		return c, err
	}
	if c.Holds, err = listHolds(ctx, r); err != nil {
		return c, err
	}
	if err := c.loadDrills(ctx, r, &s, place); err != nil {
		return c, err
	}
	if err := c.loadBackups(ctx, r, &s); err != nil {
		return c, err
	}
	if err := c.loadReadings(ctx, r, place); err != nil {
		return c, err
	}
	return c, c.check(ctx, r, &s)
}

// shelve puts an object of the listing where it belongs.
func (c *Cluster) shelve(s *shelves, o repository.Object) {
	switch o.Class {
	case repository.ClassSegment, repository.ClassPiece:
		c.WAL = append(c.WAL, repository.EntryOf(o))
	case repository.ClassRecord, repository.ClassIndex, repository.ClassManifest, repository.ClassPack:
		if s.folders[o.Backup] == nil {
			s.ids = append(s.ids, o.Backup)
		}
		s.folders[o.Backup] = append(s.folders[o.Backup], o)
	case repository.ClassDrill, repository.ClassNames:
		if s.drills[o.Drill] == nil {
			s.drillID = append(s.drillID, o.Drill)
		}
		s.drills[o.Drill] = append(s.drills[o.Drill], o)
	case repository.ClassBeat:
		c.Beats = append(c.Beats, o)
	case repository.ClassReading:
		c.Readings = append(c.Readings, Reading{Object: o})
	case repository.ClassCensus:
		c.Censuses = append(c.Censuses, o)
	case repository.ClassHistory, repository.ClassGap, repository.ClassSync, repository.ClassPin:
		c.Others = append(c.Others, o)
	case repository.ClassMarker, repository.ClassExpiry, repository.ClassFence, repository.ClassHold: // the first three stay, and holds are listed last
	}
}

// listHolds reads the holds that there are.
func listHolds(ctx context.Context, r *repository.Cluster) ([]Hold, error) {
	var all []Hold
	for o, err := range r.Holds(ctx) {
		if err != nil {
			return nil, err
		}
		h, err := r.Hold(ctx, o)
		if errors.Is(err, storage.ErrNotFound) {
			continue // it ended meanwhile
		}
		if err != nil && !repository.OnlyUnreadable(err) {
			return nil, err
		}
		all = append(all, Hold{Hold: h, Object: o, Unread: err != nil})
	}
	return all, nil
}

// loadDrills reads the reports. Names without a report belong to a drill that was broken off, or let go halfway.
func (c *Cluster) loadDrills(ctx context.Context, r *repository.Cluster, s *shelves, place Place) error {
	reports, err := r.Drills(ctx, 0)
	if err != nil {
		return err
	}
	read := map[string]repository.Drill{}
	for _, d := range reports {
		read[d.ID] = d
	}
	for _, id := range s.drillID {
		report := read[id]
		one := Drill{ID: id, Backup: report.Backup, Passed: report.Result == repository.DrillPassed, Here: report.Repository == place.Name}
		for _, o := range s.drills[id] {
			if o.Modified.After(one.Made) {
				one.Made = o.Modified
			}
			if o.Class == repository.ClassDrill {
				one.Objects = append([]repository.Object{o}, one.Objects...)
			} else {
				one.Objects = append(one.Objects, o)
			}
		}
		c.Drills = append(c.Drills, one)
	}
	return nil
}

// loadBackups reads the records, and looks whether all that they name is there.
func (c *Cluster) loadBackups(ctx context.Context, r *repository.Cluster, s *shelves) error {
	found := make([]Backup, len(s.ids))
	group, looking := errgroup.WithContext(ctx)
	group.SetLimit(looks)
	for i, id := range s.ids {
		made, recorded := recordIn(s.folders[id])
		if !recorded {
			continue
		}
		group.Go(func() error {
			record, err := r.Backup(looking, id)
			if errors.Is(err, repository.ErrNoBackup) {
				return fmt.Errorf("%w: backup %s was removed while it was read", ErrChanged, id)
			}
			if err != nil {
				return err
			}
			inventory, err := r.DataInventory(looking, record)
			found[i] = Backup{Backup: record, Made: made.Modified, Objects: s.folders[id], Whole: len(inventory.Lacks) == 0}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, id := range s.ids {
		if found[i].ID == "" {
			c.Unfinished = append(c.Unfinished, unfinished(id, s.folders[id]))
			continue
		}
		for _, d := range c.Drills {
			if d.Passed && d.Backup == id {
				found[i].Restored = later(found[i].Restored, d.Made)
			}
			if d.Passed && d.Backup == id && d.Here {
				found[i].Proved = later(found[i].Proved, d.Made)
			}
		}
		c.Backups = append(c.Backups, found[i])
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// loadReadings reads what verifications of this place found of the base backups. A record that cannot be read proves nothing.
func (c *Cluster) loadReadings(ctx context.Context, r *repository.Cluster, place Place) error {
	right := map[repository.Fingerprint]time.Time{} // of the objects of backups: when each was found right last; zero if it was not, or was found wrong since
	wrong := map[repository.Fingerprint]time.Time{} // the end of the verification that found it so, if none found it right since; of one second nothing tells which was the last
	for i := range c.Backups {
		for _, o := range data(c.Backups[i].Objects) {
			right[repository.FingerprintOf(place.ID, o)] = time.Time{}
		}
	}
	newest := map[string]time.Time{} // by place, when the last verification began
	began := make([]time.Time, len(c.Readings))
	for i := range c.Readings { // by the time they ended
		one := &c.Readings[i]
		read, err := r.Reading(ctx, one.Object)
		if errors.Is(err, storage.ErrNotFound) || err != nil && repository.OnlyUnreadable(err) {
			continue
		}
		if err != nil {
			return err
		}
		one.Place, began[i] = read.Place, read.Began
		newest[read.Place] = later(newest[read.Place], read.Began)
		if read.Place != place.ID {
			continue
		}
		for _, f := range read.Wrong {
			if _, ours := right[f]; ours {
				right[f], wrong[f] = time.Time{}, read.Ended
			}
		}
		for _, f := range read.Read {
			if _, ours := right[f]; ours && !wrong[f].Equal(read.Ended) {
				right[f], wrong[f] = one.Object.Modified, time.Time{}
			}
		}
	}
	for i := range c.Readings {
		c.Readings[i].Newest = c.Readings[i].Place != "" && began[i].Equal(newest[c.Readings[i].Place])
	}
	for i := range c.Backups {
		b := &c.Backups[i]
		for n, o := range data(b.Objects) {
			f := repository.FingerprintOf(place.ID, o)
			if at := right[f]; n == 0 || at.Before(b.Verified) {
				b.Verified = at
			}
			b.Wrong = b.Wrong || !wrong[f].IsZero()
		}
	}
	return nil
}

// data are the objects of a backup but for its record, which every verification reads.
func data(objects []repository.Object) []repository.Object {
	return slices.DeleteFunc(slices.Clone(objects), func(o repository.Object) bool { return o.Class == repository.ClassRecord })
}

func recordIn(folder []repository.Object) (repository.Object, bool) {
	for _, o := range folder {
		if o.Class == repository.ClassRecord {
			return o, true
		}
	}
	return repository.Object{}, false
}

func unfinished(id string, objects []repository.Object) Unfinished {
	u := Unfinished{ID: id, Objects: objects}
	for _, o := range objects {
		if o.Modified.After(u.Newest) {
			u.Newest = o.Modified
		}
	}
	return u
}

// check asks, by key, for backups that must be there as far as other objects tell, and that the list does not have.
func (c *Cluster) check(ctx context.Context, r *repository.Cluster, s *shelves) error {
	suspects := map[string]bool{}
	for id := range c.Pins {
		suspects[id] = true
	}
	for _, d := range c.Drills {
		if d.Passed {
			suspects[d.Backup] = true
		}
	}
	for id := range suspects {
		if _, listed := recordIn(s.folders[id]); listed || c.Expiry.HasBackup(id) {
			continue
		}
		_, err := r.Backup(ctx, id)
		if err == nil {
			return fmt.Errorf("%w: it lacks the record of backup %s", ErrIncomplete, id)
		}
		if !errors.Is(err, repository.ErrNoBackup) {
			return err
		}
	}
	return nil
}
