// Package status says how a cluster stands: what its repository can bring back, where it cannot,
// and how far the archive is behind the server. It makes one Report, and everything that is shown
// anywhere is that Report.
//
// Survey reads a repository; the rest of the package is pure. It knows no server: agent fills in
// what a server says. It follows docs/FORMAT.md, sections 4, 6 and 7.
package status

import (
	"time"

	"github.com/pgark/pgark/cost"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/syncmode"
	"github.com/pgark/pgark/wal"
)

// Report is how one cluster stands. What is not known is absent, never zero.
type Report struct {
	// Cluster is the name in the configuration.
	Cluster string `json:"cluster"`
	// Repository is the URL, without secrets.
	Repository string       `json:"repository"`
	SystemID   wal.SystemID `json:"system_id"`
	// Now is when the report was made.
	Now time.Time `json:"now"`

	// Verdict and Causes are absent until Judge was called; Causes are worst first.
	Verdict Verdict `json:"verdict,omitempty"`
	Causes  []Cause `json:"causes,omitzero"`
	// RPO is how many seconds of commits would be lost with the server now, at most. It is absent when nothing can be
	// restored and when the clocks differ too much to tell.
	RPO *float64 `json:"rpo_seconds,omitempty"`
	// RPOTarget is what RPO is measured by, seconds: the objective, or else what Judge sets.
	RPOTarget float64 `json:"rpo_target_seconds,omitempty"`

	// RTOTarget is the objective for the time that a restore takes, seconds; absent where there is none.
	RTOTarget float64 `json:"rto_target_seconds,omitempty"`
	// Drill is the newest drill; absent where none was held.
	Drill *Drill `json:"drill,omitempty"`
	// Drills are the newest, oldest first; absent where none was held.
	Drills []Drill `json:"drills,omitempty"`
	// DrillReports are the whole reports of these; what is printed of a report leaves them out.
	DrillReports []repository.Drill `json:"-"`

	// Server is what the server says; nil if it was not asked or did not answer.
	Server *Server `json:"server,omitempty"`
	// ServerError says why Server is absent although it was asked.
	ServerError string `json:"server_error,omitempty"`

	Backups []Backup `json:"backups"`
	// WAL are the spans without a hole, by timeline and LSN.
	WAL []Span `json:"wal"`
	// Listed is when the last listing of all WAL began, of which older WAL is counted here: what was lost of that since may not show. Absent where all was listed
	// for this report.
	Listed *time.Time `json:"wal_listed_at,omitempty"`
	// Window are the times that can be restored, ascending and apart.
	Window []Interval `json:"window"`
	// Gaps lie between the intervals of Window.
	Gaps []Gap `json:"gaps"`
	// OpenGap is the gap behind which nothing can be restored yet, because no base backup was taken since; it ends now.
	OpenGap *Gap `json:"open_gap,omitempty"`
	// Orphans are what failovers left beside the history, by timeline.
	Orphans []Orphan `json:"orphans"`
	// Unreadable says which records are damaged or of a newer format.
	Unreadable []string `json:"unreadable,omitempty"`

	// RecoverableFrom and RecoverableUntil are the ends of Window.
	RecoverableFrom  *time.Time `json:"recoverable_from,omitempty"`
	RecoverableUntil *time.Time `json:"recoverable_until,omitempty"`
	// RecoverableEnd is the end of the WAL that RecoverableUntil lies in.
	RecoverableEnd *Position `json:"recoverable_end,omitempty"`
	// Durable is the end of the WAL that is safe, on the newest timeline.
	Durable *Position `json:"durable,omitempty"`
	// DurableUntil is an instant up to which all that the server had is in the archive; absent where no transaction and no beat tells.
	DurableUntil *time.Time `json:"durable_until,omitempty"`
	// Unprotected is the age in seconds of the oldest byte that the server has flushed and that is not in the archive, at most. 0 when
	// an agent receives and nothing is outstanding; it grows when server, store or agent is away. Absent where the clocks differ too much to
	// tell. Judge sets it.
	Unprotected *float64 `json:"unprotected_seconds,omitempty"`
	// Behind is how many bytes the server has flushed that are not durable yet.
	Behind *int64 `json:"behind_bytes,omitempty"`

	Stored Stored `json:"stored"`

	// Encryption is which contents are encrypted; absent where none are.
	Encryption *Encryption `json:"encryption,omitempty"`

	// Lock is that of objects in the repository; absent if none is configured.
	Lock *Lock `json:"lock,omitempty"`
	// Lossy says that the repository was read as it was, and may lack some of that: its bucket did not keep versions all the time since.
	Lossy bool `json:"lossy,omitempty"`

	// Copies are the repositories of the cluster, the primary first; absent where there is only one.
	Copies []Copy `json:"copies,omitempty"`

	// Troubles are what the cluster's agent says keeps it from its work; absent where nothing does, and where none could be asked.
	Troubles *Troubles `json:"troubles,omitempty"`

	// Next is when the schedules name each job next, the soonest first; absent where no program receives that would do it.
	Next []Next `json:"next,omitempty"`

	// Cost is what the repositories cost; absent where nothing was reckoned.
	Cost *cost.Bill `json:"cost,omitempty"`

	// Sync is what commits may rely on; absent where they neither wait for the archive nor are to.
	Sync *Sync `json:"sync,omitempty"`

	lastSync *repository.SyncEvent // the newest record
}

// Server is what the server says of itself.
type Server struct {
	Address  string         `json:"address"`
	Version  string         `json:"version"`
	Timeline wal.TimelineID `json:"timeline"`
	Flush    wal.LSN        `json:"flush_lsn"`
	// Slot is nil where the server cannot be asked.
	Slot *Slot `json:"slot,omitempty"`
	// SlotError says why nothing, or not all, is known of the slot.
	SlotError string `json:"slot_error,omitempty"`
	// Sync is what SetSync judges.
	Sync syncmode.Settings `json:"-"`
}

// Slot is the replication slot that keeps WAL for the agent.
type Slot struct {
	Name    string  `json:"name"`
	Exists  bool    `json:"exists"`
	Restart wal.LSN `json:"restart_lsn,omitempty"`
	// Retained is how many bytes of WAL the server keeps for it.
	Retained int64 `json:"retained_bytes"`

	// What follows is absent when only a replication connection could be made.

	// Active tells whether a program receives from it.
	Active *bool `json:"active,omitempty"`
	// ActiveSince is when that program connected; the server tells it to the same role and to monitors.
	ActiveSince *time.Time `json:"active_since,omitempty"`
	// InactiveSince is when the last one went; from PostgreSQL 17 on.
	InactiveSince *time.Time `json:"inactive_since,omitempty"`
	// WALStatus is the server's own word: reserved, extended, unreserved or lost.
	WALStatus string `json:"wal_status,omitempty"`
	// Limit is max_slot_wal_keep_size in bytes, NoLimit where there is none.
	Limit *int64 `json:"limit_bytes,omitempty"`
	// Safe is how many bytes the server may write before it may invalidate the slot, by its own count of whole segments; absent where it
	// never does.
	Safe *int64 `json:"safe_bytes,omitempty"`

	// KeepMax is slot.keep_max, and OnLimit what happens there; absent where nothing is configured.
	KeepMax *int64 `json:"keep_max_bytes,omitempty"`
	OnLimit string `json:"on_limit,omitempty"`
	// DiskFree is what is free on the disk of pg_wal; absent where that is not to be seen from this host.
	DiskFree *int64 `json:"disk_free_bytes,omitempty"`
	// Bound is the nearest of these limits; SetBound finds it.
	Bound *Bound `json:"bound,omitempty"`
}

// NoLimit as a Slot's Limit says that WAL is kept until the disk is full.
const NoLimit = -1

// Lost tells whether the server no longer keeps the WAL that the slot needs.
func (s Slot) Lost() bool {
	return s.Exists && (s.WALStatus == "lost" || s.WALStatus == "" && s.Restart == 0)
}

// Receiving tells whether a program is known to receive from the slot.
func (s *Slot) Receiving() bool { return s != nil && s.Active != nil && *s.Active }

// Backup is a base backup and what can be done with it.
type Backup struct {
	ID      string    `json:"id"`
	Type    string    `json:"type"`
	Started time.Time `json:"started"`
	Stopped time.Time `json:"stopped"`
	// Version is the server's server_version_num.
	Version  int            `json:"pg_version_num"`
	Timeline wal.TimelineID `json:"timeline"`
	StartLSN wal.LSN        `json:"start_lsn"`
	StopLSN  wal.LSN        `json:"stop_lsn"`
	// Plain is the size of the cluster, Stored that of the backup's objects, bytes.
	Plain     int64  `json:"plain_bytes"`
	Stored    int64  `json:"stored_bytes"`
	Checksums string `json:"checksums"`
	// Encrypted says that its contents are; Recipients to how many public keys, absent where that could not be read.
	Encrypted  bool `json:"encrypted,omitempty"`
	Recipients int  `json:"recipients,omitempty"`
	// Restorable is false when WAL that makes the backup consistent is missing.
	Restorable bool `json:"restorable"`
	// Drill is the newest drill that passed with it; absent where there is none among the newest.
	Drill     *BackupDrill `json:"drill,omitempty"`
	KeptUntil *time.Time   `json:"kept_until,omitempty"`
	// Pinned says that it is exempt from retention: until KeptUntil, or until it is unpinned.
	Pinned bool              `json:"pinned,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
}

// Span is a run of WAL without a hole: [Start, End) on Timeline.
type Span struct {
	Timeline wal.TimelineID `json:"timeline"`
	Start    wal.LSN        `json:"start_lsn"`
	End      wal.LSN        `json:"end_lsn"`
	Stored   int64          `json:"stored_bytes"`
	// Objects is how many hold it; 0 is not known.
	Objects int `json:"objects,omitempty"`
	// Last is the time of the last transaction in it, if that is known.
	Last *time.Time `json:"last_transaction,omitempty"`
}

// Interval is a run of instants that can be restored, both ends included.
type Interval struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
}

// Gap is a run of instants that cannot be restored, with the WAL that is missing where that is
// known.
type Gap struct {
	From     time.Time      `json:"from"`
	Until    time.Time      `json:"until"`
	Timeline wal.TimelineID `json:"timeline"`
	// Missing is the WAL that is not there: [Start, End).
	Start wal.LSN `json:"start_lsn"`
	End   wal.LSN `json:"end_lsn"`
	// Cause says why that WAL was lost, and is absent when nothing is recorded of it: then objects were removed, or an
	// upload is on its way.
	Cause repository.Cause `json:"cause,omitempty"`
	// Detail is more of it, for a person.
	Detail string `json:"detail,omitempty"`
	// FirstSeen is when the loss was found.
	FirstSeen *time.Time `json:"first_seen,omitempty"`
}

// Position is a place in the WAL of a timeline.
type Position struct {
	Timeline wal.TimelineID `json:"timeline"`
	LSN      wal.LSN        `json:"lsn"`
}

// Stored is what the repository holds, bytes.
type Stored struct {
	WAL     int64 `json:"wal_bytes"`
	Backups int64 `json:"backup_bytes"`
}

// Facts is what Survey reads from a repository.
type Facts struct {
	Backups   []repository.Backup
	Spans     []Span
	Histories map[wal.TimelineID]wal.History
	// Lost are the gap records, and what retention let go.
	Lost []repository.Gap
	// Pins are those that count, by backup.
	Pins map[string]repository.Pin
	// Beat is the newest coverage beat, or nil.
	Beat *repository.Beat
	// Sync is the newest record of synchronous mode, or nil.
	Sync *repository.SyncEvent
	// Drills are the reports of the newest, oldest first.
	Drills  []repository.Drill
	Orphans []Orphan
	// Listed is when the last listing of all WAL began, of which what was not listed now is known; nil where all was.
	Listed *time.Time
	// Sealed is which contents are encrypted.
	Sealed Sealed
	// Unreadable says which records are damaged or of a newer format. What they tell is not in the other facts.
	Unreadable []string
}

// SetServer lays what the server says beside the archive.
func (r *Report) SetServer(s Server) {
	r.Server, r.ServerError = &s, ""
	if r.Durable == nil || r.Durable.Timeline != s.Timeline {
		return
	}
	var behind int64
	if s.Flush > r.Durable.LSN {
		behind = int64(s.Flush - r.Durable.LSN)
	}
	r.Behind = &behind
}
