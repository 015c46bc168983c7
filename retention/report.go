package retention

import (
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Report is what a run came to in all repositories of a cluster. Its JSON is described in docs/JSON.md.
type Report struct {
	Cluster string `json:"cluster"`
	// Removed says that the plans were carried out, as far as no repository has an error.
	Removed      bool               `json:"removed"`
	Window       int64              `json:"window_seconds"` // 0: everything is kept
	Grace        int64              `json:"grace_seconds"`
	Repositories []RepositoryReport `json:"repositories"`
}

// RepositoryReport is the part of one repository.
type RepositoryReport struct {
	Name       string `json:"name"`
	Repository string `json:"repository"`
	Error      string `json:"error,omitempty"`
	// Changed says that the error is ErrChanged.
	Changed bool `json:"changed,omitempty"`
	// From and Until are the window, by what was stored when.
	From     *time.Time      `json:"window_from,omitempty"`
	Until    *time.Time      `json:"window_until,omitempty"`
	Clusters []ClusterReport `json:"clusters"`
	// Planned goes, and Deleted went.
	PlannedObjects int64 `json:"planned_objects"`
	PlannedBytes   int64 `json:"planned_bytes"`
	DeletedObjects int64 `json:"deleted_objects"`
	DeletedBytes   int64 `json:"deleted_bytes"`
	// Uploads are those that were begun long ago and never ended; they go too.
	Uploads int `json:"unfinished_uploads"`
	// UploadsError is why they could not be listed.
	UploadsError string `json:"uploads_error,omitempty"`

	// Versions says what goes for good; nil where versions are kept, or the store keeps none.
	Versions *VersionsReport `json:"versions,omitempty"`

	// Locks are those of what stays; nil if they were not looked at.
	Locks *LocksReport `json:"locks,omitempty"`

	// Err is the error.
	Err error `json:"-"`
}

// VersionsReport says which versions go for good: of what goes by this plan, and of what went before.
type VersionsReport struct {
	Planned      int64 `json:"planned"`
	PlannedBytes int64 `json:"planned_bytes"`
	Removed      int64 `json:"removed"`
	RemovedBytes int64 `json:"removed_bytes"`
	// Locked are under lock, or wait for one that is, and go in a run after its end. Until then they are paid for.
	Locked      int64 `json:"locked"`
	LockedBytes int64 `json:"locked_bytes"`
	// FirstUntil and LastUntil are when the first and the last of these locks end; nil if the store does not tell.
	FirstUntil *time.Time `json:"first_until,omitempty"`
	LastUntil  *time.Time `json:"last_until,omitempty"`
}

// DescribeRemoval returns the report of what goes for good; nil if nothing is to.
func DescribeRemoval(p Plan, r Removed) *VersionsReport {
	if p.Removal == nil {
		return nil
	}
	held := p.Removal.Held
	v := &VersionsReport{
		Planned: p.Removal.Versions, PlannedBytes: p.Removal.Bytes, Removed: r.Versions, RemovedBytes: r.VersionBytes, Locked: held.Versions, LockedBytes: held.Bytes,
	}
	if !held.First.IsZero() {
		first, last := held.First.UTC(), held.Last.UTC()
		v.FirstUntil, v.LastUntil = &first, &last
	}
	return v
}

// LocksReport says how the locks of objects that stay were made longer.
type LocksReport struct {
	Mode     storage.LockMode `json:"mode"`
	For      int64            `json:"seconds"`
	Asked    int              `json:"asked"`    // objects that are still there, in this run's share
	Extended int              `json:"extended"` // of these
	Failed   int              `json:"failed"`
	Left     int              `json:"left"` // to the next runs
	Error    string           `json:"error,omitempty"`
}

// DescribeLocks returns the report of what became of locks.
func DescribeLocks(e Extended) *LocksReport {
	r := &LocksReport{Mode: e.Lock.Mode, For: int64(e.Lock.For.Seconds()), Asked: e.Asked, Extended: e.Extended, Failed: e.Failed, Left: e.Left}
	if e.Err != nil {
		r.Error = e.Err.Error()
	}
	return r
}

// ClusterReport is the part of one cluster in it.
type ClusterReport struct {
	SystemID wal.SystemID     `json:"system_id"`
	Retired  bool             `json:"retired"`
	Unknown  []wal.TimelineID `json:"unknown_timelines,omitempty"`
	Backups  []BackupReport   `json:"backups"`
	WAL      WALReport        `json:"wal"`
	// Others are small records, beats, pieces that were replaced, and what failed backups left.
	OtherObjects int64 `json:"other_objects"`
	OtherBytes   int64 `json:"other_bytes"`
}

// BackupReport says of one backup whether it stays.
type BackupReport struct {
	ID      string    `json:"id"`
	Started time.Time `json:"started"`
	Bytes   int64     `json:"stored_bytes"`
	Keep    []Reason  `json:"keep"`             // empty if it goes
	Remove  Reason    `json:"remove,omitempty"` // why it goes
}

// WALReport says which WAL stays.
type WALReport struct {
	Keep           []StretchReport `json:"keep"`
	KeptObjects    int             `json:"kept_objects"`
	KeptBytes      int64           `json:"kept_bytes"`
	RemovedObjects int             `json:"removed_objects"`
	RemovedBytes   int64           `json:"removed_bytes"`
}

// StretchReport is WAL of one timeline. An end of FFFFFFFF/FFFFFFFF stands for all that comes.
type StretchReport struct {
	Timeline wal.TimelineID `json:"timeline"`
	Start    wal.LSN        `json:"start_lsn"`
	End      wal.LSN        `json:"end_lsn"`
}

// Describe returns the report of a plan for one repository.
func Describe(name, url string, p Plan) RepositoryReport {
	r := RepositoryReport{Name: name, Repository: url, Clusters: []ClusterReport{}}
	if !p.Now.IsZero() {
		from, until := p.Since.UTC(), p.Now.UTC()
		r.From, r.Until = &from, &until
	}
	for i := range p.Clusters {
		c := describe(&p.Clusters[i])
		r.Clusters = append(r.Clusters, c)
		for _, o := range p.Clusters[i].objects() {
			r.PlannedObjects, r.PlannedBytes = r.PlannedObjects+1, r.PlannedBytes+o.Size
		}
	}
	r.Versions = DescribeRemoval(p, Removed{})
	return r
}

func describe(p *ClusterPlan) ClusterReport {
	c := ClusterReport{SystemID: p.SystemID, Retired: p.Retired, Unknown: p.Unknown, Backups: []BackupReport{}, WAL: WALReport{
		Keep: []StretchReport{}, KeptObjects: p.Segments, KeptBytes: p.KeptWAL,
	}}
	for _, b := range p.Backups {
		keep := b.Keep
		if keep == nil {
			keep = []Reason{}
		}
		c.Backups = append(c.Backups, BackupReport{ID: b.ID, Started: b.Started.UTC(), Bytes: bytes(b.Objects), Keep: keep, Remove: b.Gone})
	}
	for _, s := range p.Keep {
		c.WAL.Keep = append(c.WAL.Keep, StretchReport{s.Timeline, s.Start, s.End})
	}
	for _, e := range p.WAL {
		c.WAL.RemovedObjects, c.WAL.RemovedBytes = c.WAL.RemovedObjects+1, c.WAL.RemovedBytes+e.Stored
	}
	var others []repository.Object
	for _, u := range p.Unfinished {
		others = append(others, u.Objects...)
	}
	for _, e := range p.Pieces {
		others = append(others, e.Object())
	}
	for _, d := range p.Drills {
		others = append(others, d.Objects...)
	}
	others = append(others, p.Objects...)
	c.OtherObjects, c.OtherBytes = int64(len(others)), bytes(others)
	return c
}
