package archiver

import (
	"context"
	"sync"

	"github.com/pgark/pgark/wal"
)

// window holds the received plain bytes that are still needed, in slots of
// one frame, and counts them and the encoded bytes that wait for their upload
// against one limit.
//
// A slot is needed until it was decoded, until its segment's encoder has read
// it, and until it is cut or certain to go up with its whole segment; and
// while a piece is made of it.
type window struct {
	size  wal.SegmentSize
	limit int64 // bytes

	mu      sync.Mutex
	used    int64 // bytes of slots and of encoded objects
	slots   []*slot
	free    [][]byte
	decoded wal.LSN       // all before it was decoded
	cut     wal.LSN       // all before it was cut, or goes up with its segment
	freed   chan struct{} // closed when used shrinks

	whole  wal.LSN                        // segments that begin before it have no encoder: they are only compared
	splits map[wal.SegmentNumber]struct{} // nor have these
}

// freeSlots is how many slots are kept for later use.
const freeSlots = 32

// slot is one frame of a segment, filled in order.
type slot struct {
	start   wal.LSN
	buf     []byte // cap is frameSize; bytes below len never change
	encoded bool   // its segment's encoder has read it, or there is none
	pins    int    // pieces that are being made of it
}

// part is a run of received bytes within one slot.
type part struct {
	slot  *slot
	at    wal.LSN
	bytes []byte // never changed; valid while the slot is needed
	full  bool   // the last part of its slot
}

func (s *slot) end() wal.LSN { return s.start + wal.LSN(len(s.buf)) }

func newWindow(size wal.SegmentSize, limit int64, whole wal.LSN) *window {
	return &window{
		size: size, limit: limit, whole: whole,
		freed: make(chan struct{}), splits: make(map[wal.SegmentNumber]struct{}),
	}
}

// wait returns when there is room for one more message.
func (w *window) wait(ctx context.Context) error {
	for {
		w.mu.Lock()
		full, freed := w.used+frameSize > w.limit, w.freed
		w.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// full reports whether wait would wait.
func (w *window) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.used+frameSize > w.limit
}

// add appends the bytes from at on, which follow those before, and returns
// where they lie now.
func (w *window) add(at wal.LSN, b []byte) []part {
	w.mu.Lock()
	defer w.mu.Unlock()
	var parts []part
	for len(b) > 0 {
		s := w.last(at)
		n := min(len(b), frameSize-len(s.buf))
		from := len(s.buf)
		s.buf = append(s.buf, b[:n]...)
		parts = append(parts, part{slot: s, at: at, bytes: s.buf[from : from+n : from+n], full: len(s.buf) == frameSize})
		at += wal.LSN(n)
		b = b[n:]
	}
	return parts
}

// last returns the slot that takes the byte at lsn, a new one if need be.
func (w *window) last(lsn wal.LSN) *slot {
	if n := len(w.slots); n > 0 && len(w.slots[n-1].buf) < frameSize && w.slots[n-1].end() == lsn {
		return w.slots[n-1]
	}
	_, split := w.splits[w.size.Number(lsn)]
	s := &slot{start: lsn, encoded: split || lsn < w.whole}
	if n := len(w.free); n > 0 {
		s.buf, w.free = w.free[n-1], w.free[:n-1]
	} else {
		s.buf = make([]byte, 0, frameSize)
	}
	w.slots = append(w.slots, s)
	w.used += frameSize
	return s
}

// pin returns the received bytes of r, which were not cut before, and keeps
// them until unpin.
func (w *window) pin(r wal.Range) []part {
	w.mu.Lock()
	defer w.mu.Unlock()
	var parts []part
	for _, s := range w.slots {
		from, to := max(r.Start, s.start), min(r.End, s.end())
		if from >= to {
			continue
		}
		s.pins++
		parts = append(parts, part{slot: s, at: from, bytes: s.buf[from-s.start : to-s.start]})
	}
	return parts
}

func (w *window) unpin(parts []part) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range parts {
		p.slot.pins--
	}
	w.release()
}

// advance says how far bytes were decoded and cut.
func (w *window) advance(decoded, cut wal.LSN) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.decoded, w.cut = max(w.decoded, decoded), max(w.cut, cut)
	w.release()
}

// encoded says that a slot's segment needs it no more.
func (w *window) encoded(s *slot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.encoded = true
	w.release()
}

// split says that no encoder will read the slots of segment n, those to come
// included.
func (w *window) split(n wal.SegmentNumber) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.splits[n] = struct{}{}
	for _, s := range w.slots {
		if w.size.Number(s.start) == n {
			s.encoded = true
		}
	}
	w.release()
}

// charge counts n encoded bytes, or, if n is negative, counts them no more.
func (w *window) charge(n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used += n
	if n < 0 {
		w.announce()
	}
}

// release drops slots that nobody needs. Called with mu held.
func (w *window) release() {
	kept := w.slots[:0]
	for _, s := range w.slots {
		if len(s.buf) < frameSize || !s.encoded || s.pins > 0 || s.end() > w.decoded || s.end() > w.cut {
			kept = append(kept, s)
			continue
		}
		if len(w.free) < freeSlots {
			w.free = append(w.free, s.buf[:0])
		}
		w.used -= frameSize
	}
	if len(kept) == len(w.slots) {
		return
	}
	clear(w.slots[len(kept):])
	w.slots = kept
	w.announce()
}

func (w *window) announce() {
	close(w.freed)
	w.freed = make(chan struct{})
}
