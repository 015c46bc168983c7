package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pgark/pgark/storage"
)

// Source is a store that holds a repository, or a copy of it.
type Source struct {
	Name  string        // for people; without secrets
	Store storage.Store // nil if it could not be opened
	Err   error         // why not
	// Last says that it is asked after all others, however near it is: what it gives may not be what is meant, though it is whole.
	Last bool
}

// Sources are the stores of one repository and its copies, read as one: what one holds damaged or not at all, or does not give, comes from
// the next. They are asked in their order, but for objects first those that are near, and one that did not answer after all others for a
// while. It is for reading alone, and safe for concurrent use.
//
// What has a checksum falls back before a byte of it is used, because the methods of Cluster and BackupReader verify what each source
// gives. Lists are the union of what the sources that answer hold.
type Sources struct {
	all []*source

	mu sync.Mutex
	// patience is how long a source may take for one reading before the next is asked. When none was quick enough it doubles, and stays
	// so: a link may be slow to all of them.
	patience    time.Duration
	marker      Marker // of the first source that answered; zero before
	substitutes map[storage.Key]Substitute
	silent      int // substitutes that are not kept
}

// source is a Source and what is known of it. The last block belongs to Sources.mu.
type source struct {
	Source

	looking sync.Mutex // held while its marker is looked at
	known   bool       // its marker was right

	err   error         // why it was left out last; nil if it answered since
	lacks []lack        // lists that were made without it, and not again with it
	until time.Time     // until then it is asked after the others
	away  time.Duration // how long that was
	final bool          // it holds another repository, or none: it is not asked again
	took  time.Duration // to open it, which reads its marker; 0 before
}

const (
	sourcePatience = 10 * time.Second
	// A source that did not answer is asked after the others for a while, which doubles as long as it does not.
	sourceAway, sourceAwayMost = 30 * time.Second, 10 * time.Minute
	// substitutesKept bounds what is remembered of objects that came from elsewhere.
	substitutesKept = 10_000
)

// SourcesError says that no source gave an object. It unwraps to the error that decides: of a source that did not answer, else of one
// that holds the object damaged.
type SourcesError struct {
	Key    storage.Key // empty for a list
	Faults []Fault     // at least one

	decisive error
}

// Error names what each source said.
func (e *SourcesError) Error() string {
	var said []string
	for _, f := range e.Faults {
		said = append(said, f.Source+": "+f.Err.Error())
	}
	what := "the repository"
	if e.Key != "" {
		what = string(e.Key)
	}
	return "no source gives " + what + ": " + strings.Join(said, "; ")
}

// Unwrap returns the error that decides.
func (e *SourcesError) Unwrap() error { return e.decisive }

// errPatience ends a reading that another source may answer.
var errPatience = fmt.Errorf("%w: no answer in time", storage.ErrUnavailable)

// errReadOnly is what writing to Sources gives.
var errReadOnly = errors.New("sources are for reading")

// OpenSources opens the repository that several stores hold, the best first. A source is looked at when it is first needed, and left out if it
// holds another repository than the first that answered. The error is that of Open for the first source, if none answers.
func OpenSources(ctx context.Context, list []Source) (*Repository, *Sources, error) {
	s := &Sources{patience: sourcePatience, substitutes: map[storage.Key]Substitute{}}
	for _, one := range list {
		src := &source{Source: one}
		if one.Err != nil {
			src.err, src.final = one.Err, true
		}
		s.all = append(s.all, src)
	}
	if err := s.try(ctx, "", func(context.Context, storage.Store) error { return nil }); err != nil {
		return nil, nil, err
	}
	return &Repository{store: s, marker: s.marker}, s, nil
}

// Substitutes returns what was read from other sources because the first hold it damaged or not at all, by key. Of a great many some are
// left out: all says how many there were. A nil *Sources has none.
func (s *Sources) Substitutes() (list []Substitute, all int) {
	if s == nil {
		return nil, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.substitutes {
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b Substitute) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return list, len(list) + s.silent
}

// Away returns the sources that did not answer when they were last asked, or are not of this repository, and those that a list was made without, which
// may have been chosen from, though they answer again; until the same is listed with them. A nil *Sources has none.
func (s *Sources) Away() []Fault {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Fault
	for _, one := range s.all {
		if err := one.fault(); err != nil {
			list = append(list, Fault{one.Name, err})
		}
	}
	return list
}

// fault returns why something was read without the source; nil if nothing was. It is called with Sources.mu held.
func (one *source) fault() error {
	if one.err == nil && len(one.lacks) > 0 {
		return one.lacks[0].err
	}
	return one.err
}

// AbsenceProved returns nil if what is absent for this cluster is so: its repository was reached. Of several sources the first must have been
// reached, also by every list, because a copy may be behind it; otherwise the error says why it was not.
func (c *Cluster) AbsenceProved() error {
	s, several := c.store.(*Sources)
	if !several {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.all[0].fault(); err != nil {
		return fmt.Errorf("%s was not reached, and a copy may be behind it: %w", s.all[0].Name, err)
	}
	return nil
}

// order returns the sources to ask, the best first. Those from the index answering on did not answer lately.
func (s *Sources) order() (list []*source, answering int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var away []*source
	for _, one := range s.all {
		switch {
		case one.final:
		case one.err != nil && time.Now().Before(one.until):
			away = append(away, one)
		default:
			list = append(list, one)
		}
	}
	return append(list, away...), len(list)
}

// said notes how a source answered: err is nil if it did, also with a damaged object.
func (s *Sources) said(one *source, err error, final bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.err, one.final = err, final
	switch {
	case err == nil:
		one.away = 0
	case !time.Now().Before(one.until): // several calls may fail in one outage
		one.away = min(max(2*one.away, sourceAway), sourceAwayMost)
		one.until = time.Now().Add(one.away)
	}
}

// look reads a source's marker once, and refuses one of another repository.
func (s *Sources) look(ctx context.Context, one *source) error {
	one.looking.Lock()
	defer one.looking.Unlock()
	if one.known {
		return nil
	}
	began := time.Now()
	r, err := Open(ctx, one.Store)
	var format *FormatError
	switch {
	case errors.Is(err, ErrNoRepository), errors.As(err, &format), isCorrupt(err):
		return &foreignError{err}
	case err != nil:
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.marker.RepositoryID == "" {
		s.marker = r.marker
	}
	if s.marker.RepositoryID != r.marker.RepositoryID {
		return &foreignError{fmt.Errorf("it holds repository %s, not %s", r.marker.RepositoryID, s.marker.RepositoryID)}
	}
	one.known, one.took = true, max(1, time.Since(began))
	return nil
}

// answered tells whether err is what a source says of an object, rather than a failure of the source.
func answered(err error) bool {
	var locked *KeyError
	return !isForeign(err) && (errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrSpan) || errors.Is(err, storage.ErrTooLarge) || errors.Is(err, storage.ErrArchived) ||
		isCorrupt(err) || errors.As(err, &locked))
}

// damaged tells whether a source holds an object that is not as it should be.
func damaged(err error) bool { return answered(err) && !errors.Is(err, storage.ErrNotFound) }

// foreignError is what look says of a source that is not to be asked again: it holds no repository, a newer one, another, or a marker that
// cannot be read.
type foreignError struct{ error }

func (e *foreignError) Unwrap() error { return e.error }

func isForeign(err error) bool {
	var foreign *foreignError
	return errors.As(err, &foreign)
}

// verified reads one object, of several sources from the first that gives it as it should be: read verifies it and does not keep the store.
// The error of one store is read's own.
func verified[T any](ctx context.Context, store storage.Store, key storage.Key, read func(context.Context, storage.Store) (T, error)) (T, error) {
	s, several := store.(*Sources)
	if !several {
		return read(ctx, store)
	}
	var got T
	err := s.try(ctx, key, func(ctx context.Context, store storage.Store) (err error) {
		got, err = read(ctx, store)
		return err
	})
	return got, err
}

// try calls read with one source after the other until one has it, and remembers which that was unless key is empty. An object is absent if one
// source says so and no other that answers holds anything of it.
func (s *Sources) try(ctx context.Context, key storage.Key, read func(context.Context, storage.Store) error) error {
	for patience := s.patient(0); ; patience *= 2 {
		list, answering := s.order()
		if key != "" {
			list, answering = s.nearFirst()
		}
		faults, late, err := s.round(ctx, patience, list, answering, read)
		if err != nil {
			return err
		}
		last := faults[len(faults)-1]
		if last.Err == nil {
			s.patient(patience)
			s.note(key, last.Source, faults[:len(faults)-1])
			return nil
		}
		e := &SourcesError{Key: key, Faults: faults}
		if e.decide(); late && !answered(e.decisive) {
			continue // perhaps all are only slow
		}
		return e
	}
}

// patient returns how long a source may take for one reading, at least what took so long that it had to be that much.
func (s *Sources) patient(least time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patience = max(s.patience, least)
	return s.patience
}

// decide finds the error that decides. That nothing is there decides only where no source holds the object damaged.
func (e *SourcesError) decide() {
	first := func(is func(error) bool) error {
		for _, f := range e.Faults {
			if is(f.Err) {
				return f.Err
			}
		}
		return nil
	}
	broken, absent := first(damaged), first(answered)
	away := first(func(err error) bool { return !answered(err) })
	switch {
	case absent != nil && broken == nil:
		e.decisive = absent
	case away != nil:
		e.decisive = away
	default:
		e.decisive = broken
	}
}

// round asks each source of the list once, those from the index answering on only if need be. The last fault has no error if that source gave what was asked for. late says that one was too slow. The
// error is that of the end of ctx.
func (s *Sources) round(ctx context.Context, patience time.Duration, list []*source, answering int, read func(context.Context, storage.Store) error) (faults []Fault, late bool, err error) {
	if len(list) == 0 {
		return s.Away(), false, nil
	}
	absent := false
	for i, one := range list {
		if i >= answering && absent && !slices.ContainsFunc(faults, func(f Fault) bool { return damaged(f.Err) }) {
			break // who answers says that it is not there
		}
		try, cancel := context.WithTimeoutCause(ctx, patience, errPatience)
		err := s.look(try, one)
		if err == nil {
			err = read(try, one.Store)
		}
		late = late || err != nil && try.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil && err != nil:
			return nil, false, err
		case err == nil || answered(err):
			s.said(one, nil, false)
		default:
			s.said(one, err, isForeign(err))
		}
		absent = absent || answered(err) && errors.Is(err, storage.ErrNotFound)
		faults = append(faults, Fault{one.Name, err})
		if err == nil {
			return faults, late, nil
		}
	}
	return faults, late, nil
}

// others calls look with every source that answers. One that does not answer is passed over.
func (s *Sources) others(ctx context.Context, look func(ctx context.Context, one Source)) {
	list, answering := s.order()
	for _, one := range list[:answering] {
		asking, cancel := context.WithTimeoutCause(ctx, s.patient(0), errPatience)
		if err := s.look(asking, one); err != nil {
			s.said(one, err, isForeign(err))
		} else {
			look(asking, one.Source)
		}
		cancel()
	}
}

// note remembers where an object came from, if other sources hold it damaged or not at all. That a copy lacks what one before it gives is no
// fault: it may be behind, and was asked first because it is near. Nor is that each lacks what the others say of themselves alone.
func (s *Sources) note(key storage.Key, from string, faults []Fault) {
	place := func(name string) int {
		return slices.IndexFunc(s.all, func(one *source) bool { return one.Name == name })
	}
	faults = slices.DeleteFunc(slices.Clone(faults), func(f Fault) bool {
		return !answered(f.Err) || !damaged(f.Err) && (place(f.Source) > place(from) || ofOneRepository(key))
	})
	if key == "" || len(faults) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.substitutes[key]; known {
		return
	}
	if len(s.substitutes) == substitutesKept {
		s.silent++
		return
	}
	s.substitutes[key] = Substitute{Key: key, Source: from, Faults: faults}
}

// Get implements storage.Store for small objects: it reads the whole span before it returns.
func (s *Sources) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	var body []byte
	err := s.try(ctx, "", func(ctx context.Context, store storage.Store) error {
		r, err := store.Get(ctx, key, span)
		if err != nil {
			return err
		}
		body, err = io.ReadAll(r)
		return errors.Join(err, r.Close())
	})
	return io.NopCloser(bytes.NewReader(body)), err
}

// Stat implements storage.Store. What is archived in one source and can be read in another can be read.
func (s *Sources) Stat(ctx context.Context, key storage.Key) (info storage.Info, err error) {
	var frozen storage.Info
	err = s.try(ctx, "", func(ctx context.Context, store storage.Store) error {
		if info, err = store.Stat(ctx, key); err == nil && info.Archive.Readability(time.Now()) == storage.Frozen {
			frozen = info
			return storage.ErrArchived
		}
		return err
	})
	if err != nil && frozen.Key != "" && ctx.Err() == nil {
		return frozen, nil // in all that answer
	}
	return info, err
}

// hasSize reports whether one of several sources holds an object of this size, though they differ in it.
func hasSize(ctx context.Context, store storage.Store, key storage.Key, want int64) bool {
	if _, several := store.(*Sources); !several {
		return false
	}
	_, err := verified(ctx, store, key, func(ctx context.Context, store storage.Store) (storage.Info, error) {
		info, err := store.Stat(ctx, key)
		if err == nil && info.Size != want {
			err = &CorruptError{Key: key, Reason: fmt.Sprintf("%d bytes, want %d", info.Size, want)}
		}
		return info, err
	})
	return err == nil
}

// Put implements storage.Store by refusing.
func (s *Sources) Put(context.Context, storage.Key, []byte) error { return errReadOnly }

// Begin implements storage.Store by refusing.
func (s *Sources) Begin(context.Context, storage.Key) (storage.Upload, error) {
	return nil, errReadOnly
}

// Delete implements storage.Store by refusing.
func (s *Sources) Delete(context.Context, storage.Key) error { return errReadOnly }
