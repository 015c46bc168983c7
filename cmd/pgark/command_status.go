package main

import (
	"cmp"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/wal"
)

// systemFlag names the cluster inside a repository that holds several.
func systemFlag() cli.Flag {
	return &cli.StringFlag{Name: "system-id", Usage: "cluster with this system identifier, where the repository holds several: `ID`"}
}

// wholeFlag is for who does not want to go by what the agent counted.
func wholeFlag() cli.Flag {
	return &cli.BoolFlag{Name: "whole", Usage: "list all WAL, also what the agent counted within the last 48 hours"}
}

func (s *session) systemID() (wal.SystemID, error) {
	v := s.cli.String("system-id")
	if v == "" {
		return 0, nil
	}
	id, err := wal.ParseSystemID(v)
	if err != nil {
		return 0, usagef("system-id %q: want a decimal system identifier", v)
	}
	return id, nil
}

// storeOptions end a storage call that fails for a while before --timeout ends all: so the error is
// the store's.
func (s *session) storeOptions() agent.StoreOptions {
	o := agent.StoreOptions{Patience: agent.Brief, Bandwidth: s.bandwidth, Logger: s.log, AsOf: s.asOf, Whole: s.cli.Bool("whole")}
	if until, ok := s.ctx.Deadline(); ok {
		o.Patience = min(o.Patience, agent.Patience(max(time.Until(until)*3/4, time.Millisecond)))
	}
	return o
}

// lookOptions are storeOptions for commands that change nothing and do nothing long: a store that does not answer at all is told of soon, unless --timeout says how long
// to wait.
func (s *session) lookOptions() agent.StoreOptions {
	o := s.storeOptions()
	o.FirstAnswer = s.firstAnswer()
	return o
}

// firstAnswer is how long a store that is looked at may take to answer at all; 0 is as long as for anything.
func (s *session) firstAnswer() time.Duration {
	if _, given := s.ctx.Deadline(); given {
		return 0
	}
	return cmp.Or(s.program.lookAnswer, agent.LookAnswer)
}

func statusCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "status", Usage: "is it protected, and if not why; what can be restored now, where there are gaps",
		ArgsUsage: "[URL]",
		Flags: []cli.Flag{
			systemFlag(), fromFlag(),
			&cli.GenericFlag{
				Name: "watch", Usage: "look again and again, every two seconds or as `=DURATION` says, until Ctrl-C", Value: &interval{},
				DefaultText: "off",
			},
			&cli.BoolFlag{Name: "exit-code", Usage: "exit with 3 if a cluster is at risk, with 4 if it is unprotected"},
			&cli.BoolFlag{Name: "ascii", Usage: "draw without Unicode"},
			&cli.BoolFlag{Name: "all", Usage: "every cluster of the configuration"},
			wholeFlag(),
		},
	}, statusArguments, showStatus)
}

// statusArguments allows a URL, and sees an interval that was meant for --watch.
func statusArguments(args []string) error {
	if len(args) > 0 {
		if _, err := config.ParseDuration(args[0]); err == nil {
			u := usagef("%q is no repository URL", args[0])
			u.fix = "an interval is joined to its flag: pgark status --watch=" + args[0]
			return u
		}
	}
	return atMostOne(args)
}

func showStatus(s *session) error {
	if s.cli.Bool("ascii") {
		s.unicode = false
	}
	if every, ok := s.cli.Generic("watch").(*interval); ok && every.Duration > 0 {
		return s.watchStatus(every.Duration)
	}
	verdict, err := s.lookOnce()
	if err != nil {
		return err
	}
	if code := verdictCode(verdict); code != exitOK && s.cli.Bool("exit-code") {
		return &codeError{code: code}
	}
	return nil
}

// verdictCode is the exit code that --exit-code gives a verdict.
func verdictCode(v status.Verdict) int {
	switch v {
	case status.AtRisk:
		return exitDegraded
	case status.Unprotected:
		return exitNotRecoverable
	case status.Protected:
	}
	return exitOK
}

// lookOnce looks at the chosen clusters, prints how they stand and returns the worst verdict.
func (s *session) lookOnce() (status.Verdict, error) {
	c, clusters, err := s.chosen()
	if err != nil {
		return "", err
	}
	id, err := s.systemID()
	if err != nil {
		return "", err
	}
	worst := status.Protected
	var failed error
	var documents []any
	for i, cluster := range clusters {
		if i > 0 && !s.json {
			s.printf("\n")
		}
		r, err := s.survey(c, cluster, id)
		switch {
		case err == nil && !s.json:
			s.printStatus(r)
		case err == nil:
			documents = append(documents, r)
		case !s.cli.Bool("all") || s.ctx.Err() != nil:
			return "", err
		default: // one repository that does not answer must not hide how the others stand
			f := s.program.explain(s.withSince(c, cluster, err))
			failed = cmp.Or(failed, error(&codeError{code: f.Code}))
			documents = append(documents, failedLook{cluster.Name, f})
			if !s.json {
				s.printFailedLook(failedLook{cluster.Name, f})
			}
		}
		worst = worst.Worse(r.Verdict)
	}
	switch {
	case s.json && s.cli.Bool("all"):
		err = s.printJSON(documents)
	case s.json:
		err = s.printJSON(documents[0])
	}
	return worst, cmp.Or(err, failed)
}

// survey looks at one cluster and judges it.
func (s *session) survey(c config.Config, cluster config.Cluster, id wal.SystemID) (status.Report, error) {
	live := s.live(c, cluster)
	r, err := agent.Survey(s.ctx, cluster, id, s.costOptions(c, cluster, live))
	if err != nil {
		return status.Report{Verdict: status.Protected}, s.hintPast(cluster, err) // it makes no other verdict better
	}
	if live != nil {
		r.Troubles = live.Troubles()
	}
	r.Judge(s.commands(c, cluster))
	return r, nil
}

// failedLook stands in the place of a report that could not be made.
type failedLook struct {
	Cluster string  `json:"cluster,omitempty"`
	Error   failure `json:"error"`
}

// printFailedLook prints an error in the place of a report, so that what is printed stays one stream.
func (s *session) printFailedLook(l failedLook) {
	name := ""
	if l.Cluster != "" {
		name = s.paint(l.Cluster, "1") + "   "
	}
	s.printf("%s%s %s\n", name, s.paint("error:", "1;31"), l.Error.Message)
	for _, line := range []struct{ label, text string }{{"agent", l.Error.Agent}, {"since", l.Error.Since}, {"cause", l.Error.Cause}, {"fix", l.Error.Fix}} {
		if line.text != "" {
			s.row(line.label, "%s", strings.ReplaceAll(line.text, "\n", "\n"+strings.Repeat(" ", labelWidth)))
		}
	}
}

// chosen returns the configuration and the clusters a command looks at: all of them with --all,
// otherwise one.
func (s *session) chosen() (config.Config, []config.Cluster, error) {
	c, err := s.loadWith(s.argument())
	if err != nil {
		return c, nil, err
	}
	if s.cli.Bool("all") {
		return c, c.Clusters, nil
	}
	one, err := c.Select(text(s.cli, "cluster"))
	if err == nil && s.cli.String("from") != "" {
		one, err = s.clusterFrom(s.argument())
	}
	return c, []config.Cluster{one}, err
}

// commands are the lines that mend a cluster, with what this call was told: the file, the cluster, the
// repository where no file names it.
func (s *session) commands(c config.Config, cluster config.Cluster) status.Commands {
	line := func(name, repo string) string {
		words := "pgark " + name
		if c.File != "" && c.File != config.DefaultFile {
			words += " --config " + quoteWord(c.File)
		}
		if len(c.Clusters) > 1 || text(s.cli, "cluster") != "" {
			words += " --cluster " + quoteWord(cluster.Name)
		}
		if repo != "" {
			words += " " + quoteWord(repo)
		}
		return words
	}
	repo := cluster.Repo.URL
	if c.File != "" && s.argument() == "" && text(s.cli, "repo") == "" {
		repo = "" // the file names it
	}
	return status.Commands{
		Run: line("run", repo), Backup: line("backup", repo), Check: line("check", repo), Drill: line("drill run", repo),
		Copy: line("repo copy", "") + " --to",
		SQL: func(statement string) string {
			conn := "postgres"
			if cluster.Postgres != "" {
				conn = withDatabase(cluster.Postgres, "postgres")
			}
			return "psql -d " + quoteWord(conn) + ` -c "` + statement + `"`
		},
	}
}

// withDatabase returns a connection string, a URL or libpq's keywords, with another database.
func withDatabase(conn, database string) string {
	if u, err := url.Parse(conn); err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql") {
		query := u.Query()
		query.Del("dbname")
		u.Path, u.RawQuery = "/"+database, query.Encode()
		return u.String()
	}
	return strings.TrimSpace(conn + " dbname=" + database)
}
