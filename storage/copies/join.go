package copies

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/pgark/pgark/storage"
)

// Waits between attempts to join.
const (
	leastWait = 200 * time.Millisecond
	mostWait  = 30 * time.Second
)

// Run brings members up to date and looks after them until ctx ends. It runs once.
func (s *Store) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, m := range s.members {
		all.Go(func() { s.keep(ctx, m) })
	}
	all.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		if m.sent() { // nothing is wrong with it
			s.end(m, context.Cause(ctx))
		}
	}
}

// keep makes m live, again and again.
func (s *Store) keep(ctx context.Context, m *member) {
	wait := leastWait
	for ctx.Err() == nil {
		s.mu.Lock()
		refused := m.state == Refused
		s.mu.Unlock()
		if refused {
			return
		}
		if err := s.join(ctx, m); err == nil {
			began := time.Now()
			s.watch(ctx, m)
			if time.Since(began) > mostWait {
				wait = leastWait
			}
		}
		pause(ctx, wait)
		wait = min(2*wait, mostWait)
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// join makes m live once: new objects are sent to it from now on, and what it lacks is copied from others.
func (s *Store) join(ctx context.Context, m *member) error {
	sources, err := s.sources(ctx, m)
	if err != nil {
		return err
	}
	marked, err := s.marked(ctx, m)
	if err == nil && !marked && !sources.marked {
		err = errNew
	}
	if err != nil {
		s.blame(m, err)
		return err
	}
	here := s.enter(ctx, m)
	for done := false; !done; {
		had, err := s.pass(here, sources, m)
		if done, err = s.arrive(here, m, had, err); err != nil {
			return err
		}
	}
	return nil
}

// pass brings m up to date from all sources. It returns the calls with once that one of them held.
func (s *Store) pass(ctx context.Context, all sources, m *member) (map[*op]bool, error) {
	s.mu.Lock()
	m.again = false
	upTo := s.last
	s.mu.Unlock()
	had := map[*op]bool{}
	for _, from := range all.members {
		held, err := s.bring(ctx, all, from, m, upTo)
		if err != nil {
			return nil, err
		}
		maps.Copy(had, held)
	}
	return had, nil
}

// arrive makes m live behind a pass, or leaves it if that failed. It returns false if one more pass is needed.
func (s *Store) arrive(ctx context.Context, m *member, had map[*op]bool, err error) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case ctx.Err() != nil: // left meanwhile
		return false, context.Cause(ctx)
	case err != nil:
		s.leave(m, err)
		return false, err
	case m.again:
		return false, nil
	}
	for o := range s.open {
		if o.once && had[o] {
			o.answers[m] = same
		}
	}
	m.state, m.since, m.err = Live, time.Now(), nil
	s.options.Logger.InfoContext(ctx, "repository is live", "repo", m.Name)
	s.change()
	return true, nil
}

// blame notes why a member that is behind cannot join.
func (s *Store) blame(m *member, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !m.sent() {
		m.err = err
	}
}

// marked reports whether m has the marker. That the primary has none is an error: nothing is copied to it that was not there before.
func (s *Store) marked(ctx context.Context, m *member) (bool, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.Patience, errPatience)
	defer cancel()
	if _, err := storage.Probe(ctx, m.Store); err != nil {
		return false, err
	}
	_, err := m.Store.Stat(ctx, s.options.Marker)
	if errors.Is(err, storage.ErrNotFound) && m.index != 0 {
		return false, nil // it is copied first
	}
	return err == nil, err
}

// sources are the members that a member is brought up to date from.
type sources struct {
	members []*member
	live    bool // it is one, and was live when it was chosen
	marked  bool // one of them has the marker
}

// sources waits until m can be brought up to date and returns from which members: from a live one, or, if
// there is none, from as many as it takes to see all that was returned for.
func (s *Store) sources(ctx context.Context, m *member) (sources, error) {
	for {
		s.mu.Lock()
		best, changed := s.live(m), s.changed
		s.mu.Unlock()
		if best != nil {
			return sources{members: []*member{best}, live: true, marked: true}, nil
		}
		need, never := s.options.Required.others(m.index, len(s.members))
		if !never {
			return s.answering(ctx, m, need)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return sources{}, context.Cause(ctx)
		}
	}
}

// errNew says that a member is new, and so are all that it could be brought up to date from.
var errNew = errors.New("waits for the marker, which none that answers has")

// answering returns need other members that answer.
func (s *Store) answering(ctx context.Context, m *member, need int) (sources, error) {
	var found sources
	for _, from := range s.members {
		if len(found.members) == need {
			break
		}
		if from == m {
			continue
		}
		marked, err := s.marked(ctx, from)
		if err != nil {
			s.blame(from, err)
			continue
		}
		found.members, found.marked = append(found.members, from), found.marked || marked
	}
	if n := len(found.members); n < need {
		return sources{}, fmt.Errorf("%d other members must answer, %d do", need, n)
	}
	return found, nil
}

// enter makes m joining. It returns the context of this time of it.
func (s *Store) enter(ctx context.Context, m *member) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.state, m.since, m.outage = Joining, time.Now(), false
	m.ctx, m.cancel = context.WithCancelCause(ctx)
	for o := range s.open {
		if !o.once {
			s.start(m, o)
		}
	}
	s.change()
	return m.ctx
}

// bring copies to m what from holds, which is one of all. Not before from holds all that returned of the calls up to upTo. It returns the calls
// with once that from held.
func (s *Store) bring(ctx context.Context, all sources, from, m *member, upTo uint64) (map[*op]bool, error) {
	held := map[*op]bool{}
	for {
		s.mu.Lock()
		ready, still := true, from.state == Live || !all.live
		for o := range from.pending {
			ready = ready && (o.number > upTo || !o.returned && !o.once)
		}
		for o := range s.open {
			if o.answers[from] != 0 {
				held[o] = true
			}
		}
		changed := s.changed
		s.mu.Unlock()
		if !still {
			return nil, fmt.Errorf("%s was left meanwhile", from.Name)
		}
		if ready {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if !all.live {
		// Asked only now: one that was new when it was chosen may have become live before m was sent to, and hold what m was not sent.
		// One without the marker holds nothing: it is new, or was emptied, and then what it alone held is lost, which the archive shows
		// by where it ends.
		marked, err := s.marked(ctx, from)
		if err != nil {
			return nil, fmt.Errorf("bring up to date from %s: %w", from.Name, err)
		}
		if !marked {
			return held, nil
		}
	}
	if err := s.options.CatchUp(ctx, from.Store, m.Store, func() bool { return s.needed(m) }); err != nil {
		return nil, fmt.Errorf("bring up to date from %s: %w", from.Name, err)
	}
	return held, nil
}

// watch returns when m is not live any more. It looks for the marker now and then, and for what m lacks.
func (s *Store) watch(ctx context.Context, m *member) {
	ticker := time.NewTicker(s.options.Check)
	defer ticker.Stop()
	again := time.NewTicker(s.options.Again)
	defer again.Stop()
	for {
		s.mu.Lock()
		live, changed := m.state == Live, s.changed
		renew := m.outage && len(m.pending) == 0
		m.outage = m.outage && !renew
		s.mu.Unlock()
		if !live {
			return
		}
		if renew {
			s.renew(m)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := s.check(ctx, m); err != nil {
				s.mu.Lock()
				s.leave(m, err)
				s.mu.Unlock()
			}
		case <-again.C:
			s.renew(m)
		}
	}
}

// renew brings a live copy up to date once more, from the primary if that is live.
func (s *Store) renew(m *member) {
	s.mu.Lock()
	primary, ctx := s.members[0], m.ctx
	ready := m != primary && m.state == Live && primary.state == Live
	s.mu.Unlock()
	if !ready {
		return
	}
	err := s.options.CatchUp(ctx, primary.Store, m.Store, func() bool { return s.needed(m) })
	if err == nil || ctx.Err() != nil {
		return
	}
	s.options.Logger.WarnContext(ctx, "copy could not be compared with the primary", "repo", m.Name, "err", err)
	if errors.Is(err, storage.ErrConflict) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leave(m, err)
	}
}

// check looks for the marker of a live member. That it does not answer is no reason to leave it: what is
// sent to it shows that.
func (s *Store) check(ctx context.Context, m *member) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.Patience, errPatience)
	defer cancel()
	if _, err := m.Store.Stat(ctx, s.options.Marker); errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrEmptied, err)
	}
	return nil
}
