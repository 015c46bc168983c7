package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/config"
)

// TestPrices: prices come from the file and the environment, for the primary and each copy; what is no price is refused.
func TestPrices(t *testing.T) {
	c, err := config.Load(config.Sources{
		Text:        "clusters: { main: { repo: { url: file:///a, prices: { storage: 0.0245, get: 0 } } } }",
		Environment: []string{"PGARK_PRICES_PUT=0.0054", "PGARK_COPIES=dr=file:///b dr.prices.storage=0.01"},
	})
	if err != nil {
		t.Fatal(err)
	}
	one := c.Clusters[0]
	if p := one.Repo.Prices; p.Storage == nil || *p.Storage != 0.0245 || *p.Get != 0 || *p.Put != 0.0054 || p.Transfer != nil {
		t.Errorf("got %+v", p)
	}
	dr, err := one.From("dr")
	if err != nil || dr.Repo.Prices.Storage == nil || *dr.Repo.Prices.Storage != 0.01 || dr.Repo.Prices.Put != nil {
		t.Errorf("a copy has the prices %+v, %v", dr.Repo.Prices, err)
	}
	for _, k := range config.ClusterKeys() {
		want := map[string]string{"repo.prices.storage": "0.0245", "repo.prices.transfer": "", "copies": "dr=file:///b dr.prices.storage=0.01"}
		if v, ok := want[k.Path]; ok && k.Value(c, one) != v {
			t.Errorf("%s is shown as %q", k.Path, k.Value(c, one))
		}
	}
	for _, bad := range []string{"-1", "cheap", "1e9", "NaN", "0,023"} {
		_, err := config.Load(config.Sources{Text: "clusters: { main: { repo: { url: file:///a, prices: { put: '" + bad + "' } } } }"})
		if err == nil || !strings.Contains(err.Error(), "prices.put") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestEveryAuto: the interval follows the objective, also one of the environment, and is shown as it was written.
func TestEveryAuto(t *testing.T) {
	load := func(environment ...string) config.Config {
		t.Helper()
		c, err := config.Load(config.Sources{Text: "clusters: { main: { repo: { url: file:///a, upload: { every: auto } } } }", Environment: environment})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if got := load().Clusters[0].Repo.Every; got != time.Second {
		t.Errorf("without an objective: %s", got)
	}
	c := load("PGARK_RPO=20s")
	if got := c.Clusters[0].Repo.Every; got != 5*time.Second {
		t.Errorf("a quarter of 20s: %s", got)
	}
	for _, k := range config.ClusterKeys() {
		if k.Path == "repo.upload.every" && k.Value(c, c.Clusters[0]) != "auto" {
			t.Errorf("it is shown as %s", k.Value(c, c.Clusters[0]))
		}
	}
	if got := load("PGARK_RPO=20s", "PGARK_UPLOAD_EVERY=2s").Clusters[0].Repo.Every; got != 2*time.Second {
		t.Errorf("the environment is stronger: %s", got)
	}
}
