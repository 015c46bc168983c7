package retention_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// The model: a made-up server lives through backups, failovers, upgrades, outages, damage and clocks that jump, and what it archives is
// listed in a catalog. It is known where it stood at every instant. The oracle knows nothing of anchors and windows: it looks for a backup and for
// every byte of WAL behind it, before and after the plan was carried out.

const (
	segSize wal.SegmentSize = 1 << 20
	unit                    = segSize / 4 // the smallest write
)

var dawn = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// position is where the server stood at an instant.
type position struct {
	at     time.Time
	system int
	tli    wal.TimelineID
	lsn    wal.LSN
}

// leg is a part of the way to a timeline: WAL of tli in [from, to).
type leg struct {
	tli      wal.TimelineID
	from, to wal.LSN
}

// world is one made-up history.
type world struct {
	random  *rand.Rand
	now     time.Time     // true
	skew    time.Duration // of the host's clock
	lag     time.Duration // of the store behind the server
	systems []*made
	log     []position
	reads   []reading
	rotten  map[string]bool // backups whose bytes are not what was put, or that are forged
	keys    int             // WAL objects that were put
}

// reading is a restore that somebody has begun: from a backup to a position.
type reading struct {
	backup string
	to     position
	ends   time.Time
}

// made is one cluster of it.
type made struct {
	retention.Cluster

	ways map[wal.TimelineID][]leg // to each timeline
	tli  wal.TimelineID
	lsn  wal.LSN
}

func newWorld(seed uint64) *world {
	w := &world{random: rand.New(rand.NewPCG(seed, 0x70676172)), now: dawn, rotten: map[string]bool{}}
	w.upgrade()
	for range 20 + w.random.IntN(60) {
		w.step()
	}
	w.now = w.now.Add(2 * 24 * time.Hour) // until all is stored
	return w
}

func (w *world) chance(percent int) bool { return w.random.IntN(100) < percent }

func (w *world) hours(most int) time.Duration {
	return time.Duration(1+w.random.IntN(most*60)) * time.Minute
}

func (w *world) current() *made { return w.systems[len(w.systems)-1] }

// step lets something happen.
func (w *world) step() {
	w.now = w.now.Add(w.hours(16))
	c := w.current()
	switch n := w.random.IntN(100); {
	case n < 40:
		w.write(c, 1+w.random.IntN(9))
	case n < 72:
		w.backup(c)
	case n < 80:
		w.failover(c)
	case n < 82:
		w.upgrade()
	case n < 86:
		w.skew = w.hours(24*20) * time.Duration(w.random.IntN(3)-1) // -1, 0, 1
	case n < 88:
		w.lag = w.hours(48) * time.Duration(w.random.IntN(2))
	case n < 91:
		w.now = w.now.Add(w.hours(24 * 10)) // nobody is there
	case n < 94 && len(c.Backups) > 0:
		w.pin(c)
	case n < 95 && len(c.Backups) > 0:
		w.read(c)
	case n < 98 && len(c.Backups) > 0:
		w.verify(c)
	case len(c.WAL) > 0: // damage
		i := w.random.IntN(len(c.WAL))
		c.WAL = slices.Delete(c.WAL, i, i+1)
	}
}

// verify has a drill prove a backup, of this repository or of another, or a verification read all of them.
func (w *world) verify(c *made) {
	if w.chance(50) {
		for i := range c.Backups {
			b := &c.Backups[i]
			if b.Wrong = w.rotten[b.ID]; !b.Wrong {
				b.Verified = w.stored()
			}
		}
		return
	}
	if b := &c.Backups[w.random.IntN(len(c.Backups))]; !w.rotten[b.ID] {
		b.Restored = w.stored()
		if w.chance(60) {
			b.Proved = b.Restored
		}
	}
}

// stored is the store's clock.
func (w *world) stored() time.Time { return w.now.Add(w.lag) }

func (w *world) upgrade() {
	c := &made{ways: map[wal.TimelineID][]leg{1: {{1, 0, 1 << 40}}}, tli: 1, lsn: wal.LSN(segSize)}
	c.SystemID, c.SegmentSize = wal.SystemID(7000+len(w.systems)), segSize
	c.Histories, c.Pins = map[wal.TimelineID]wal.History{}, map[string]repository.Pin{}
	w.systems = append(w.systems, c)
	w.write(c, 5)
}

// write archives some WAL.
func (w *world) write(c *made, units int) {
	from := c.lsn
	c.lsn += wal.LSN(units) * wal.LSN(unit)
	w.put(c, c.tli, from, c.lsn)
	w.log = append(w.log, position{w.now, len(w.systems) - 1, c.tli, c.lsn})
}

// put stores the WAL [from, to): pieces, and complete segments in their place.
func (w *world) put(c *made, tli wal.TimelineID, from, to wal.LSN) {
	for from < to {
		whole := segSize.Range(segSize.Number(from))
		end := min(to, whole.End)
		c.WAL = append(c.WAL, w.entry(repository.KindPiece, tli, wal.Range{Start: from, End: end}))
		if end == whole.End {
			if !w.chance(10) { // of who may delete
				c.WAL = slices.DeleteFunc(c.WAL, func(e repository.Entry) bool {
					return e.Kind == repository.KindPiece && e.Timeline == tli && whole.Start <= e.Range.Start && e.Range.End <= whole.End
				})
			}
			c.WAL = append(c.WAL, w.entry(repository.KindSegment, tli, whole))
		}
		from = end
	}
}

func (w *world) entry(kind repository.Kind, tli wal.TimelineID, r wal.Range) repository.Entry {
	w.keys++
	return repository.Entry{Key: storage.Key("wal/" + strconv.Itoa(w.keys)), Kind: kind, Timeline: tli, Range: r, Stored: int64(r.Len()), Modified: w.stored()}
}

// backup takes one, with WAL meanwhile.
func (w *world) backup(c *made) {
	b := retention.Backup{Whole: !w.chance(8)}
	b.ID = fmt.Sprintf("%s%02d", w.now.Add(w.skew).Format("20060102T150405Z"), len(c.Backups))
	b.SystemID, b.SegmentSize, b.Timeline, b.StartLSN, b.Started = c.SystemID, segSize, c.tli, c.lsn+0x28, w.now.Add(w.skew)
	w.now = w.now.Add(w.hours(10))
	w.write(c, 1+w.random.IntN(6))
	b.StopLSN, b.Stopped, b.Made, b.Checksums = c.lsn-0x100, w.now.Add(w.skew), w.stored(), repository.ChecksumsVerified
	if w.chance(8) {
		b.Checksums = repository.ChecksumsFailed
	}
	if w.chance(5) {
		b.KeptUntil = w.now.Add(w.hours(24 * 60))
	}
	w.rotten[b.ID] = w.chance(10)
	b.Objects = []repository.Object{{Key: storage.Key(b.ID), Class: repository.ClassRecord, Size: 1, Backup: b.ID}}
	c.Backups = append(c.Backups, b)
}

// failover goes on on a new timeline, from the end of the WAL or from a little before; sometimes the old server does too.
func (w *world) failover(c *made) {
	way := c.ways[c.tli]
	start := way[len(way)-1].from
	fork := max(c.lsn-wal.LSN(w.random.IntN(5))*wal.LSN(unit), start+wal.LSN(unit))
	if fork > c.lsn {
		return
	}
	next := wal.TimelineID(len(c.ways) + 1)
	fresh := slices.Clone(way)
	fresh[len(fresh)-1].to = fork
	c.ways[next] = append(fresh, leg{next, fork, 1 << 40})
	h := wal.History{Timeline: next}
	for _, l := range c.ways[next][:len(fresh)] {
		h.Parents = append(h.Parents, wal.Switch{Timeline: l.tli, At: l.to})
	}
	c.Histories[next] = h
	old, end := c.tli, c.lsn
	c.tli, c.lsn = next, fork
	w.put(c, next, segSize.Floor(fork), fork) // a copy of its parent's bytes
	w.write(c, 1+w.random.IntN(4))
	if w.chance(20) {
		w.put(c, old, end, end+wal.LSN(unit))
		w.log = append(w.log, position{w.now, len(w.systems) - 1, old, end + wal.LSN(unit)})
	}
}

func (w *world) pin(c *made) {
	b := c.Backups[w.random.IntN(len(c.Backups))]
	p := repository.Pin{Backup: b.ID, Number: c.Pins[b.ID].Number + 1, Change: repository.Pinned, Time: w.now.Add(w.skew)}
	if w.chance(40) {
		p.Until = w.now.Add(w.hours(24 * 40))
	}
	if w.chance(30) {
		p.Change = repository.Unpinned
	}
	c.Pins[b.ID] = p
}

// read has a host with a clock of its own begin a restore of whatever there is.
func (w *world) read(c *made) {
	b := c.Backups[w.random.IntN(len(c.Backups))]
	to := w.log[w.random.IntN(len(w.log))]
	if to.system != len(w.systems)-1 || to.lsn < b.StopLSN {
		return
	}
	from, length := w.now.Add(w.hours(24*20)*time.Duration(w.random.IntN(3)-1)), 4*24*time.Hour+w.hours(24*8)
	hold := repository.Hold{From: from, Until: from.Add(length), Made: w.stored(), Reads: repository.Reads{
		Backup: b.ID, Timeline: to.tli, WAL: wal.Range{Start: b.StartLSN, End: to.lsn},
	}}
	c.Holds = append(c.Holds, retention.Hold{Hold: hold})
	w.reads = append(w.reads, reading{b.ID, to, w.now.Add(length - 2*24*time.Hour)}) // the store's clock may jump by as much
}

// catalog is what the plan sees.
func (w *world) catalog() *retention.Catalog {
	c := &retention.Catalog{}
	for _, one := range w.systems {
		slices.SortStableFunc(one.WAL, func(a, b repository.Entry) int {
			return int(a.Timeline) - int(b.Timeline)
		})
		if w.chance(10) {
			since := w.now.Add(-w.hours(24 * 5))
			hold := repository.Hold{From: since, Until: w.now.Add(time.Hour), Made: since}
			one.Holds = append(one.Holds, retention.Hold{Hold: hold})
		}
		c.Clusters = append(c.Clusters, one.Cluster)
	}
	return c
}

func (w *world) policy() retention.Policy {
	return retention.Policy{
		Window: w.hours(24 * 12), Daily: w.random.IntN(3), Weekly: w.random.IntN(3), Monthly: w.random.IntN(3), MinBackups: w.random.IntN(3),
		Grace: time.Duration(w.random.IntN(2)) * w.hours(24),
	}
}

// oracle says what can be restored from a set of objects.
type oracle struct {
	system  *made
	backups []retention.Backup
	bytes   map[wal.TimelineID][]bool // each unit that is there
}

func newOracle(c *made, gone map[storage.Key]bool) *oracle {
	o := &oracle{system: c, bytes: map[wal.TimelineID][]bool{}}
	for _, b := range c.Backups {
		if !gone[storage.Key(b.ID)] {
			o.backups = append(o.backups, b)
		}
	}
	for _, e := range c.WAL {
		if gone[e.Key] {
			continue
		}
		if lacks := int(e.Range.End/wal.LSN(unit)) - len(o.bytes[e.Timeline]); lacks > 0 {
			o.bytes[e.Timeline] = append(o.bytes[e.Timeline], make([]bool, lacks)...)
		}
		for at := e.Range.Start / wal.LSN(unit); at < e.Range.End/wal.LSN(unit); at++ {
			o.bytes[e.Timeline][at] = true
		}
	}
	return o
}

// holds reports whether all WAL [from, to) of a timeline is there, from the start of its first segment on.
func (o *oracle) holds(tli wal.TimelineID, from, to wal.LSN) bool {
	there := o.bytes[tli]
	for at := from &^ wal.LSN(segSize-1); at < to; at += wal.LSN(unit) {
		if i := int(at / wal.LSN(unit)); i >= len(there) || !there[i] {
			return false
		}
	}
	return true
}

// from reports whether the backup can be brought to lsn on a timeline.
func (o *oracle) from(b *retention.Backup, tli wal.TimelineID, lsn wal.LSN) bool {
	if !b.Whole || b.Wrong || b.Checksums == repository.ChecksumsFailed || b.StopLSN > lsn {
		return false
	}
	reached := false
	for _, l := range o.system.ways[tli] {
		if l.tli == b.Timeline {
			reached = true
			if b.StartLSN < l.from || b.StopLSN > l.to {
				return false
			}
		}
		if from, to := max(l.from, b.StartLSN), min(l.to, lsn); reached && from < to && !o.holds(l.tli, from, to) {
			return false
		}
	}
	return reached
}

// restorable reports whether any of the backups that count can be brought to a position.
func (o *oracle) restorable(p position, counts func(*retention.Backup) bool) bool {
	return slices.ContainsFunc(o.backups, func(b retention.Backup) bool { return counts(&b) && o.from(&b, p.tli, p.lsn) })
}

// reads reports whether a restore that was begun can be ended.
func (o *oracle) reads(r reading) bool {
	return slices.ContainsFunc(o.backups, func(b retention.Backup) bool { return b.ID == r.backup && o.from(&b, r.to.tli, r.to.lsn) })
}

// consistent reports whether the backup with this id is there, with the WAL that makes it consistent.
func (o *oracle) consistent(id string) bool {
	return slices.ContainsFunc(o.backups, func(b retention.Backup) bool { return b.ID == id && o.from(&b, b.Timeline, b.StopLSN) })
}

// tally is how much was tried.
type tally struct{ instants, proved, broken, removed, pinned, read atomic.Int64 }

// right reports whether a backup is what it looks like.
func (w *world) right(b *retention.Backup) bool { return !w.rotten[b.ID] }

// proved reports whether somebody found that out, not long ago.
func (w *world) proved(b *retention.Backup) bool {
	late := w.now.Add(-20 * 24 * time.Hour)
	return w.right(b) && (b.Proved.After(late) || b.Verified.After(late))
}

// judge carries out the plan and returns what was lost that must not be. Gone may hold more than the plan names.
func (w *world) judge(c *retention.Catalog, p retention.Policy, gone map[int]map[storage.Key]bool, t *tally) []string {
	var wrong []string
	looks := func(*retention.Backup) bool { return true }
	since := w.now.Add(-p.Window)
	readers := slices.DeleteFunc(slices.Clone(c.Clusters[len(c.Clusters)-1].Holds), func(h retention.Hold) bool { return h.Reads.Backup != "" })
	for i, s := range w.systems {
		before, after := newOracle(s, nil), newOracle(s, gone[i])
		t.removed.Add(int64(len(gone[i])))
		for n, at := range w.log {
			// Until the next position, and no longer, that is where the server stood.
			until := w.now
			if n+1 < len(w.log) {
				until = w.log[n+1].at
			}
			if at.system != i || !until.After(since) && !slices.ContainsFunc(readers, func(h retention.Hold) bool { return i == len(w.systems)-1 && until.After(h.From.Add(-p.Window)) }) {
				continue
			}
			// What looks right stays restorable from what looks right, and what somebody proved or verified from what is right.
			if before.restorable(at, w.proved) {
				if t.proved.Add(1); !after.restorable(at, w.right) {
					wrong = append(wrong, fmt.Sprintf("system %d: all that is right for %s, timeline %d, %s", i, at.at.Format(time.DateTime), at.tli, at.lsn))
				}
			}
			if !before.restorable(at, looks) {
				continue
			}
			t.instants.Add(1)
			if !after.restorable(at, looks) {
				wrong = append(wrong, fmt.Sprintf("system %d: %s, timeline %d, %s", i, at.at.Format(time.DateTime), at.tli, at.lsn))
			}
		}
		for _, b := range s.Backups {
			pin := s.Pins[b.ID]
			if (pin.Change == repository.Pinned && (pin.Until.IsZero() || w.now.Before(pin.Until)) || w.now.Before(b.KeptUntil)) && before.consistent(b.ID) {
				t.pinned.Add(1)
				if !after.consistent(b.ID) {
					wrong = append(wrong, "pinned "+b.ID)
				}
			}
			if b.Made.After(w.now.Add(-p.Window)) && gone[i][storage.Key(b.ID)] {
				wrong = append(wrong, "stored within the window "+b.ID)
			}
		}
	}
	for _, r := range w.reads {
		before, after := newOracle(w.systems[r.to.system], nil), newOracle(w.systems[r.to.system], gone[r.to.system])
		if !w.now.Before(r.ends) || !before.reads(r) {
			continue
		}
		if t.read.Add(1); !after.reads(r) {
			wrong = append(wrong, fmt.Sprintf("read: %s to timeline %d, %s", r.backup, r.to.tli, r.to.lsn))
		}
	}
	last := w.current()
	before, after := newOracle(last, nil), newOracle(last, gone[len(w.systems)-1])
	proved := slices.MaxFunc(append(slices.Clone(last.Backups), retention.Backup{}), func(a, b retention.Backup) int { return a.Proved.Compare(b.Proved) })
	if proved.Proved.IsZero() { // here: then elsewhere
		proved = slices.MaxFunc(append(slices.Clone(last.Backups), retention.Backup{}), func(a, b retention.Backup) int { return a.Restored.Compare(b.Restored) })
	}
	if !proved.Restored.IsZero() && before.consistent(proved.ID) && !after.consistent(proved.ID) {
		wrong = append(wrong, "proved "+proved.ID)
	}
	least, left := 0, 0
	for _, b := range last.Backups {
		if before.consistent(b.ID) {
			least++
		}
		if after.consistent(b.ID) {
			left++
		}
	}
	if left < min(least, max(1, p.MinBackups)) {
		wrong = append(wrong, fmt.Sprintf("%d backups are left of %d", left, least))
	}
	return wrong
}

// broken has a run killed anywhere and another one, by a policy that keeps more, go on. It returns what is kept and can be brought back to the window by it, though the expiry record says that it
// was let go: no copy would get it, and nobody miss it.
func (w *world) broken(c *retention.Catalog, p retention.Policy, plan retention.Plan, t *tally) []string {
	gone, left := make([]map[storage.Key]bool, len(c.Clusters)), &retention.Catalog{Clusters: slices.Clone(c.Clusters)}
	for i := range left.Clusters {
		one, keys := &left.Clusters[i], retention.Keys(&plan.Clusters[i])
		gone[i] = map[storage.Key]bool{}
		for _, key := range keys[:w.random.IntN(len(keys)+1)] {
			gone[i][key] = true
		}
		one.Backups = slices.DeleteFunc(slices.Clone(one.Backups), func(b retention.Backup) bool { return gone[i][storage.Key(b.ID)] })
		one.WAL = slices.DeleteFunc(slices.Clone(one.WAL), func(e repository.Entry) bool { return gone[i][e.Key] })
		one.Expiry, one.Holds = plan.Clusters[i].Expiry, nil
	}
	p.Window += w.hours(24 * 10)
	again := retention.Make(left, p, w.now.Add(w.skew))
	var wrong []string
	looks := func(*retention.Backup) bool { return true }
	for i, s := range w.systems {
		said := left.Clusters[i].Expiry.Without(again.Clusters[i].Back)
		said.Add(again.Clusters[i].Expiry)
		before := newOracle(s, gone[i])
		for _, key := range retention.Keys(&again.Clusters[i]) {
			gone[i][key] = true
		}
		for _, b := range s.Backups {
			gone[i][storage.Key(b.ID)] = gone[i][storage.Key(b.ID)] || said.HasBackup(b.ID)
		}
		for _, e := range s.WAL {
			gone[i][e.Key] = gone[i][e.Key] || said.Covers(e.Timeline, e.Range)
		}
		copied := newOracle(s, gone[i])
		for _, at := range w.log {
			if at.system != i || !at.at.After(w.now.Add(-p.Window)) || !before.restorable(at, looks) {
				continue
			}
			if t.broken.Add(1); !copied.restorable(at, looks) {
				wrong = append(wrong, fmt.Sprintf("system %d: in no copy: %s, timeline %d, %s", i, at.at.Format(time.DateTime), at.tli, at.lsn))
			}
		}
	}
	return wrong
}

func removed(plan retention.Plan) map[int]map[storage.Key]bool {
	gone := map[int]map[storage.Key]bool{}
	for i := range plan.Clusters {
		gone[i] = map[storage.Key]bool{}
		for _, key := range retention.Keys(&plan.Clusters[i]) {
			gone[i][key] = true
		}
	}
	return gone
}

// TestHistories guards I32 to I35: whatever happened, no instant of the window that could be restored before cannot be after. PGARK_TEST_HISTORIES
// and PGARK_TEST_SEED are the long form.
func TestHistories(t *testing.T) {
	t.Parallel()
	number := func(name string, otherwise uint64) uint64 {
		n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
		if err != nil {
			return otherwise
		}
		return n
	}
	short := uint64(3000)
	if testing.Short() {
		short = 200 // with the race detector
	}
	count, seed := number("PGARK_TEST_HISTORIES", short), number("PGARK_TEST_SEED", 1)
	var sum tally
	var blind, sabotaged atomic.Int64
	var workers sync.WaitGroup
	const jobs = 2
	for job := range uint64(jobs) {
		workers.Go(func() {
			for n := job; n < count && !t.Failed(); n += jobs {
				w := newWorld(seed<<32 + n)
				c, p := w.catalog(), w.policy()
				plan := retention.Make(c, p, w.now.Add(w.skew))
				gone := removed(plan)
				if wrong := w.judge(c, p, gone, &sum); len(wrong) > 0 {
					t.Errorf("history %d of seed %d, window %s: lost: %q", n, seed, p.Window, wrong)
				}
				if n%8 == 2 {
					if wrong := w.broken(c, p, plan, &sum); len(wrong) > 0 {
						t.Errorf("history %d of seed %d, window %s, killed: %q", n, seed, p.Window, wrong)
					}
				}
				if n%8 > 1 {
					continue
				}
				// The oracle must see what a worse plan costs: one that lets things go too early.
				worse := p
				worse.Window, worse.Grace, worse.MinBackups = p.Window/8, 0, 0
				if early := removed(retention.Make(c, worse, w.now.Add(w.skew))); len(early[len(early)-1]) > len(gone[len(early)-1]) {
					sabotaged.Add(1)
					if len(w.judge(c, p, early, &tally{})) == 0 {
						blind.Add(1)
					}
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d histories: %d instants (%d from what was proved, %d after a broken run), %d pins and %d readers looked at, %d objects let go; %d of %d worse plans seen through",
		count, sum.instants.Load(), sum.proved.Load(), sum.broken.Load(), sum.pinned.Load(), sum.read.Load(), sum.removed.Load(), sabotaged.Load()-blind.Load(), sabotaged.Load())
	if n := int64(count); sum.instants.Load() < 5*n || sum.removed.Load() < 5*n || sum.read.Load() < n/100 || sum.proved.Load() < n || sum.broken.Load() < n/8 || sabotaged.Load() < n/20 || 3*(sabotaged.Load()-blind.Load()) < sabotaged.Load() {
		t.Error("too little was tried for this to say anything")
	}
}
