package restore

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// ArchivedError says that a plan cannot be carried out before objects of it are thawed. Nothing was written. It is a storage.ErrArchived.
type ArchivedError struct {
	Backup  string
	Objects int
	Bytes   int64
	Classes []string // that they lie in, each once
	Asked   int      // how many are being thawed
	Brief   int      // how many can be read now, and not until the restore is done
}

// Error says how much it is.
func (e *ArchivedError) Error() string {
	text := fmt.Sprintf("%d objects (%d bytes) of base backup %s are archived in %s and must be thawed first", e.Objects, e.Bytes, e.Backup, strings.Join(e.Classes, " and "))
	if e.Asked > 0 {
		text += fmt.Sprintf("; %d are being thawed", e.Asked)
	}
	if e.Brief > 0 {
		text += fmt.Sprintf("; %d are thawed, and freeze again before a restore is done", e.Brief)
	}
	return text
}

// Unwrap returns storage.ErrArchived.
func (e *ArchivedError) Unwrap() error { return storage.ErrArchived }

// unmeasured is how many bytes of a base backup and of WAL a restore is taken to get through in a second where no drill has measured one: fewer
// than any host that archives them.
const unmeasured = 20 << 20

// Done is when a restore that begins now is done, with as much again to spare: what freezes before that would end it halfway. Without an estimate
// it goes by the sizes.
func (p *Plan) Done(now time.Time, e *Estimate) time.Time {
	if e != nil {
		return now.Add(2 * e.Total())
	}
	return now.Add(time.Duration(float64(max(p.Backup.Plain, 0)+int64(p.WAL)) / unmeasured * float64(time.Second)))
}

// Frozen returns an *ArchivedError if objects of the plan must be thawed so that they can be read from now until an instant, and nil otherwise.
func (p *Plan) Frozen(until time.Time) error {
	e := &ArchivedError{Backup: p.Backup.ID}
	for _, o := range p.Archived {
		if o.Archive.Readability(until) == storage.Readable {
			continue
		}
		e.Objects++
		e.Bytes += o.Size
		switch {
		case o.Archive.Asked:
			e.Asked++
		case !o.Archive.Until.IsZero():
			e.Brief++
		}
		if !slices.Contains(e.Classes, o.Archive.Class) {
			e.Classes = append(e.Classes, o.Archive.Class)
		}
	}
	if e.Objects == 0 {
		return nil
	}
	return e
}

// legsOf are the ranges of WAL of the plan by their timelines.
func (p *Plan) legsOf() map[wal.TimelineID]wal.Range {
	legs := map[wal.TimelineID]wal.Range{}
	for _, leg := range p.Legs {
		legs[leg.Timeline] = leg.Range
	}
	return legs
}
