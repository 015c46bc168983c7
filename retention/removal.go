package retention

import (
	"maps"
	"path"
	"slices"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Removal is what goes for good: every version of objects of which nothing is there by name any more.
type Removal struct {
	// Versions are those with bytes; the delete markers before them go too, and are free.
	Versions, Bytes int64
	// Held is what of them is under lock: as far as that was looked at, and when the plan was carried out, what stayed for that.
	Held Held

	batches []batch
	of      map[storage.Key]repository.ObjectVersions
}

// Held is what is under lock, so that it stays and is paid for.
type Held struct {
	Versions, Bytes int64
	// First and Last are when the first lock and the last one end; zero if the store does not tell.
	First, Last time.Time
}

func (h *Held) add(v storage.Version, until time.Time) {
	h.Versions, h.Bytes = h.Versions+1, h.Bytes+v.Size
	if until.IsZero() {
		return
	}
	if h.First.IsZero() || until.Before(h.First) {
		h.First = until
	}
	h.Last = later(h.Last, until)
}

// batch is objects whose versions are removed together, in any order.
type batch struct {
	// head goes before the others, which wait where it is under lock; empty if there is none.
	head storage.Key
	keys []storage.Key
	// chained says that they wait too where anything of the batch before is under lock.
	chained bool
	// always says that these go whatever a plan lets go.
	always bool
}

// graves are the objects of a repository that were deleted, or are about to be.
type graves struct {
	of map[storage.Key]repository.ObjectVersions
	// expiry is when the newest expiry record that is there was put, by its folder.
	expiry map[storage.Key]time.Time
}

// removal decides what goes for good. all is the plan that the policy makes of everything that has a version, as if nothing had ever been deleted: so nothing that the policy
// keeps is lost for good because somebody else deleted it, put a marker over it, or forged an expiry record.
func removal(all Plan, g graves) *Removal {
	r := &Removal{of: g.of}
	for i := range all.Clusters {
		r.cluster(&all.Clusters[i])
	}
	var alone []storage.Key // with nothing but markers, and expiry records that a later one repeats
	for _, key := range slices.Sorted(maps.Keys(g.of)) {
		o := g.of[key]
		replaced := o.Class == repository.ClassExpiry && !g.expiry[folderOf(key)].Before(o.Versions[len(o.Versions)-1].Modified)
		if o.Deleted() && (replaced || !slices.ContainsFunc(o.Versions, func(v storage.Version) bool { return !v.Marker })) {
			alone = append(alone, key)
		}
	}
	r.add(batch{keys: alone, always: true})
	for _, b := range r.batches {
		for _, key := range b.all() {
			for _, v := range g.of[key].Versions {
				if !v.Marker {
					r.Versions, r.Bytes = r.Versions+1, r.Bytes+v.Size
				}
			}
		}
	}
	return r
}

// cluster adds what goes of a cluster, in the order in which objects of it are deleted: a run that is broken off anywhere leaves what another one sees the same way.
func (r *Removal) cluster(p *ClusterPlan) {
	for _, b := range p.Backups {
		record, _ := recordIn(b.Objects)
		if _, gone := r.of[record.Key]; gone && len(b.Keep) == 0 { // otherwise it is there, and names the others
			r.add(batch{head: record.Key, keys: keysOf(data(b.Objects))})
		}
	}
	for _, u := range p.Unfinished {
		r.add(batch{keys: keysOf(u.Objects)})
	}
	pieces := batch{}
	for _, e := range p.Pieces {
		pieces.keys = append(pieces.keys, e.Key)
	}
	r.add(pieces)
	timelines := map[wal.TimelineID][]storage.Key{}
	for _, e := range p.WAL {
		timelines[e.Timeline] = append(timelines[e.Timeline], e.Key)
	}
	for i, tli := range slices.Sorted(maps.Keys(timelines)) { // that of a later one tells when the server left the earlier
		r.add(batch{keys: timelines[tli], chained: i > 0})
	}
	for _, d := range p.Drills {
		r.add(batch{head: d.Objects[0].Key, keys: keysOf(d.Objects[1:])})
	}
	r.add(batch{keys: keysOf(p.Objects)})
}

// add adds what of a batch was deleted.
func (r *Removal) add(b batch) {
	gone := func(key storage.Key) bool { _, is := r.of[key]; return is }
	b.keys = slices.DeleteFunc(b.keys, func(key storage.Key) bool { return !gone(key) })
	if !gone(b.head) {
		b.head = ""
	}
	if b.head != "" || len(b.keys) > 0 {
		r.batches = append(r.batches, b)
	}
}

// only leaves of r what another one lets go too.
func (r *Removal) only(other *Removal) {
	also := map[storage.Key]bool{}
	for _, b := range other.batches {
		for _, key := range b.all() {
			also[key] = true
		}
	}
	for _, b := range r.batches { // an expiry record was replaced since
		for _, key := range b.keys {
			also[key] = also[key] || b.always
		}
	}
	maps.DeleteFunc(r.of, func(key storage.Key, _ repository.ObjectVersions) bool { return !also[key] })
	batches := r.batches
	r.batches = nil
	for _, b := range batches {
		if headless := b.head != "" && !also[b.head]; !headless { // the others wait for it
			r.add(b)
		}
	}
}

// all are the keys of a batch.
func (b batch) all() []storage.Key {
	if b.head == "" {
		return b.keys
	}
	return append([]storage.Key{b.head}, b.keys...)
}

func keysOf(objects []repository.Object) []storage.Key {
	keys := make([]storage.Key, 0, len(objects))
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	return keys
}

// folderOf is a key without its last name.
func folderOf(key storage.Key) storage.Key { return storage.Key(path.Dir(string(key))) }
