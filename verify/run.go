package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Place is one repository of a cluster.
type Place struct {
	Name string // in the configuration
	URL  string // for people; without secrets
	// ID tells this repository from others in the records of what was read: a bucket that is copied to another has its records there too.
	ID string
	// Store makes failed calls again by itself, for a while (storage/retry).
	Store storage.Store
	// Err says why it cannot be used, if that is known already.
	Err error
}

// Options say what is verified and how. SystemID is needed.
type Options struct {
	SystemID wal.SystemID
	// Since is how long an object that was read and found right is not read again, 0 for DefaultSince.
	Since time.Duration
	// Deep reads all, whatever was read before.
	Deep bool
	// Repair puts right from another repository what is damaged or missing.
	Repair bool
	// Trust is the name of the repository that is believed where whole objects differ; empty for none.
	Trust string
	// Forget records nothing of what was read.
	Forget bool
	// Keys open what is encrypted. Without a private key the WAL that is encrypted is looked at, and not read.
	Keys encryption.Keys
	// Jobs is how many objects are read at a time, 0 for DefaultJobs.
	Jobs int
	// Grace is how old an object must be before another repository is said to lack it, or WAL before it is: uploads overtake each other, and
	// copies are made one after the other. 0 is DefaultGrace, below 0 none.
	Grace time.Duration
	// Progress, if not nil, is called after each object that was read, from many goroutines.
	Progress func(Progress)
	// Logger may be nil.
	Logger *slog.Logger
	// Now is the clock; nil for time.Now.
	Now func() time.Time
}

// The defaults of Options.
const (
	DefaultSince = 7 * 24 * time.Hour
	DefaultJobs  = 4
	DefaultGrace = 15 * time.Minute
)

// Progress is how much was read so far.
type Progress struct{ Objects, Bytes int64 }

// verification is one run on its way.
type verification struct {
	Options

	began  time.Time
	places []*place
	names  []string
	// trusted is the index of the place that Trust names, or -1.
	trusted int
	size    wal.SegmentSize // 0 until it is known, and where nothing tells

	small     []*small // histories of later timelines first
	gaps      []repository.Gap
	beats     []repository.Beat // the newest of each place
	backups   []*copied
	histories map[wal.TimelineID]wal.History // that are believed
	believed  map[wal.TimelineID][]byte      // their very bytes
	holes     []stretch                      // that no place holds and nothing explains

	mu       sync.Mutex
	damage   []Damage
	notes    []string
	vanished []held
	steadied int // objects that only one of two readings damaged
	locked   int // objects that were not read, because no private key was given
	archived int // objects that were not read, because they must be thawed first
	sum      Progress
}

// place is one repository on its way through a run.
type place struct {
	Place

	index    int
	cluster  *repository.Cluster
	known    map[repository.Fingerprint]bool // read within the period
	baseline *repository.Reading             // the last one
	marker   repository.Sum                  // of pgark.json, if it is right
	expiry   repository.Expiry               // what it let go

	mu        sync.Mutex
	err       error // why it is used no more
	listed    int64
	objects   int64
	bytes     int64
	read      []repository.Fingerprint
	wrong     []repository.Fingerprint
	there     map[wal.TimelineID]*repository.Coverage // by what is listed
	sound     map[wal.TimelineID]*repository.Coverage // by what is right
	late      map[wal.TimelineID]*repository.Coverage // that it lacks, and may yet get
	histories map[wal.TimelineID]wal.History
	sums      map[wal.TimelineID]repository.Sum
	usable    map[string][]string // why a backup cannot be used, beside damage
	// unrecorded says why what was read was not recorded.
	unrecorded string
}

// Run verifies the repositories of one cluster, the primary first. A repository that does not answer is in the report, not an error, as long as
// another does. What was read is recorded also where the run ends early. The error is that of the first repository if none answers, a
// *repository.FormatError where no repository is of a format that is known, or the cause of the end of ctx.
func Run(ctx context.Context, places []Place, o Options) (Report, error) {
	v := newVerification(places, o)
	err := v.all(ctx)
	v.record(ctx)
	return v.report(ctx), err
}

func newVerification(places []Place, o Options) *verification {
	if o.Since <= 0 {
		o.Since = DefaultSince
	}
	if o.Jobs <= 0 {
		o.Jobs = DefaultJobs
	}
	if o.Grace == 0 {
		o.Grace = DefaultGrace
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	v := &verification{Options: o, began: o.Now(), trusted: -1, histories: map[wal.TimelineID]wal.History{}, believed: map[wal.TimelineID][]byte{}}
	for i, p := range places {
		v.names = append(v.names, p.Name)
		if o.Trust == p.Name {
			v.trusted = i
		}
		v.places = append(v.places, &place{
			Place: p, index: i, cluster: repository.Unchecked(p.Store).With(o.Keys).Cluster(o.SystemID),
			known: map[repository.Fingerprint]bool{}, there: map[wal.TimelineID]*repository.Coverage{},
			sound: map[wal.TimelineID]*repository.Coverage{}, late: map[wal.TimelineID]*repository.Coverage{},
			histories: map[wal.TimelineID]wal.History{}, sums: map[wal.TimelineID]repository.Sum{}, usable: map[string][]string{},
		})
	}
	return v
}

// all runs the steps: records before the data that they name (docs/FORMAT.md, section 8).
func (v *verification) all(ctx context.Context) error {
	for _, step := range []func(context.Context) error{v.openAll, v.findRecords, v.findBackups, v.judgeRecords, v.readBackups, v.readWAL, v.recallExpiry, v.findHoles} {
		if err := step(ctx); err != nil {
			return err
		}
		if len(v.alive()) == 0 {
			return v.places[0].err
		}
	}
	v.forgive()
	inOrder(v.damage)
	if v.Repair {
		return v.heal(ctx)
	}
	return nil
}

// alive returns the places that answer.
func (v *verification) alive() []*place {
	var alive []*place
	for _, p := range v.places {
		if p.failed() == nil {
			alive = append(alive, p)
		}
	}
	return alive
}

func (p *place) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// fail notes that a place cannot be used any more. It returns the error that ends the run, if it does.
func (v *verification) fail(ctx context.Context, p *place, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
		v.Logger.ErrorContext(ctx, "repository cannot be verified", "repo", p.Name, "err", err)
	}
	return nil
}

func (v *verification) note(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.notes = append(v.notes, fmt.Sprintf(format, args...))
}

func (v *verification) damaged(d Damage) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if d.Elsewhere == nil {
		d.Elsewhere = []string{}
	}
	v.damage = append(v.damage, d)
}

// damageOf describes what is wrong with an object of a place.
func (p *place) damageOf(o repository.Object, kind Kind, reason string) Damage {
	return Damage{
		Repository: p.Name, Kind: kind, Class: o.Class, Key: o.Key, Reason: reason, Timeline: o.Timeline, Start: o.Range.Start, End: o.Range.End,
		Backup: o.Backup, object: o,
	}
}

// due reports whether an object is to be read in this run. One that is not was read within the period, as it lies there.
func (v *verification) due(p *place, o repository.Object) bool {
	return v.Deep || !p.known[repository.FingerprintOf(p.ID, o)]
}

// found is what reading an object came to.
type found struct {
	kind   Kind // empty if it is right
	reason string
	gone   bool // it was listed, and is not there any more
	// newer says that it is of a format that this program does not know.
	newer *repository.FormatError
}

// examine reads an object with check, once more if that finds it damaged: a reading may fail, and what is said of an object must be true of
// it. The error is one that ends the run.
func (v *verification) examine(ctx context.Context, p *place, o repository.Object, check func(context.Context) error) (found, error) {
	err := check(ctx)
	var corrupt *repository.CorruptError
	if errors.As(err, &corrupt) {
		if err = check(ctx); err == nil {
			v.mu.Lock()
			v.steadied++
			v.mu.Unlock()
		}
	}
	var format *repository.FormatError
	var key *repository.KeyError
	switch {
	case err == nil:
		v.took(p, o)
		return found{}, nil
	case errors.Is(err, storage.ErrArchived):
		v.mu.Lock()
		v.archived++
		v.mu.Unlock()
		return found{}, nil
	case errors.As(err, &key) && key.NoKey():
		v.mu.Lock()
		v.locked++
		v.mu.Unlock()
		return found{}, nil
	case errors.As(err, &key):
		return found{kind: Unreadable, reason: key.Err.Error()}, nil
	case errors.As(err, &format):
		return found{kind: Unreadable, reason: format.Error(), newer: format}, nil
	case errors.As(err, &corrupt):
		if p.mu.Lock(); !o.Modified.IsZero() && lasting(o.Class) && len(p.wrong) < repository.MostFingerprints {
			p.wrong = append(p.wrong, repository.FingerprintOf(p.ID, o))
		}
		p.mu.Unlock()
		return found{kind: Damaged, reason: reasonOf(corrupt)}, nil
	case errors.Is(err, storage.ErrNotFound):
		return found{gone: true}, nil
	case ctx.Err() != nil:
		return found{}, context.Cause(ctx)
	}
	// The store does not give this object. If it gives another, this one is at fault.
	if _, other := p.Store.Stat(ctx, repository.MarkerKey); o.Key != repository.MarkerKey && storage.Retryable(err) &&
		(other == nil || errors.Is(other, storage.ErrNotFound)) {
		return found{kind: Unreadable, reason: err.Error()}, nil
	}
	return found{gone: true}, v.fail(ctx, p, err)
}

// reasonOf says what is wrong without the key, which stands beside it.
func reasonOf(err *repository.CorruptError) string {
	if err.Err != nil {
		return fmt.Sprintf("%s: %v", err.Reason, err.Err)
	}
	return err.Reason
}

// took notes that an object was read and found right.
func (v *verification) took(p *place, o repository.Object) {
	p.mu.Lock()
	p.objects++
	p.bytes += o.Size
	if !o.Modified.IsZero() && lasting(o.Class) {
		p.read = append(p.read, repository.FingerprintOf(p.ID, o))
	}
	p.mu.Unlock()
	v.mu.Lock()
	v.sum.Objects++
	v.sum.Bytes += o.Size
	sum := v.sum
	v.mu.Unlock()
	if v.Progress != nil {
		v.Progress(sum)
	}
}

// lasting reports whether objects of a class are read only when they are due. The others are few and small, and every run decides by them.
func lasting(class repository.Class) bool {
	return slices.Contains([]repository.Class{
		repository.ClassSegment, repository.ClassPiece, repository.ClassPack, repository.ClassIndex, repository.ClassManifest, repository.ClassNames,
	}, class)
}

// ripe reports whether an object is old enough that other places must hold it too.
func (v *verification) ripe(modified time.Time) bool {
	return v.Grace < 0 || v.began.Sub(modified) > v.Grace
}

// openAll reads the markers, and what was read before.
func (v *verification) openAll(ctx context.Context) error {
	marker := repository.MarkerObject()
	var all []content
	var missing []*place
	var newer *repository.FormatError
	for _, p := range v.places {
		var body []byte
		var info storage.Info
		err := p.Err
		if err == nil {
			info, err = p.Store.Stat(ctx, marker.Key)
		}
		if err == nil {
			p.lists()
			o := marker
			o.Size = info.Size
			var f found
			if f, err = v.examine(ctx, p, o, func(ctx context.Context) (err error) { body, err = p.cluster.CheckRecord(ctx, o); return err }); err != nil {
				return err
			}
			switch {
			case f.kind != "":
				newer = cmp.Or(newer, f.newer)
				v.damaged(p.damageOf(marker, f.kind, f.reason))
			case !f.gone:
				all = append(all, content{p.index, body})
			}
		}
		switch {
		case errors.Is(err, storage.ErrNotFound):
			missing = append(missing, p)
		case err != nil:
			if err := v.fail(ctx, p, err); err != nil {
				return err
			}
		}
		if p.failed() == nil {
			if err := v.recall(ctx, p); err != nil {
				return err
			}
		}
	}
	if newer != nil && len(all) == 0 { // where another place says otherwise, the marker is what is damaged
		return newer
	}
	for _, p := range missing {
		ids, err := repository.Unchecked(p.Store).Clusters(ctx)
		if err == nil && len(ids) == 0 {
			err = repository.ErrNoRepository
		}
		if err != nil {
			if err := v.fail(ctx, p, err); err != nil {
				return err
			}
			continue
		}
		d := p.damageOf(marker, Missing, "is missing")
		v.damaged(d)
	}
	v.settle(marker, all, v.markerWitnesses(), bytesEqual)
	return nil
}

// recall reads what earlier verifications recorded.
func (v *verification) recall(ctx context.Context, p *place) error {
	readings, err := p.cluster.Readings(ctx, p.ID, v.began.Add(-v.Since))
	if err != nil && !repository.OnlyUnreadable(err) {
		return v.fail(ctx, p, err)
	}
	if err != nil {
		v.note("%s: %v; what it says was read is read again", p.Name, err)
	}
	wrong := map[repository.Fingerprint]time.Time{} // the end of the verification that found it so; of one second nothing tells which was the last
	for i, r := range readings {
		p.baseline = &readings[i]
		if r.Ended.Before(v.began.Add(-v.Since)) {
			continue
		}
		for _, f := range r.Wrong { // though it was right before
			delete(p.known, f)
			wrong[f] = r.Ended
		}
		for _, f := range r.Read {
			p.known[f] = !wrong[f].Equal(r.Ended)
		}
	}
	return nil
}

// settle judges the contents of one small object, and says what is wrong. It returns the places that hold it right.
func (v *verification) settle(o repository.Object, all []content, witnesses []witness, same func(a, b []byte) bool) []int {
	right, wrong := compare(all, witnesses, v.trusted, v.names, same)
	v.mu.Lock()
	for i := range v.damage { // those that were found before, by what the object says of itself
		if v.damage[i].Key == o.Key {
			v.damage[i].Elsewhere = v.namesOf(right)
		}
	}
	v.mu.Unlock()
	for _, w := range wrong {
		d := v.places[w.place].damageOf(o, w.kind, w.reason)
		d.Elsewhere = v.namesOf(right)
		v.damaged(d)
	}
	for _, c := range all {
		if o.Class == repository.ClassMarker && slices.Contains(right, c.place) {
			v.places[c.place].marker = sumOf(c.body)
		}
	}
	return right
}

func (v *verification) namesOf(places []int) []string {
	names := []string{}
	for _, i := range places {
		names = append(names, v.names[i])
	}
	return names
}

// markerWitnesses are the earlier verifications.
func (v *verification) markerWitnesses() []witness {
	var all []witness
	for _, p := range v.places {
		if p.baseline != nil && p.baseline.Marker != (repository.Sum{}) {
			all = append(all, seenBefore(p.baseline.Marker))
		}
	}
	return all
}
