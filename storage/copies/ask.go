package copies

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pgark/pgark/storage"
)

// reply is what a member said to a question.
type reply struct {
	from  *member
	since time.Time // of its state when it was asked
	err   error     // nil: what was asked for is absent there
}

// Ask implements storage.Asker: a member counts if it was live when it was asked, held all that had returned by the time of the call, and has been live since.
func (s *Store) Ask(ctx context.Context, question storage.Question) error {
	var replies sync.WaitGroup
	defer replies.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := &asking{store: s, asked: map[*member]time.Time{}, absent: map[*member]time.Time{}, replies: make(chan reply)}
	s.mu.Lock()
	a.upTo = s.last
	s.mu.Unlock()
	for {
		next, enough, changed := a.next()
		if enough {
			return nil
		}
		for _, r := range next {
			replies.Go(func() { a.ask(ctx, r, question) })
		}
		select {
		case r := <-a.replies:
			if a.take(ctx, r) {
				return r.err
			}
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("ask the repositories: %w", context.Cause(ctx))
		}
	}
}

// asking is one call of Ask.
type asking struct {
	store   *Store
	upTo    uint64                // number of the last call that may have returned before
	asked   map[*member]time.Time // since when each was what it was when it was asked
	absent  map[*member]time.Time // likewise of those that said that it is absent
	replies chan reply
}

// next returns who is to be asked now, and whether enough have said that it is absent.
func (a *asking) next() (ask []reply, enough bool, changed <-chan struct{}) {
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	absent := make([]bool, len(s.members))
	for i, m := range s.members {
		if m.state != Live || s.upTo(m) < a.upTo {
			continue
		}
		absent[i] = a.absent[m].Equal(m.since)
		if !a.asked[m].Equal(m.since) {
			a.asked[m] = m.since
			ask = append(ask, reply{from: m, since: m.since})
		}
	}
	return ask, s.options.Required.enough(absent), s.changed
}

func (a *asking) ask(ctx context.Context, r reply, question storage.Question) {
	r.err = question(ctx, r.from.Name, r.from.Store)
	select {
	case a.replies <- r:
	case <-ctx.Done():
	}
}

// take takes a reply in, and reports whether its error is the answer. A member that cannot answer is left behind, as after any call.
func (a *asking) take(ctx context.Context, r reply) (done bool) {
	switch {
	case r.err == nil:
		a.absent[r.from] = r.since
	case ctx.Err() != nil:
	case storage.Retryable(r.err) || errors.Is(r.err, storage.ErrDenied) || errors.Is(r.err, storage.ErrNoStore):
		a.store.mu.Lock()
		defer a.store.mu.Unlock()
		if r.from.since.Equal(r.since) {
			a.store.leave(r.from, r.err)
		}
	default:
		return true
	}
	return false
}
