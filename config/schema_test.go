package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/pgark/pgark/config"
)

// compiled is the schema, which must itself be one.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(config.SchemaID, document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(config.SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// judge returns what the schema has against a file.
func judge(t *testing.T, schema *jsonschema.Schema, text string) error {
	t.Helper()
	document, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(value)
}

// TestSchemaTakesTheExamples: every example in the documentation is one of the schema's, and one that config takes.
func TestSchemaTakesTheExamples(t *testing.T) {
	schema := compiled(t)
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	fence := regexp.MustCompile("(?ms)^ *```yaml\n(.*?)^ *```")
	seen := 0
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range fence.FindAllStringSubmatch(string(text), -1) {
			example := found[1]
			if strings.Contains(example, "tls_server_config") {
				continue // a web configuration file
			}
			seen++
			if strings.HasPrefix(example, "    ") { // what stands below a cluster
				example = "clusters:\n  main:\n" + example
			} else if strings.HasPrefix(example, "copies:") {
				example = "clusters:\n  main:\n    " + strings.ReplaceAll(strings.TrimSpace(example), "\n", "\n    ") + "\n"
			}
			if err := judge(t, schema, example); err != nil {
				t.Errorf("%s: the schema refuses\n%s\n%v", page, example, err)
			}
			if _, err := config.Load(config.Sources{Text: example, Repo: "s3://acme-pg/main?region=eu-west-1"}); err != nil {
				t.Errorf("%s: config refuses\n%s\n%v", page, example, err)
			}
		}
	}
	if seen < 10 {
		t.Errorf("found %d examples: the documentation is not read as it is written", seen)
	}
}

func TestSchemaRefuses(t *testing.T) {
	schema := compiled(t)
	for _, text := range []string{
		"clusters: { main: { repos: file:///a } }",
		"cluster: { main: { repo: file:///a } }",
		"clusters: { main: { repo: { url: file:///a, upload: { evry: 1s } } } }",
		"clusters: { main: { repo: { url: file:///a, upload: { every: 1 } } } }",
		"clusters: { Main: { repo: file:///a } }",
		"clusters: { main: { copies: [{ url: file:///a }] } }",
		"clusters: { main: { copies: [{ name: dr, url: file:///a, bye: bucket }] } }",
		"log: { level: loud }",
		"limits: { upload: 50MB }",
	} {
		if judge(t, schema, text) == nil {
			t.Errorf("the schema takes\n%s", text)
		}
	}
}

// TestSchemaIsNoStricter tries many values on every key: what config takes the schema takes.
func TestSchemaIsNoStricter(t *testing.T) {
	schema := compiled(t)
	values := []string{
		"0", "1", "2", "7", "true", "false", "off", "on", "all", "sample", "none", "1s", "10s", "250ms", "5m", "12h", "14d", "1w2d", "1y", "100MB", "64GB", "16MiB", "1.5GB",
		"200MB/s", "100kB/s", "1GiB/s", "debug", "info", "warn", "error", "auto", "text", "json", "alert", "drop", "zstd", "s2", "random", "latest", "each", "any", "primary", "local",
		"keep", "remove", "source", "follow", "governance", "compliance", "GLACIER", "GLACIER_IR", "DEEP_ARCHIVE", "STANDARD_IA", "file:///a", "/a/b", "pgark", "UTC", "Europe/Paris",
		"'@daily'", "'0 2 * * *'", "127.0.0.1:9868", "ANY 1 (pgark)", "host=a",
	}
	cluster := map[string]bool{}
	for _, k := range config.ClusterKeys() {
		cluster[k.Path] = true
	}
	for _, k := range append(config.GlobalKeys(), config.ClusterKeys()...) {
		for _, v := range values {
			path := k.Path
			if cluster[k.Path] {
				path = "clusters.main." + path
			}
			text := v
			for _, name := range reversed(strings.Split(path, ".")) {
				text = "{" + name + ": " + text + "}"
			}
			if k.Path == "copies" || strings.Contains(k.Path, "web_config") {
				continue
			}
			_, err := config.Load(config.Sources{Text: text, Repo: "s3://b/x?region=eu-west-1"})
			if err != nil {
				continue
			}
			if err := judge(t, schema, text); err != nil {
				t.Errorf("%s: config takes %s, and the schema does not: %v", k.Path, v, err)
			}
		}
	}
}

func reversed(words []string) []string {
	var all []string
	for _, word := range words {
		all = append([]string{word}, all...)
	}
	return all
}
