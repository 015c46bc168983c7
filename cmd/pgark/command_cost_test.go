package main

import (
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/cost"
	"github.com/pgark/pgark/status"
)

// billedReport is an archive with a copy in another region.
func billedReport() status.Report {
	near, far := false, true
	month := func(gb float64) *float64 { gb *= cost.GB; return &gb }
	objects := 121667.0
	one := cost.Repository{
		Name: "primary", Far: &near, Records: 15, Kept: []cost.Kept{{Kind: cost.Backups, Bytes: 375 * cost.GB}, {Kind: cost.WAL, Bytes: 280 * cost.GB}},
		Rates: cost.Rates{WAL: month(608), Objects: &objects, Backups: month(760)},
	}
	dr := one
	dr.Name, dr.Far = "dr", &far
	r := status.Report{Cluster: "main", Repository: "s3://acme-pg/main?region=eu-west-1", Copies: []status.Copy{
		{Name: "primary", Repository: "s3://acme-pg/main?region=eu-west-1"}, {Name: "dr", Repository: "s3://acme-pg-dr/main?region=us-east-1"},
	}}
	r.Cost = cost.Of([]cost.Repository{one, dr}, cost.Habits{Every: 2 * time.Second})
	return r
}

func TestCostText(t *testing.T) {
	s, out := shown(t)
	s.printCost(billedReport())
	const want = `main   USD a month, at list prices of S3 in us-east-1 as of May 2026; set prices: for yours

REPOSITORY                        STORAGE  REQUESTS  TRANSFER  A MONTH  ANOTHER WEEK
primary     s3://acme-pg/main     15.06    ≤ 9.85    0.00      24.92    7.24
dr          s3://acme-pg-dr/main  15.06    ≤ 9.85    27.36     52.28    7.24
together                                                       77.20    14.48
primary: 1,842,108 PUT and LIST, 1,605,974 GET, as if the server were busy day and night; at most 3.07 USD if nothing were written
`
	if !strings.HasPrefix(out.String(), want) {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	for _, line := range []string{"2 s           about 2.1 s         ≤ 14.19          in force", "60 s          about 60.1 s        ≤ 2.66", "Not counted: older versions"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("%q is lacking in\n%s", line, out)
		}
	}
}

// TestCostLine: status has a line of it, where something is known and billed.
func TestCostLine(t *testing.T) {
	s, out := shown(t)
	r := billedReport()
	s.printCostLine(r)
	if got := out.String(); got != "  cost      est. at most 77.20 USD/month · another week of the window 14.48 · pgark repo cost\n" {
		t.Errorf("got %q", got)
	}
	out.Reset()
	r.Cost = cost.Of([]cost.Repository{{Name: "primary", Store: cost.Folder}}, cost.Habits{Every: time.Second})
	s.printCostLine(r)
	r.Cost = cost.Of([]cost.Repository{{Name: "primary", Store: cost.Other}}, cost.Habits{Every: time.Second})
	s.printCostLine(r)
	s.printCostLine(status.Report{})
	if out.Len() > 0 {
		t.Errorf("got %q of what costs nothing, or is not known", out)
	}
}
