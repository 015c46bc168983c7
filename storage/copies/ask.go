package copies

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pgark/pgark/storage"
)

// reply is what a member said of an object that is expected to be absent.
type reply struct {
	from  *member
	since time.Time // of its state when it was asked
	body  []byte
	err   error
}

// Ask implements storage.Asker: a member counts if it was live when it was asked, held all that had returned by the time of the call, and has been live since.
func (s *Store) Ask(ctx context.Context, key storage.Key, limit int64) ([]byte, error) {
	if err := key.Validate(); err != nil {
		return nil, &storage.Error{Op: "get", Key: key, Err: err}
	}
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
			return nil, &storage.Error{Op: "get", Key: key, Err: storage.ErrNotFound}
		}
		for _, r := range next {
			replies.Go(func() { a.ask(ctx, r, key, limit) })
		}
		select {
		case r := <-a.replies:
			if done, err := a.take(ctx, r); done {
				return r.body, err
			}
		case <-changed:
		case <-ctx.Done():
			return nil, &storage.Error{Op: "get", Key: key, Err: context.Cause(ctx)}
		}
	}
}

// asking is one call of Ask.
type asking struct {
	store   *Store
	upTo    uint64                // number of the last call that may have returned before
	asked   map[*member]time.Time // since when each was what it was when it was asked
	absent  map[*member]time.Time // likewise of those that said that there is no object
	replies chan reply
}

// next returns who is to be asked now, and whether enough have said that the object is absent.
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

func (a *asking) ask(ctx context.Context, r reply, key storage.Key, limit int64) {
	r.body, r.err = storage.ReadAll(ctx, r.from.Store, key, limit)
	select {
	case a.replies <- r:
	case <-ctx.Done():
	}
}

// take takes a reply in, and reports whether it is the answer. A member that cannot answer is left behind, as after any call.
func (a *asking) take(ctx context.Context, r reply) (done bool, err error) {
	switch {
	case r.err == nil:
		return true, nil
	case errors.Is(r.err, storage.ErrNotFound) && !errors.Is(r.err, storage.ErrNoStore):
		a.absent[r.from] = r.since
		return false, nil
	case ctx.Err() != nil:
		return false, nil
	case storage.Retryable(r.err) || errors.Is(r.err, storage.ErrDenied) || errors.Is(r.err, storage.ErrNoStore):
		a.store.mu.Lock()
		defer a.store.mu.Unlock()
		if r.from.since.Equal(r.since) {
			a.store.leave(r.from, r.err)
		}
		return false, nil
	}
	return true, r.err
}
