package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/postgres"
)

// TestChooseServer: where several servers could be meant a person is asked, Enter takes the first, and nobody else is; what is not chosen is told of.
func TestChooseServer(t *testing.T) {
	two := []postgres.Endpoint{{Host: "/run/postgresql", Port: 5432}, {Host: "/run/postgresql", Port: 5433}}
	for _, test := range []struct {
		name     string
		found    []postgres.Endpoint
		services []string
		terminal bool
		answer   string
		want     string
		others   int
		asked    bool
		refused  bool
	}{
		{name: "none", want: ""},
		{name: "one", found: two[:1], terminal: true, want: "host=/run/postgresql port=5432"},
		{name: "two, nobody there", found: two, want: "host=/run/postgresql port=5432", others: 1},
		{name: "two, Enter", found: two, terminal: true, answer: "\n", want: "host=/run/postgresql port=5432", others: 1, asked: true},
		{name: "two, the second", found: two, terminal: true, answer: "2\n", want: "host=/run/postgresql port=5433", others: 1, asked: true},
		{name: "a service", found: two, services: []string{"main"}, terminal: true, answer: "3\n", want: "service=main", others: 2, asked: true},
		{name: "a service, nobody there", services: []string{"main"}, want: ""},
		{name: "nonsense", found: two, terminal: true, answer: "7\n", asked: true, refused: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			p := &program{stdin: strings.NewReader(test.answer), stdout: &out, stderr: &out, interrupted: func() os.Signal { return nil }}
			if test.terminal {
				p.environment = []string{"PGARK_FORCE_TTY=1"}
			}
			s := &session{
				program: p, cli: cli.NewContext(p.app(), flag.NewFlagSet("init", flag.ContinueOnError), nil), ctx: t.Context(), stderr: &screen{to: &out},
			}
			conn, others, err := s.chooseServer(test.found, test.services)
			if (err != nil) != test.refused || conn != test.want || len(others) != test.others {
				t.Errorf("got %q, %v, %v", conn, others, err)
			}
			if asked := strings.Contains(out.String(), "Which one is to be archived?"); asked != test.asked {
				t.Errorf("asked: %t, want %t: %s", asked, test.asked, out.String())
			}
		})
	}
}
