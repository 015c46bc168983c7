package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pgark/pgark/commitlog"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// relationsShown is how many relations of a removal stand in a line.
const relationsShown = 5

// logView is a log and how it was asked for.
type logView struct {
	*session

	log        *commitlog.Log
	query      commitlog.Query
	configured config.Cluster
}

// print prints the log. Where WAL could not be read it returns the exit code for that.
func (v *logView) print() error {
	if v.json {
		if err := v.printJSON(v.document()); err != nil {
			return err
		}
	} else {
		v.text()
	}
	if slices.ContainsFunc(v.log.Entries, func(e commitlog.Entry) bool { return e.Kind == commitlog.KindDamaged }) {
		return &codeError{code: exitDegraded}
	}
	return nil
}

func (v *logView) text() {
	v.printf("%s\n", v.heading())
	for _, n := range v.log.Notes {
		v.printf("  note  %s\n", n)
	}
	if len(v.log.Entries) == 0 {
		v.nothing()
		return
	}
	v.printf("\n")
	rows, below := [][]string{{"TIME (UTC)", "XID", "LSN", "WHAT"}}, map[int]string{}
	for i, e := range v.log.Entries {
		if i == v.log.Applied {
			rows = append(rows, v.stop()...)
		}
		rows = append(rows, v.row(e))
		if hint := v.hint(e); hint != "" {
			below[len(rows)-1] = hint
		}
	}
	if v.log.Applied == len(v.log.Entries) {
		rows = append(rows, v.stop()...)
	}
	if v.log.MoreBefore {
		rows = slices.Insert(rows, 1, []string{"…", "", "", "more before: --limit N, or another --around"})
		below = shifted(below)
	}
	if v.log.MoreAfter {
		rows = append(rows, []string{"…", "", "", "more behind: --limit N, or another --around"})
	}
	for i, line := range columns(rows) {
		v.printf("%s\n", line)
		if below[i] != "" {
			v.printf("%s\n", below[i])
		}
	}
	if len(v.log.NamesOf) > 0 {
		v.printf("\nNames are those of drill %s.\n", strings.Join(v.log.NamesOf, ", "))
	}
}

// shifted moves what stands below rows with them, where one was put before all.
func shifted(below map[int]string) map[int]string {
	moved := map[int]string{}
	for i, text := range below {
		moved[i+1] = text
	}
	return moved
}

// heading says what was looked through.
func (v *logView) heading() string {
	line := fmt.Sprintf("%s   system id %s   timeline %d", v.configured.Name, v.log.SystemID, uint32(v.log.Timeline))
	if v.log.From == 0 {
		return line
	}
	line += "   " + moment(v.log.From.Go()) + v.arrow() + moment(v.log.Until.Go())
	if zone := v.program.now().Location(); v.log.Around.Go().In(zone).Format("-0700") != "+0000" {
		line += "   (around " + v.log.Around.Go().In(zone).Format("2006-01-02 15:04:05 -07:00") + ")"
	}
	return line
}

// nothing says that there is none of what was looked for, and what is nearest.
func (v *logView) nothing() {
	what := "no transaction"
	switch {
	case v.query.XID != 0:
		what = fmt.Sprintf("no end of transaction %d", uint32(v.query.XID))
	case v.query.Drops:
		what = "no transaction that removed relations"
	}
	v.printf("\n%s in this time\n", what)
	if t := v.log.Previous; t != 0 {
		v.printf("  the nearest transaction before: --around '%s'\n", moment(t.Go()))
	}
	if t := v.log.Next; t != 0 {
		v.printf("  the nearest transaction behind: --around '%s'\n", moment(t.Go()))
	}
	if v.log.From != 0 {
		v.printf("  to look further: --within 1d\n")
	}
}

// stop is the row where a restore to the time would stop.
func (v *logView) stop() [][]string {
	if v.query.Around == 0 {
		return nil
	}
	sign := "▼"
	if !v.unicode {
		sign = "v"
	}
	return [][]string{{exact(v.log.Around.Go()), "", "", sign + " restore --to this time stops here"}}
}

// row is the line of an entry.
func (v *logView) row(e commitlog.Entry) []string {
	at, xid := "", ""
	if e.Time != 0 {
		at = exact(e.Time.Go())
	}
	if e.XID != 0 {
		xid = fmt.Sprint(uint32(e.XID))
	}
	return []string{at, xid, e.Range.Start.String(), v.what(e)}
}

// what says what happened.
func (v *logView) what(e commitlog.Entry) string {
	switch e.Kind {
	case commitlog.KindCommit, commitlog.KindCommitPrepared, commitlog.KindAbort, commitlog.KindAbortPrepared:
		return v.ended(e)
	case commitlog.KindRestorePoint:
		return fmt.Sprintf("restore point %q", e.Name)
	case commitlog.KindTimeline:
		return fmt.Sprintf("TIMELINE %d%s%d", uint32(e.Previous), v.arrow(), uint32(e.Timeline))
	case commitlog.KindDatabaseDrop:
		return removed(e.Removal) + "; the end of the transaction is not here"
	case commitlog.KindGap:
		why := "nothing is recorded of it"
		if e.Reason != "" {
			why = repository.Cause(e.Reason).Words()
		}
		return fmt.Sprintf("GAP to %s, %s of WAL: %s", e.Range.End, size(int64(e.Range.Len())), why)
	case commitlog.KindDamaged:
		return fmt.Sprintf("DAMAGED to %s, what happened there is not known: %s", e.Range.End, e.Reason)
	}
	return string(e.Kind)
}

// ended says how a transaction ended, and what it removed.
func (v *logView) ended(e commitlog.Entry) string {
	words := map[commitlog.Kind]string{
		commitlog.KindCommit: "commit", commitlog.KindAbort: "rollback",
		commitlog.KindCommitPrepared: "commit prepared", commitlog.KindAbortPrepared: "rollback prepared",
	}[e.Kind]
	if e.Part != 0 {
		words += fmt.Sprintf(", of subtransaction %d too", uint32(e.Part))
	} else if e.Subxacts > 0 {
		words += ", " + count(e.Subxacts, "subtransaction")
	}
	if e.Removal != nil {
		words += ", " + v.paint(removed(e.Removal), "1;31")
	}
	return words
}

// removed says what a transaction removed.
func removed(r *commitlog.Removal) string {
	list := named(r)
	switch r.Means {
	case commitlog.MeansDrop:
		return "dropped " + list + changedBeside(r)
	case commitlog.MeansDatabase:
		var names []string
		for _, d := range r.Databases {
			name := fmt.Sprintf("database with OID %d", d.OID)
			if d.Name != "" {
				name = fmt.Sprintf("database %s (OID %d)", d.Name, d.OID)
			}
			names = append(names, name)
		}
		return "dropped " + strings.Join(names, ", ")
	case commitlog.MeansUnknown:
		return "removed " + list + ": dropped or replaced, it began before what was read" + changedBeside(r)
	case commitlog.MeansReplace:
	}
	if len(r.Truncated) > 0 {
		return "truncated " + several(r.Truncated, len(r.Truncated))
	}
	return fmt.Sprintf("replaced %s by %s: truncated, rewritten, or dropped beside a create", list, count(r.Created, "new one")) + changedBeside(r)
}

// changedBeside names the tables that a transaction changed, where not all of what it removed has a name: they got their files after the drill.
func changedBeside(r *commitlog.Removal) string {
	unnamed := func(one commitlog.Relation) bool { return one.Name == "" }
	var tables []commitlog.Relation
	for _, one := range r.Changed {
		same := func(other commitlog.Relation) bool {
			return other.OID == one.OID && other.File.Database == one.File.Database
		}
		if one.Name != "" && order(one) < orderLast && !slices.ContainsFunc(r.Relations, same) {
			tables = append(tables, one)
		}
	}
	if len(tables) == 0 || !slices.ContainsFunc(r.Relations, unnamed) {
		return ""
	}
	return "; what has no name belonged to " + several(tables, len(tables)) + ", or is newer than the names"
}

// named lists the relations of a removal, tables first. Indexes and TOAST tables that went with what is listed are counted.
func named(r *commitlog.Removal) string {
	list := slices.Clone(r.Relations)
	slices.SortStableFunc(list, func(a, b commitlog.Relation) int { return order(a) - order(b) })
	with := slices.IndexFunc(list, func(a commitlog.Relation) bool { return order(a) == orderLast })
	if with <= 0 {
		return several(list, r.Count)
	}
	return several(list[:with], r.Count-(len(list)-with)) + " with " + count(len(list)-with, "index or TOAST relation")
}

// orderLast is the place of what goes with a table.
const orderLast = 3

// order is the place of a relation in a list for people.
func order(r commitlog.Relation) int {
	switch r.Kind {
	case "r", "p", "m":
		return 0
	case "S":
		return 1
	case "": // perhaps a table
		return 2
	}
	return orderLast
}

// several lists some of count relations.
func several(list []commitlog.Relation, count int) string {
	var words []string
	for _, one := range list[:min(len(list), relationsShown)] {
		words = append(words, relation(one))
	}
	text := strings.Join(words, ", ")
	if more := count - len(words); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// relation says a relation by its name, or by where its file was.
func relation(r commitlog.Relation) string {
	switch {
	case r.Name != "":
		return r.Name
	case r.File.Number == 0:
		return fmt.Sprintf("the table with OID %d in database %d", r.OID, r.File.Database)
	}
	return r.File.String()
}

// hint is the command that restores to just before a removal.
func (v *logView) hint(e commitlog.Entry) string {
	if e.Removal == nil {
		return ""
	}
	flags := v.restoreFlags(e)
	if flags == nil {
		return "    before it: it began before what was read; --within further, or --xid " + fmt.Sprint(uint32(e.XID)) + ", finds where"
	}
	return "    before it: " + v.sameArchive("restore", append(flags, "--into", "DIR", "--start")...)
}

// restoreFlags are the flags of the restore that stops just before a removal; nil if that is not known.
func (v *logView) restoreFlags(e commitlog.Entry) []string {
	var flags []string
	switch {
	case e.Removal.Before == 0:
		return nil
	case e.Removal.Means == commitlog.MeansDatabase:
		flags = []string{"--to-lsn", e.Removal.Before.String(), "--before"}
	default:
		flags = []string{"--to-xid", fmt.Sprint(uint32(e.XID)), "--before"}
	}
	if len(v.log.Known) > 1 {
		flags = append(flags, "--timeline", fmt.Sprint(uint32(v.log.Timeline)))
	}
	return flags
}

// document is the log as JSON, docs/JSON.md.
func (v *logView) document() map[string]any {
	when := func(t wal.Time) *time.Time {
		if t == 0 {
			return nil
		}
		at := t.Go()
		return &at
	}
	entries := []logEntryJSON{}
	for _, e := range v.log.Entries {
		entries = append(entries, v.entry(e))
	}
	return map[string]any{
		"cluster": v.configured.Name, "system_id": v.log.SystemID.String(), "repository": v.configured.Repo.URL, "timeline": v.log.Timeline,
		"around": when(v.log.Around), "from": when(v.log.From), "until": when(v.log.Until),
		"entries": entries, "applied": v.log.Applied, "more_before": v.log.MoreBefore, "more_after": v.log.MoreAfter,
		"previous": when(v.log.Previous), "next": when(v.log.Next), "segments_read": v.log.Segments,
		"names_of": append([]string{}, v.log.NamesOf...), "notes": append([]string{}, v.log.Notes...),
	}
}

// logEntryJSON is one entry.
type logEntryJSON struct {
	Kind     commitlog.Kind `json:"kind"`
	Time     *time.Time     `json:"time,omitempty"`
	Timeline wal.TimelineID `json:"timeline"`
	LSN      wal.LSN        `json:"lsn"`
	End      wal.LSN        `json:"end_lsn"`
	XID      wal.XID        `json:"xid,omitempty"`
	Subxacts int            `json:"subtransactions,omitempty"`
	Part     wal.XID        `json:"subtransaction,omitempty"`
	Name     string         `json:"name,omitempty"`
	Previous wal.TimelineID `json:"previous_timeline,omitempty"`
	Reason   string         `json:"reason,omitempty"`
	Removed  *removedJSON   `json:"removed,omitempty"`
}

// removedJSON is what an entry removed.
type removedJSON struct {
	Means     commitlog.Means `json:"means"`
	Count     int             `json:"count"`
	Created   int             `json:"created"`
	Relations []relationJSON  `json:"relations"`
	Truncated []relationJSON  `json:"truncated,omitempty"`
	Changed   []relationJSON  `json:"changed,omitempty"`
	Databases []databaseJSON  `json:"databases,omitempty"`
	Restore   []string        `json:"restore,omitempty"`
}

type relationJSON struct {
	Tablespace uint32 `json:"tablespace,omitempty"`
	Database   uint32 `json:"database"`
	File       uint32 `json:"relfilenode,omitempty"`
	Path       string `json:"path,omitempty"`
	OID        uint32 `json:"oid,omitempty"`
	Name       string `json:"name,omitempty"`
	Kind       string `json:"relkind,omitempty"`
}

// path is where a file was, "" for one that is not known.
func path(f wal.RelFile) string {
	if f.Number == 0 {
		return ""
	}
	return f.String()
}

type databaseJSON struct {
	OID  uint32 `json:"oid"`
	Name string `json:"name,omitempty"`
}

func (v *logView) entry(e commitlog.Entry) logEntryJSON {
	j := logEntryJSON{
		Kind: e.Kind, Timeline: e.Timeline, LSN: e.Range.Start, End: e.Range.End, XID: e.XID, Subxacts: e.Subxacts, Part: e.Part,
		Name: e.Name, Previous: e.Previous, Reason: e.Reason,
	}
	if e.Time != 0 {
		at := e.Time.Go()
		j.Time = &at
	}
	r := e.Removal
	if r == nil {
		return j
	}
	j.Removed = &removedJSON{Means: r.Means, Count: r.Count, Created: r.Created, Relations: []relationJSON{}, Restore: v.restoreFlags(e)}
	for _, one := range r.Relations {
		j.Removed.Relations = append(j.Removed.Relations, relationJSON{
			one.File.Tablespace, one.File.Database, one.File.Number, path(one.File), one.OID, one.Name, one.Kind,
		})
	}
	for _, one := range r.Changed {
		j.Removed.Changed = append(j.Removed.Changed, relationJSON{Database: one.File.Database, OID: one.OID, Name: one.Name, Kind: one.Kind})
	}
	for _, one := range r.Truncated {
		j.Removed.Truncated = append(j.Removed.Truncated, relationJSON{Database: one.File.Database, OID: one.OID, Name: one.Name, Kind: one.Kind})
	}
	for _, d := range r.Databases {
		j.Removed.Databases = append(j.Removed.Databases, databaseJSON(d))
	}
	return j
}
