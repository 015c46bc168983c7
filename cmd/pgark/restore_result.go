package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/pgark/pgark/restore"
)

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
