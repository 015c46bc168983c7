package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/cost"
	"github.com/pgark/pgark/syncmode"
)

// priced loads a configuration with an empty AWS environment.
func priced(t *testing.T, text string) config.Cluster {
	t.Helper()
	for _, name := range []string{"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	c, err := config.Load(config.Sources{Text: "clusters:\n  main: { " + text + " }\n"})
	if err != nil {
		t.Fatal(err)
	}
	return c.Clusters[0]
}

// TestBilled: who bills for a repository, in which class, and whether what is put there comes from another region, as far as that is known.
func TestBilled(t *testing.T) {
	c := priced(t, `repo: { url: "s3://acme-a/x?region=eu-west-1", storage_class: { backups: STANDARD_IA }, prices: { put: 0.01 } }, copies: [
		{ name: near, url: "s3://acme-b/x?region=eu-west-1&storage_class=ONEZONE_IA" }, { name: far, url: "s3://acme-c/x?region=us-east-1", prices: { storage: "0.02", transfer: 0 } },
		{ name: elsewhere, url: "s3://acme-d/x?endpoint=https://objects.example" }, { name: folder, url: "file:///e" }, { name: unknown, url: "s3://acme-f/x" } ]`)
	far := map[string]string{"primary": "false", "near": "false", "far": "true", "elsewhere": "unknown", "folder": "false", "unknown": "unknown"}
	store := map[string]cost.Store{"elsewhere": cost.Other, "folder": cost.Folder}
	class := map[string][2]string{"primary": {"STANDARD_IA", ""}, "near": {"ONEZONE_IA", "ONEZONE_IA"}}
	for _, one := range c.Repositories() {
		r := billed(t.Context(), c, one, StoreOptions{})
		known := "unknown"
		if r.Far != nil {
			known = map[bool]string{true: "true", false: "false"}[*r.Far]
		}
		if known != far[r.Name] || r.Store != store[r.Name] || [2]string{r.BackupClass, r.WALClass} != class[r.Name] || r.Puts != nil {
			t.Errorf("%s: far %s, store %d, classes %q and %q", r.Name, known, r.Store, r.BackupClass, r.WALClass)
		}
	}
	if g := c.Copies[1].Prices; g.Storage == nil || *g.Storage != 0.02 || g.Transfer == nil || *g.Transfer != 0 || g.Put != nil || *c.Repo.Prices.Put != 0.01 {
		t.Errorf("prices were read as %+v", g)
	}
	alone, err := c.From("far")
	if err != nil {
		t.Fatal(err)
	}
	if r := billed(t.Context(), alone, alone.Repositories()[0], StoreOptions{Home: c.Repo.URL}); r.Far == nil || !*r.Far {
		t.Error("a copy that is looked at alone lies beside whoever puts objects there")
	}
	t.Setenv("AWS_ENDPOINT_URL_S3", "https://minio.example")
	if r := billed(t.Context(), c, c.Repositories()[0], StoreOptions{}); r.Store != cost.Other {
		t.Error("the environment names another store than Amazon's")
	}
}

// TestJudgeCost: the price of an interval is no fault; a longer one that the objective allows is told of where it saves something.
func TestJudgeCost(t *testing.T) {
	const bucket = `repo: { url: "s3://acme-a/x?region=eu-west-1", upload: { every: `
	for _, test := range []struct {
		text    string
		verdict Verdict
		words   string
	}{
		{bucket + `1s } }`, Good, "WAL is put every 1s: at most 14.19 USD a month, about 1.1 s of commits lost with the host"},
		{bucket + `1s } }, objectives: { rpo: 1m }`, Pending, "objectives.rpo allows every 15s, for 1.38 USD"},
		{bucket + `auto } }, objectives: { rpo: 1m }`, Good, "WAL is put every 15s: at most 1.38 USD"},
		{bucket + `auto } }`, Good, "WAL is put every 1s"},
		{bucket + `1s } }, objectives: { rpo: 3s }`, Good, "every 1s"},
		{bucket + `9s } }, objectives: { rpo: 1h }`, Good, "every 9s"},
		{bucket + `1s }, prices: { put: 0, get: 0 } }`, "", ""},
		{bucket + `1s } }, sync: { standby_names: "ANY 1 (pgark)" }`, "", ""},
		{`repo: "file:///a"`, "", ""},
		{`repo: "s3://acme-a/x?endpoint=https://objects.example"`, "", ""},
	} {
		c := priced(t, test.text)
		var all []cost.Repository
		for _, one := range c.Repositories() {
			all = append(all, billed(t.Context(), c, one, StoreOptions{}))
		}
		f, ok := judgeCost(c, false, all)
		if ok != (test.verdict != "") || f.Verdict != test.verdict || !strings.Contains(f.Text, test.words) || (f.Fix != "") != (test.verdict == Pending) {
			t.Errorf("%s: got %+v", test.text, f)
		}
	}
}

// TestJudgeCostOfCommitsThatWait: where the server says that commits wait, whoever had them wait, no interval is told of as what is lost.
func TestJudgeCostOfCommitsThatWait(t *testing.T) {
	c := priced(t, `repo: "s3://acme-a/x?region=eu-west-1"`)
	all := []cost.Repository{billed(t.Context(), c, c.Repositories()[0], StoreOptions{})}
	for names, want := range map[string]bool{"pgark": false, "": true} {
		k := &check{report: func(Finding) {}}
		k.commits(syncmode.Settings{Names: names, Commit: "on", Application: "pgark"}, policyOf(c))
		if f, told := judgeCost(c, k.waits, all); told != want {
			t.Errorf("synchronous_standby_names = '%s': got %+v", names, f)
		}
	}
}

// TestAuto: an interval that follows is in force wherever an interval is read.
func TestAuto(t *testing.T) {
	c := priced(t, `repo: { url: "file:///a", upload: { every: auto } }, objectives: { rpo: 5s }`)
	if c.Repo.Every != 1250*time.Millisecond {
		t.Errorf("got %s", c.Repo.Every)
	}
}
