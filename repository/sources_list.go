package repository

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pgark/pgark/storage"
)

// lack is the part of the keys that a list was made of without a source: those that begin with prefix and sort behind after.
type lack struct {
	prefix, after storage.Key
	err           error // why
	at            time.Time
}

// lacksKept bounds what is remembered of lists. Of more it is remembered only that there were some.
const lacksKept = 100

// lacking notes that a list is made without a source.
func (s *Sources) lacking(one *source, l lack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.err == nil {
		l.err = cmp.Or(one.err, errPatience) // it was left out before, and answered just now
	}
	one.lacks = slices.DeleteFunc(one.lacks, l.covers)
	if len(one.lacks) == lacksKept {
		l.prefix, l.after, one.lacks = "", "", nil
	}
	one.lacks = append(one.lacks, l)
}

// listed notes that a list was made with all that a source holds.
func (s *Sources) listed(one *source, whole lack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.lacks = slices.DeleteFunc(one.lacks, whole.covers)
}

// covers reports whether another and earlier list was of no more.
func (l lack) covers(other lack) bool {
	return strings.HasPrefix(string(other.prefix), string(l.prefix)) && l.after <= other.after && !other.at.After(l.at)
}

// List implements storage.Store: each key that any source holds which answers, once. Size is 0 where they differ in it.
func (s *Sources) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		for patience := s.patient(0); ; patience *= 2 {
			m := s.merge(ctx, prefix, after, patience)
			ended := m.run(ctx, s, func(info storage.Info) bool {
				after = info.Key
				return yield(info, nil)
			})
			m.stop()
			switch {
			case ended:
				return
			case m.late && ctx.Err() == nil:
			default:
				yield(storage.Info{}, m.fault(s))
				return
			}
		}
	}
}

// merge is the lists of several sources while they are made one.
type merge struct {
	of     lack // what is listed, and since when
	heads  []*head
	faults []Fault
	late   bool
}

// head is the list of one source.
type head struct {
	source *source
	next   func() (storage.Info, error, bool)
	stop   func()
	info   storage.Info
	err    error
	more   bool
	late   bool
}

// merge begins to list all sources that answered lately, or all if none did.
func (s *Sources) merge(ctx context.Context, prefix, after storage.Key, patience time.Duration) *merge {
	m := &merge{of: lack{prefix: prefix, after: after, at: time.Now()}}
	list, answering := s.order()
	if answering > 0 {
		for _, one := range list[answering:] {
			s.lacking(one, m.of)
		}
		list = list[:answering]
	}
	var group sync.WaitGroup
	for _, one := range list {
		listing, cancel := context.WithCancelCause(ctx)
		next, stop := iter.Pull2(one.list(listing, s, prefix, after))
		h := &head{source: one, stop: func() { stop(); cancel(nil) }}
		h.next = func() (storage.Info, error, bool) {
			timer := time.AfterFunc(patience, func() { cancel(errPatience) })
			defer timer.Stop()
			info, err, more := next()
			h.late = err != nil && listing.Err() != nil && ctx.Err() == nil
			return info, err, more
		}
		m.heads = append(m.heads, h)
		group.Go(h.pull)
	}
	group.Wait()
	for _, h := range m.heads {
		if h.err == nil {
			s.said(h.source, nil, false)
		}
	}
	m.drop(ctx, s)
	return m
}

// list lists a source whose marker is looked at first.
func (one *source) list(ctx context.Context, s *Sources, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		if err := s.look(ctx, one); err != nil {
			yield(storage.Info{}, err)
			return
		}
		one.Store.List(ctx, prefix, after)(yield)
	}
}

func (h *head) pull() { h.info, h.err, h.more = h.next() }

// drop leaves out the sources that failed, as long as the caller's context has not ended.
func (m *merge) drop(ctx context.Context, s *Sources) {
	m.heads = slices.DeleteFunc(m.heads, func(h *head) bool {
		if h.err == nil {
			return false
		}
		if ctx.Err() == nil {
			s.said(h.source, h.err, isForeign(h.err))
			l := m.of
			l.err, l.at = h.err, time.Now()
			s.lacking(h.source, l)
		}
		m.faults, m.late = append(m.faults, Fault{h.source.Name, h.err}), m.late || h.late
		h.stop()
		return true
	})
}

// run yields the union in order. It returns false if every source failed before its end.
func (m *merge) run(ctx context.Context, s *Sources, yield func(storage.Info) bool) bool {
	for len(m.heads) > 0 {
		var least *head
		for _, h := range m.heads {
			if h.more && (least == nil || h.info.Key < least.info.Key) {
				least = h
			}
		}
		if least == nil {
			for _, h := range m.heads {
				s.listed(h.source, m.of)
			}
			return true
		}
		info, now := least.info, time.Now()
		for _, h := range m.heads {
			if !h.more || h.info.Key != info.Key {
				continue
			}
			if h.info.Size != info.Size {
				info.Size = 0
			}
			if h.info.Archive.Readability(now) < info.Archive.Readability(now) {
				info.Archive = h.info.Archive
			}
			h.pull()
		}
		if !yield(info) {
			return true
		}
		m.drop(ctx, s)
	}
	return false
}

// stop ends the lists that are not at their end.
func (m *merge) stop() {
	for _, h := range m.heads {
		h.stop()
	}
}

// fault returns the error of a list that no source gave.
func (m *merge) fault(s *Sources) error {
	e := &SourcesError{Faults: m.faults}
	if len(e.Faults) == 0 {
		e.Faults = s.Away()
	}
	e.decide()
	return e
}
