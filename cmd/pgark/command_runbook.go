package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/docs/runbooks"
)

func runbookCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "runbook", Usage: "what to do in an emergency, with the names of this cluster filled in",
		ArgsUsage: "[NAME]",
		Description: "Without a NAME it lists the runbooks. They are part of this program: server and repositories are asked for a few seconds, for what the\n" +
			"configuration does not know, and where they do not answer it is said what is unknown. It changes nothing.",
		Flags: []cli.Flag{systemFlag()},
		BashComplete: func(c *cli.Context) {
			for _, r := range runbooks.All() {
				_, _ = fmt.Fprintln(c.App.Writer, r.Name)
			}
		},
	}, atMostOne, showRunbook)
}

func showRunbook(s *session) error {
	if len(s.args) == 0 {
		return s.listRunbooks()
	}
	r, ok := runbooks.Find(s.args[0])
	if !ok {
		var names []string
		for _, one := range runbooks.All() {
			names = append(names, one.Name)
		}
		err := usagef("no runbook %q", s.args[0])
		err.fix = "pgark runbook lists them"
		if near := config.Nearest(s.args[0], names); near != "" {
			err.fix = "did you mean " + near + "?"
		}
		return err
	}
	id, err := s.systemID()
	if err != nil {
		return err
	}
	facts := s.runbookFacts(id)
	values := map[string]runbooks.Value{}
	for _, f := range facts {
		if f.place != "" {
			values[f.place] = f.standIn()
		}
	}
	text := runbooks.Fill(r.Text, values)
	if s.json {
		return s.printJSON(runbookDocument{r.Name, r.Title, text, unknownPlaces(facts, r.Text)})
	}
	for _, f := range facts {
		if f.label != "" && f.value != "" {
			s.row(f.label, "%s", f.value)
		}
	}
	for _, u := range unknownPlaces(facts, r.Text) {
		s.row("unknown", "%s: %s; set %s before you paste", u.Place, u.Why, u.Variable)
	}
	s.printf("\n%s", text)
	return nil
}

func (s *session) listRunbooks() error {
	all := runbooks.All()
	if s.json {
		for i := range all {
			all[i].Text = ""
		}
		return s.printJSON(all)
	}
	for _, r := range all {
		s.printf("%-22s %s\n", r.Name, r.Title)
	}
	s.printf("\npgark runbook NAME prints one, with the names of this cluster.\n")
	return nil
}

// runbookDocument is a runbook as JSON.
type runbookDocument struct {
	Name    string         `json:"name"`
	Title   string         `json:"title"`
	Text    string         `json:"text"`
	Unknown []unknownPlace `json:"unknown"`
}

// unknownPlace is a name that could not be filled in: the variable of the shell that stands in its place, and why.
type unknownPlace struct {
	Place    string `json:"place"`
	Variable string `json:"variable"`
	Why      string `json:"why"`
}
