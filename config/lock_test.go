package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/storage"
)

const day = 24 * time.Hour

// TestLocks: a copy has the primary's lock, or its own; a folder has none; and who names one repository gets its lock.
func TestLocks(t *testing.T) {
	governed, complied := storage.Lock{Mode: storage.Governance, For: 21 * day}, storage.Lock{Mode: storage.Compliance, For: 30 * day}
	file := write(t, `
clusters:
  main:
    repo: { url: "s3://acme-pg/main?region=eu-west-1", lock: { mode: governance, for: 21d } }
    copies:
      - { name: dr, url: "s3://acme-pg-dr/main?region=us-east-1" }
      - { name: vault, url: "s3://acme-pg-vault/main?region=us-east-1", lock: { mode: compliance, for: 30d } }
      - { name: cheap, url: "s3://acme-pg-cheap/main?region=us-east-1", lock: off }
      - { name: near, url: "file:///mnt/nas/pgark" }
`)
	copies := "PGARK_COPIES=dr=s3://acme-pg-dr/main?region=us-east-1 vault@lock-compliance-30d=s3://acme-pg-vault/main?region=us-east-1" +
		" cheap@lock-off=s3://acme-pg-cheap/main?region=us-east-1 near=file:///mnt/nas/pgark"
	for name, from := range map[string]config.Sources{
		"file":      {File: file},
		"variables": {Repo: "s3://acme-pg/main?region=eu-west-1", Environment: []string{"PGARK_LOCK_MODE=governance", "PGARK_LOCK_FOR=21d", copies}},
	} {
		loaded, err := config.Load(from)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c := loaded.Clusters[0]
		want := map[string]storage.Lock{"primary": governed, "dr": governed, "vault": complied, "cheap": {}, "near": {}}
		for _, one := range c.Repositories() {
			if one.Lock != want[one.Name] {
				t.Errorf("%s: %s has %s, want %s", name, one.Name, one.Lock, want[one.Name])
			}
			for _, by := range []string{one.Name, one.URL} {
				alone, err := c.From(by)
				if err != nil || alone.Repo.Lock != want[one.Name] {
					t.Errorf("%s: %s alone has %s, %v, want %s", name, by, alone.Repo.Lock, err, want[one.Name])
				}
			}
		}
		for url, want := range map[string]storage.Lock{"s3://other/x?region=eu-west-1": governed, "file:///x": {}} {
			if alone, err := c.From(url); err != nil || alone.Repo.Lock != want {
				t.Errorf("%s: %s has %s, %v, want %s", name, url, alone.Repo.Lock, err, want)
			}
		}
		for _, k := range config.ClusterKeys() { // what is shown can be given back
			if k.Path == "copies" && "PGARK_COPIES="+k.Value(loaded, c) != copies {
				t.Errorf("%s: copies are shown as %s", name, k.Value(loaded, c))
			}
		}
	}
	named, err := config.Load(config.Sources{File: file, Repo: "s3://acme-pg-vault/main?region=us-east-1"})
	if err != nil || named.Clusters[0].Repo.Lock != complied {
		t.Errorf("a copy on the command line: %+v, %v", named.Clusters, err)
	}
	// So does a server that was restored from the folder read WAL.
	named, err = config.Load(config.Sources{File: file, Repo: "file:///mnt/nas/pgark"})
	if err != nil || !named.Clusters[0].Repo.Lock.IsZero() {
		t.Errorf("a folder on the command line: %+v, %v", named.Clusters, err)
	}
}

func TestFaultsOfLocks(t *testing.T) {
	const bucket = `repo: { url: "s3://b/main?region=eu-west-1", lock: `
	for text, want := range map[string]string{
		bucket + `{ mode: governance } }`:                                "needs repo.lock.for beside it",
		bucket + `{ for: 14d } }`:                                        "needs repo.lock.mode beside it",
		bucket + `{ mode: worm, for: 14d } }`:                            "want governance or compliance",
		bucket + `{ mode: governance, for: 14 } }`:                       "is not a duration",
		`repo: { url: "file:///a", lock: {mode: governance, for: 14d} }`: "a folder has no Object Lock",
		bucket + `{ mode: governance, for: 14d } }
    copies: [{name: dr, url: "file:///b", lock: {mode: governance, for: 14d}}]`: "copy dr: a folder has no Object Lock",
		bucket + `{ mode: governance, for: 14d } }
    copies: [{name: dr, url: "s3://c/main", lock: on}]`: "want off, or mode and for",
		bucket + `{ mode: governance, for: 14d } }
    copies: [{name: dr, url: "s3://c/main", lock: {mode: governance}}]`: "want off, or mode and for",
		bucket + `{ mode: governance, for: 14d } }
    copies: [{name: dr, url: "s3://c/main", lock: {mode: governance, until: 14d}}]`: "this version knows no until here",
	} {
		_, err := config.Load(config.Sources{File: write(t, "clusters:\n  main:\n    "+text+"\n")})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	for _, marks := range []string{"lock-governance", "lock-", "lock-worm-14d", "lock-off-14d", "locks"} {
		_, err := config.Load(config.Sources{Repo: "s3://b/main", Environment: []string{"PGARK_COPIES=dr@" + marks + "=s3://c/main"}})
		if err == nil {
			t.Errorf("dr@%s was taken", marks)
		}
	}
}
