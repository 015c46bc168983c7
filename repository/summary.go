package repository

import (
	"fmt"

	"github.com/pgark/pgark/wal"
)

// Summary is what a WAL object says of the transaction ends and restore points whose last byte lies in it,
// FORMAT.md section 4.2. With Ends = 0 the XIDs and times are 0.
type Summary struct {
	Ends, RestorePoints uint32
	FirstXID, LastXID   wal.XID
	// FirstTime and LastTime are those of the first and the last in LSN order; MinTime and MaxTime the earliest and
	// the latest: times may run backwards a little.
	FirstTime, LastTime, MinTime, MaxTime wal.Time
	// HeadUnknown says that the object begins within a record whose start the writer did not see: if that is a
	// transaction end it is not counted.
	HeadUnknown bool
	// ShutdownCheckpoint says that a shutdown checkpoint ends in the object.
	ShutdownCheckpoint bool
}

// Add counts what r holds. Records are added in LSN order, each to the object in which its last byte lies.
func (s *Summary) Add(r wal.Record) {
	switch e := r.Event.(type) {
	case *wal.TransactionEnd:
		s.addEnd(e.XID, e.Time)
	case *wal.RestorePoint:
		s.RestorePoints++
	case *wal.Checkpoint:
		s.ShutdownCheckpoint = s.ShutdownCheckpoint || e.Shutdown
	}
}

// Then returns the summary of two objects of one timeline, of which next lies behind s.
func (s Summary) Then(next Summary) Summary {
	next.RestorePoints += s.RestorePoints
	next.HeadUnknown = s.HeadUnknown || next.HeadUnknown
	next.ShutdownCheckpoint = s.ShutdownCheckpoint || next.ShutdownCheckpoint
	switch {
	case s.Ends == 0:
		return next
	case next.Ends == 0:
		next.LastXID, next.LastTime, next.MinTime, next.MaxTime = s.LastXID, s.LastTime, s.MinTime, s.MaxTime
	}
	next.FirstXID, next.FirstTime = s.FirstXID, s.FirstTime
	next.MinTime, next.MaxTime = min(s.MinTime, next.MinTime), max(s.MaxTime, next.MaxTime)
	next.Ends += s.Ends
	return next
}

// addEnd counts one transaction end. They are added in LSN order.
func (s *Summary) addEnd(xid wal.XID, t wal.Time) {
	if s.Ends == 0 {
		s.FirstXID, s.FirstTime, s.MinTime, s.MaxTime = xid, t, t, t
	}
	s.Ends++
	s.LastXID, s.LastTime = xid, t
	s.MinTime, s.MaxTime = min(s.MinTime, t), max(s.MaxTime, t)
}

func (s *Summary) flags() byte {
	var f byte
	if s.HeadUnknown {
		f |= flagHeadUnknown
	}
	if s.ShutdownCheckpoint {
		f |= flagShutdownCheckpoint
	}
	return f
}

func (s *Summary) validate() error {
	inside := func(t wal.Time) bool { return s.MinTime <= t && t <= s.MaxTime }
	switch {
	case s.Ends == 0 && (s.FirstXID != 0 || s.LastXID != 0 || s.FirstTime != 0 || s.LastTime != 0 || s.MinTime != 0 || s.MaxTime != 0):
		return fmt.Errorf("%w: xids or times without transaction ends", errHeaderField)
	case !inside(s.FirstTime) || !inside(s.LastTime):
		return fmt.Errorf("%w: first %s or last %s outside of earliest %s to latest %s", errHeaderField,
			s.FirstTime, s.LastTime, s.MinTime, s.MaxTime)
	case s.Ends == 1 && (s.FirstXID != s.LastXID || s.MinTime != s.MaxTime):
		return fmt.Errorf("%w: one transaction end with two xids or times", errHeaderField)
	}
	return nil
}
