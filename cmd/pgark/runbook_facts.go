package main

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/docs/runbooks"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/wal"
)

// runbookPatience is how long server and repositories may take together: who reads this is in a hurry, and they may be what is lost.
const runbookPatience = 8 * time.Second

// runbookFact is something that is known of the cluster, or why it is not.
type runbookFact struct {
	place string // in the pages; "" if it stands in the head alone
	label string // in the head; "" if it stands in the pages alone
	value string
	shell string // what a shell reads; "" for the value, quoted
	why   string // it is not known
	whole bool   // what is written where it is not known is why: it stands in a sentence, not in a command
}

// standIn is what is written in the place of a fact.
func (f runbookFact) standIn() runbooks.Value {
	switch {
	case f.value != "":
		return runbooks.Value{Text: f.value, Shell: cmp.Or(f.shell, quoteWord(f.value))}
	case f.whole:
		return runbooks.Value{Text: f.why, Shell: f.why}
	}
	return runbooks.Value{Text: "$" + f.variable(), Shell: `"$` + f.variable() + `"`}
}

// variable is that of the shell which stands for a fact that is not known.
func (f runbookFact) variable() string { return strings.ToUpper(strings.ReplaceAll(f.place, "-", "_")) }

// unknownPlaces are the facts that a text needs and that are not known.
func unknownPlaces(facts []runbookFact, text string) []unknownPlace {
	unknown := []unknownPlace{}
	needed := runbooks.Open(text)
	for _, f := range facts {
		if f.value == "" && !f.whole && slices.Contains(needed, f.place) {
			unknown = append(unknown, unknownPlace{f.place, f.variable(), f.why})
		}
	}
	return unknown
}

// runbookFacts are what the configuration knows of the cluster, and what server and repositories say in a few seconds. id is that of --system-id, or 0.
func (s *session) runbookFacts(id wal.SystemID) []runbookFact {
	c, cluster, err := s.runbookCluster()
	if err != nil {
		return nothingKnown(s.program.explain(err).Message)
	}
	look := s.askAround(cluster, id)
	environment := s.runbookEnvironment(c, cluster)
	conn := "postgres"
	if cluster.Postgres != "" {
		conn = withDatabase(cluster.Postgres, "postgres")
	}
	facts := []runbookFact{
		{place: "cluster", label: "cluster", value: cluster.Name},
		{place: "config", label: "config", value: c.File, why: "all of it comes from the environment"},
		{place: "environment", value: environment, shell: environment},
		{place: "postgres", label: "server", value: conn},
		{place: "slot", label: "slot", value: cluster.Slot},
		{place: "repository", label: "repo", value: cluster.Repo.URL},
	}
	first := runbookFact{place: "copy", why: "no copy is configured"}
	for _, one := range cluster.Copies {
		facts = append(facts, runbookFact{label: "copy", value: one.Name + "   " + one.URL})
		first.value = cmp.Or(first.value, one.Name)
	}
	rpo, rto := look.measured()
	return append(facts, first, look.systemID(id), look.dataDirectory(cluster.Standby.Dir, s.program.variable("PGDATA")), rpo, rto)
}

// nothingKnown are the facts where there is no configuration, and why.
func nothingKnown(why string) []runbookFact {
	facts := []runbookFact{
		{place: "environment", value: "PGARK_CONFIG=$CONFIG", shell: `PGARK_CONFIG="$CONFIG"`},
		{place: "rpo", why: "not known here", whole: true},
		{place: "rto", why: "not known here", whole: true},
	}
	for _, place := range []string{"config", "cluster", "postgres", "data-directory", "system-id", "slot", "repository", "copy"} {
		facts = append(facts, runbookFact{place: place, why: why})
	}
	return facts
}

// runbookCluster reads the configuration: the only cluster, or the one that --cluster selects.
func (s *session) runbookCluster() (config.Config, config.Cluster, error) {
	c, err := s.load()
	if err != nil {
		return c, config.Cluster{}, err
	}
	one, err := c.Select(text(s.cli, "cluster"))
	return c, one, err
}

// runbookEnvironment are the variables by which pgark finds the cluster in another shell.
func (s *session) runbookEnvironment(c config.Config, cluster config.Cluster) string {
	var variables []string
	if c.File != "" {
		file, err := filepath.Abs(c.File)
		if err != nil {
			file = c.File
		}
		variables = append(variables, "PGARK_CONFIG="+quoteWord(file))
	}
	if len(c.Clusters) > 1 || text(s.cli, "cluster") != "" {
		variables = append(variables, "PGARK_CLUSTER="+quoteWord(cluster.Name))
	}
	if c.File == "" || text(s.cli, "repo") != "" {
		variables = append(variables, "PGARK_REPO="+quoteWord(cluster.Repo.URL))
	}
	return strings.Join(variables, " ")
}

// looked is what repositories and server said, or why they did not.
type looked struct {
	report               status.Report
	server               postgres.SlotState
	reportErr, serverErr error
}

// askAround asks repositories and server at once, and waits for neither for long.
func (s *session) askAround(cluster config.Cluster, id wal.SystemID) looked {
	ctx, cancel := context.WithTimeout(s.ctx, runbookPatience)
	defer cancel()
	var l looked
	o := s.storeOptions()
	o.Patience = min(o.Patience, agent.Patience(runbookPatience/2))
	var asking sync.WaitGroup
	asking.Go(func() { l.report, l.reportErr = agent.SurveyRepository(ctx, cluster, id, o) })
	asking.Go(func() { l.server, l.serverErr = postgres.AskSlot(ctx, cluster.Postgres, cluster.Slot) })
	asking.Wait()
	var several *agent.AmbiguousError
	if errors.As(l.reportErr, &several) && l.serverErr == nil && slices.Contains(several.IDs, l.server.SystemID) {
		l.report, l.reportErr = agent.SurveyRepository(ctx, cluster, l.server.SystemID, o)
	}
	return l
}

func (l looked) systemID(given wal.SystemID) runbookFact {
	f := runbookFact{place: "system-id", label: "system id", why: "neither repository nor server answered"}
	switch {
	case given != 0:
		f.value = given.String()
	case l.reportErr == nil && l.report.SystemID != 0:
		f.value = l.report.SystemID.String()
	case l.serverErr == nil:
		f.value = l.server.SystemID.String()
	}
	return f
}

// dataDirectory is what the server says; where it is gone the standby's of the configuration, or PGDATA.
func (l looked) dataDirectory(standby, pgdata string) runbookFact {
	f := runbookFact{place: "data-directory", label: "data", value: cmp.Or(l.server.DataDirectory, standby, pgdata), why: "the server did not answer"}
	if l.serverErr == nil {
		f.why = "the agent's role may not read it (GRANT pg_read_all_settings)"
	}
	return f
}

// measured is what the newest drill that passed has measured.
func (l looked) measured() (rpo, rto runbookFact) {
	why := "not measured yet: pgark drill run"
	if l.reportErr != nil {
		why = "not known now, for no repository answers"
	}
	rpo, rto = runbookFact{place: "rpo", label: "RPO", why: why, whole: true}, runbookFact{place: "rto", label: "RTO", why: why, whole: true}
	for _, d := range slices.Backward(l.report.Drills) {
		if d.RTO == nil || d.Result != repository.DrillPassed {
			continue
		}
		by := ", by the drill of " + d.Started.UTC().Format("2006-01-02 15:04Z")
		rto.value = elapsed(time.Duration(*d.RTO*float64(time.Second))) + by + ", " + size(d.Plain)
		if d.DataLoss != nil {
			rpo.value = elapsed(time.Duration(*d.DataLoss*float64(time.Second))) + by
		}
		break
	}
	return rpo, rto
}
