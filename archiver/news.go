package archiver

import (
	"sync"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/wal"
)

// news carries what the receiving side saw to the loop that decides. Nobody
// waits to put something in.
type news struct {
	ready chan struct{} // one element when there is something to look at

	mu  sync.Mutex
	now snapshot
}

// snapshot is what is known of the stream so far.
type snapshot struct {
	received  wal.LSN
	serverEnd wal.LSN
	sent      wal.Time // when the last message was, by the server's clock
	bytes     uint64
	proof     proof
	heard     bool // something came since the last look
	data      bool // WAL came since the last look
	shutdown  bool // a shutdown checkpoint came since the last look
	corrupt   error
	opened    []*segment        // since the last look
	overflow  wal.SegmentNumber // 0: none; else one more than the segment whose encoded bytes are too many
}

func newNews(start wal.LSN) *news {
	return &news{ready: make(chan struct{}, 1), now: snapshot{received: start}}
}

func (n *news) change(f func(*snapshot)) {
	n.mu.Lock()
	f(&n.now)
	n.mu.Unlock()
	n.poke()
}

// poke makes the loop look.
func (n *news) poke() {
	select {
	case n.ready <- struct{}{}:
	default:
	}
}

// take returns what is known and begins a new "since the last look".
func (n *news) take() snapshot {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.now
	n.now.heard, n.now.data, n.now.shutdown, n.now.corrupt, n.now.overflow = false, false, false, nil, 0
	n.now.opened = nil
	return s
}

func (n *news) overflow(number wal.SegmentNumber) {
	n.change(func(s *snapshot) { s.overflow = number + 1 })
}

func (n *news) found(f found) {
	if f.shutdown || f.corrupt != nil {
		n.change(func(s *snapshot) {
			s.shutdown = s.shutdown || f.shutdown
			s.corrupt = f.corrupt
		})
	}
}

func (n *news) data(d *postgres.Data) {
	n.change(func(s *snapshot) {
		s.heard, s.data = true, true
		s.received = d.Start + wal.LSN(len(d.Bytes))
		s.serverEnd, s.sent = max(s.serverEnd, d.ServerEnd), d.ServerTime
		s.bytes += uint64(len(d.Bytes))
		s.proof.data()
	})
}

func (n *news) keepalive(k *postgres.Keepalive) {
	n.change(func(s *snapshot) {
		s.heard = true
		s.serverEnd, s.sent = max(s.serverEnd, k.End), k.ServerTime
		s.proof.alive(keepalive{end: k.End, time: k.ServerTime}, s.received)
	})
}
