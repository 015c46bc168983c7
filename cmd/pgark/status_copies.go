package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/storage"
)

// printCopies prints the repositories of a cluster that has several: how far each is behind the one that holds most.
func (s *session) printCopies(r status.Report) {
	if len(r.Copies) == 0 {
		return
	}
	rows := [][]string{{"REPOSITORY", "", "REGION", "BEHIND", "DURABLE TO", "BACKUPS", "STORED"}}
	locks := slices.ContainsFunc(r.Copies, func(c status.Copy) bool { return c.Lock != nil })
	if locks {
		rows[0] = append(rows[0], "LOCK")
	}
	for _, c := range r.Copies {
		place, region := placeOf(c.Repository)
		if c.Error != "" {
			rows = append(rows, []string{c.Name, place, region, s.paint("cannot be used", "1;31")})
			continue
		}
		durable := "nothing"
		if c.Durable != nil {
			durable = c.Durable.LSN.String()
		}
		row := []string{c.Name, place, region, s.behind(c), durable, count(c.Backups, "backup"), size(c.Stored.Backups + c.Stored.WAL)}
		if locks {
			row = append(row, s.lockCell(c.Lock))
		}
		rows = append(rows, row)
	}
	s.printf("\n")
	for i, line := range columns(rows) {
		s.row([]string{"copies", ""}[min(i, 1)], "%s", line)
	}
	for _, c := range r.Copies {
		if c.By == status.ByBucket {
			s.row("", "%s is made by the primary's bucket: %s", c.Name, replicationText(c.Replication))
		}
		s.printUnlocked(c.Name+": ", c.Lock)
	}
}

// printUnlocked says that what is there already is under no lock.
func (s *session) printUnlocked(name string, l *status.Lock) {
	if l != nil && l.Unlocked > 0 {
		s.row("", "%s", s.paint(fmt.Sprintf("%sof %s that were looked at %d are under no lock: pgark prune --yes locks them", name, count(l.Looked, "old record"), l.Unlocked), "1;33"))
	}
}

// lockCell says in a word how objects are locked; the whole is in the JSON.
func (s *session) lockCell(l *status.Lock) string {
	switch {
	case l == nil:
		return "-"
	case l.Error != "":
		return s.paint("not known", "1;33")
	}
	return lockOf(l).String()
}

func lockOf(l *status.Lock) storage.Lock {
	return storage.Lock{Mode: storage.LockMode(l.Mode), For: time.Duration(l.Seconds) * time.Second}
}

// printLock says how the objects of the only repository are locked.
func (s *session) printLock(r status.Report) {
	if r.Lock == nil || len(r.Copies) > 0 {
		return
	}
	text := "not known: " + r.Lock.Error
	switch r.Lock.By {
	case status.LockedByBucket:
		text = lockOf(r.Lock).String() + ", by the bucket itself"
	case status.LockedByAgent:
		text = lockOf(r.Lock).String() + ", sent with each object"
	}
	s.row("lock", "%s", text)
	s.printUnlocked("", r.Lock)
}

// replicationText says what the primary's bucket tells of a copy that it makes. What is wrong stands among the causes.
func replicationText(r *status.Replication) string {
	switch {
	case r == nil:
		return "it cannot be asked now"
	case r.Error != "":
		return "how far it is, is not known: " + r.Error
	case r.Lag == nil:
		return "nothing was to be copied yet"
	case r.Pending == 0 && len(r.Faults) == 0:
		return fmt.Sprintf("the newest %s are there", count(r.Newest, "object"))
	default:
		return fmt.Sprintf("%d of the newest %s on the way, the oldest for %s", r.Pending, count(r.Newest, "object"), elapsed(time.Duration(*r.Lag*float64(time.Second))))
	}
}

// behind says how much older a repository's newest instant is than that of the one that holds most.
func (s *session) behind(c status.Copy) string {
	switch {
	case c.Behind == nil:
		return "not known"
	case *c.Behind == 0:
		return "-"
	}
	text := elapsed(time.Duration(*c.Behind * float64(time.Second)))
	if *c.Behind > c.Patience().Seconds() {
		return s.paint(text, "1;33")
	}
	return text
}

// placeOf splits a repository's URL into what a person knows it by, and its region.
func placeOf(repo string) (place, region string) {
	u, err := url.Parse(repo)
	if err != nil {
		return repo, "-"
	}
	region = u.Query().Get("region")
	if region == "" {
		region = "-"
	}
	place, _, _ = strings.Cut(repo, "?")
	return place, region
}
