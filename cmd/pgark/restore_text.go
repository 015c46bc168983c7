package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
)

// printPlan prints what would be done, before anything is.
func (r *restoring) printPlan(binaries string) {
	p := r.plan
	into := r.into
	if into == "" {
		into = "(no --into yet)"
	}
	r.printf("%s  cluster %s%s%s      nothing written yet\n\n", r.paint("Plan", "1"), p.SystemID, r.arrow(), into)
	r.row("target", "%s", r.targetText())
	if c := p.LastCommit; c != nil {
		r.row("", "last transaction kept  %s   xid %d   lsn %s", exact(c.Time.Go()), uint32(c.XID), c.Start)
	} else {
		r.row("", "no transaction after the base backup is kept")
	}
	b := p.Backup
	r.row("base", "%s   %s (%s stored), PostgreSQL %s", b.ID, size(b.Plain), size(b.Stored), versionText(b.PGVersionNum))
	start := b.StartLSN
	r.row("WAL", "%s%s%s   %s, %s, timeline %d, none missing", start, r.arrow(), p.Until, count(p.Segments, "segment"), size(int64(p.WAL)), uint32(p.Timeline))
	free := ""
	if p.Free > 0 {
		free = ", " + size(int64(p.Free)) + " free"
	}
	r.row("needs", "%s%s", size(int64(p.Needed)), free)
	if binaries != "" {
		r.row("programs", "%s", binaries)
	}
	for _, note := range p.Notes {
		r.row("note", "%s", note)
	}
	r.printf("\n")
}

// targetText says the target in UTC first, and how long ago and where we are when it is a time.
func (r *restoring) targetText() string {
	t := r.plan.Target
	if t.Kind != restore.TargetTime {
		return t.String()
	}
	at := t.Time.Go()
	now := r.program.now()
	local := ""
	if zone := now.Location(); zone != time.UTC && at.In(zone).Format("-0700") != "+0000" {
		local = "; " + at.In(zone).Format("15:04:05 -0700")
	}
	exclusive := ""
	if t.Exclusive {
		exclusive = "   and nothing at that very time"
	}
	return fmt.Sprintf("%s   (%s ago%s)%s", exact(at), elapsed(now.Sub(at)), local, exclusive)
}

func versionText(num int) string { return fmt.Sprintf("%d.%d", num/10000, num%10000) }

// planJSON is the plan as scripts get it.
func (r *restoring) planJSON() map[string]any {
	p := r.plan
	document := map[string]any{
		"system_id": p.SystemID, "target": p.Target.String(), "backup": p.Backup.ID, "timeline": p.Timeline,
		"start_lsn": p.Backup.StartLSN, "until_lsn": p.Until, "segments": p.Segments, "wal_bytes": p.WAL,
		"needed_bytes": p.Needed, "notes": p.Notes, "last_transaction": commitJSON(p.LastCommit),
	}
	if p.Free > 0 {
		document["free_bytes"] = p.Free
	}
	return document
}

func commitJSON(c *wal.TransactionEnd) any {
	if c == nil {
		return nil
	}
	return map[string]any{"xid": uint32(c.XID), "time": exact(c.Time.Go()), "lsn": c.Start}
}

// printLaid says what to do with a cluster that was not started.
func (r *restoring) printLaid(laid *restore.Laid) error {
	if r.json {
		return r.printJSON(map[string]any{
			"plan":   r.planJSON(),
			"result": map[string]any{"directory": laid.Dir, "files": laid.Files, "bytes": laid.Bytes, "seconds": laid.Took.Seconds(), "notes": laid.Notes},
		})
	}
	r.printf("Laid down in %s: %s, %s. Recovery happens when the server is started.\n", elapsed(laid.Took), count(int(laid.Files), "file"), size(laid.Bytes))
	r.row("start", "pg_ctl -D %s start", laid.Dir)
	for _, note := range laid.Notes {
		r.row("note", "%s", note)
	}
	return nil
}

// printRecovered says what the server proved, and how to reach it.
func (r *restoring) printRecovered(laid *restore.Laid, got *restore.Recovered, took time.Duration) error {
	if r.json {
		return r.printJSON(map[string]any{"plan": r.planJSON(), "result": r.resultJSON(laid, got, took)})
	}
	last := "No transaction after the base backup is applied."
	if c := got.LastCommit; c != nil {
		last = fmt.Sprintf("Last transaction applied: xid %d at %s.", uint32(c.XID), exact(c.Time.Go()))
	}
	r.printf("Restored in %s. %s Later ones applied: %d of %d looked for.\n", elapsed(took), last, got.Later, got.LaterChecked)
	if s := got.Server; s != nil {
		state := "read-write"
		if got.InRecovery {
			state = "paused at the target"
		}
		r.row("running", "socket %s, port %d, timeline %d, %s, archiving OFF", s.SocketDir, s.Port, uint32(got.Timeline), state)
		r.row("look", "psql -h %s -p %d", s.SocketDir, s.Port)
		r.row("stop", "%s -D %s stop", filepath.Join(s.BinDir, "pg_ctl"), s.DataDir)
	} else {
		r.row("stopped", "at the target, in %s", laid.Dir)
	}
	for _, note := range laid.Notes {
		r.row("note", "%s", note)
	}
	return nil
}

func (r *restoring) resultJSON(laid *restore.Laid, got *restore.Recovered, took time.Duration) map[string]any {
	document := map[string]any{
		"directory": laid.Dir, "files": laid.Files, "bytes": laid.Bytes, "seconds": took.Seconds(), "notes": laid.Notes,
		"timeline": got.Timeline, "in_recovery": got.InRecovery, "replayed_lsn": got.Replayed,
		"last_transaction": commitJSON(got.LastCommit), "later_applied": got.Later, "later_checked": got.LaterChecked,
	}
	if s := got.Server; s != nil {
		document["socket"], document["port"], document["pid"], document["log"] = s.SocketDir, s.Port, s.PID, s.Log
	}
	return document
}
