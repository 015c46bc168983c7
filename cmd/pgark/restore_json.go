package main

import (
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
)

// estimateJSON is nil where there is no estimate.
func (r *restoring) estimateJSON() any {
	e := r.estimate
	if e == nil {
		return nil
	}
	return map[string]any{
		"seconds": e.Total().Seconds(), "plan_seconds": e.Plan.Seconds(), "fetch_seconds": e.Fetch.Seconds(), "replay_seconds": e.Replay.Seconds(), "open_seconds": e.Open.Seconds(),
		"drill": e.Drill.ID, "drills": e.Drills,
	}
}

// planJSON is the plan as scripts get it. docs/JSON.md describes it; fields are only ever added.
func (r *restoring) planJSON() map[string]any {
	p := r.plan
	b := p.Backup
	timelines := []wal.TimelineID{}
	for _, leg := range p.Legs {
		timelines = append(timelines, leg.Timeline)
	}
	document := map[string]any{
		"cluster": r.configured.Name, "system_id": p.SystemID, "repository": r.asked()[0].URL, "sources": r.sourcesJSON(),
		"target": p.Target.String(), "last_transaction": commitJSON(p.LastCommit),
		"backup": b.ID, "backup_bytes": b.Plain, "backup_stored_bytes": b.Stored, "backup_stopped": exact(b.Stopped),
		"pg_version_num": b.PGVersionNum, "page_checksums": b.Checksums,
		"timeline": p.Timeline, "timelines": timelines, "start_lsn": b.StartLSN, "until_lsn": p.Until, "segments": p.Segments, "wal_bytes": p.WAL,
		"needed_bytes": p.Needed, "binaries": nil, "at_target": r.action, "in_place": r.inPlace, "estimate": r.estimateJSON(), "start": r.cli.Bool("start"), "notes": listJSON(p.Notes),
	}
	if !r.asOf.IsZero() {
		document["as_of"] = exact(r.asOf)
	}
	if r.standby != nil {
		document["at_target"], document["primary_conninfo"] = "follow", r.standby.Conninfo
	}
	if p.Target.Kind == restore.TargetTime {
		document["target_time"] = exact(p.Target.Time.Go())
	}
	if r.binaries.err == nil {
		document["binaries"] = map[string]any{"directory": r.binaries.dir, "version": r.binaries.version}
	}
	if r.cli.Bool("start") && r.action != restore.ActionShutdown {
		document["port"] = r.cli.Int("port")
		if dir := restore.DefaultSocketDir(r.into); r.into != "" && dir != "" {
			document["socket"] = dir
		}
	}
	if r.site != nil {
		r.siteJSON(document)
	}
	document["archived"] = archivedJSON(p.Archived, r.done())
	return document
}

// listJSON is a list that is never null.
func listJSON(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// siteJSON adds where the cluster is to lie.
func (r *restoring) siteJSON(document map[string]any) {
	tablespaces := []map[string]any{}
	for _, t := range r.site.Tablespaces {
		row := map[string]any{"oid": t.OID, "from": t.From, "to": nil}
		if t.To != "" {
			row["to"] = t.To
		}
		tablespaces = append(tablespaces, row)
	}
	systems := []map[string]any{}
	for _, fs := range r.site.FileSystems {
		systems = append(systems, map[string]any{"mount": fs.Mount, "needed_bytes": fs.Needed, "free_bytes": fs.Free, "held_bytes": fs.Held})
	}
	document["directory"], document["tablespaces"], document["file_systems"] = r.site.Dir, tablespaces, systems
	if len(systems) > 0 {
		document["free_bytes"] = r.site.FileSystems[0].Free
	}
}

func commitJSON(c *wal.TransactionEnd) any {
	if c == nil {
		return nil
	}
	return map[string]any{"xid": uint32(c.XID), "time": exact(c.Time.Go()), "lsn": c.Start}
}

func (r *restoring) resultJSON(laid *restore.Laid, got *restore.Recovered, took time.Duration) map[string]any {
	document := map[string]any{
		"directory": laid.Dir, "files": laid.Files, "bytes": laid.Bytes, "seconds": took.Seconds(), "notes": listJSON(laid.Notes),
		"reused_files": laid.ReusedFiles, "reused_bytes": laid.ReusedBytes,
		"substitutes": r.substitutesJSON(),
		"timeline":    got.Timeline, "in_recovery": got.InRecovery, "replayed_lsn": got.Replayed,
		"invalid_databases": listJSON(got.Invalid), "checks": append([]repository.DrillCheck{}, r.checks...),
		"last_transaction": commitJSON(got.LastCommit), "later_applied": got.Later, "later_checked": got.LaterChecked, "late_segments": got.Late,
	}
	if s := got.Server; s != nil {
		document["socket"], document["port"], document["pid"], document["log"] = s.SocketDir, s.Port, s.PID, s.Log
		document["user"], document["database"] = got.User, got.Database
	}
	return document
}
