package cost_test

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/cost"
)

func ptr[T any](v T) *T { return &v }

// aDay is what comes each day, reckoned up to a month.
func aDay(n float64) *float64 { return ptr(n * float64(cost.Month) / float64(24*time.Hour)) }

// strategies is the example of docs/STRATEGIES.md: 25 GB of base backup a night, 20 GB of WAL a day in segments of 5 MB, a window of 14 days.
func strategies() []cost.Repository {
	one := cost.Repository{
		Name: "primary", Far: ptr(false), Records: 15,
		Kept:  []cost.Kept{{Kind: cost.Backups, Bytes: 15 * 25 * cost.GB}, {Kind: cost.WAL, Bytes: 14 * 20 * cost.GB}},
		Rates: cost.Rates{WAL: aDay(20 * cost.GB), Objects: aDay(4096), Backups: aDay(25 * cost.GB)},
	}
	dr := one
	dr.Name, dr.Far = "dr", ptr(true)
	return []cost.Repository{one, dr}
}

func near(got *float64, want float64) bool { return got != nil && math.Abs(*got-want) < 0.005 }

func show(v *float64) string {
	if v == nil {
		return "unknown"
	}
	return fmt.Sprintf("%.3f", *v)
}

// TestOf: every part by hand.
func TestOf(t *testing.T) {
	b := cost.Of(strategies(), cost.Habits{Every: time.Second})
	one, dr := b.Repositories[0], b.Repositories[1]
	month := 730.0 * 3600
	segments, backups := 4096*730.0/24, 25*730.0/24*cost.GB
	puts := month + 120*4*730 + segments + backups/(16<<20) + segments*2*(730.0/24)/1000
	gets := month + 2*segments + backups/(16<<20)
	want := puts*0.005/1000 + gets*0.0004/1000
	for _, test := range []struct {
		what string
		got  *float64
		want float64
	}{
		{"base backups", one.StorageBase, 375 * 0.023},
		{"WAL", one.StorageWAL, 280 * 0.023},
		{"storage", one.Storage, 655 * 0.023},
		{"requests", one.RequestsUSD, want},
		{"quiet", one.Quiet, (360 + 480) * 730 * 0.005 / 1000},
		{"transfer at home", one.Transfer, 0},
		{"transfer", dr.Transfer, 45 * 730.0 / 24 * 0.02},
		{"week", one.Week, 7 * 45 * 0.023},
		{"month", one.Month, 655*0.023 + want},
		{"all weeks", b.Week, 2 * 7 * 45 * 0.023},
		{"all", b.Month, 2*(655*0.023+want) + 45*730.0/24*0.02},
	} {
		if !near(test.got, test.want) {
			t.Errorf("%s: got %s, want %.3f", test.what, show(test.got), test.want)
		}
	}
	if one.Basis != cost.AtMost || !b.AtMost || !one.ByList || !strings.Contains(b.Prices, "list prices of S3 in us-east-1") || b.NotCounted == "" {
		t.Errorf("it is not said what the figures stand on: %+v", b)
	}
}

// TestKnown: what is not known is absent, in the sum too, and why is said.
func TestKnown(t *testing.T) {
	habits := cost.Habits{Every: time.Second}
	for _, test := range []struct {
		name   string
		change func(*cost.Repository, *cost.Habits)
		known  bool
		why    string
	}{
		{"all", func(*cost.Repository, *cost.Habits) {}, true, ""},
		{"another store", func(r *cost.Repository, _ *cost.Habits) { r.Store = cost.Other }, false, "set prices:"},
		{"another store with prices", func(r *cost.Repository, _ *cost.Habits) { r.Store, r.Given.Storage = cost.Other, ptr(0.015) }, true, ""},
		{"a class that is not in the list", func(r *cost.Repository, _ *cost.Habits) { r.Kept[1].Class = "INTELLIGENT_TIERING" }, false, "INTELLIGENT_TIERING"},
		{"that with a price", func(r *cost.Repository, _ *cost.Habits) {
			r.Kept[1].Class, r.Given.Storage = "INTELLIGENT_TIERING", ptr(0.01)
		}, true, ""},
		{"regions", func(r *cost.Repository, _ *cost.Habits) { r.Far = nil }, false, "regions"},
		{"regions where transfer is free", func(r *cost.Repository, _ *cost.Habits) { r.Far, r.Given.Transfer = nil, ptr(0.0) }, true, ""},
		{"rates of a copy elsewhere", func(r *cost.Repository, _ *cost.Habits) { r.Far, r.Rates = ptr(true), cost.Rates{} }, false, "base backups"},
		{"rates at home", func(r *cost.Repository, _ *cost.Habits) { r.Rates = cost.Rates{} }, true, ""},
		{"commits that wait", func(_ *cost.Repository, h *cost.Habits) { h.Synchronous = true }, false, "commits wait"},
		{"commits that wait, counted", func(r *cost.Repository, h *cost.Habits) { h.Synchronous, r.Puts = true, ptr(1e6) }, true, ""},
		{"an interval that nobody names", func(_ *cost.Repository, h *cost.Habits) { h.Every = 0 }, false, "how often WAL is put"},
		{"no answer", func(r *cost.Repository, _ *cost.Habits) { r.Silent = true }, false, "did not answer"},
	} {
		r, h := strategies()[0], habits
		test.change(&r, &h)
		b := cost.Of([]cost.Repository{r}, h)
		e := b.Repositories[0]
		if (e.Month != nil) != test.known || (b.Month != nil) != test.known || !strings.Contains(e.Unknown, test.why) || test.known != (e.Unknown == "") {
			t.Errorf("%s: %s a month, not known is %q", test.name, show(e.Month), e.Unknown)
		}
	}
}

func TestFolder(t *testing.T) {
	r := strategies()[0]
	r.Store = cost.Folder
	b := cost.Of([]cost.Repository{r}, cost.Habits{Every: time.Second, Looks: true})
	if !near(b.Month, 0) || !near(b.Week, 0) || b.Billed() || b.AtMost || len(b.Trade) != 0 {
		t.Errorf("a folder costs %s a month, %s a week more", show(b.Month), show(b.Week))
	}
	r.Given.Storage = ptr(0.1)
	if b = cost.Of([]cost.Repository{r}, cost.Habits{Every: time.Second}); !near(b.Month, 65.5) || !b.Billed() || !strings.Contains(b.Prices, "configured") {
		t.Errorf("with a price it costs %s a month, %s", show(b.Month), b.Prices)
	}
}

// TestClasses: what lies in a class has that one's price, and a price that is given is for all.
func TestClasses(t *testing.T) {
	r := strategies()[0]
	r.Kept = []cost.Kept{{cost.Backups, "STANDARD_IA", 100 * cost.GB}, {cost.Backups, "DEEP_ARCHIVE", 1000 * cost.GB}, {cost.WAL, "", 100 * cost.GB}}
	r.BackupClass = "STANDARD_IA"
	of := func() cost.Estimate {
		return cost.Of([]cost.Repository{r}, cost.Habits{Every: time.Second}).Repositories[0]
	}
	if e := of(); !near(e.StorageBase, 1.25+0.99) || !near(e.StorageWAL, 2.3) || !near(e.Week, 7*(25*0.0125+20*0.023)) {
		t.Errorf("got base %s, WAL %s, week %s", show(e.StorageBase), show(e.StorageWAL), show(e.Week))
	}
	r.Given.Storage = ptr(0.01)
	if e := of(); !near(e.Storage, 12) || !e.ByList {
		t.Errorf("got %s", show(e.Storage))
	}
}

// TestPuts: what the agent counted is stronger than the bound, and holds for a copy that the bucket makes too.
func TestPuts(t *testing.T) {
	all := strategies()
	all[0].Puts, all[1].ByBucket = ptr(1e6), true
	b := cost.Of(all, cost.Habits{Every: time.Second})
	one, dr := b.Repositories[0], b.Repositories[1]
	if one.Basis != cost.Measured || dr.Basis != cost.Measured || b.AtMost {
		t.Errorf("the figures stand on %s and %s", one.Basis, dr.Basis)
	}
	if got := one.Requests.Puts - 1e6; got < 120*4*730 || got > 120*4*730+10000 {
		t.Errorf("%.0f requests that write beside those counted, want those of looks and listings", got)
	}
	if dr.Requests.Puts >= one.Requests.Puts || dr.Requests.Gets >= one.Requests.Gets || dr.Quiet != nil {
		t.Errorf("a bucket that makes a copy looks for nobody: %+v", dr.Requests)
	}
	all[0].Puts = ptr(5e6)
	if b := cost.Of(all, cost.Habits{Every: time.Second}); b.Repositories[0].Basis != cost.AtMost || !near(b.Repositories[0].RequestsUSD, *cost.Of(strategies(), cost.Habits{Every: time.Second}).Repositories[0].RequestsUSD) {
		t.Errorf("an hour with a base backup in it stands for a month: %s USD", show(b.Repositories[0].RequestsUSD))
	}
	if b := cost.Of(all, cost.Habits{Synchronous: true}); b.Repositories[0].Basis != cost.Measured {
		t.Error("where commits wait there is no bound, and what was counted counts")
	}
	all[0].Puts = nil
	looked := cost.Of(all, cost.Habits{Every: time.Second, Looks: true}).Repositories[0]
	unlooked := cost.Of(all, cost.Habits{Every: time.Second}).Repositories[0]
	if got := looked.Requests.Puts - unlooked.Requests.Puts; got != 12*730*60 {
		t.Errorf("looks are %.0f requests that list", got)
	}
}

// TestTrade: a longer interval costs less and loses more, the one in force is marked, and none is told where WAL is not put by it.
func TestTrade(t *testing.T) {
	trade := cost.Of(strategies(), cost.Habits{Every: 3 * time.Second}).Trade
	chosen := 0
	for i, c := range trade {
		if c.Chosen {
			chosen++
			if c.Every != 3 || !near(&c.RPO, 3.1) || !near(&c.Month, 2*(730*1200*0.0054/1000)) {
				t.Errorf("got %+v", c)
			}
		}
		if i > 0 && (c.RPO <= trade[i-1].RPO || c.Month > trade[i-1].Month) {
			t.Errorf("%+v after %+v", c, trade[i-1])
		}
	}
	if chosen != 1 || len(trade) != 6 {
		t.Errorf("%d in force of %d", chosen, len(trade))
	}
	if got := cost.Of(strategies(), cost.Habits{Every: time.Second, Synchronous: true}).Trade; len(got) != 0 {
		t.Errorf("commits wait, and yet %+v", got)
	}
}

func TestAuto(t *testing.T) {
	for objective, want := range map[time.Duration]time.Duration{
		0: time.Second, time.Second: 250 * time.Millisecond, 500 * time.Millisecond: 200 * time.Millisecond, 5 * time.Second: 1250 * time.Millisecond,
		time.Minute: 15 * time.Second, 24 * time.Hour: time.Minute,
	} {
		if got := cost.Auto(objective); got != want {
			t.Errorf("%s: got %s, want %s", objective, got, want)
		}
	}
}

// TestStrategies: the figures in docs/STRATEGIES.md are this package's.
func TestStrategies(t *testing.T) {
	page, err := os.ReadFile("../docs/STRATEGIES.md")
	if err != nil {
		t.Fatal(err)
	}
	b := cost.Of(strategies(), cost.Habits{Every: time.Second})
	one, dr := b.Repositories[0], b.Repositories[1]
	list := cost.List()
	every := map[float64]float64{}
	for _, c := range cost.Of(strategies()[:1], cost.Habits{Every: 10 * time.Second}).Trade {
		every[c.Every] = c.Month
	}
	for _, want := range []string{
		cost.ListText,
		fmt.Sprintf("PUT and LIST %g a thousand, GET %g a thousand, DELETE nothing, storage %g for a GB and month, transfer to another region %g for a GB", list.Put, list.Get, list.Storage, list.Transfer),
		fmt.Sprintf("| storage: (15 × 25 + 14 × 20) GB × %g | %.1f | %.1f |", list.Storage, *one.Storage, *dr.Storage),
		fmt.Sprintf("| requests, busy day and night | %.1f | %.1f |", *one.RequestsUSD, *dr.RequestsUSD),
		fmt.Sprintf("| transfer: (30.4 × 25 + 30.4 × 20) GB × %g | 0 | %.1f |", list.Transfer, *dr.Transfer),
		fmt.Sprintf("| **USD a month** | **%.0f** | **%.0f** |", *one.Month, *dr.Month),
		fmt.Sprintf("| another week of the window | %.1f | %.1f |", *one.Week, *dr.Week),
		fmt.Sprintf("%.1f USD for each repository", every[1]),
		fmt.Sprintf("with `10s` it is %.1f USD", every[10]),
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("docs/STRATEGIES.md lacks %q", want)
		}
	}
}
