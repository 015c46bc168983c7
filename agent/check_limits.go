package agent

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// limits tells which bandwidth each repository may use, and whether that is enough for what is archived there.
func (k *check) limits(ctx context.Context) {
	written := 0
	for _, p := range k.places {
		if !p.byBucket {
			written++
		}
	}
	for _, p := range k.places {
		l := k.options.Bandwidth.of(p.limits)
		if p.byBucket || l == (config.Limits{}) {
			continue
		}
		k.good(SectionStorage, "%s%s", p.label, describeLimits(l))
		share := p.limits.Upload
		if all := k.options.Bandwidth.all().Upload / int64(written); all > 0 && (share == 0 || all < share) {
			share = all
		}
		if share == 0 {
			continue
		}
		need, ok, err := k.needs(ctx, p)
		if err != nil || !ok {
			continue // that it does not answer, or holds nothing yet, is told elsewhere
		}
		if text := need.over(share); text != "" {
			k.report(Finding{
				Section: SectionStorage, Verdict: Warning, Text: p.label + text, Fix: "raise repo.upload.rate_limit, or limits.upload; WAL does not wait, base backups do",
			})
		}
	}
}

func describeLimits(l config.Limits) string {
	var parts []string
	if l.Upload > 0 {
		parts = append(parts, "uploads limited to "+speed(l.Upload)+", which WAL may exceed")
	}
	if l.Read > 0 {
		parts = append(parts, "reads of drills, verifications and copies to "+speed(l.Read))
	}
	return strings.Join(parts, "; ")
}

func speed(bytes int64) string { return humanize.Bytes(uint64(bytes)) + "/s" }

// needs is what a repository gets.
type needs struct {
	wal    int64         // bytes of WAL stored each second of late
	backup int64         // bytes of the newest base backup
	every  time.Duration // between the last two; 0 if there is one alone
}

const (
	// rateSegments is over how many segments before the end the rate of WAL is measured.
	rateSegments = 64
	// rateSpan is the shortest time that says anything about it.
	rateSpan = time.Minute
)

// needs looks what a repository got of late; false if that says nothing yet.
func (k *check) needs(ctx context.Context, p *checkedPlace) (needs, bool, error) {
	cluster, f, err := k.holdings(ctx, p)
	if err != nil || f.report.Durable == nil || len(f.backups) == 0 {
		return needs{}, false, err
	}
	size, err := cluster.SegmentSize(ctx)
	if err != nil {
		return needs{}, false, err
	}
	end := *f.report.Durable
	var all []repository.Entry
	for e, err := range cluster.ListWAL(ctx, end.Timeline, end.LSN-min(end.LSN, rateSegments*wal.LSN(size))) {
		if err != nil {
			return needs{}, false, err
		}
		all = append(all, e)
	}
	last := f.backups[len(f.backups)-1]
	n := needs{wal: walRate(all), backup: last.Stored}
	if len(f.backups) > 1 {
		n.every = last.Started.Sub(f.backups[len(f.backups)-2].Started)
	}
	return n, true, nil
}

// walRate returns how many bytes a second the objects came in with; 0 if they do not tell.
func walRate(all []repository.Entry) int64 {
	var first, last time.Time
	var bytes int64
	for _, e := range all {
		if first.IsZero() || e.Modified.Before(first) {
			first = e.Modified
		}
		if e.Modified.After(last) {
			last = e.Modified
		}
		bytes += e.Stored
	}
	if last.Sub(first) < rateSpan {
		return 0
	}
	return int64(float64(bytes) / last.Sub(first).Seconds())
}

// over says why a limit is too low; "" if it is not.
func (n needs) over(limit int64) string {
	if n.wal >= limit {
		return fmt.Sprintf("the WAL of late alone took %s, more than the limit leaves this repository (%s): base backups go at about a tenth of that", speed(n.wal), speed(limit))
	}
	took := time.Duration(float64(n.backup) / float64(limit-n.wal) * float64(time.Second))
	if n.every > 0 && took > n.every {
		return fmt.Sprintf("beside WAL of %s a base backup as the last, %s, takes %s at %s: longer than the %s from one to the next",
			speed(n.wal), humanize.Bytes(uint64(n.backup)), took.Round(time.Minute), speed(limit), n.every.Round(time.Minute))
	}
	return ""
}
