package restore

import (
	"fmt"
	"slices"
	"strings"

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
}

// Error says how much it is.
func (e *ArchivedError) Error() string {
	text := fmt.Sprintf("%d objects (%d bytes) of base backup %s are archived in %s and must be thawed first", e.Objects, e.Bytes, e.Backup, strings.Join(e.Classes, " and "))
	if e.Asked > 0 {
		text += fmt.Sprintf("; %d are being thawed", e.Asked)
	}
	return text
}

// Unwrap returns storage.ErrArchived.
func (e *ArchivedError) Unwrap() error { return storage.ErrArchived }

// Frozen returns an *ArchivedError if objects of the plan must be thawed before they can be read, and nil otherwise.
func (p *Plan) Frozen() error {
	e := &ArchivedError{Backup: p.Backup.ID}
	for _, o := range p.Archived {
		if o.Archive.Readable() {
			continue
		}
		e.Objects++
		e.Bytes += o.Size
		if o.Archive.Asked {
			e.Asked++
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
