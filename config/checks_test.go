package config_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/pgark/pgark/config"
)

// TestChecks: queries stand in the file as a list, or in another file; what is shown of them can be read again.
func TestChecks(t *testing.T) {
	want := []config.Check{
		{Name: "orders_recent", Query: "select max(created_at) > current_setting('pgark.target_time')::timestamptz - interval '1h' from orders", Expect: "t", Database: "shop"},
		{Name: "two", Query: "select 1\n     , '<2>'", Expect: "1|<2>"},
	}
	c, err := config.Load(config.Sources{File: write(t, `
clusters:
  main:
    repo: file:///a
    drill:
      checks:
        amcheck: sample
        sql:
          - { name: orders_recent, database: shop, query: "select max(created_at) > current_setting('pgark.target_time')::timestamptz - interval '1h' from orders" }
          - name: two
            expect: 1|<2>
            query: |
              select 1
                   , '<2>'
`)})
	if err != nil {
		t.Fatal(err)
	}
	d := c.Clusters[0].Drill
	if !slices.Equal(d.Checks, want) || d.SQL != "" || d.Amcheck != config.AmcheckSample {
		t.Errorf("got %+v", d)
	}
	for _, k := range config.ClusterKeys() {
		if k.Path != "drill.checks.sql" {
			continue
		}
		shown := k.Value(c, c.Clusters[0])
		again, err := config.Load(config.Sources{Repo: "file:///a", Environment: []string{k.Env + "=" + shown}})
		if err != nil || !slices.Equal(again.Clusters[0].Drill.Checks, want) {
			t.Errorf("%s: got %+v, %v", shown, again.Clusters, err)
		}
		again, err = config.Load(config.Sources{File: c.File, Repo: "file:///a", Environment: []string{k.Env + "=/etc/pgark/checks.sql"}})
		if err != nil || len(again.Clusters[0].Drill.Checks) > 0 || k.Value(again, again.Clusters[0]) != "/etc/pgark/checks.sql" {
			t.Errorf("a file in its place: got %+v, %v", again.Clusters, err)
		}
	}
}

func TestFaultsOfDrills(t *testing.T) {
	for text, want := range map[string]string{
		`checks: { sql: [{ name: a }] }`:                                  "needs a name and a query",
		`checks: { sql: [{ query: select 1 }] }`:                          "needs a name and a query",
		`checks: { sql: [{ name: a, query: x }, { name: a, query: y }] }`: "two checks are named a",
		`checks: { sql: [{ name: a, query: x, expected: y }] }`:           "no such key",
		`checks: { sql: [select 1] }`:                                     "want keys and values",
		`checks: { sql: [{ name: a, query: [x] }] }`:                      "want a single value",
		`checks: { sql: checks.sql }`:                                     "want an absolute path",
		`checks: { sql: { name: a } }`:                                    "want a single value",
		`checks: { amcheck: half }`:                                       "not one of all, sample, off",
		`where: docker:postgres:17`:                                       "run `pgark drill run` there",
		`where: kubernetes`:                                               "drills are held on the host that pgark runs on",
	} {
		_, err := config.Load(config.Sources{File: write(t, "clusters:\n  main:\n    repo: file:///a\n    drill:\n      "+text+"\n")})
		var faults *config.Error
		if !errors.As(err, &faults) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	for value, want := range map[string]string{"[{name: a}]": "needs a name and a query", "[": "want a list", "[{name: a, query: b}": "want a list"} {
		if _, err := config.Load(config.Sources{Repo: "file:///a", Environment: []string{"PGARK_DRILL_SQL=" + value}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", value, err, want)
		}
	}
}
