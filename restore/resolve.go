package restore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// maxRecord is above the length of the longest WAL record, in bytes
// (XLogRecordMaxSize, src/include/access/xlogrecord.h: 1020 MiB).
const maxRecord = 1 << 30

// answer finds in the WAL what q asks for.
func answer(ctx context.Context, cluster *repository.Cluster, inv *Inventory, q Question) (Fact, error) {
	listed := q.Range
	if q.Ask == AskRecord || q.Ask == AskPast {
		// To find the last record, its start may have to be looked for far back.
		listed.Start = back(min(listed.Start, listed.End), maxRecord+2*wal.LSN(inv.SegmentSize))
	}
	s, err := newScanner(ctx, cluster, inv, q.Branch, listed)
	if err != nil {
		return Fact{}, err
	}
	l := look{scanner: s, question: q}
	if err := l.through(ctx); err != nil {
		return Fact{}, err
	}
	if !l.fact.found() && (q.Ask == AskRecord || q.Ask == AskPast) {
		if l.fact.Last, err = s.last(ctx); err != nil {
			return Fact{}, err
		}
	}
	return l.fact, nil
}

// back returns lsn - n, or 0.
func back(lsn, n wal.LSN) wal.LSN { return lsn - min(lsn, n) }

// look goes through WAL for the answer to one question.
type look struct {
	*scanner
	question Question
	fact     Fact
}

// through looks at all objects of the question's range, a batch of headers at
// a time, and reads those that may hold the answer.
func (l *look) through(ctx context.Context) error {
	first, _ := slices.BinarySearchFunc(l.objects, l.size.Number(l.question.Range.Start),
		func(o object, n wal.SegmentNumber) int { return int(o.id.Number) - int(n) })
	if l.question.Range.Empty() {
		return nil
	}
	for from := first; from < len(l.objects); from += headerBatch {
		to := min(from+headerBatch, len(l.objects))
		if l.question.Ask != AskRecord {
			if err := l.headers(ctx, from, to); err != nil {
				return err
			}
		}
		var picked []int
		for i := from; i < to; i++ {
			if l.mayHold(l.objects[i]) {
				picked = append(picked, i)
			}
		}
		if err := l.batch(ctx, from, to, picked); err != nil || l.fact.found() && l.question.Ask != AskName {
			return err
		}
	}
	return nil
}

// batch reads the objects picked of [from, to) and counts the others by their headers.
func (l *look) batch(ctx context.Context, from, to int, picked []int) error {
	done := from // objects before it are counted
	skip := func(until wal.SegmentNumber) {
		for ; done < to && l.objects[done].id.Number < until; done++ {
			if !slices.Contains(picked, done) {
				l.count(l.objects[done].summary)
			}
		}
	}
	more := true
	err := l.records(ctx, picked, func(r wal.Record) bool {
		skip(l.size.Number(r.End - 1))
		more = l.visit(r)
		return more
	})
	if err != nil || !more {
		return err
	}
	skip(l.size.Number(l.end) + 1)
	return nil
}

// count adds what a header says of an object that need not be read.
func (l *look) count(s repository.Summary) {
	if s.Ends > 0 {
		if l.fact.Ends == 0 || s.MaxTime > l.fact.Newest {
			l.fact.Newest = s.MaxTime
		}
		l.fact.Ends += int(s.Ends)
	}
}

// mayHold reports whether an object has to be read: what its header says does
// not rule out that it holds the answer, or a part of it is out of range.
func (l *look) mayHold(o object) bool {
	r := l.size.Range(o.id.Number)
	s := o.summary
	switch {
	case l.question.Ask == AskRecord:
		return true
	case r.Start < l.question.Range.Start, l.partly(o), s.HeadUnknown:
		return true
	case l.question.Ask == AskPast:
		return s.Ends > 0 && l.past(s.MaxTime)
	case l.question.Ask == AskName:
		return s.RestorePoints > 0
	}
	return s.Ends > 0
}

// partly reports whether the object holds bytes past the scanner's end.
func (l *look) partly(o object) bool {
	return o.entries[len(o.entries)-1].Range.End > l.end
}

// past reports whether t is past the time asked for.
func (l *look) past(t wal.Time) bool {
	return t > l.question.Time || l.question.Exclusive && t == l.question.Time
}

// visit looks at one record and returns false when the answer is complete.
func (l *look) visit(r wal.Record) bool {
	if r.Start < l.question.Range.Start {
		return true
	}
	switch e := r.Event.(type) {
	case *wal.TransactionEnd:
		if l.isEnd(e) {
			return l.take(r) || filterByTime
		}
		if filterByTime && l.question.Ask == AskPast {
			l.fact.Record, l.fact.Event = wal.Range{}, nil
		}
		l.count(repository.Summary{Ends: 1, MaxTime: e.Time})
	case *wal.RestorePoint:
		if l.question.Ask == AskName && e.Name == l.question.Name {
			return l.take(r)
		}
	}
	if l.question.Ask == AskRecord {
		return l.take(r)
	}
	return true
}

// isEnd reports whether e is the transaction end that was asked for.
func (l *look) isEnd(e *wal.TransactionEnd) bool {
	switch l.question.Ask {
	case AskPast:
		return l.past(e.Time)
	case AskXID:
		if slices.Contains(e.Subxacts, l.question.XID) {
			l.fact.Parent = e.XID
		}
		return e.XID == l.question.XID
	case AskName, AskRecord:
	}
	return false
}

// take notes the record that was asked for, and goes on only to count restore
// points of the same name.
func (l *look) take(r wal.Record) bool {
	if l.fact.found() {
		l.fact.More++
		return true
	}
	l.fact.Record, l.fact.Event = wal.Range{Start: r.Start, End: r.End}, r.Event
	return l.question.Ask == AskName
}

// laterKept bounds Plan.Later.
const laterKept = 64

// describe adds to a plan what is proved from the server after recovery.
func describe(ctx context.Context, cluster *repository.Cluster, inv *Inventory, plan *Plan) error {
	kept := plan.kept()
	r := wal.Range{Start: plan.Backup.StartLSN, End: kept}
	s, err := newScanner(ctx, cluster, inv, plan.Timeline, r)
	if err != nil {
		return err
	}
	if err := plan.findLast(ctx, s); err != nil {
		return err
	}
	if err := plan.findLater(ctx, cluster, inv); err != nil {
		if ctx.Err() != nil {
			return err
		}
		// What lies behind the stop is not needed: it must not keep from restoring.
		plan.Notes = append(plan.Notes, fmt.Sprintf("WAL behind the stop cannot be read: %v", err))
	}
	return nil
}

// kept returns the end of the last record that is replayed, or for StopBefore
// the start of the first that is not.
func (p *Plan) kept() wal.LSN {
	if p.Stop.Rule == StopBefore {
		return p.Stop.LSN
	}
	return p.Until
}

// findLast finds LastCommit and LastEnd, from the stop backwards.
func (p *Plan) findLast(ctx context.Context, s *scanner) error {
	for to := len(s.objects); to > 0 && !p.lastKnown(); {
		from := max(0, to-headersAtOnce)
		if err := s.headers(ctx, from, to); err != nil {
			return err
		}
		for i := to - 1; i >= from && !p.lastKnown(); i-- {
			if o := s.objects[i]; o.summary.Ends == 0 && !o.summary.HeadUnknown {
				continue
			}
			if err := p.lastIn(ctx, s, i); err != nil {
				return err
			}
		}
		to = from
	}
	return nil
}

func (p *Plan) lastKnown() bool { return p.LastCommit != nil && p.LastEnd != nil }

// lastIn finds the last commit and transaction end in object i.
func (p *Plan) lastIn(ctx context.Context, s *scanner, i int) error {
	var commit, end *wal.TransactionEnd
	err := s.records(ctx, []int{i}, func(r wal.Record) bool {
		e, ok := r.Event.(*wal.TransactionEnd)
		if !ok || r.Start < p.Backup.StartLSN {
			return true
		}
		if r.Start != p.Stop.LSN {
			end = e
		}
		if e.Kind == wal.Commit || e.Kind == wal.CommitPrepared {
			commit = e
		}
		return true
	})
	if p.LastCommit == nil {
		p.LastCommit = commit
	}
	if p.LastEnd == nil {
		p.LastEnd = end
	}
	return err
}

// findLater finds commits behind the stop, in the segment of the stop and the
// next, of transactions that wrote before it, in the same segment or the one
// before. Only those prove something: the xid of a transaction that had not
// begun may be used anew by the restored server.
func (p *Plan) findLater(ctx context.Context, cluster *repository.Cluster, inv *Inventory) error {
	b, ok := inv.branch(p.Timeline)
	kept, size := p.kept(), wal.LSN(inv.SegmentSize)
	end := min(b.contiguous(inv.SegmentSize.Floor(kept-1)), inv.SegmentSize.Floor(kept)+2*size)
	if !ok || end <= kept {
		return nil
	}
	start := max(back(inv.SegmentSize.Floor(kept), size), inv.SegmentSize.Floor(p.Backup.StartLSN))
	s, err := newScanner(ctx, cluster, inv, p.Timeline, wal.Range{Start: start, End: end})
	if err != nil {
		return err
	}
	all := make([]int, len(s.objects))
	for i := range all {
		all[i] = i
	}
	active := map[wal.XID]bool{}
	var behind wal.Time
	err = s.records(ctx, all, func(r wal.Record) bool {
		if r.End <= kept {
			active[r.XID] = true
			return true
		}
		e, ok := r.Event.(*wal.TransactionEnd)
		if !ok {
			return true
		}
		if p.Target.Kind == TargetTime {
			behind = max(behind, p.Target.Time-e.Time)
		}
		if active[e.XID] && e.XID == r.XID && e.Kind == wal.Commit {
			p.Later = append(p.Later, e.XID)
		}
		return len(p.Later) < laterKept
	})
	if behind > setBack {
		p.Notes = append(p.Notes, fmt.Sprintf("the server's clock was set back: transactions behind the stop carry times up to %s before the target",
			time.Duration(behind)*time.Microsecond))
	}
	return err
}

// setBack is how far times in WAL run backwards without a clock that was set:
// 2.9 ms were seen under load. In microseconds.
const setBack = 1_000_000

// String returns the stop in words.
func (s Stop) String() string {
	switch s.Rule {
	case StopBefore:
		return fmt.Sprintf("before the record at %s", s.LSN)
	case StopAfter:
		return fmt.Sprintf("after the record at %s", s.LSN)
	}
	return "nowhere"
}
