package status

import (
	"time"

	"github.com/pgark/pgark/cost"
	"github.com/pgark/pgark/wal"
)

// Live is what an agent at work knows of one cluster by itself at one moment: nobody is asked for it. What is not known is absent, never zero. Where a
// Report says the same, the Live is newer.
type Live struct {
	Cluster string `json:"cluster"`
	// Now is when it was told, and Began when the agent began, both by this host's clock: counts are since then.
	Now   time.Time `json:"now"`
	Began time.Time `json:"began"`

	// State is a word for what the archiver does: its own states, or "standby" where the archive is followed; "" before it began.
	State string `json:"state,omitempty"`
	// Since is when that began, and Error what stands in its way.
	Since *time.Time `json:"since,omitempty"`
	Error string     `json:"error,omitempty"`
	// Away says since when nothing streams from the server, and what stands in the way; nil while it streams.
	Away *Outage `json:"server_away,omitempty"`
	// LastCommit is the time of the last transaction end that is durable, by the server's clock.
	LastCommit *time.Time `json:"last_durable_commit,omitempty"`
	// Leader says that this agent is the one that archives the cluster.
	Leader bool `json:"leader"`
	// Follows says that it does not archive at all: it follows the archive for a standby, which has not taken over.
	Follows bool `json:"follows,omitempty"`

	// Until is an instant up to which all that the server had can be restored; CaughtUp says that the server itself knows of no more than that.
	Until    *time.Time `json:"recoverable_until,omitempty"`
	CaughtUp bool       `json:"caught_up,omitempty"`
	// RPO is as a Report's.
	RPO *float64 `json:"rpo_seconds,omitempty"`

	// Flush is the end of the WAL on the server, as far as it said; Durable that of the WAL that is archived. 0 is not known.
	Flush   wal.LSN `json:"flush_lsn,omitempty"`
	Durable wal.LSN `json:"durable_lsn,omitempty"`
	// Received is how many bytes of WAL the server has sent; nil where the archive is only followed.
	Received *uint64 `json:"received_bytes,omitempty"`

	// Slot is as of the last look at it, and SlotSeen when that was.
	Slot     *Slot      `json:"slot,omitempty"`
	SlotSeen *time.Time `json:"slot_seen,omitempty"`

	Repositories []LiveRepository `json:"repositories"`
	Standby      *LiveStandby     `json:"standby,omitempty"`

	// Jobs are those in hand, in the order in which they began; Ended the last of those that ended, newest first.
	Jobs  []Job `json:"jobs"`
	Ended []Job `json:"ended_jobs"`
	// Gaps are the last that the agent recorded, oldest first, also those that a base backup has ended since.
	Gaps []LiveGap `json:"gaps,omitempty"`
	// Verified is what verifications that the agent made found, by repository.
	Verified []LiveVerified `json:"verified,omitempty"`
	// BackupFailed is when a base backup of the agent failed last.
	BackupFailed *time.Time `json:"backup_failed,omitempty"`
}

// LiveRepository is how one repository answers.
type LiveRepository struct {
	Name string `json:"name"`
	// Up says whether it answered last; nil before the first request.
	Up *bool `json:"up,omitempty"`
	// Refusing says since when nothing was taken that was put, and why; nil while what is put is taken.
	Refusing *Outage `json:"refusing,omitempty"`
	// StoredWAL is how many bytes of WAL objects it took.
	StoredWAL uint64 `json:"stored_wal_bytes"`
	// Puts is how many requests wrote to it, those that failed among them: objects, and parts of large ones.
	Puts uint64 `json:"puts"`
	// PutsSince is when the first of them ended; nil where there was none.
	PutsSince *time.Time `json:"puts_since,omitempty"`
	// Versioned says whether its bucket keeps the older versions of objects; nil where that is not known, and where nobody wants it to.
	Versioned *bool `json:"versioned,omitempty"`
	// Failures are the requests that failed, in a fixed order. The number of different ones is bounded.
	Failures []RequestFailures `json:"failures,omitempty"`
}

// leastCounted is for how long requests must have been counted before they say how many there are in a month.
const leastCounted = time.Hour

// PutsAMonth is how many requests would write to a repository in a month, by those since the first: an agent that waited behind a standby wrote
// nothing until it was promoted. nil if the first was not long ago, and where the agent writes nothing there, or not any more.
func (l Live) PutsAMonth(repository string) *float64 {
	if l.Standby != nil {
		return nil
	}
	for _, r := range l.Repositories {
		if r.Name != repository || r.PutsSince == nil {
			continue
		}
		if since := l.Now.Sub(*r.PutsSince); since >= leastCounted {
			n := float64(r.Puts) * float64(cost.Month) / float64(since)
			return &n
		}
	}
	return nil
}

// RequestFailures counts requests of one kind that failed in one way.
type RequestFailures struct {
	// Op is put, get, list, stat, delete or other; Code denied, expired, skewed, no_bucket, unavailable, locked or other.
	Op    string `json:"op"`
	Code  string `json:"code"`
	Count uint64 `json:"count"`
}

// LiveStandby is how the server stands to the archive that it follows.
type LiveStandby struct {
	// Until is an instant by which all that the primary had committed is here.
	Until *time.Time `json:"replayed_until,omitempty"`
	// Connected says that something streams to it.
	Connected bool `json:"connected"`
}

// LiveGap is WAL that the agent found lost, and recorded as that.
type LiveGap struct {
	Timeline wal.TimelineID `json:"timeline"`
	// Start and End are of the WAL that is lost: [Start, End).
	Start wal.LSN `json:"start_lsn"`
	End   wal.LSN `json:"end_lsn"`
	// Cause is the record's word for why.
	Cause string `json:"cause"`
	// Seen is when the agent found it, by this host's clock.
	Seen time.Time `json:"seen"`
}

// LiveVerified is what verifications found in one repository.
type LiveVerified struct {
	Repository string `json:"repository"`
	// Sound is when the last one ended that found nothing wrong.
	Sound *time.Time `json:"last_sound,omitempty"`
	// Unsound is when the last one ended that found something wrong which it did not put right.
	Unsound *time.Time `json:"last_unsound,omitempty"`
	// Damaged counts the objects that were found, by kind.
	Damaged map[string]uint64 `json:"damaged,omitempty"`
}

// JobKind says what a job does.
type JobKind string

// The kinds of jobs.
const (
	JobBackup JobKind = "backup"
	JobDrill  JobKind = "drill"
	JobVerify JobKind = "verify"
	JobPrune  JobKind = "prune"
)

// Next is when a job is due next.
type Next struct {
	Kind JobKind   `json:"kind"`
	At   time.Time `json:"at"`
}

// JobResult says how a job ended.
type JobResult string

// The results of jobs.
const (
	// JobDone: it did what it is for, and found nothing wrong.
	JobDone JobResult = "done"
	// JobFailed: it could not be done, or what it found is wrong.
	JobFailed JobResult = "failed"
	// JobStopped: the agent ended it, because it ended itself.
	JobStopped JobResult = "stopped"
)

// Job is one job of an agent.
type Job struct {
	// ID is unique within one run of the agent.
	ID    uint64    `json:"id"`
	Kind  JobKind   `json:"kind"`
	Began time.Time `json:"began"`
	// Phase is what it does now; Done and Total are bytes of that. A total of 0 is not known.
	Phase string `json:"phase,omitempty"`
	Done  int64  `json:"done_bytes,omitempty"`
	Total int64  `json:"total_bytes,omitempty"`

	Ended  *time.Time `json:"ended,omitempty"`
	Result JobResult  `json:"result,omitempty"`
	// Subject is the id of what came of it: a base backup's, a drill's.
	Subject string `json:"subject,omitempty"`
	// Detail says in words what came of it, or why it failed.
	Detail string `json:"detail,omitempty"`
	// RTO is what a drill measured, seconds.
	RTO *float64 `json:"rto_seconds,omitempty"`
}

// EventKind says what an Event tells of.
type EventKind string

// The kinds of events.
const (
	// EventJob: a job began, came on, or ended.
	EventJob EventKind = "job"
	// EventGap: WAL was lost.
	EventGap EventKind = "gap"
)

// Event is something that happened to a cluster.
type Event struct {
	Kind EventKind `json:"-"`
	// Passing says that a later event of the same kind makes this one void: who missed it missed nothing.
	Passing bool      `json:"-"`
	Cluster string    `json:"cluster"`
	Time    time.Time `json:"time"`
	Job     *Job      `json:"job,omitempty"`
	// Text says in words what happened, where nothing else does.
	Text string `json:"text,omitempty"`
}
