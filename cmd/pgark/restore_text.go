package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/wal"
)

// printPlan prints what would be done, before anything is.
func (r *restoring) printPlan() {
	p := r.plan
	into := r.into
	if into == "" {
		into = "(no --into yet)"
	}
	what := "nothing written yet"
	if r.inPlace {
		what = "IN PLACE, " + what
	}
	r.printf("%s  %s%s%s   %s\n\n", r.paint("Plan", "1"), r.configured.Name, r.arrow(), into, what)
	r.printTarget()
	r.printStrip()
	b := p.Backup
	r.fields("base", b.ID, size(b.Plain)+" ("+size(b.Stored)+" stored)", r.ago(b.Stopped)+" old", checksumsText(b), r.provedText())
	r.fields("WAL", fmt.Sprintf("%s%s%s", b.StartLSN, r.arrow(), p.Until), count(p.Segments, "segment")+", "+size(int64(p.WAL)), timelinesText(p.Legs)+", none missing")
	r.printFrom()
	r.printArchived()
	r.printSite()
	r.fields("server", r.binariesText())
	r.printEstimate()
	r.printEnd()
	for _, note := range p.Notes {
		r.wrapped("note", note)
	}
	r.printf("\n")
}

// printTarget says what was asked for, in UTC first, and the commit it comes to.
func (r *restoring) printTarget() {
	if r.standby != nil {
		r.fields("standby", "replays to the end of the archive, and follows it from there on")
		return
	}
	t, last := r.plan.Target, r.plan.LastCommit
	asked, commit := t.String(), "last commit applied"
	switch t.Kind {
	case restore.TargetLatest:
		asked = "latest, the end of the archive"
	case restore.TargetImmediate:
		asked = "the end of the base backup"
	case restore.TargetLSN, restore.TargetXID, restore.TargetName:
	case restore.TargetTime:
		at := t.Time.Go()
		asked = moment(at) + "   (" + r.ago(at) + " ago" + r.local(at) + ")"
		commit = "last commit at or before it"
		if t.Exclusive {
			commit = "last commit before it"
		}
	}
	r.fields("target", asked)
	if last == nil {
		r.fields("", "no commit after the base backup is applied")
		return
	}
	at := moment(last.Time.Go())
	if t.Kind == restore.TargetTime && t.Time.Go().UTC().Truncate(24*time.Hour).Equal(last.Time.Go().UTC().Truncate(24*time.Hour)) {
		_, at, _ = strings.Cut(at, " ") // the day was said
	}
	r.fields("", commit+" "+at, fmt.Sprintf("xid %d", uint32(last.XID)), "lsn "+last.Start.String())
}

// local says a time where we are, if that is not UTC.
func (r *restoring) local(at time.Time) string {
	zone := r.program.now().Location()
	if zone == time.UTC || at.In(zone).Format("-0700") == "+0000" {
		return ""
	}
	return "; " + at.In(zone).Format("15:04:05 -07:00")
}

func (r *restoring) ago(at time.Time) string { return elapsed(r.program.now().Sub(at)) }

// printStrip draws the recovery window with the target in it.
func (r *restoring) printStrip() {
	w := r.window
	if w == nil || w.RecoverableFrom == nil {
		return
	}
	at := r.plan.Backup.Stopped
	switch {
	case r.plan.Target.Kind == restore.TargetTime:
		at = r.plan.Target.Time.Go()
	case r.plan.Target.Kind == restore.TargetLatest:
		at = *w.RecoverableUntil
	case r.plan.LastCommit != nil:
		at = r.plan.LastCommit.Time.Go()
	}
	strip := w.Strip(r.charset(), status.Mark{At: at, Kind: status.MarkTarget})
	if strip == "" {
		return
	}
	r.row("window", "%s", strip)
	gaps := ""
	if n := len(w.Gaps); n > 0 {
		gaps = count(n, "gap")
	}
	r.fields("", instant(*w.RecoverableFrom)+r.arrow()+instant(*w.RecoverableUntil), gaps)
}

// provedText says with which drill the base backup was restored.
func (r *restoring) provedText() string {
	if r.window == nil {
		return ""
	}
	for _, b := range r.window.Backups {
		if b.ID == r.plan.Backup.ID && b.Drill != nil {
			return "proved by drill " + b.Drill.ID
		}
	}
	return ""
}

// checksumsText is the server's verdict on the pages it read for the backup.
func checksumsText(b repository.Backup) string {
	switch b.Checksums {
	case repository.ChecksumsVerified:
		return "page checksums right"
	case repository.ChecksumsFailed:
		return "PAGE CHECKSUMS WRONG: " + count(int(b.ChecksumFailures), "page")
	case repository.ChecksumsOff:
		return "page checksums off"
	}
	return ""
}

func timelinesText(legs []restore.Leg) string {
	var list []string
	for _, leg := range legs {
		list = append(list, fmt.Sprint(uint32(leg.Timeline)))
	}
	if len(list) == 1 {
		return "timeline " + list[0]
	}
	return "timelines " + strings.Join(list, ", ")
}

// printEstimate says how long it will take, as far as drills tell.
func (r *restoring) printEstimate() {
	e := r.estimate
	if e == nil {
		r.fields("estimate", "none: no drill has measured a restore yet", "pgark drill run does")
		return
	}
	atMost := ""
	if r.site != nil && r.site.Held > 0 {
		atMost = "at most " // how much is right already is not known before it is read
	}
	plan := ""
	if e.Plan > 0 {
		plan = "plan " + elapsed(e.Plan) + " + "
	}
	r.fields("estimate", fmt.Sprintf("%s%s = %sfetch %s + replay %s + open %s", atMost, elapsed(e.Total()), plan, elapsed(e.Fetch), elapsed(e.Replay), elapsed(e.Open)),
		fmt.Sprintf("rates of %s, the last %s ago", count(e.Drills, "drill"), r.ago(e.Drill.Started)))
}

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

// printSite says what space is needed where, and where the tablespaces go.
func (r *restoring) printSite() {
	if r.site == nil {
		r.fields("needs", size(int64(r.plan.Needed)))
		return
	}
	label := "needs"
	for _, fs := range r.site.FileSystems {
		r.fields(label, fmt.Sprintf("%s of %s free%s in %s", size(int64(fs.Needed)), size(int64(fs.Free)), heldText(fs), fs.Mount))
		label = ""
	}
	for _, t := range r.site.Tablespaces {
		to := t.To
		if to == "" {
			to = fmt.Sprintf("no place yet: --tablespace %d=DIR", t.OID)
		}
		r.fields(label, fmt.Sprintf("tablespace %d, %s%s%s", t.OID, t.From, r.arrow(), to))
		label = ""
	}
}

// heldText is what lies on a file system and is kept or goes.
func heldText(fs restore.FileSystem) string {
	if fs.Held == 0 {
		return ""
	}
	return " and " + size(int64(fs.Held)) + " of what is there"
}

// replaceNotes says what a person should know of the cluster that is replaced.
func (r *restoring) replaceNotes() []string {
	if !r.inPlace || r.site == nil {
		return nil
	}
	notes := []string{"what lies in pg_wal goes: copy it away first if commits that were never archived matter"}
	if state := r.site.State; state != nil && *state != postgres.StateShutDown && *state != postgres.StateShutDownInRecovery {
		notes = append(notes, "the server was not shut down: its pg_control says "+state.String())
	}
	return notes
}

func (r *restoring) binariesText() string {
	of := versionText(r.plan.Backup.PGVersionNum)
	var none *restore.BinariesError
	switch {
	case errors.As(r.binaries.err, &none) && r.cli.String("bin-dir") != "":
		return "of " + of + " wanted; " + strings.Join(none.Tried, "; ")
	case r.binaries.err != nil:
		return "of " + of + " wanted; no programs of PostgreSQL " + fmt.Sprint(r.plan.Backup.PGVersionNum/10000) + " found on this host"
	}
	return r.binaries.version + " in " + r.binaries.dir + ", same major as the backup's " + of
}

// printEnd says what the server does once the target is reached.
func (r *restoring) printEnd() {
	if r.standby != nil {
		r.printStandbyPlan()
		return
	}
	what := map[restore.Action]string{
		restore.ActionPromote: "opens read-write on a new timeline", restore.ActionPause: "pauses, read-only", restore.ActionShutdown: "shuts down",
	}[r.action]
	if !r.cli.Bool("start") {
		r.fields("at target", what+", archiving off", "not started: no --start")
		return
	}
	socket := ""
	if r.action != restore.ActionShutdown {
		socket = r.socketText()
	}
	r.fields("at target", what+", archiving off", socket)
}

// socketText is where the started server will listen.
func (r *restoring) socketText() string {
	dir := ""
	if r.into != "" {
		if dir = restore.DefaultSocketDir(r.into); dir == "" {
			dir = "in a temporary folder"
		}
	}
	return strings.Join(strings.Fields(fmt.Sprintf("socket only %s, port %d", dir, r.cli.Int("port"))), " ")
}

func versionText(num int) string { return fmt.Sprintf("%d.%d", num/10000, num%10000) }

// moment prints a time in UTC to PostgreSQL's microsecond, or the second if it is a whole one. --to takes it.
func moment(t time.Time) string {
	if t = t.UTC(); t.Nanosecond() < int(time.Microsecond) {
		return t.Format("2006-01-02 15:04:05Z")
	}
	return t.Format("2006-01-02 15:04:05.000000Z")
}

// lineWidth is how wide a line of a plan or report gets, where its words allow that.
const lineWidth = 100

// fields prints a row of parts three spaces apart, in as many lines as that takes.
func (s *session) fields(label string, parts ...string) { s.lines(label, "   ", parts) }

// wrapped prints a row of prose.
func (s *session) wrapped(label, prose string) { s.lines(label, " ", strings.Fields(prose)) }

func (s *session) lines(label, apart string, parts []string) {
	const indent = 12 // that of row
	line := ""
	for _, part := range parts {
		switch {
		case part == "":
		case line == "":
			line = part
		case indent+utf8.RuneCountInString(line+apart+part) > lineWidth:
			s.row(label, "%s", line)
			label, line = "", part
		default:
			line += apart + part
		}
	}
	s.row(label, "%s", line)
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

// as has a command that root is to type run as the owner. Unlike sudo, runuser is wherever Linux is.
func (r *restoring) as(words ...string) string {
	var quoted []string
	for _, word := range words {
		quoted = append(quoted, quoteWord(word))
	}
	line := strings.Join(quoted, " ")
	if r.owner != nil {
		return "runuser -u " + quoteWord(r.cli.String("owner")) + " -- " + line
	}
	return line
}

// pgCtl is a call of pg_ctl for the data directory dir.
func (r *restoring) pgCtl(dir string, words ...string) string {
	return r.as(append([]string{filepath.Join(r.binaries.dir, "pg_ctl"), "-D", dir}, words...)...)
}

// printLaid says what to do with a cluster that was not started.
func (r *restoring) printLaid(laid *restore.Laid) error {
	if r.json {
		return r.printJSON(map[string]any{
			"plan": r.planJSON(),
			"result": map[string]any{
				"directory": laid.Dir, "files": laid.Files, "bytes": laid.Bytes, "seconds": laid.Took.Seconds(),
				"reused_files": laid.ReusedFiles, "reused_bytes": laid.ReusedBytes,
				"notes": listJSON(laid.Notes), "substitutes": r.substitutesJSON(),
			},
		})
	}
	r.printf("Laid down in %s: %s, %s. Recovery happens when the server is started.\n", elapsed(laid.Took), count(int(laid.Files), "file"), size(laid.Bytes))
	r.printReused(laid)
	r.row("start", "%s", r.pgCtl(laid.Dir, "start"))
	r.wrapped("", "it listens where its postgresql.conf says, and recovers to the target; it does not archive")
	r.printAdopt()
	for _, note := range laid.Notes {
		r.wrapped("note", note)
	}
	r.printSubstitutes(r.substitutes())
	return nil
}

// printRecovered says what the server proved, and how to reach it.
func (r *restoring) printRecovered(laid *restore.Laid, got *restore.Recovered, took time.Duration) error {
	degraded := r.verified()
	if degraded == nil && len(got.Invalid) > 0 {
		degraded = &codeError{code: exitDegraded}
	}
	if r.json {
		if err := r.printJSON(map[string]any{"plan": r.planJSON(), "result": r.resultJSON(laid, got, took)}); err != nil {
			return err
		}
		return degraded
	}
	last := "No commit after the base backup is applied."
	if c := got.LastCommit; c != nil {
		last = fmt.Sprintf("Last commit applied: xid %d at %s.", uint32(c.XID), moment(c.Time.Go()))
	}
	r.printf("Restored in %s. %s Later commits applied: %d.\n", elapsed(took), last, got.Later)
	r.printReused(laid)
	if got.Server != nil {
		proof := "the server replayed to " + got.Replayed.String() + " and no further"
		if got.LaterChecked > 0 {
			proof += fmt.Sprintf("; %s that committed right behind it looked up, none is there", count(got.LaterChecked, "transaction"))
		}
		r.wrapped("proved", proof)
		r.printRunning(got)
	} else {
		r.wrapped("proved", "the server shut down at the target; its pg_control asks for WAL up to "+got.Replayed.String()+" and no further")
		r.fields("stopped", "at the target, archiving OFF", "in "+laid.Dir)
		r.row("open", "%s", r.pgCtl(laid.Dir, "-o", "-c recovery_target_action=promote", "start"))
	}
	if all := r.plan.Segments; got.Late > 2 && got.Late*10 > all { // the first ones are asked for at once
		r.wrapped("slow", fmt.Sprintf("the server waited for %d of %s of WAL: reading them from the repository is what took the time", got.Late, count(all, "segment")))
	}
	for _, note := range laid.Notes {
		r.wrapped("note", note)
	}
	r.printSubstitutes(r.substitutes())
	r.printInvalid(got)
	r.printChecks()
	return degraded
}

// printInvalid tells of databases that the target left half dropped.
func (r *restoring) printInvalid(got *restore.Recovered) {
	if len(got.Invalid) == 0 {
		return
	}
	for _, name := range got.Invalid {
		r.wrapped("INVALID", "database "+name+": DROP DATABASE was at work on it at this instant, or had been broken off; it admits nobody, files of it may be gone")
	}
	flags := []string{"--drops"}
	if c := r.plan.LastCommit; c != nil {
		flags = append(flags, "--around", exact(c.Time.Go()))
	}
	r.row("fix", "%s", r.sameArchive("log", flags...))
	r.wrapped("", "names the place right before the drop began; restore to that")
}

// printReused says how much was there already.
func (r *restoring) printReused(laid *restore.Laid) {
	if laid.ReusedFiles > 0 {
		r.fields("reused", fmt.Sprintf("%s, %s, that were right already", count(int(laid.ReusedFiles), "file"), size(laid.ReusedBytes)))
	}
}

// printAdopt says how a cluster that was replaced goes on being archived.
func (r *restoring) printAdopt() {
	if r.inPlace && r.action == restore.ActionPromote {
		r.row("archive", "pgark run --adopt %s   once, when the server runs as usual: it is on a timeline of its own now", r.plan.SystemID)
	}
}

// printRunning says how to look into the server, and how to end it.
func (r *restoring) printRunning(got *restore.Recovered) {
	s := got.Server
	psql := []string{"psql", "-h", s.SocketDir, "-p", fmt.Sprint(s.Port), "-U", got.User, "-d", got.Database}
	state := "read-write"
	if got.InRecovery {
		state = "read-only, paused at the target"
	}
	r.fields("running", "socket "+s.SocketDir+", port "+fmt.Sprint(s.Port), fmt.Sprintf("timeline %d", uint32(got.Timeline)), state, "archiving OFF")
	r.row("look", "%s", r.as(psql...))
	if got.InRecovery {
		r.row("open", "%s", r.as(append(psql, "-c", "select pg_wal_replay_resume()")...))
	}
	r.row("stop", "%s", r.as(filepath.Join(s.BinDir, "pg_ctl"), "-D", s.DataDir, "stop"))
	r.printAdopt()
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
