package retention

import (
	"cmp"
	"slices"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Reason says why something is kept, or why it goes.
type Reason string

// The reasons to keep a backup, the strongest first, and those to let something go.
const (
	KeptWindow  Reason = "window"       // an instant of the window may need it
	KeptSpare   Reason = "spare"        // the window begins there too: the newer one was neither proved nor verified
	KeptPin     Reason = "pin"          // somebody pinned it
	KeptProof   Reason = "proof"        // it is the last one that a drill proved
	KeptLeast   Reason = "min_backups"  // there would be too few
	KeptDaily   Reason = "keep_daily"   // it is the first of its day
	KeptWeekly  Reason = "keep_weekly"  // of its week
	KeptMonthly Reason = "keep_monthly" // of its month
	KeptYearly  Reason = "keep_yearly"  // of its year
	KeptReader  Reason = "reader"       // somebody reads it, or began to read when it was still kept
	KeptGrace   Reason = "grace"        // it was kept until a moment ago
	KeptUnknown Reason = "unknown"      // the ancestry of a timeline is not known, so nothing of the cluster goes

	GoneWindow   Reason = "older than the window"
	GoneUnsound  Reason = "older than the window, and not whole"
	GoneReplaced Reason = "replaced by its complete segment"
	GoneLeftover Reason = "left over from a backup that has no record"
	GoneRetired  Reason = "of a cluster of which nothing is left"
)

const (
	// abandoned is how long nothing must have come to a backup without a record before it is one that failed.
	abandoned = 7 * 24 * time.Hour
	// readingsKept is how long the records of verifications are kept at least, and what they and drills prove counts.
	readingsKept = 31 * 24 * time.Hour
)

// Plan is what goes and what stays, and why.
type Plan struct {
	// Now is the present, and Since the start of the window, by what was stored when.
	Now, Since time.Time
	Clusters   []ClusterPlan
	// Removal is what goes for good; nil where versions are kept.
	Removal *Removal
}

// ClusterPlan is the part of a plan that speaks of one cluster.
type ClusterPlan struct {
	SystemID wal.SystemID
	// Retired says that another cluster took over before the window began, so that no instant of it needs this one.
	Retired bool
	// Unknown are the timelines whose ancestry is not known: nothing goes then.
	Unknown []wal.TimelineID
	Backups []BackupPlan // by the time they were taken
	// Keep is the WAL that is needed.
	Keep     []repository.Stretch
	KeptWAL  int64 // bytes
	Segments int   // WAL objects that stay

	// What goes, each in the order in which it does.
	WAL        []repository.Entry
	Pieces     []repository.Entry // that their complete segments replaced
	Unfinished []Unfinished
	Drills     []Drill
	Objects    []repository.Object
	// Expiry is what the record of it adds, and Back what it takes back: what was to go, is there after all because whoever let it go was killed, and is kept again.
	Expiry, Back repository.Expiry

	stay []repository.Stretch // WAL that nothing needs and that stays, since it was stored within the window
}

// BackupPlan says of one backup whether it stays.
type BackupPlan struct {
	*Backup

	Keep []Reason // empty if it goes
	Gone Reason   // why it goes
}

// Make decides what the repository need not keep, at the time that the clock shows. It is pure: the same catalog, policy and time give the same plan.
func Make(c *Catalog, p Policy, clock time.Time) Plan {
	stored := activityOf(c)
	now := stored.now(clock)
	plan := Plan{Now: now, Since: stored.start(now, p.Window)}
	if p.Window <= 0 {
		return plan
	}
	k := keeper{policy: p, stored: stored, now: now}
	for i := range c.Clusters {
		k.clusters = append(k.clusters, newLineage(&c.Clusters[i], now))
	}
	for _, l := range k.clusters {
		plan.Clusters = append(plan.Clusters, k.cluster(l))
	}
	return plan
}

// keeper makes a plan.
type keeper struct {
	policy   Policy
	stored   activity
	now      time.Time
	clusters []*lineage
}

// cluster plans one cluster.
func (k *keeper) cluster(l *lineage) ClusterPlan {
	plan := ClusterPlan{SystemID: l.SystemID, Unknown: l.unknown()}
	if len(plan.Unknown) > 0 {
		for _, b := range l.backups {
			plan.Backups = append(plan.Backups, BackupPlan{Backup: b, Keep: []Reason{KeptUnknown}})
		}
		for _, e := range l.WAL {
			plan.Segments, plan.KeptWAL = plan.Segments+1, plan.KeptWAL+e.Stored
		}
		return plan
	}
	kept, oldest := k.needs(l)
	plan.Retired = k.retired(l, k.stored.start(k.now, k.policy.Window))
	k.backups(l, &plan, kept)
	k.wal(l, &plan, kept, oldest)
	k.leftovers(l, &plan)
	k.records(l, &plan, oldest)
	if plan.Retired && plan.empty() && len(plan.Unfinished) == len(l.Unfinished) {
		plan.Objects = append(plan.Objects, l.Others...)
		plan.Objects = append(plan.Objects, l.Beats...)
		for _, r := range l.Readings {
			plan.Objects = append(plan.Objects, r.Object)
		}
		for _, h := range l.Holds {
			plan.Objects = append(plan.Objects, h.Object)
		}
		plan.Objects = append(plan.Objects, l.Censuses...)
		plan.Drills = l.Drills
	}
	slices.SortFunc(plan.Objects, func(a, b repository.Object) int { return cmp.Compare(a.Key, b.Key) })
	plan.Objects = slices.CompactFunc(plan.Objects, func(a, b repository.Object) bool { return a.Key == b.Key })
	plan.record()
	plan.Back = k.back(l, &plan)
	return plan
}

// back returns what the policy keeps by now of what the repository let go, as far as it is there. What is kept only for a reader or by the grace is let go all the same.
func (k *keeper) back(l *lineage, plan *ClusterPlan) (back repository.Expiry) {
	if l.Expiry.Empty() {
		return back
	}
	n := newNeed()
	k.needsAt(l, k.now, n, n.keep)
	n.consistent(l)
	for _, b := range l.backups {
		if len(n.reasons[b.ID]) > 0 && l.Expiry.HasBackup(b.ID) {
			back.Backups = append(back.Backups, b.ID)
		}
	}
	for _, d := range l.Drills {
		goes := slices.ContainsFunc(plan.Drills, func(g Drill) bool { return g.ID == d.ID })
		if !goes && l.Expiry.HasDrill(d.ID) {
			back.Drills = append(back.Drills, d.ID)
		}
	}
	for _, s := range l.Expiry.WAL {
		needed, there := n.wal[s.Timeline], l.covered[s.Timeline]
		if needed == nil || there == nil {
			continue
		}
		for _, a := range needed.Spans {
			for _, b := range there.Spans {
				if r := (wal.Range{Start: max(s.Start, a.Start, b.Start), End: min(s.End, a.End, b.End)}); r.Start < r.End {
					back.WAL = append(back.WAL, repository.Stretch{Timeline: s.Timeline, Range: r})
				}
			}
		}
	}
	slices.Sort(back.Backups)
	slices.Sort(back.Drills)
	return back
}

// empty reports whether nothing stays that could be restored, and nothing is on its way.
func (p *ClusterPlan) empty() bool {
	return p.Segments == 0 && len(p.Keep) == 0 && !slices.ContainsFunc(p.Backups, func(b BackupPlan) bool { return len(b.Keep) > 0 })
}

// backups plans the backups that have a record.
func (k *keeper) backups(l *lineage, plan *ClusterPlan, kept *need) {
	for _, b := range l.backups {
		one := BackupPlan{Backup: b, Keep: kept.reasons[b.ID]}
		switch {
		case len(one.Keep) > 0:
		case !l.sound[b.ID]:
			one.Gone = GoneUnsound
		default:
			one.Gone = GoneWindow
		}
		plan.Backups = append(plan.Backups, one)
	}
}

// wal plans the WAL. What was stored since the oldest window began stays whatever it is.
func (k *keeper) wal(l *lineage, plan *ClusterPlan, kept *need, oldest time.Time) {
	for _, tli := range l.timelines {
		if covered := kept.wal[tli]; covered != nil {
			for _, r := range covered.Spans {
				plan.Keep = append(plan.Keep, repository.Stretch{Timeline: tli, Range: r})
			}
		}
	}
	settled := k.now.Add(-k.policy.Grace)
	whole := map[storage.Key]bool{} // segments, by timeline and number, that are complete and have been for a while
	for _, e := range l.WAL {
		if e.Kind == repository.KindSegment && e.Modified.Before(settled) {
			whole[segmentOf(l.SegmentSize, e)] = true
		}
	}
	for _, e := range l.WAL {
		switch {
		case !needed(kept.wal[e.Timeline], e.Range) && e.Modified.Before(oldest):
			plan.WAL = append(plan.WAL, e)
		case e.Kind == repository.KindPiece && whole[segmentOf(l.SegmentSize, e)]:
			plan.Pieces = append(plan.Pieces, e)
		default:
			plan.Segments, plan.KeptWAL = plan.Segments+1, plan.KeptWAL+e.Stored
			if !needed(kept.wal[e.Timeline], e.Range) {
				plan.stay = append(plan.stay, repository.Stretch{Timeline: e.Timeline, Range: e.Range})
			}
		}
	}
}

// segmentOf names the segment of an object.
func segmentOf(size wal.SegmentSize, e repository.Entry) storage.Key {
	return storage.Key(size.FileName(size.Segment(e.Timeline, e.Range.Start)))
}

// needed reports whether any byte of r is needed.
func needed(covered *repository.Coverage, r wal.Range) bool {
	return covered != nil && slices.ContainsFunc(covered.Spans, func(s wal.Range) bool { return s.Start < r.End && r.Start < s.End })
}

// leftovers plans what lies under the ids of backups without a record.
func (k *keeper) leftovers(l *lineage, plan *ClusterPlan) {
	for _, u := range l.Unfinished {
		if l.Expiry.HasBackup(u.ID) || u.Newest.Before(k.now.Add(-abandoned)) {
			plan.Unfinished = append(plan.Unfinished, u)
		}
	}
}

// records plans the small objects that grow old.
func (k *keeper) records(l *lineage, plan *ClusterPlan, oldest time.Time) {
	stays := map[string]bool{}
	for _, b := range plan.Backups {
		if len(b.Keep) > 0 {
			stays[b.ID] = true
		}
	}
	var passed string // the newest drill that passed
	for _, d := range l.Drills {
		if d.Passed {
			passed = max(passed, d.ID)
		}
	}
	for i, d := range l.Drills {
		if d.Made.Before(oldest) && !stays[d.Backup] && d.ID != passed && i < len(l.Drills)-1 {
			plan.Drills = append(plan.Drills, d)
		}
	}
	for _, o := range l.Beats[:max(0, len(l.Beats)-1)] {
		if o.Modified.Before(k.now.Add(-k.policy.Grace)) {
			plan.Objects = append(plan.Objects, o)
		}
	}
	unread := k.proofs()
	if oldest.Before(unread) {
		unread = oldest
	}
	for _, r := range l.Readings {
		if !r.Newest && r.Object.Modified.Before(unread) {
			plan.Objects = append(plan.Objects, r.Object)
		}
	}
	for _, h := range l.Holds {
		if h.Ends().Before(k.now) {
			plan.Objects = append(plan.Objects, h.Object)
		}
	}
	for i, o := range l.Censuses {
		if o.Modified.Before(k.now.Add(-repository.CensusKept)) && slices.ContainsFunc(l.Censuses[i+1:], func(newer repository.Object) bool { return repository.SamePlace(o, newer) }) {
			plan.Objects = append(plan.Objects, o)
		}
	}
	for _, o := range l.Others {
		// One that an expiry record names and that is there all the same, because whoever let it go was killed, may have been pinned since.
		if o.Class == repository.ClassPin && l.Expiry.HasBackup(o.Backup) && !stays[o.Backup] {
			plan.Objects = append(plan.Objects, o)
		}
	}
}

// record says what the expiry record names: all of it that another repository would copy here again.
func (p *ClusterPlan) record() {
	for _, b := range p.Backups {
		if len(b.Keep) == 0 {
			p.Expiry.Add(repository.Expiry{Backups: []string{b.ID}})
		}
	}
	whole := map[wal.TimelineID]wal.Range{} // from the first object that goes to the last
	for _, e := range p.WAL {
		r, some := whole[e.Timeline]
		if !some {
			r = e.Range
		}
		whole[e.Timeline] = wal.Range{Start: min(r.Start, e.Range.Start), End: max(r.End, e.Range.End)}
	}
	// What is missing there, and nothing needs, goes with it: nobody is to look for it.
	for tli, r := range whole {
		stays := repository.Coverage{Timeline: tli}
		for _, s := range slices.Concat(p.Keep, p.stay) {
			if s.Timeline == tli {
				stays.Add(s.Range)
			}
		}
		for _, gone := range stays.Gaps(r) {
			p.Expiry.WAL = append(p.Expiry.WAL, repository.Stretch{Timeline: tli, Range: gone})
		}
	}
	for _, d := range p.Drills {
		p.Expiry.Drills = append(p.Expiry.Drills, d.ID)
	}
	var ordered repository.Expiry
	ordered.Add(p.Expiry)
	p.Expiry = ordered
}

// Removes reports whether anything goes.
func (p *Plan) Removes() bool {
	return slices.ContainsFunc(p.Clusters, func(c ClusterPlan) bool { return len(c.keys()) > 0 })
}

// changes reports whether anything goes, or is taken back.
func (p *ClusterPlan) changes() bool { return len(p.keys()) > 0 || !p.Back.Empty() }

// keys returns what goes, in the order in which it does: a record before what it names, and before the WAL that made it consistent.
func (p *ClusterPlan) keys() []storage.Key {
	var keys []storage.Key
	for _, o := range p.objects() {
		keys = append(keys, o.Key)
	}
	return keys
}

// objects is keys with more of each. The pieces that are replaced are among them.
func (p *ClusterPlan) objects() []repository.Object {
	var all, data []repository.Object
	for _, b := range p.Backups {
		if len(b.Keep) > 0 {
			continue
		}
		for _, o := range b.Objects {
			if o.Class == repository.ClassRecord {
				all = append(all, o)
			} else {
				data = append(data, o)
			}
		}
	}
	all = append(all, data...)
	for _, u := range p.Unfinished {
		all = append(all, u.Objects...)
	}
	for _, e := range slices.Concat(p.WAL, p.Pieces) {
		all = append(all, e.Object())
	}
	for _, d := range p.Drills {
		all = append(all, d.Objects...)
	}
	return append(all, p.Objects...)
}
