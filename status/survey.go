package status

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pgark/pgark/repository"
)

// Options of Survey.
type Options struct {
	// Place names the repository: its last census counts what this survey need not list (FORMAT.md, section 18). Without one, as where several repositories are read as
	// one or a repository as it was, all WAL is listed.
	Place string
	// Now is the time.
	Now time.Time
}

// Survey reads what Make needs: the records of the backups and gaps, a listing of the WAL as far as no census counts it, and of each span
// the headers at its end until one tells of a transaction. It reads no WAL.
//
// How many requests it takes grows with the base backups, one for each, and not with the WAL, as long as a census counts that: BenchmarkSurveyYear. What does not wait for
// anything else is read at the same time.
func Survey(ctx context.Context, c *repository.Cluster, o Options) (Facts, error) {
	var f Facts
	var census *repository.Census
	var let *repository.Expiry
	err := f.read(
		// Records are listed before data, FORMAT.md section 8: then what they need is in the listing.
		step{"list backups", func() (err error) { f.Backups, err = c.Backups(ctx); return err }, true},
		step{"read timeline histories", func() (err error) { f.Histories, err = c.Histories(ctx); return err }, false},
		step{"read the last census", func() (err error) { census, let, err = readCensus(ctx, c, o); return err }, false},
	)
	if err != nil {
		return f, err
	}
	if err := f.surveyWAL(ctx, c, census, let); err != nil {
		return f, err
	}
	err = f.read(
		// A hole whose record cannot be read is one that nothing is recorded of.
		step{"list gap records", func() (err error) { f.Lost, err = c.Explained(ctx); return err }, true},
		step{"list pins", func() (err error) { f.Pins, err = c.Pins(ctx); return err }, true},
		step{"read the newest beat", func() error {
			beat, ok, err := c.NewestBeat(ctx)
			if ok && err == nil {
				f.Beat = &beat
			}
			return err
		}, true},
		step{"read the newest record of synchronous mode", func() error { // without it only since when, and why, is not known
			event, ok, err := c.NewestSyncEvent(ctx)
			if ok && err == nil {
				f.Sync = &event
			}
			return err
		}, true},
		step{"read the newest drills", func() (err error) { f.Drills, err = c.Drills(ctx, drillsRead); return err }, true},
		step{"read to how many keys contents are encrypted", func() error { return f.Sealed.count(ctx, c, f.Backups) }, false},
		step{"look at WAL beside the history", func() (err error) { f.Orphans, err = surveyOrphans(ctx, c, f.Histories, f.Spans); return err }, false},
	)
	return f, err
}

// step is a part of a survey.
type step struct {
	what string
	do   func() error
	// partly says that one damaged record among others must not hide the rest from an operator: it is told of.
	partly bool
}

// read takes steps at the same time, and returns the error of the first one, in their order, that failed.
func (f *Facts) read(steps ...step) error {
	errs := make([]error, len(steps))
	var group sync.WaitGroup
	for i, s := range steps {
		group.Go(func() { errs[i] = s.do() })
	}
	group.Wait()
	for i, s := range steps {
		switch {
		case errs[i] == nil:
		case s.partly && repository.OnlyUnreadable(errs[i]):
			f.Unreadable = append(f.Unreadable, errs[i].Error())
		default:
			return fmt.Errorf("%s: %w", s.what, errs[i])
		}
	}
	return nil
}
