package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/copies"
	"github.com/pgark/pgark/storage/limit"
	"github.com/pgark/pgark/telemetry"
)

// place is one repository of a cluster: the primary, or a copy.
type place struct {
	name  string
	url   string
	store *Store
	// byBucket says that the primary's bucket writes there, and the agent never does.
	byBucket bool
	// lock is that of new objects.
	lock    storage.Lock
	limits  config.Limits
	classes config.StorageClasses
	// closed says that it could not be opened: store fails with the reason.
	closed bool
}

// places are all repositories of a cluster, the primary first, and the one store that is made of them.
type places struct {
	storage.Store

	all  []place
	keys encryption.Keys
	// copies is what Store is where the agent makes copies; nil where it makes none.
	copies *copies.Store
	// unopened is why a store could not be opened, nil if all could: a fault of the configuration.
	unopened error
}

// openPlaces opens the stores of a cluster. It reads and writes nothing in them. Where there are several, one that cannot be opened, such as a copy whose region or
// profile this host does not know, answers every call with the error of that: it keeps nobody from the others. The caller closes them.
func openPlaces(ctx context.Context, c config.Cluster, o StoreOptions) (*places, error) {
	keys, err := loadKeys(c)
	if err != nil {
		return nil, err
	}
	p := &places{keys: keys}
	for _, one := range c.Repositories() {
		its := o.of(one)
		if len(c.Copies) > 0 {
			its = its.named(one.Name)
		}
		store, err := OpenStore(ctx, one.URL, its)
		if err != nil {
			if len(c.Copies) == 0 {
				return nil, err
			}
			p.unopened = cmp.Or(p.unopened, err)
			store = &Store{Store: limit.Wrap(unopened{err}, its.limits())}
		}
		p.all = append(p.all, place{name: one.Name, url: one.URL, store: store, byBucket: one.ByBucket, lock: one.Lock, limits: one.Limits, classes: one.Classes, closed: err != nil})
	}
	p.Store = p.all[0].store
	members := make([]copies.Member, 0, len(p.all))
	for _, one := range p.all {
		if !one.byBucket {
			members = append(members, copies.Member{Name: one.name, Store: one.store})
		}
	}
	if len(members) == 1 {
		return p, nil
	}
	required, err := copies.ParsePolicy(c.Required)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.copies, err = copies.New(members, copies.Options{
		Required: required, CatchUp: p.catchUp(c.Name, o), Same: repository.SameContent(keys), Marker: repository.MarkerKey, Logger: o.Logger,
	})
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.Store = p.copies
	return p, nil
}

// Sources are the repository of a cluster and its copies, open for reading as one.
type Sources struct {
	*repository.Sources // nil where there is one repository

	stores []namedStore
}

type namedStore struct {
	*Store

	name string
}

// Lossy returns the names of the repositories that are read as they were and may lack some of that, as far as what was read shows it.
func (s *Sources) Lossy() []string {
	var names []string
	for _, one := range s.stores {
		if one.Lossy() && !slices.Contains(names, one.name) {
			names = append(names, one.name)
		}
	}
	return names
}

// Close releases the stores. Calls after it fail.
func (s *Sources) Close() error {
	var err error
	for _, one := range s.stores {
		err = errors.Join(err, one.Close())
	}
	return err
}

// OpenSources opens the existing repository of a cluster's configuration for reading: what the primary does not give, or holds damaged, comes
// from a copy. It returns repository.ErrNoRepository if there is none anywhere. The caller closes the sources.
func OpenSources(ctx context.Context, c config.Cluster, o StoreOptions) (*repository.Repository, *Sources, error) {
	if len(c.Copies) == 0 && o.AsOf.IsZero() {
		r, store, err := OpenRepository(ctx, c, o)
		if err != nil {
			return nil, nil, err
		}
		return r, &Sources{stores: []namedStore{{store, c.Repositories()[0].Name}}}, nil
	}
	keys, err := loadKeys(c)
	if err != nil {
		return nil, nil, err
	}
	s := &Sources{}
	var list []repository.Source
	add := func(one config.Copy, o StoreOptions, source repository.Source) {
		store, err := OpenStore(ctx, one.URL, o)
		if err != nil {
			source.Err = err
		} else {
			s.stores, source.Store = append(s.stores, namedStore{store, one.Name}), store
		}
		list = append(list, source)
	}
	for _, one := range c.Repositories() {
		add(one, o.of(one).named(one.Name), repository.Source{Name: one.Name})
	}
	if !o.AsOf.IsZero() { // what was put over before that instant may still be right in its first version
		o.first = true
		for _, one := range c.Repositories() {
			add(one, o.of(one).named(one.Name), repository.Source{Name: one.Name + FirstVersions, Last: true})
		}
	}
	r, sources, err := repository.OpenSources(ctx, list)
	if err != nil {
		return nil, nil, errors.Join(opening(c.Repo.URL, err), s.Close())
	}
	s.Sources = sources
	return r.With(keys), s, nil
}

// FirstVersions stands behind the name of a repository whose objects are taken in their first version, as it was at an instant.
const FirstVersions = " (first versions)"

// of is the options of one of the repositories.
func (o StoreOptions) of(one config.Copy) StoreOptions {
	o.name, o.Lock, o.own, o.classes = one.Name, one.Lock, one.Limits, one.Classes
	return o
}

// named is the options with a logger that names the repository.
func (o StoreOptions) named(name string) StoreOptions {
	if o.Logger != nil {
		o.Logger = o.Logger.With("repo", name)
	}
	return o
}

// catchUp is the one of o with a span for each time.
func (p *places) catchUp(cluster string, o StoreOptions) func(context.Context, storage.Store, storage.Store, func() bool) error {
	return func(ctx context.Context, from, to storage.Store, needed func() bool) error {
		if !telemetry.On(ctx) {
			return o.catchUp(ctx, from, to, needed)
		}
		name := ""
		for _, one := range p.all {
			if to == storage.Store(one.store) {
				name = one.name
			}
		}
		ctx, span := telemetry.Begin(ctx, telemetry.Copy, telemetry.Cluster.String(cluster), telemetry.Repo.String(name))
		err := o.catchUp(ctx, from, to, needed)
		span.End(err)
		return err
	}
}

// catchUp brings a repository up to date. An object that is damaged where it comes from is told and left out: it must not keep
// what is new from being safe in two places. It waits for the limits unless it is needed: what is behind keeps WAL from being confirmed then, and commits that wait for that.
func (o StoreOptions) catchUp(ctx context.Context, from, to storage.Store, needed func() bool) error {
	ctx = limit.PatientWhile(ctx, func() bool { return !needed() })
	// The second is for the backup that is being taken: its next objects and its record are sent to both.
	for _, step := range []func(ctx context.Context, from, to storage.Store) error{repository.CatchUp, repository.CopyUnfinished} {
		err := step(ctx, from, to)
		var corrupt *repository.CorruptError
		if err != nil && !errors.As(err, &corrupt) {
			return err
		}
		if err != nil && o.Logger != nil {
			o.Logger.ErrorContext(ctx, "objects that are damaged were not copied", "err", err)
		}
	}
	return nil
}

// Close closes all stores. Calls after it fail.
func (p *places) Close() error {
	var err error
	for _, one := range p.all {
		err = errors.Join(err, one.store.Close())
	}
	return err
}

// keep looks after the copies until ctx ends.
func (p *places) keep(ctx context.Context) {
	if p.copies != nil {
		p.copies.Run(ctx)
	}
}

// drainTimeout is how long an agent that stops waits for copies that nothing required waits for.
const drainTimeout = 5 * time.Second

// drain waits until the copies hold what was sent to them, for a while.
func (p *places) drain(ctx context.Context) {
	if p.copies == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	_ = p.copies.Drain(ctx) // a copy that is slow is brought up to date by the next agent
}

// OtherRepositoryError says that a copy is not a copy of the primary: it holds a repository of its own. Nothing was written.
type OtherRepositoryError struct {
	Copy, Primary     string // the names
	CopyID, PrimaryID string // the repository ids
}

// Error names both.
func (e *OtherRepositoryError) Error() string {
	return fmt.Sprintf("copy %s holds repository %s, %s holds %s: it is no copy of it", e.Copy, e.CopyID, e.Primary, e.PrimaryID)
}

// EmptiedError says that the primary holds no repository although a copy does: it was emptied or swapped, and a new one there
// would leave the copy behind for ever. Nothing was written.
type EmptiedError struct {
	Primary string // its URL
	Copy    string // the copy's name
}

// Error names both.
func (e *EmptiedError) Error() string {
	return fmt.Sprintf("%s holds no repository, though its copy %s does: it was emptied or swapped", e.Primary, e.Copy)
}

// look reads the markers of all places, each within ctx. errs has an entry for each place that holds no repository or does not
// answer. Markers that do not belong together are read twice before that is said.
func (p *places) look(ctx context.Context) (found []*repository.Repository, errs []error) {
	found, errs = p.read(ctx)
	var other *OtherRepositoryError
	if _, err := p.agree(found, errs); errors.As(err, &other) {
		return p.read(ctx)
	}
	return found, errs
}

func (p *places) read(ctx context.Context) (found []*repository.Repository, errs []error) {
	found, errs = make([]*repository.Repository, len(p.all)), make([]error, len(p.all))
	var group errgroup.Group
	for i, one := range p.all {
		group.Go(func() error {
			found[i], errs[i] = p.open(ctx, one.store)
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	return found, errs
}

// agree returns an *OtherRepositoryError or an *EmptiedError if the places that answer are not one repository and its copies.
// fresh says that no place holds one, so that it may be made; it is false where one does not answer.
func (p *places) agree(found []*repository.Repository, errs []error) (fresh bool, err error) {
	first := -1
	fresh = true
	for i, r := range found {
		switch {
		case r == nil:
			fresh = fresh && errors.Is(errs[i], repository.ErrNoRepository)
			continue
		case first < 0:
			first = i
		case r.Marker().RepositoryID != found[first].Marker().RepositoryID:
			return false, &OtherRepositoryError{
				Copy: p.all[i].name, CopyID: r.Marker().RepositoryID, Primary: p.all[first].name, PrimaryID: found[first].Marker().RepositoryID,
			}
		}
		fresh = false
	}
	if first > 0 && errors.Is(errs[0], repository.ErrNoRepository) {
		return false, &EmptiedError{Primary: p.all[0].url, Copy: p.all[first].name}
	}
	return fresh, nil
}

// create opens the repository for an agent, or makes it. The error is repository.ErrPlain if nothing may be put there in clear, and no public keys are configured.
func (p *places) create(ctx context.Context) (*repository.Repository, error) {
	r, err := p.establish(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.CheckSealing(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// establish opens the repository, or makes it on the primary where no place holds one. A copy that does not answer keeps a new
// repository from being made: it may hold the old one.
func (p *places) establish(ctx context.Context) (*repository.Repository, error) {
	if p.copies == nil {
		if _, err := storage.Probe(ctx, p.Store); err != nil {
			return nil, err
		}
		r, err := repository.Create(ctx, p.Store)
		if err != nil {
			return nil, err
		}
		return r.With(p.keys), nil
	}
	looking, cancel := context.WithTimeout(ctx, preflightTimeout)
	found, errs := p.look(looking)
	cancel()
	fresh, err := p.agree(found, errs)
	if err != nil {
		return nil, err
	}
	if found[0] == nil && errors.Is(errs[0], repository.ErrNoRepository) {
		if !fresh {
			return nil, fmt.Errorf("before a repository is made every copy must answer: %w", errors.Join(errs[1:]...))
		}
		if _, err := repository.Create(ctx, p.all[0].store); err != nil {
			return nil, err
		}
	}
	return p.open(ctx, p.Store)
}

// open opens the repository in one of the stores, with the keys of the configuration.
func (p *places) open(ctx context.Context, store storage.Store) (*repository.Repository, error) {
	r, err := repository.Open(ctx, store)
	if err != nil {
		return nil, err
	}
	return r.With(p.keys), nil
}
