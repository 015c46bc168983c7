package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

func (s *session) charset() status.Charset {
	if s.unicode {
		return status.Unicode
	}
	return status.ASCII
}

// arrow joins the two ends of a range.
func (s *session) arrow() string {
	if s.unicode {
		return " → "
	}
	return " to "
}

// dot stands between facts on a line.
func (s *session) dot() string {
	if s.unicode {
		return " · "
	}
	return " | "
}

// labelWidth is what a row's label takes of a line.
const labelWidth = 12

// row prints a label and what it says.
func (s *session) row(label, format string, args ...any) {
	s.printf("  %-9s %s\n", label, fmt.Sprintf(format, args...))
}

// printStatus prints a judged report: the verdict, what is lost now and why, what mends it; then the rest.
func (s *session) printStatus(r status.Report) {
	s.printHeadline(r)
	s.printf("\n")
	s.printRPO(r)
	s.printRTO(r)
	s.printCauses(r)
	s.printWAL(r)
	s.printSync(r)
	s.row("stored", "%s   %s of base backups, %s of WAL in %s", size(r.Stored.Backups+r.Stored.WAL), size(r.Stored.Backups), size(r.Stored.WAL), r.Repository)
	s.printCostLine(r)
	s.printLock(r)
	if r.Encryption != nil {
		s.row("encrypted", "%s", encryptionText(*r.Encryption))
	}
	s.printWindow(r)
	if len(r.Orphans) > 0 {
		s.printf("\n")
	}
	for _, o := range r.Orphans {
		what, how := s.orphanText(o)
		s.row("tail", "%s", what)
		s.row("", "%s", how)
	}
	s.printCopies(r)
	if n := len(r.Backups); n > 0 {
		last := r.Backups[n-1]
		s.printf("\n")
		s.row("backups", "%d, newest %s, %s ago, %s", n, last.ID, elapsed(r.Now.Sub(last.Started)), size(last.Plain))
	}
	if len(r.Next) > 0 {
		s.row("next", "%s", s.nextText(r.Next))
	}
}

// nextText says when each job is due.
func (s *session) nextText(next []status.Next) string {
	var words []string
	for _, n := range next {
		what := map[status.JobKind]string{status.JobBackup: "base backup", status.JobVerify: "verification"}[n.Kind]
		if what == "" {
			what = string(n.Kind)
		}
		words = append(words, what+" "+n.At.UTC().Format("Jan 02 15:04Z"))
	}
	return strings.Join(words, s.dot())
}

const (
	// plainWidth is how wide text is made where no terminal says it, and widest where one does.
	plainWidth = 90
	widest     = 110
)

// printHeadline names the cluster, and gives the verdict at the right edge. On a terminal too narrow for
// all the verdict stays.
func (s *session) printHeadline(r status.Report) {
	parts := []string{}
	if server := r.Server; server != nil {
		version, _, _ := strings.Cut(server.Version, " ") // without the packager's own
		parts = append(parts, "PostgreSQL "+version, server.Address, fmt.Sprintf("timeline %d", uint32(server.Timeline)))
		if slot := server.Slot; slot.Receiving() {
			streaming := "streaming"
			if slot.ActiveSince != nil {
				streaming += " " + elapsed(r.Now.Sub(*slot.ActiveSince))
			}
			parts = append(parts, streaming)
		}
	} else {
		parts = append(parts, "system id "+r.SystemID.String())
	}
	verdict, colour := verdictText(r.Verdict)
	left := func() string { return strings.TrimRight(r.Cluster+"   "+strings.Join(parts, s.dot()), " ") }
	width, _, terminal := s.screenSize()
	room := func() int { return width - visibleWidth(left()) - len(verdict) }
	if !terminal {
		width = plainWidth
	}
	width = min(width, widest)
	for terminal && room() < 3 && len(parts) > 0 {
		parts = parts[:len(parts)-1]
	}
	gap := strings.Repeat(" ", max(3, room()))
	s.printf("%s%s%s%s\n", s.paint(r.Cluster, "1"), strings.TrimPrefix(left(), r.Cluster), gap, s.paint(verdict, colour))
}

// verdictText is a verdict in capitals, and its colour.
func verdictText(v status.Verdict) (text, colour string) {
	switch v {
	case status.Protected:
		return "PROTECTED", "1;32"
	case status.AtRisk:
		return "AT RISK", "1;33"
	case status.Unprotected:
	}
	return "UNPROTECTED", "1;31"
}

// printRPO says what would be lost with the server now. Without a program that receives it never says ok.
func (s *session) printRPO(r status.Report) {
	target := "target " + targetText(r.Target())
	missed := s.paint("MISSED", "1;31")
	row := func(rpo, state, words string) { s.row("RPO now", "%-9s %s   %s   %s", rpo, target, state, words) }
	if r.RecoverableUntil == nil {
		row("all data", missed, "nothing can be restored")
		return
	}
	until := instant(*r.RecoverableUntil)
	if r.RPO == nil {
		row("not known", missed, "newest durable "+until+", by a clock ahead of this host's")
		return
	}
	age := time.Duration(*r.RPO * float64(time.Second))
	idleSlot := r.Server != nil && r.Server.Slot != nil && !r.Server.Slot.Receiving() && r.Server.Slot.Active != nil
	switch {
	case age > r.Target() && r.Server == nil:
		row(elapsed(age), missed, "nothing durable since "+until+"; whether the server wrote more is not known")
	case age > r.Target():
		row(elapsed(age), missed, "nothing durable since "+until)
	case idleSlot:
		row(elapsed(age), s.paint("growing", "1;33"), "nothing durable since "+until)
	case r.CaughtUp():
		row(elapsed(age), s.paint("ok", "32"), "all that the server has flushed is durable")
	default:
		row(elapsed(age), s.paint("ok", "32"), "durable up to "+until)
	}
}

// targetText prints an objective as it is written: 5 s, 15m.
func targetText(d time.Duration) string {
	if d < time.Minute && d%time.Second == 0 {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return strings.TrimSuffix(strings.TrimSuffix(elapsed(d), " 00s"), " 00m")
}

// printRTO says how long a restore takes, by the newest drill.
func (s *session) printRTO(r status.Report) {
	d := r.Drill
	switch {
	case d == nil && r.RecoverableUntil == nil:
		return // there is nothing to try
	case d == nil:
		s.row("RTO", "%-9s no drill yet: pgark drill run", "-")
		return
	}
	rto, state := "-", ""
	if d.RTO != nil {
		rto = elapsed(time.Duration(*d.RTO * float64(time.Second)))
	}
	if r.RTOTarget > 0 {
		state = "target " + targetText(time.Duration(r.RTOTarget*float64(time.Second))) + "   "
		if word := s.paint("ok", "32"); !r.MissedRTO() {
			state += word + "   "
		} else {
			state += s.paint("MISSED", "1;31") + "   "
		}
	}
	words := "measured by drill " + instant(d.Started) + ", " + size(d.Plain)
	if d.Result == repository.DrillFailed {
		state, words = s.paint("drill FAILED", "1;31")+"   ", instant(d.Started)+", "+string(d.Phase)
	}
	s.row("RTO", "%-9s %s%s", rto, state, words)
}

// printCauses says why the verdict is not better, and what to paste.
func (s *session) printCauses(r status.Report) {
	for _, c := range r.Causes {
		for i, line := range wrapped(c.What, plainWidth-labelWidth) {
			s.row([]string{"cause", ""}[min(i, 1)], "%s", line)
		}
		if c.Since != nil {
			s.row("since", "%s (%s ago)", instant(*c.Since), elapsed(r.Now.Sub(*c.Since)))
		}
		s.row("fix", "%s", s.paint(c.Fix, "1"))
	}
	if len(r.Causes) > 0 {
		s.printf("\n")
	}
}

// wrapped breaks text between words into lines of at most width characters where words allow it.
func wrapped(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && visibleWidth(line)+1+visibleWidth(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimLeft(line+" "+word, " ")
	}
	return append(lines, line)
}

// printWAL says how far the archive is, and what the server keeps for it.
func (s *session) printWAL(r status.Report) {
	if r.Durable != nil {
		words := fmt.Sprintf("durable to %s on timeline %d", r.Durable.LSN, uint32(r.Durable.Timeline))
		if r.Behind != nil {
			words += fmt.Sprintf(", %s behind the server", size(*r.Behind))
		}
		s.row("WAL", "%s", words)
	}
	if r.Server == nil {
		return
	}
	if slot := r.Server.Slot; slot != nil {
		s.row("slot", "%s", strings.Join(slotFacts(*slot), s.dot()))
	}
	if r.Server.SlotError != "" {
		s.row("", "%s", "more is not known of the slot: "+r.Server.SlotError)
	}
}

// slotFacts says of a slot what is known.
func slotFacts(slot status.Slot) []string {
	switch {
	case !slot.Exists:
		return []string{slot.Name, "does not exist on the server"}
	case slot.Lost():
		return []string{slot.Name, "LOST", "the server keeps no WAL for it"}
	}
	facts := []string{slot.Name}
	if slot.Active != nil {
		facts = append(facts, map[bool]string{true: "active", false: "NOT active"}[*slot.Active])
	}
	return append(facts, "holds "+size(slot.Retained)+" on the server"+boundWords(slot))
}

// boundWords says what limits the WAL that a slot keeps, and when that is reached if it can be told.
func boundWords(slot status.Slot) string {
	var words string
	switch b := slot.Bound; {
	case b == nil && slot.Limit == nil:
		return ""
	case b == nil:
		return " (no limit: may fill its disk)"
	case b.By == status.BoundByDisk:
		words = size(b.Left) + " left on its disk"
	case b.By == status.BoundByServer:
		words = "limit " + setting(b.Limit)
	default:
		words = "limit " + size(b.Limit)
	}
	if about := slot.Bound.About(); about != "" {
		words += ", reached in about " + about
	} else if slot.Bound.Left == 0 {
		words += ", REACHED"
	}
	return " (" + words + ")"
}

// setting prints bytes as PostgreSQL's settings do, in units of 1024: what was set as 64GB reads 64 GB.
func setting(bytes int64) string {
	if gigabytes := bytes >> 30; gigabytes<<30 == bytes {
		return humanize.Comma(gigabytes) + " GB"
	}
	return humanize.Comma(bytes>>20) + " MB"
}

// printWindow prints the recovery window: its ends, the strip, its dates, each gap.
func (s *session) printWindow(r status.Report) {
	if r.RecoverableFrom == nil {
		s.printf("\n  %s   nothing can be restored yet: no base backup with its WAL\n", s.paint("Recovery window", "1"))
		return
	}
	all := r.Gaps
	if r.OpenGap != nil {
		all = append(slices.Clone(all), *r.OpenGap)
	}
	gaps := ""
	if n := len(all); n > 0 {
		var total time.Duration
		for _, g := range all {
			total += g.Until.Sub(g.From)
		}
		gaps = "    " + s.paint(fmt.Sprintf("%s, %s", count(n, "gap"), elapsed(total)), "33")
	}
	s.printf("\n  %s   %s   %s%s%s%s\n", s.paint("Recovery window", "1"), elapsed(r.RecoverableUntil.Sub(*r.RecoverableFrom)),
		instant(*r.RecoverableFrom), s.arrow(), instant(*r.RecoverableUntil), gaps)
	if strip := r.Strip(s.charset()); strip != "" {
		s.printf("  %s\n  %s\n", strip, axis(r.View()))
	}
	for _, g := range r.Gaps {
		s.printf("  gap %s%s%s (%s; a new base backup ended it)\n", instant(g.From), s.arrow(), instant(g.Until), why(g))
	}
	if g := r.OpenGap; g != nil {
		s.printf("  gap %s%snow (%s; no base backup was taken since)\n", instant(g.From), s.arrow(), why(*g))
	} else if r.View().Until.After(*r.RecoverableUntil) {
		s.printf("  gap %s%snow (nothing newer is archived)\n", instant(*r.RecoverableUntil), s.arrow())
	}
}

// why says in a few words where a gap comes from.
func why(g status.Gap) string {
	if g.Cause == "" {
		return missing(g)
	}
	return g.Cause.Words()
}

// missing says what WAL a gap lacks, and why.
func missing(g status.Gap) string {
	text := fmt.Sprintf("WAL %s to %s on timeline %d", g.Start, g.End, uint32(g.Timeline))
	if g.Cause == "" {
		return text + " is missing, and nothing is recorded of it"
	}
	text += " was lost: " + g.Cause.Words()
	if g.Detail != "" {
		text += ", " + g.Detail
	}
	return text
}

// axis writes the time below the strip at its start, quarters and end.
func axis(v status.Interval) string {
	layout := "Jan 02"
	if v.Until.Sub(v.From) < 4*24*time.Hour {
		layout = "02 15:04"
	}
	if v.Until.Sub(v.From) < 2*time.Hour {
		layout = "15:04:05"
	}
	line := []byte(strings.Repeat(" ", status.StripWidth))
	end := v.Until.UTC().Format(layout)
	for quarter := range 4 {
		at := v.From.Add(v.Until.Sub(v.From) * time.Duration(quarter) / 4).UTC().Format(layout)
		start := quarter * status.StripWidth / 4
		if start+len(at)+1 > status.StripWidth-len(end) {
			break // it would run into the last one
		}
		copy(line[start:], at)
	}
	copy(line[status.StripWidth-len(end):], end)
	return string(line)
}
