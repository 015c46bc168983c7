package agent

import (
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/status"
)

// counts is the tally of the cluster's stores; nil of nil.
func (v *Vitals) counts() *tally {
	if v == nil {
		return nil
	}
	return v.tally
}

// jobs is what keeps the agent's jobs; nil of nil.
func (v *Vitals) jobs() *activity {
	if v == nil {
		return nil
	}
	return v.activity
}

// Live is what is known now. It asks nobody; it may be called at any time.
func (v *Vitals) Live() status.Live {
	now := time.Now()
	l := status.Live{
		Cluster: v.cluster, Now: now.UTC(), Began: v.began, Repositories: []status.LiveRepository{}, Jobs: []status.Job{}, Ended: []status.Job{},
	}
	v.tally.fill(&l)
	v.activity.fill(&l)
	if seen := v.standby.Load(); seen != nil {
		l.State, l.Standby = "standby", &status.LiveStandby{Connected: seen.standing.Streams && !seen.failed, Until: known(seen.judgement.Until)}
	}
	if seen := v.slot.Load(); seen != nil {
		slot := seen.slot
		l.Slot, l.SlotSeen = &slot, known(seen.at)
	}
	a := v.agent.Load()
	l.Follows = a == nil && v.Settings().Standby.Role == config.RoleFollow
	if a != nil {
		v.fillArchive(&l, a.archiver.Status(), now)
		if seen := a.commits.sighted.Load(); seen != nil && !seen.failed && seen.system.ID == a.archiver.Status().SystemID {
			l.Flush = max(l.Flush, seen.system.Flush)
		}
	}
	return l
}

// fillArchive adds what an archiver knows.
func (v *Vitals) fillArchive(l *status.Live, s archiver.Status, now time.Time) {
	l.State, l.Since, l.Error = string(s.State), known(s.Since), s.Error
	if s.StoreError != "" {
		l.Error = s.StoreError
	}
	if !s.AwayFrom.IsZero() && s.Attempts > 0 {
		l.Away = &status.Outage{Since: s.AwayFrom.UTC(), Tries: uint64(s.Attempts), Error: s.Error}
	}
	l.LastCommit = known(s.LastCommit)
	l.Leader = streams(s)
	l.Flush, l.Durable = s.ServerEnd, s.Durable.LSN
	received := s.BytesReceived
	l.Received = &received
	if !v.backedUp.Load() || s.Lost != 0 || s.State == archiver.Fenced {
		return // nothing of what is durable can be restored now, or it is another's
	}
	e := exposureOf(s, now)
	l.Until, l.CaughtUp = known(e.Until), e.CaughtUp && !e.Until.IsZero()
	if age, ok := e.Age(now); ok {
		seconds := age.Seconds()
		l.RPO = &seconds
	}
}
