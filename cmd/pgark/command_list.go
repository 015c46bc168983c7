package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/status"
)

func listCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "list", Aliases: []string{"ls", "backups"}, Usage: "base backups, from when to when can be restored, and the gaps",
		ArgsUsage: "[URL]",
		Flags:     []cli.Flag{systemFlag(), fromFlag(), asOfFlag(), wholeFlag()},
	}, atMostOne, list)
}

func list(s *session) error {
	c, err := s.clusterWith(s.argument())
	if err == nil && s.cli.String("from") != "" {
		c, err = s.clusterFrom(s.argument())
	}
	if err != nil {
		return err
	}
	id, err := s.systemID()
	if err != nil {
		return err
	}
	r, err := agent.SurveyRepository(s.ctx, c, id, s.lookOptions())
	if err != nil {
		return s.hintPast(c, err)
	}
	if s.json {
		return s.printJSON(r)
	}
	if !s.asOf.IsZero() {
		s.printf("AS OF %s\n", instant(s.asOf))
	}
	s.printBackups(r)
	s.printArchive(r)
	if r.Encryption != nil {
		s.printf("KEYS %s\n", encryptionText(*r.Encryption))
	}
	s.printOrphans(r)
	for _, note := range lossyList(r) {
		s.printf("note   %s\n", note)
	}
	return nil
}

// lossyList tells of repositories that cannot be read wholly as they were.
func lossyList(r status.Report) []string {
	if len(r.Copies) == 0 && r.Lossy {
		return []string{lossyText}
	}
	var notes []string
	for _, c := range r.Copies {
		if c.Lossy {
			notes = append(notes, c.Name+": "+lossyText)
		}
	}
	return notes
}

// printArchive prints what the WAL makes recoverable: from when to when, and the gaps in it.
func (s *session) printArchive(r status.Report) {
	if r.RecoverableFrom == nil {
		why := "no base backup to start from"
		if len(r.Backups) > 0 {
			why = "no base backup has the WAL that makes it consistent"
		}
		s.printf("WAL  nothing recoverable: %s   %s stored\n", why, size(r.Stored.WAL))
		return
	}
	s.printf("WAL  recoverable %s%s%s   to %s on timeline %d   %s stored\n", instant(*r.RecoverableFrom), s.arrow(), instant(*r.RecoverableUntil),
		r.RecoverableEnd.LSN, uint32(r.RecoverableEnd.Timeline), size(r.Stored.WAL))
	for _, g := range r.Gaps {
		s.printf("GAP  %s%s%s   %s\n", instant(g.From), s.arrow(), instant(g.Until), missing(g))
	}
	if g := r.OpenGap; g != nil {
		s.printf("GAP  %s%snow   %s; no base backup was taken since\n", instant(g.From), s.arrow(), missing(*g))
	}
}

func (s *session) printBackups(r status.Report) {
	if len(r.Backups) == 0 {
		s.printf("no base backups\n")
		return
	}
	head := []string{"BACKUP", "TYPE", "STARTED (UTC)", "TOOK", "SIZE", "STORED", "LSN", "TL"}
	if r.Encryption != nil {
		head = append(head, "KEYS")
	}
	rows := [][]string{append(head, "STATUS")}
	for _, b := range r.Backups {
		row := []string{
			b.ID, b.Type, b.Started.Format("2006-01-02 15:04"), elapsed(b.Stopped.Sub(b.Started)), size(b.Plain), size(b.Stored),
			b.StartLSN.String(), fmt.Sprint(uint32(b.Timeline)),
		}
		if r.Encryption != nil {
			row = append(row, backupKeys(b))
		}
		rows = append(rows, append(row, s.backupState(b)))
	}
	s.table(rows)
}

// backupKeys says to how many public keys a backup is encrypted.
func backupKeys(b status.Backup) string {
	switch {
	case !b.Encrypted:
		return "in clear"
	case b.Recipients == 0:
		return "?"
	}
	return fmt.Sprint(b.Recipients)
}

// encryptionText says what is encrypted, and what is not.
func encryptionText(e status.Encryption) string {
	text := e.Scheme
	if e.Recipients > 0 {
		text += ", to " + count(e.Recipients, "public key")
	}
	if e.LateTotal > 0 {
		text += fmt.Sprintf("   %s put in clear after it began: pgark check", count(e.LateTotal, "object"))
	} else if e.PlainBackups+e.PlainWAL > 0 {
		text += fmt.Sprintf("   in clear from before: %s, %s, %s", count(e.PlainBackups, "base backup"), count(e.PlainWAL, "WAL object"), size(e.PlainBytes))
	}
	return text
}

// backupState says in a few words what a backup is worth.
func (s *session) backupState(b status.Backup) string {
	base, drilled, broken := "● ", "◆ ", "✗ "
	if !s.unicode {
		base, drilled, broken = "", "", ""
	}
	switch {
	case !b.Restorable:
		return broken + "not restorable: WAL up to " + b.StopLSN.String() + " is missing"
	case b.Checksums == "failed":
		return broken + "pages with wrong checksums"
	case b.Pinned && b.KeptUntil != nil:
		return base + "kept until " + b.KeptUntil.Format("2006-01-02")
	case b.Pinned:
		return base + "kept until it is unpinned"
	case b.Drill != nil:
		return drilled + "drill " + b.Drill.ID + ", RTO " + elapsed(time.Duration(b.Drill.RTO*float64(time.Second)))
	case b.Checksums == "off":
		return base + "restorable (page checksums off)"
	}
	return base + "restorable, page checksums verified"
}
