package retention

import (
	"fmt"
	"time"
)

// period is a length of the calendar.
type period struct {
	reason Reason
	count  int
	// name returns which one of its kind an instant lies in.
	name func(t time.Time) string
	// back returns an instant in the nth one before that of t.
	back func(t time.Time, n int) time.Time
}

// periods returns those of the policy.
func (p *Policy) periods() []period {
	firstOfMonth := func(t time.Time, months int) time.Time {
		return time.Date(t.Year(), t.Month()-time.Month(months), 1, 12, 0, 0, 0, t.Location())
	}
	return []period{
		{KeptDaily, p.Daily, func(t time.Time) string { return t.Format(time.DateOnly) }, func(t time.Time, n int) time.Time { return noon(t).AddDate(0, 0, -n) }},
		{KeptWeekly, p.Weekly, func(t time.Time) string {
			year, week := t.ISOWeek()
			return fmt.Sprintf("%d-W%02d", year, week)
		}, func(t time.Time, n int) time.Time { return noon(t).AddDate(0, 0, -7*n) }},
		{KeptMonthly, p.Monthly, func(t time.Time) string { return t.Format("2006-01") }, firstOfMonth},
		{KeptYearly, p.Yearly, func(t time.Time) string { return t.Format("2006") }, func(t time.Time, n int) time.Time { return firstOfMonth(t, 12*n) }},
	}
}

// noon is far from the hours that change of clocks leaves out.
func noon(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 12, 0, 0, 0, t.Location())
}

// dated returns when a backup was taken: by its record, but not later than it was stored.
func dated(b *Backup) time.Time {
	if b.Started.After(b.Made) {
		return b.Made
	}
	return b.Started
}

// calendar keeps the first backup of each period: that which was stored first, so that no backup with a made-up date takes the place of one that was
// there. A period counts whether it has a backup or not, so that such backups do not push others out either.
func (p *Policy) calendar(backups []*Backup, at time.Time, keep func(*Backup, Reason)) {
	zone := p.Zone
	if zone == nil {
		zone = time.UTC
	}
	for _, kind := range p.periods() {
		chosen := map[string]*Backup{}
		for n := range kind.count {
			chosen[kind.name(kind.back(at.In(zone), n))] = nil
		}
		for _, b := range backups {
			name := kind.name(dated(b).In(zone))
			if first, wanted := chosen[name]; wanted && (first == nil || earlier(b, first)) {
				chosen[name] = b
			}
		}
		for _, b := range chosen {
			if b != nil {
				keep(b, kind.reason)
			}
		}
	}
}

func earlier(a, b *Backup) bool {
	if !a.Made.Equal(b.Made) {
		return a.Made.Before(b.Made)
	}
	return a.Started.Before(b.Started)
}
