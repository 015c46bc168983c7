package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Check is a query that drills ask, and what it must answer.
type Check struct {
	Name     string `json:"name"`
	Database string `json:"database,omitempty"` // "": postgres
	Query    string `json:"query"`
	Expect   string `json:"expect"` // t where it is not given
}

// sqlKey is a list of checks, or the path of a file of them.
func sqlKey() Key {
	return Key{
		Path: "drill.checks.sql", Env: "PGARK_DRILL_SQL",
		Doc: "queries and what they must answer: a list of `name`, `query`, `expect` (t by default) and `database`, or the absolute path of a file in the form of `pgark drill run --sql`; none by default",
		set: func(_ *Config, c *Cluster, v string) error { return c.Drill.setChecks(v) },
		get: func(_ Config, c Cluster) string { return c.Drill.checksText() },
	}
}

var errChecks = errors.New("want a list of name and query, or the path of a file")

// setChecks reads a list as YAML, or JSON, writes it in one line, or a path.
func (d *Drill) setChecks(v string) error {
	if !strings.HasPrefix(strings.TrimSpace(v), "[") {
		d.Checks = nil
		return setFolder(&d.SQL, v)
	}
	tree, err := parser.ParseBytes([]byte(v), 0)
	if err != nil || len(tree.Docs) != 1 {
		return errChecks
	}
	list, ok := tree.Docs[0].Body.(*ast.SequenceNode)
	if !ok {
		return errChecks
	}
	r := &reader{}
	d.SQL, d.Checks = "", r.checkList(list, "")
	if len(r.faults) > 0 {
		return fmt.Errorf("%s%s", strings.TrimPrefix(r.faults[0].Key+": ", ": "), r.faults[0].Message)
	}
	return nil
}

// checksText is what is set, as one line of YAML.
func (d *Drill) checksText() string {
	if len(d.Checks) == 0 {
		return d.SQL
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(d.Checks) // of texts alone
	return strings.TrimSpace(b.String())
}

// checks reads the list of checks in a file.
func (r *reader) checks(list *ast.SequenceNode, s scope) {
	s.cluster.Drill.SQL, s.cluster.Drill.Checks = "", r.checkList(list, s.label("drill.checks.sql"))
}

func (r *reader) checkList(list *ast.SequenceNode, above string) []Check {
	var checks []Check
	for i, item := range list.Values {
		label := fmt.Sprintf("%s[%d]", above, i)
		one := Check{Expect: "t"}
		fields := map[string]*string{"name": &one.Name, "database": &one.Database, "query": &one.Query, "expect": &one.Expect}
		for _, f := range r.mapping(item, label) {
			to, known := fields[f.name]
			if !known {
				r.fault(f.at, join(label, f.name), "this version knows no such key").Suggestion = Nearest(f.name, []string{"name", "database", "query", "expect"})
				continue
			}
			value, err := r.scalar(f.value)
			if err != nil {
				r.fault(f.value.GetToken(), join(label, f.name), err.Error())
			}
			*to = value
		}
		switch {
		case one.Name == "" || strings.TrimSpace(one.Query) == "":
			r.fault(item.GetToken(), label, "a check needs a name and a query")
		case slices.ContainsFunc(checks, func(other Check) bool { return other.Name == one.Name }):
			r.fault(item.GetToken(), label, "two checks are named "+one.Name)
		}
		checks = append(checks, one)
	}
	return checks
}
