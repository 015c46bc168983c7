package metrics

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

// Sample is one value of one metric.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// Samples makes samples of what is known of a cluster. It is pure: the same facts give the same samples, in the same order.
func Samples(f Facts) []Sample {
	b := batch{cluster: f.Live.Cluster}
	b.archive(f)
	b.slot(f.Live.Slot)
	b.jobs(f.Live)
	b.repositories(f.Live)
	if s := f.Live.Standby; s != nil {
		b.at("pgark_standby_replayed_timestamp_seconds", s.Until)
		b.add("pgark_standby_connected", number(s.Connected))
	}
	if f.Unsaid != nil {
		b.add("pgark_notify_failures_total", float64(*f.Unsaid))
	}
	if f.Report != nil {
		b.window(f)
		b.backups(f.Report.Backups)
		b.stored(*f.Report)
		if bill := f.Report.Cost; bill != nil && bill.Month != nil {
			b.add("pgark_repo_cost_usd_month", *bill.Month)
		}
		b.drills(f.Report.Drills)
	}
	return b.samples
}

// batch is the samples of one cluster so far.
type batch struct {
	cluster string
	samples []Sample
}

// add adds a sample; labels are names and values by turns.
func (b *batch) add(name string, value float64, labels ...string) {
	all := map[string]string{"cluster": b.cluster}
	for i := 0; i+1 < len(labels); i += 2 {
		all[labels[i]] = labels[i+1]
	}
	b.samples = append(b.samples, Sample{name, all, value})
}

// at adds an instant, if it is known.
func (b *batch) at(name string, t *time.Time, labels ...string) {
	if t != nil && !t.IsZero() {
		b.add(name, float64(t.UnixMilli())/1000, labels...)
	}
}

func number(yes bool) float64 { return map[bool]float64{true: 1}[yes] }

// archive is what the agent knows of archiving by itself.
func (b *batch) archive(f Facts) {
	l := f.Live
	if !l.Follows {
		b.add("pgark_leader", number(l.Leader))
	}
	b.add("pgark_objective_seconds", cmp.Or(f.Health.Target, status.RPOTarget).Seconds(), "objective", "rpo")
	if f.RTOTarget > 0 {
		b.add("pgark_objective_seconds", f.RTOTarget.Seconds(), "objective", "rto")
	}
	if f.Window > 0 {
		b.add("pgark_objective_seconds", f.Window.Seconds(), "objective", "window")
	}
	for _, kind := range slices.Sorted(maps.Keys(f.Pauses)) {
		b.add("pgark_job_interval_seconds", f.Pauses[kind].Seconds(), "kind", string(kind))
	}
	until := l.Until
	switch {
	case l.CaughtUp:
		until = &l.Now
	case until == nil && l.Standby == nil && f.Report != nil: // of a standby the primary's agent tells
		until = f.Report.RecoverableUntil
	}
	b.at("pgark_recoverable_until_timestamp_seconds", until)
	if l.Flush != 0 {
		b.add("pgark_wal_flush_lsn_bytes", float64(l.Flush))
	}
	if l.Received != nil {
		b.add("pgark_wal_received_bytes_total", float64(*l.Received))
	}
	switch several := f.Report != nil && len(f.Report.Copies) > 0; {
	case several:
		for _, c := range f.Report.Copies { // of the others pgark_copy_durable_lsn_bytes tells
			if c.Name == primary && c.Durable != nil {
				b.add("pgark_wal_durable_lsn_bytes", float64(c.Durable.LSN), "repo", c.Name)
			}
		}
	case l.Durable != 0 && len(l.Repositories) == 1:
		b.add("pgark_wal_durable_lsn_bytes", float64(l.Durable), "repo", l.Repositories[0].Name)
	}
}

// window is what the last look says of it, and whether all is well: that takes both what the look found and what the agent knows since.
func (b *batch) window(f Facts) {
	r := f.Report
	b.at("pgark_look_timestamp_seconds", &r.Now)
	b.at("pgark_recoverable_from_timestamp_seconds", r.RecoverableFrom)
	gaps := len(r.Gaps)
	if g := r.OpenGap; g != nil && (g.Cause != "" || f.Live.Durable == 0 || g.Start < f.Live.Durable) { // otherwise it is on its way
		gaps++
	}
	b.add("pgark_recovery_gaps", float64(gaps))
	if r.Verdict != "" && f.Live.Standby == nil {
		now := f.Live.Now
		b.add("pgark_protected", number(r.Verdict == status.Protected && f.Health.RPO(now, 0).OK))
	}
}

func (b *batch) slot(s *status.Slot) {
	if s == nil || !s.Exists {
		return
	}
	b.add("pgark_slot_retained_bytes", float64(s.Retained))
	if s.Bound != nil {
		b.add("pgark_slot_limit_bytes", float64(s.Bound.Limit))
	}
	if s.Active != nil {
		b.add("pgark_slot_active", number(*s.Active))
	}
}

func (b *batch) jobs(l status.Live) {
	b.at("pgark_backup_last_failure_timestamp_seconds", l.BackupFailed)
	for _, j := range l.Jobs {
		if j.Kind == status.JobBackup && j.Total > 0 {
			b.add("pgark_backup_progress_ratio", min(1, float64(j.Done)/float64(j.Total)))
			break // there is one at a time
		}
	}
	for _, v := range l.Verified {
		b.at("pgark_verify_last_success_timestamp_seconds", v.Sound, "repo", v.Repository)
		b.at("pgark_verify_last_failure_timestamp_seconds", v.Unsound, "repo", v.Repository)
		for _, kind := range slices.Sorted(maps.Keys(v.Damaged)) {
			b.add("pgark_verify_errors_total", float64(v.Damaged[kind]), "repo", v.Repository, "kind", kind)
		}
	}
}

func (b *batch) repositories(l status.Live) {
	for _, r := range l.Repositories {
		if r.Versioned != nil {
			b.add("pgark_repo_versioning_enabled", number(*r.Versioned), "repo", r.Name)
		}
		if r.Up == nil {
			continue
		}
		b.add("pgark_repo_up", number(*r.Up), "repo", r.Name)
		b.add("pgark_wal_stored_bytes_total", float64(r.StoredWAL), "repo", r.Name)
		for _, f := range r.Failures {
			b.add("pgark_repo_request_errors_total", float64(f.Count), "repo", r.Name, "op", f.Op, "code", f.Code)
		}
	}
}

// backups tells of the newest good one, and of the newest of each type when it was.
func (b *batch) backups(all []status.Backup) {
	var newest *status.Backup
	byType := map[string]time.Time{}
	for i, one := range all {
		if !one.Restorable || one.Checksums == "failed" {
			continue
		}
		if one.Stopped.After(byType[one.Type]) {
			byType[one.Type] = one.Stopped
		}
		if newest == nil || one.Stopped.After(newest.Stopped) {
			newest = &all[i]
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(byType)) {
		stopped := byType[kind]
		b.at("pgark_backup_last_success_timestamp_seconds", &stopped, "type", kind)
	}
	if newest == nil {
		return
	}
	b.add("pgark_backup_last_duration_seconds", newest.Stopped.Sub(newest.Started).Seconds())
	b.add("pgark_backup_last_size_bytes", float64(newest.Plain))
	b.add("pgark_backup_last_stored_bytes", float64(newest.Stored))
}

// primary is the name of the first repository, in configuration and reports.
const primary = "primary"

// stored is what the repositories hold, and how far the copies are.
func (b *batch) stored(r status.Report) {
	tell := func(name string, s status.Stored) {
		b.add("pgark_repo_stored_bytes", float64(s.WAL), "repo", name, "kind", "wal")
		b.add("pgark_repo_stored_bytes", float64(s.Backups), "repo", name, "kind", "base")
	}
	if len(r.Copies) == 0 {
		tell(primary, r.Stored)
	}
	for _, c := range r.Copies {
		if c.Error != "" {
			continue
		}
		tell(c.Name, c.Stored)
		if c.Name == primary {
			continue
		}
		b.at("pgark_copy_until_timestamp_seconds", c.Until, "repo", c.Name)
		if c.Durable != nil {
			b.add("pgark_copy_durable_lsn_bytes", float64(c.Durable.LSN), "repo", c.Name)
		}
	}
}

// drills tells of the newest, and of the newest that passed; they come oldest first.
func (b *batch) drills(all []status.Drill) {
	if len(all) == 0 {
		return
	}
	b.add("pgark_drill_last_passed", number(all[len(all)-1].Result == repository.DrillPassed))
	for _, d := range slices.Backward(all) {
		if d.Result != repository.DrillPassed {
			continue
		}
		b.at("pgark_drill_last_success_timestamp_seconds", &d.Started)
		for _, phase := range []struct {
			name    string
			seconds float64
		}{{"fetch", d.Fetch}, {"replay", d.Replay}, {"open", d.Opening}} {
			b.add("pgark_drill_rto_seconds", phase.seconds, "phase", phase.name)
		}
		if d.RTO != nil {
			b.add("pgark_drill_rto_seconds", *d.RTO, "phase", "total")
		}
		if d.DataLoss != nil {
			b.add("pgark_drill_data_loss_seconds", *d.DataLoss)
		}
		return
	}
}
