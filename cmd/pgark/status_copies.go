package main

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/pgark/pgark/status"
)

// printCopies prints the repositories of a cluster that has several: how far each is behind the one that holds most.
func (s *session) printCopies(r status.Report) {
	if len(r.Copies) == 0 {
		return
	}
	rows := [][]string{{"REPOSITORY", "", "REGION", "BEHIND", "DURABLE TO", "BACKUPS", "STORED"}}
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
		rows = append(rows, []string{c.Name, place, region, s.behind(c), durable, count(c.Backups, "backup"), size(c.Stored.Backups + c.Stored.WAL)})
	}
	s.printf("\n")
	for i, line := range columns(rows) {
		s.row([]string{"copies", ""}[min(i, 1)], "%s", line)
	}
	for _, c := range r.Copies {
		if c.By == status.ByBucket {
			s.row("", "%s is made by the primary's bucket: %s", c.Name, replicationText(c.Replication))
		}
	}
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
