package archiver

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// leastCompared is how many bytes of WAL tell two histories apart, where the server has them: two that ran the same statements differ
// at the next record with a time in it, and so many bytes are not written without one.
const leastCompared = 128 << 10

// early says what has to be compared with the server before anything is written, because the stream that follows does not come by it.
// The zero value is nothing.
type early struct {
	timeline wal.TimelineID
	bytes    wal.Range
	// starts are where to begin, best first: a server may have removed the first of them.
	starts []wal.LSN
	// ends says that the timeline ends at bytes.End on this server, and the connection can be used again.
	ends bool
}

// compareEarly decides what is compared before anything is written. It is pure.
//
// A timeline on which nothing is archived begins with a copy of its parent's bytes, and nothing in it is to be compared. So what is
// archived of the parent before the switch is. And where processes died with uploads in flight, what lies behind the hole is compared before the
// hole is filled.
func compareEarly(size wal.SegmentSize, history wal.History, have archived, from resumption) early {
	v := have.coverage
	if len(v.Spans) == 0 {
		return early{}
	}
	last, tip := frontier(size, v.Spans, gapsOf(have.gaps, v.Timeline)), v.Spans[len(v.Spans)-1]
	end, left := history.SwitchOf(v.Timeline)
	switch {
	case left && from.timeline != v.Timeline:
		r := wal.Range{Start: last.tail.Start, End: min(end, last.tail.End)}
		for _, span := range v.Spans { // the hole, or what was lost, may lie behind the switch
			if span.Start < end && end <= span.End {
				r = wal.Range{Start: span.Start, End: end}
			}
		}
		if r.Empty() { // what lies before the switch is lost
			return early{}
		}
		e := early{timeline: v.Timeline, bytes: r, ends: r.End == end}
		near := size.Floor(r.End - 1)
		e.starts = []wal.LSN{max(near, r.Start)}
		if r.End-near < leastCompared && near > r.Start {
			e.starts = []wal.LSN{max(near-wal.LSN(size), r.Start), near}
		}
		return e
	case from.timeline == v.Timeline && tip.End > last.End:
		r := wal.Range{Start: last.End, End: tip.End}
		if left {
			r.End = min(r.End, end)
		}
		if r.Empty() {
			return early{}
		}
		return early{timeline: v.Timeline, bytes: r, starts: []wal.LSN{size.Floor(r.Start)}, ends: left && r.End == end}
	}
	return early{}
}

// compareFirst compares what compareEarly says. It returns a *ConflictError if the server has other bytes, and errCompare when it has no
// use for conn any more: all was compared then, or more is with the next connection.
func (a *Archiver) compareFirst(ctx context.Context, conn Conn, p *prepared, e early) error {
	done := compared{server: conn.Address(), at: Position{Timeline: e.timeline, LSN: e.bytes.End}}
	if len(e.starts) == 0 || a.compared == done {
		return nil
	}
	for a.removed.Timeline == e.timeline && len(e.starts) > 0 && e.starts[0] <= a.removed.LSN {
		e.starts = e.starts[1:]
	}
	if len(e.starts) == 0 {
		a.options.Logger.WarnContext(ctx, "server no longer has the WAL that was to be compared with the archive",
			"tli", uint32(e.timeline), "lsn", e.bytes.End.String())
		return nil
	}
	err := compareStream(ctx, conn, p, e)
	if errors.Is(err, postgres.ErrWALRemoved) {
		a.removed = Position{Timeline: e.timeline, LSN: e.starts[0]}
		return errCompare
	}
	if err != nil {
		return fmt.Errorf("compare timeline %d before %s: %w", e.timeline, e.bytes.End, err)
	}
	a.compared = done
	if !e.ends {
		return errCompare // this connection streams on
	}
	return nil
}

// compared says that a server was held against the archive before a position.
type compared struct {
	server string
	at     Position
}

// compareStream receives the WAL from the first of e.starts on, without the slot, and compares it.
func compareStream(ctx context.Context, conn Conn, p *prepared, e early) error {
	entries, err := list(ctx, p.cluster, e.timeline, e.starts[0])
	if err != nil {
		return err
	}
	c := comparison{cluster: p.cluster, timeline: e.timeline, entries: entries, listed: entries, end: e.bytes.End, sparse: true}
	if err := conn.StartReplication(ctx, postgres.Start{Timeline: e.timeline, LSN: e.starts[0]}); err != nil {
		return err
	}
	for at := e.starts[0]; e.ends || at < e.bytes.End; {
		m, err := receiveOne(ctx, conn)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *postgres.Data:
			if m.Start != at {
				return fmt.Errorf("server sends WAL from %s, want from %s", m.Start, at)
			}
			if err := c.check(ctx, at, m.Bytes); err != nil {
				return err
			}
			at += wal.LSN(len(m.Bytes))
		case *postgres.EndOfTimeline:
			if at < e.bytes.End {
				return &AheadError{Timeline: e.timeline, Archive: e.bytes.End, Server: at}
			}
			return nil
		case *postgres.Keepalive:
		}
	}
	return nil
}

// receiveOne waits for one message as long as a server may be silent: it was asked for WAL that it has.
func receiveOne(ctx context.Context, conn Conn) (postgres.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	return conn.Receive(ctx)
}

// list returns the WAL objects of a timeline from the segment of lsn on.
func list(ctx context.Context, cluster *repository.Cluster, tli wal.TimelineID, lsn wal.LSN) ([]repository.Entry, error) {
	var entries []repository.Entry
	for e, err := range cluster.ListWAL(ctx, tli, lsn) {
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}
