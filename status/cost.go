package status

import (
	"time"

	"github.com/pgark/pgark/cost"
	"github.com/pgark/pgark/repository"
)

const (
	// rateSpan is over how long the rates of an archive are measured, where it is as old, and leastRateSpan how much of it says anything.
	rateSpan      = 7 * 24 * time.Hour
	leastRateSpan = time.Hour
)

// Archived says when base backups are moved to another storage class, by a rule of the bucket. The zero value is never.
type Archived struct {
	After time.Duration
	Class string
}

// Costs adds to what is configured of a repository what its report says of what it costs. every is the time between two base backups, by which is gone where there is one
// alone; 0 is not known.
func (r Report) Costs(to cost.Repository, archived Archived, every time.Duration) cost.Repository {
	to.Records = len(r.Backups)
	var old, young int64
	for _, b := range r.Backups {
		if archived.After > 0 && r.Now.Sub(b.Started) > archived.After {
			old += b.Stored
		} else {
			young += b.Stored
		}
	}
	to.Kept = []cost.Kept{{Kind: cost.Backups, Class: to.BackupClass, Bytes: young}, {Kind: cost.WAL, Class: to.WALClass, Bytes: r.Stored.WAL}}
	if old > 0 {
		to.Kept = append(to.Kept, cost.Kept{Kind: cost.Backups, Class: archived.Class, Bytes: old})
	}
	to.Rates.WAL, to.Rates.Objects = r.walRates()
	to.Rates.Backups = r.backupRate(every)
	return to
}

// perMonth is a number that came in a length of time, reckoned up to a month; nil if that is too short.
func perMonth(n float64, over time.Duration) *float64 {
	if over < leastRateSpan {
		return nil
	}
	n *= float64(cost.Month) / float64(over)
	return &n
}

// walRates are how many bytes and objects of WAL are stored in a month: by how far the server wrote since the base backup of a week ago, or the oldest younger one, and by
// what a byte of WAL takes in the archive.
func (r Report) walRates() (bytes, objects *float64) {
	var plain, stored, n float64
	for _, s := range r.WAL {
		plain += float64(s.End - s.Start)
		stored += float64(s.Stored)
		n += float64(s.Objects)
	}
	if r.Durable == nil || r.DurableUntil == nil || plain == 0 {
		return nil, nil
	}
	var from *Backup
	for i := range r.Backups {
		b := &r.Backups[i]
		long := r.DurableUntil.Sub(b.Stopped) >= rateSpan
		if b.StopLSN > r.Durable.LSN || from != nil && !long { // they come oldest first
			continue
		}
		from = b
	}
	if from == nil {
		return nil, nil
	}
	wrote, over := float64(r.Durable.LSN-from.StopLSN), r.DurableUntil.Sub(from.Stopped)
	return perMonth(wrote*stored/plain, over), perMonth(wrote*n/plain, over)
}

// backupRate is how many bytes of base backups are stored in a month: by those of the last two weeks, or the last two; by the schedule where they lie closer together.
func (r Report) backupRate(every time.Duration) *float64 {
	n := len(r.Backups)
	if n == 0 {
		return nil
	}
	newest := r.Backups[n-1]
	first := max(n-2, 0)
	for first > 0 && newest.Started.Sub(r.Backups[first-1].Started) <= 2*rateSpan {
		first--
	}
	if over := newest.Started.Sub(r.Backups[first].Started); over >= max(leastRateSpan, every) { // else one by hand is no habit
		var bytes float64
		for _, b := range r.Backups[first+1:] {
			bytes += float64(b.Stored)
		}
		return perMonth(bytes, over)
	}
	return perMonth(float64(newest.Stored), every)
}

// addObjects counts what was listed, or a block.
func (s *Span) addObjects(found repository.Found) {
	if found.Block != nil {
		s.Objects += found.Block.Objects
		return
	}
	s.Objects++
}
