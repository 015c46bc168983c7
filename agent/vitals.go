package agent

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/health"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

// Vitals are what is known of one agent at work, for those who ask it and must not wait. The zero value knows nothing; Run fills it.
type Vitals struct {
	agent    atomic.Pointer[running]
	standby  atomic.Pointer[standbySighting] // nil while its server is none
	backedUp atomic.Bool
	settings atomic.Pointer[config.Cluster]
	pauses   atomic.Pointer[map[status.JobKind]time.Duration]
	slot     atomic.Pointer[slotLook] // nil before the first look

	cluster  string
	began    time.Time
	activity *activity
	tally    *tally
}

// NewVitals returns those of an agent that has not begun.
func NewVitals(c config.Cluster) *Vitals {
	var names []string
	for _, one := range c.Repositories() {
		if !one.ByBucket { // the agent never writes there
			names = append(names, one.Name)
		}
	}
	v := &Vitals{cluster: c.Name, began: time.Now().UTC(), activity: &activity{cluster: c.Name}, tally: newTally(names)}
	v.Reconfigure(c)
	return v
}

// Reconfigure has them judged by the settings of c from now on.
func (v *Vitals) Reconfigure(c config.Cluster) {
	v.settings.Store(&c)
	pauses := pausesOf(c)
	v.pauses.Store(&pauses)
}

// Pauses is the longest time between two runs that the schedule of each job names. A job that is not there is not scheduled.
func (v *Vitals) Pauses() map[status.JobKind]time.Duration { return *v.pauses.Load() }

// Settings are those in force.
func (v *Vitals) Settings() config.Cluster { return *v.settings.Load() }

// Tell has events told to f, which must not block. It is called before Run.
func (v *Vitals) Tell(f func(status.Event)) { v.activity.tell = f }

// TellUploads has f told how long each repository took for each object of WAL, without the attempts that failed. f must not block. It is called before Run.
func (v *Vitals) TellUploads(f func(repository string, took time.Duration)) { v.tally.uploaded = f }

// caughtUpFor is how long the server's word counts that there is no more: it is asked every two seconds while it says nothing.
const caughtUpFor = 5 * time.Second

// Facts are what is known now. It asks nobody; it may be called at any time.
func (v *Vitals) Facts() health.Facts {
	var f health.Facts
	if c := v.settings.Load(); c != nil {
		f.Target, f.Archive.Every = c.Objectives.RPO, c.Repo.Every
	}
	f.Archive.BackedUp = v.backedUp.Load()
	if seen := v.standby.Load(); seen != nil {
		f.Standby, f.Server = seen.facts()
	}
	a := v.agent.Load()
	if a == nil {
		return f
	}
	if seen := a.commits.sighted.Load(); seen != nil {
		f.Server = health.Server{
			Seen: seen.at, Failed: seen.failed, Recovery: seen.recovery, SystemID: seen.system.ID, Timeline: seen.system.Timeline,
		}
	}
	s := a.archiver.Status()
	f.Archive.SystemID, f.Archive.Lost = s.SystemID, s.Lost != 0
	f.Archive.Compared = s.Durable.Timeline != 0
	f.Archive.Fenced, f.Archive.Stopping = s.State == archiver.Fenced, s.State == archiver.Stopping || s.State == archiver.Stopped
	f.Archive.Streaming, f.Archive.Turned = streams(s), s.Turned
	f.Archive.Stored, f.Archive.Refused = s.Stored, s.StoreError != ""
	f.Archive.Exposure = exposureOf(s, time.Now())
	return f
}

func streams(s archiver.Status) bool {
	return s.State == archiver.Streaming || s.State == archiver.CatchingUp
}

// exposureOf is what an archiver knows of the instants that can be restored, where no gap is open. What it knows by this host's clock is
// older than need be while it catches up; then the time of the last durable commit counts too, which is the server's.
func exposureOf(s archiver.Status, now time.Time) status.Exposure {
	e := status.Exposure{Until: s.CoveredUntil}
	if (e.Until.IsZero() || s.State == archiver.CatchingUp) && s.CoverageTime.After(e.Until) {
		e.Until = s.CoverageTime
	}
	e.CaughtUp = s.State == archiver.Streaming && s.ServerEnd != 0 && s.ServerEnd <= s.Durable.LSN && now.Sub(s.CoveredUntil) <= caughtUpFor
	return e
}

// watch finds out when there is a base backup. Before the first one nothing that is durable can be restored; later ones always leave one.
func (v *Vitals) watch(ctx context.Context, a *running) {
	v.agent.Store(a)
	ticker := time.NewTicker(backupEvery)
	defer ticker.Stop()
	for !v.backedUp.Load() {
		if cluster := a.commits.cluster.Load(); cluster != nil {
			v.lookForBackup(ctx, cluster)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (v *Vitals) lookForBackup(ctx context.Context, cluster *repository.Cluster) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	backups, err := cluster.Backups(ctx)
	if err == nil || repository.OnlyUnreadable(err) {
		v.backedUp.Store(!newestGood(backups).IsZero())
	}
}

// sighting is what the last looks at the server found. It is never changed.
type sighting struct {
	at       time.Time // when the last one began that succeeded
	failed   bool      // one after it did not
	recovery bool
	system   postgres.System
}
