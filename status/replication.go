package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// ReplicationPatience is how far a copy that a bucket makes may be behind before it is a risk. Amazon promises no time without
// Replication Time Control, and 15 minutes with it.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/replication-time-control.html
const ReplicationPatience = 15 * time.Minute

// Replication is how the copying that a bucket does by itself stands, as the bucket that is copied from tells it.
type Replication struct {
	// Error says why it could not be asked; nothing else is known then.
	Error string `json:"error,omitempty"`
	// Rule is the name of the bucket's rule that copies; absent if none does, or it has no name.
	Rule string `json:"rule,omitempty"`
	// Faults say why objects are not copied, or not all of them.
	Faults []string `json:"faults,omitempty"`
	// Deletes says that what is deleted in the one bucket is deleted in the other.
	Deletes bool `json:"deletes,omitempty"`
	// Newest is how many of the newest objects were looked at. Of these so many are on their way, were given up, and were never meant to be
	// copied.
	Newest       int `json:"newest"`
	Pending      int `json:"pending"`
	Failed       int `json:"failed"`
	Unreplicated int `json:"unreplicated"`
	// Lag is how many seconds ago the oldest of those was created that is not there; 0 if all are. Absent where nothing was looked at.
	Lag *float64 `json:"lag_seconds,omitempty"`
	// Copied is how far the WAL among those is there without a hole; absent where already the first is not.
	Copied *Position `json:"copied,omitempty"`
}

// ReplicatedObject is one of the newest objects, and how far it has come.
type ReplicatedObject struct {
	Timeline wal.TimelineID
	// Range is empty for what is no WAL.
	Range   wal.Range
	Created time.Time
	Status  storage.ReplicationStatus
}

// JudgeReplication says how a bucket with these rules copies to the bucket named, by its newest objects in any order. It is pure.
func JudgeReplication(r storage.Replication, to string, newest []ReplicatedObject, now time.Time) Replication {
	j := Replication{Newest: len(newest), Copied: copied(newest)}
	var waits time.Duration
	for _, o := range newest {
		switch o.Status {
		case storage.ReplicationCompleted:
			continue
		case storage.ReplicationPending:
			j.Pending++
		case storage.ReplicationFailed:
			j.Failed++
		case storage.NotReplicated, storage.Replica:
			j.Unreplicated++
		}
		waits = max(waits, now.Sub(o.Created))
	}
	if len(newest) > 0 {
		lag := waits.Seconds()
		j.Lag = &lag
	}
	rule, covered := j.choose(r, to)
	if j.Failed > 0 {
		j.fault("the bucket gave up on %d of the newest %d objects, and does not try again", j.Failed, j.Newest)
	}
	if j.Unreplicated > 0 && covered {
		j.fault("%d of the newest %d objects were created before the rule, or beside it: it does not copy them", j.Unreplicated, j.Newest)
	}
	if patience := cmp.Or(rule.Within, ReplicationPatience); j.Pending > 0 && waits > patience {
		j.fault("an object waits for %s to be copied", waits.Round(time.Second))
	}
	return j
}

func (j *Replication) fault(format string, args ...any) {
	j.Faults = append(j.Faults, fmt.Sprintf(format, args...))
}

// choose finds the rule that copies to the bucket, and notes what is wrong with it. covered says that all objects are copied by it.
func (j *Replication) choose(r storage.Replication, to string) (best storage.ReplicationRule, covered bool) {
	if !r.Versioned {
		j.fault("the bucket keeps no versions, and so copies nothing")
	}
	var others []string
	found := false
	for _, rule := range r.Rules { // the strongest first
		switch {
		case rule.Bucket != to:
			others = append(others, rule.Bucket)
		case !found, len(r.Covers(rule)) < len(r.Covers(best)):
			best, found = rule, true
		}
	}
	switch {
	case found:
		j.Rule, j.Deletes = best.ID, best.Deletes
		j.Faults = append(j.Faults, r.Covers(best)...)
	case len(others) > 0:
		j.fault("no rule of the bucket copies to %s; there are rules to %s", to, strings.Join(slices.Compact(others), ", "))
	default:
		j.fault("no rule of the bucket copies to %s", to)
	}
	return best, found && len(j.Faults) == 0
}

// copied returns how far WAL goes on without a hole from the first of the objects, of those that were copied.
func copied(newest []ReplicatedObject) *Position {
	var there repository.Coverage
	var start wal.LSN
	found := false
	sorted := slices.SortedFunc(slices.Values(newest), func(a, b ReplicatedObject) int {
		return cmp.Or(cmp.Compare(a.Range.Start, b.Range.Start), cmp.Compare(a.Range.End, b.Range.End))
	})
	for _, o := range sorted {
		if o.Range.Empty() {
			continue
		}
		if !found {
			start, found, there.Timeline = o.Range.Start, true, o.Timeline
		}
		if o.Status == storage.ReplicationCompleted && o.Timeline == there.Timeline {
			there.Add(o.Range)
		}
	}
	end, ok := there.EndFrom(start)
	if !found || !ok {
		return nil
	}
	return &Position{there.Timeline, end}
}
