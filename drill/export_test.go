package drill

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
)

// Enough is enough.
func Enough(systems []restore.FileSystem) error { return enough(systems) }

// CoveredUntil is coveredUntil.
func CoveredUntil(plan *restore.Plan, beat *repository.Beat) time.Time {
	return coveredUntil(plan, beat)
}

// NotTheArchive is notTheArchive.
func NotTheArchive(err error, asked Asked) bool { return notTheArchive(err, asked) }

// Judge is judge and conclude.
func Judge(d *repository.Drill, o Objectives) {
	conclude(d)
	judge(d, o)
}

// Sweep removes the sandboxes in dir whose process is gone.
func Sweep(ctx context.Context, dir string) error { return sweep(ctx, dir, nil) }

// Parts of a sandbox.
const (
	SandboxPrefix = sandboxPrefix
	MarkerName    = markerName
	MarkerText    = markerText
)

// CheckedRelations is checkedRelations.
func CheckedRelations(progress string) int64 { return checkedRelations(progress) }

// Pages is Opened.pages.
func (o *Opened) Pages(ctx context.Context) (repository.DrillCheck, error) { return o.pages(ctx) }

// Sampled is sampled.
func Sampled(names *repository.Names, random *rand.Rand) []string { return sampled(names, random) }

// ParseRelation is parseRelation.
func ParseRelation(row []string) (repository.Relation, bool, error) { return parseRelation(row) }

// DumpFile makes the file of a dump, writes text into it, and gives it its name unless it is to be discarded.
func DumpFile(path, text string, commit func()) error {
	f, err := newDumpFile(path)
	if err != nil {
		return err
	}
	defer f.discard()
	if _, err := f.WriteString(text); err != nil || commit == nil {
		return err
	}
	commit()
	_, err = f.commit()
	return err
}
