package status

import (
	"fmt"
	"strings"
	"time"
)

// Copy is how one of several repositories of a cluster stands; the primary is one of them.
type Copy struct {
	// Name is that of the configuration; the primary's is "primary".
	Name string `json:"name"`
	// Repository is the URL, without secrets.
	Repository string `json:"repository"`
	// Error says why nothing else is known: it does not answer, or is no copy.
	Error string `json:"error,omitempty"`
	// Durable is the end of the WAL that it holds, on its newest timeline.
	Durable *Position `json:"durable,omitempty"`
	// Until is the newest instant that can be restored from it alone.
	Until *time.Time `json:"recoverable_until,omitempty"`
	// Behind is how many seconds its newest instant is older than that of the repository that holds most. 0 where it holds the same WAL.
	Behind *float64 `json:"behind_seconds,omitempty"`
	// BehindBytes is how much WAL it lacks; absent where it is on another timeline.
	BehindBytes *int64 `json:"behind_bytes,omitempty"`
	Backups     int    `json:"restorable_backups"`
	Stored      Stored `json:"stored"`
	// Lock is that of its objects; nil if none is configured.
	Lock *Lock `json:"lock,omitempty"`
	// Lossy says that it was read as it was, and may lack some of that: its bucket did not keep versions all the time since.
	Lossy bool `json:"lossy,omitempty"`
	// By is ByBucket where the primary's bucket makes the copy; empty where the agent does.
	By string `json:"by,omitempty"`
	// Replication is what the primary's bucket tells of that.
	Replication *Replication `json:"replication,omitempty"`
}

// ByBucket as a Copy's By says that the primary's bucket makes it, by its own replication.
const ByBucket = "bucket"

// Patience is how far behind a repository may be before it is a risk.
func (c Copy) Patience() time.Duration {
	if c.By == ByBucket {
		return ReplicationPatience
	}
	return RPOTarget
}

// CopyOf takes from the report of one repository what is told of it beside the others.
func CopyOf(name string, r Report) Copy {
	c := Copy{Name: name, Repository: r.Repository, Durable: r.Durable, Until: r.RecoverableUntil, Stored: r.Stored, Lock: r.Lock, Lossy: r.Lossy}
	for _, b := range r.Backups {
		if b.Restorable {
			c.Backups++
		}
	}
	return c
}

// SetCopies lays the repositories side by side. They were looked at one after the other or at once, never at one instant: a copy
// that is a moment behind may be so only in the report.
func (r *Report) SetCopies(all []Copy) {
	var most Position
	var newest time.Time
	for _, c := range all {
		if c.Durable != nil && (c.Durable.Timeline > most.Timeline || c.Durable.Timeline == most.Timeline && c.Durable.LSN > most.LSN) {
			most = *c.Durable
		}
		if c.Until != nil && c.Until.After(newest) {
			newest = *c.Until
		}
	}
	r.Copies = all
	for i := range r.Copies {
		c := &r.Copies[i]
		if c.Durable != nil && c.Durable.Timeline == most.Timeline {
			lacks := int64(most.LSN - c.Durable.LSN)
			c.BehindBytes = &lacks
		}
		if c.Until != nil {
			behind := newest.Sub(*c.Until).Seconds()
			if c.BehindBytes != nil && *c.BehindBytes == 0 {
				behind = 0
			}
			c.Behind = &behind
		}
	}
}

// judgeCopies looks for a repository that does not hold what the others hold.
func (r Report) judgeCopies(c Commands) []finding {
	var found []finding
	risk := func(since *time.Time, format string, args ...any) {
		found = append(found, finding{verdict: AtRisk, Cause: Cause{What: fmt.Sprintf(format, args...), Since: since, Fix: c.Check}})
	}
	for _, one := range r.Copies {
		name := "copy " + one.Name
		if one.Name == "primary" {
			name = "the primary repository"
		}
		switch {
		case one.Error != "":
			risk(nil, "%s cannot be used: %s", name, one.Error)
		case one.Backups == 0 && len(r.Backups) > 0:
			risk(nil, "%s cannot be restored from alone: it holds no base backup that can be restored", name)
		case one.Replication != nil && len(one.Replication.Faults) > 0:
			fix := c.Check
			if one.Replication.Failed+one.Replication.Unreplicated > 0 {
				fix = c.Copy + " " + one.Name
			}
			found = append(found, finding{verdict: AtRisk, Cause: Cause{
				What: fmt.Sprintf("%s, which the bucket makes: %s", name, strings.Join(one.Replication.Faults, "; ")), Fix: fix,
			}})
		case one.Behind != nil && *one.Behind > one.Patience().Seconds():
			behind := time.Duration(*one.Behind * float64(time.Second)).Round(time.Second)
			risk(one.Until, "%s is %s behind: it holds nothing newer than %s", name, behind, one.Until.UTC().Format("2006-01-02 15:04:05Z"))
		}
	}
	return found
}
