package main

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/status"
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
