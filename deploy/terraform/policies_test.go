// Package terraform_test keeps the Terraform module to what the code prints.
package terraform_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/storage"
)

var update = flag.Bool("update", false, "write policies.json.tftpl anew")

const policiesFile = "policies.json.tftpl"

// place is one bucket that the module may be used for.
type place struct {
	partition, region, bucket, prefix string
	days                              int
}

// printed are the documents that `pgark repo policy` prints for a place, under the names that the module calls them by.
func printed(t *testing.T, p place) map[string]any {
	t.Helper()
	documents := map[string]any{}
	for _, mode := range []storage.LockMode{storage.Unlocked, storage.Governance, storage.Compliance} {
		for _, replicated := range []bool{false, true} {
			for _, role := range agent.Roles() {
				need := agent.Need{Replicated: replicated}
				name := string(role)
				if mode != storage.Unlocked {
					need.Lock = storage.Lock{Mode: mode, For: time.Duration(p.days) * 24 * time.Hour}
					name += "-" + string(mode)
				}
				if replicated {
					name += "-replicated"
				}
				g, err := agent.Least(t.Context(), fmt.Sprintf("s3://%s/%s?region=%s", p.bucket, p.prefix, p.region), role, need)
				if err != nil {
					t.Fatal(err)
				}
				documents[name], documents["bucket"] = g.Identity, g.Bucket
				if role != agent.Janitor {
					continue
				}
				need.RemoveVersions = true
				if g, err = agent.Least(t.Context(), fmt.Sprintf("s3://%s/%s?region=%s", p.bucket, p.prefix, p.region), role, need); err != nil {
					t.Fatal(err)
				}
				documents[name+"-removing"] = g.Identity
			}
		}
	}
	return documents
}

// TestPolicies: the module's documents are those of the code, action by action, for any names.
func TestPolicies(t *testing.T) {
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_REGION", "AWS_CONFIG_FILE"} {
		t.Setenv(name, "")
	}
	if *update {
		p := place{"aws", "eu-west-1", "the-bucket", "the-prefix", 4711}
		text, err := json.MarshalIndent(printed(t, p), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		named := strings.NewReplacer("arn:aws:", "arn:${partition}:", p.bucket, "${bucket}", p.prefix, "${prefix}", `"4712"`, `"${lock_days + 1}"`).Replace(string(text))
		if err := os.WriteFile(policiesFile, []byte(named+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	template, err := os.ReadFile(policiesFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []place{
		{"aws", "eu-west-1", "acme-pg", "main", 21},
		{"aws-cn", "cn-north-1", "acme-pg-dr", "a/b_c.d", 1},
		{"aws-us-gov", "us-gov-west-1", "x23", "0", 3650},
	} {
		text := strings.NewReplacer("${partition}", p.partition, "${bucket}", p.bucket, "${prefix}", p.prefix,
			"${lock_days + 1}", fmt.Sprint(p.days+1)).Replace(string(template))
		var got, want bytes.Buffer
		if err := json.Compact(&got, []byte(text)); err != nil {
			t.Fatal(err)
		}
		documents, err := json.Marshal(printed(t, p))
		if err == nil {
			err = json.Compact(&want, documents)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Errorf("%s is not what pgark prints for %+v: go test ./deploy/terraform -update\ngot  %s\nwant %s", policiesFile, p, &got, &want)
		}
	}
}

// TestYAML: what the module prints for pgark.yml is a configuration, with each choice.
func TestYAML(t *testing.T) {
	template, err := os.ReadFile("pgark.yml.tftpl")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		by, mode string
		copied   bool
		locked   storage.LockMode
	}{
		{"agent", "none", false, storage.Unlocked}, {"agent", "governance", false, storage.Governance}, {"bucket", "compliance", true, storage.Compliance},
	} {
		text := strings.NewReplacer(
			"${primary}", "s3://acme-pg/main?region=eu-west-1&role=arn:aws:iam::123456789012:role/pgark-writer",
			"${copy}", "s3://acme-pg-dr/main?region=us-east-1&role=arn:aws:iam::123456789012:role/pgark-writer",
			"${mode}", test.mode, "${days}", "21",
		).Replace(chosen(string(template), test.mode != "none", test.by == "bucket"))
		file := t.TempDir() + "/pgark.yml"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := config.Load(config.Sources{File: file})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		c, err := all.Select("main")
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Copies) != 1 || c.Copies[0].ByBucket != test.copied || c.Repo.Lock.Mode != test.locked {
			t.Errorf("got %+v of\n%s", c, text)
		}
	}
}

// chosen is what Terraform makes of the two directives of the template: it takes a branch and the line breaks of the directives away.
func chosen(template string, locked, copied bool) string {
	var b strings.Builder
	keep := true
	for line := range strings.Lines(template) {
		switch strings.TrimSpace(line) {
		case `%{ if mode != "none" ~}`:
			keep = locked
		case `%{ if by == "bucket" ~}`:
			keep = copied
		case `%{ else ~}`:
			keep = !keep
		case `%{ endif ~}`:
			keep = true
		default:
			if keep {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}
