package drill_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/pgark/pgark/drill"
	"github.com/pgark/pgark/repository"
)

func TestParseChecks(t *testing.T) {
	const text = `-- what must be there after any restore
-- check: orders_recent
-- database: shop
-- written by the shop's team
-- expect: t
select max(created_at) > current_setting('pgark.target_time')::timestamptz - interval '1h' -- an hour
from orders;

-- check: two rows
-- expect: 1|x
select 1, 'x';
-- database: is a comment here
`
	want := []drill.Check{
		{"orders_recent", "shop", "select max(created_at) > current_setting('pgark.target_time')::timestamptz - interval '1h' -- an hour\nfrom orders;\n\n", "t"},
		{"two rows", "", "select 1, 'x';\n-- database: is a comment here\n\n", "1|x"},
	}
	got, err := drill.ParseChecks(text)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q, %v\nwant %q", got, err, want)
	}
	if got, err := drill.ParseChecks("\n-- nothing yet\n"); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
	for text, line := range map[string]int{
		"select 1":                             1,
		"\n-- check:\nselect 1":                2,
		"-- check: a\n-- expect: t\n":          1,
		"-- check: a\n\n-- check: b\nselect":   1,
		"-- check: a\nselect 1\n-- check: a\n": 3,
	} {
		var e *drill.CheckError
		if _, err := drill.ParseChecks(text); !errors.As(err, &e) || e.Line != line {
			t.Errorf("%q: got %v, want line %d", text, err, line)
		}
	}
}

func TestCheckedRelations(t *testing.T) {
	const progress = "  0/297 relations (0%),   0/1042 pages (0%)\r 12/297 relations (4%),  40/1042 pages (3%)\r297/297 relations (100%), 1042/1042 pages (100%)\n"
	if got := drill.CheckedRelations(progress); got != 297 {
		t.Errorf("got %d, want 297", got)
	}
	if got := drill.CheckedRelations("pg_amcheck: error: no"); got != 0 {
		t.Errorf("got %d, want 0", got)
	}
}

func TestParseRelation(t *testing.T) {
	r, shared, err := drill.ParseRelation([]string{"16400", "16401", "1663", "r", "public", "a\xffb", "f"})
	if want := (repository.Relation{Tablespace: 1663, Filenode: 16401, OID: 16400, Kind: "r", Schema: "public", Name: "a\uFFFDb"}); err != nil || shared || r != want {
		t.Errorf("got %+v, %t, %v", r, shared, err)
	}
	if r, _, err := drill.ParseRelation([]string{"16400", "0", "1663", "p", "public", "x", "t"}); err != nil || r.Tablespace != 0 {
		t.Errorf("without a file: got %+v, %v", r, err)
	}
	for _, row := range [][]string{nil, {"x", "1", "1", "r", "s", "n", "f"}, {"1", "1", "4294967296", "r", "s", "n", "f"}} {
		if _, _, err := drill.ParseRelation(row); err == nil {
			t.Errorf("%v: no error", row)
		}
	}
}

// TestSampled: a sample is of tables that have files, of every database, and no name of them is taken for a pattern.
func TestSampled(t *testing.T) {
	names := &repository.Names{Databases: []repository.NamedDatabase{
		{Relations: []repository.Relation{{Filenode: 1262, Kind: "r", Schema: "pg_catalog", Name: "pg_database"}}},
		{OID: 5, Name: `a.b"c`, Relations: []repository.Relation{
			{Filenode: 1, Kind: "r", Schema: "s*", Name: "Orders"},
			{Filenode: 2, Kind: "i", Schema: "s", Name: "index"},
			{Kind: "r", Schema: "s", Name: "view"},
			{Filenode: 3, Kind: "r", Schema: "s", Name: "\uFFFD"},
			{Filenode: 4, Kind: "m", Schema: "s", Name: "m"},
		}},
	}}
	got := drill.Sampled(names, rand.New(rand.NewPCG(1, 2)))
	slices.Sort(got)
	if want := []string{`"a.b""c"."s"."m"`, `"a.b""c"."s*"."Orders"`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	many := &repository.Names{Databases: []repository.NamedDatabase{{OID: 5, Name: "d"}}}
	for i := range 1000 {
		many.Databases[0].Relations = append(many.Databases[0].Relations, repository.Relation{Filenode: 1, Kind: "r", Schema: "s", Name: fmt.Sprint(i)})
	}
	seen := map[string]bool{}
	for seed := range uint64(200) {
		one := drill.Sampled(many, rand.New(rand.NewPCG(seed, 2)))
		if len(one) != 100 {
			t.Fatalf("got %d of 1000, want 100", len(one))
		}
		for _, table := range one {
			seen[table] = true
		}
	}
	if len(seen) != 1000 {
		t.Errorf("200 samples of a tenth came by %d of 1000 tables", len(seen))
	}
}
