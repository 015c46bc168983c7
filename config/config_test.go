package config_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/config"
)

func write(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pgark.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLoadReadsEveryKey(t *testing.T) {
	file := write(t, `
log: { level: debug, format: json }
limits: { upload: 50MB/s, read: 100MB/s }
http: { listen: "127.0.0.1:9868", web_config_file: /etc/pgark/web.yml }
clusters:
  main:
    postgres: service=main
    slot: { name: ark_1, keep_max: 64GB, on_limit: drop }
    repo:
      url: s3://acme-pg/main?region=eu-west-1
      upload: { every: 250ms, rate_limit: 40MB/s }
      read: { rate_limit: 100kB/s }
      compression: s2
    backup: { schedule: "30 3 * * 0", timezone: Europe/Paris, max_rate: 200MB/s }
`)
	got, err := config.Load(config.Sources{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if got.Log.Level != slog.LevelDebug || got.Log.Format != "json" || len(got.Clusters) != 1 {
		t.Fatalf("got %+v", got)
	}
	c := got.Clusters[0]
	if c.Name != "main" || c.Postgres != "service=main" || c.Slot != "ark_1" {
		t.Errorf("cluster: got %+v", c)
	}
	if want := (config.Limits{Upload: 50_000_000, Read: 100_000_000}); got.Limits != want {
		t.Errorf("limits: got %+v, want %+v", got.Limits, want)
	}
	if want := (config.HTTP{Listen: "127.0.0.1:9868", WebConfigFile: "/etc/pgark/web.yml"}); got.HTTP != want {
		t.Errorf("http: got %+v, want %+v", got.HTTP, want)
	}
	if want := (config.Keep{Max: 64_000_000_000, OnLimit: config.Drop}); c.Keep != want {
		t.Errorf("slot: got %+v, want %+v", c.Keep, want)
	}
	if want := (config.Repo{URL: "s3://acme-pg/main?region=eu-west-1", Every: 250 * time.Millisecond, Compression: "s2", Limits: config.Limits{Upload: 40_000_000, Read: 100_000}, Archive: config.Archive{Class: "GLACIER"}}); c.Repo != want {
		t.Errorf("repo: got %+v, want %+v", c.Repo, want)
	}
	if want := (config.Backup{Schedule: "30 3 * * 0", Timezone: "Europe/Paris", MaxRate: 200_000_000}); c.Backup != want {
		t.Errorf("backup: got %+v, want %+v", c.Backup, want)
	}
}

func TestCopies(t *testing.T) {
	file := write(t, `
clusters:
  main:
    repo: s3://acme-pg/main?region=eu-west-1
    copies:
      - { name: dr, url: "s3://acme-pg-dr/main?region=us-east-1" }
      - name: near
        url: file:///mnt/nas/pgark
    required: 2
`)
	want := []config.Copy{{Name: "dr", URL: "s3://acme-pg-dr/main?region=us-east-1"}, {Name: "near", URL: "file:///mnt/nas/pgark"}}
	for name, from := range map[string]config.Sources{
		"file": {File: file},
		"variable": {Repo: "s3://acme-pg/main?region=eu-west-1", Environment: []string{
			"PGARK_COPIES=dr=s3://acme-pg-dr/main?region=us-east-1\n near=file:///mnt/nas/pgark", "PGARK_REQUIRED=2",
		}},
	} {
		c, err := config.Load(from)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := c.Clusters[0]; !slices.Equal(got.Copies, want) || got.Required != "2" {
			t.Errorf("%s: got %+v, required %s", name, got.Copies, got.Required)
		}
	}
}

func TestSettingsOfCopies(t *testing.T) {
	file := write(t, `
clusters:
  main:
    repo: file:///a
    copies:
      - { name: dr, url: file:///b, upload: { rate_limit: 10MB/s }, read: { rate_limit: 1MB/s } }
      - { name: far, url: "s3://b/a?region=eu-west-1", storage_class: { backups: STANDARD_IA, wal: GLACIER_IR } }
      - { name: near, url: file:///c }
`)
	first, err := config.Load(config.Sources{File: file})
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Copy{{Name: "dr", URL: "file:///b", Limits: config.Limits{Upload: 10_000_000, Read: 1_000_000}}, {Name: "far", URL: "s3://b/a?region=eu-west-1", Classes: config.StorageClasses{Backups: "STANDARD_IA", WAL: "GLACIER_IR"}}, {Name: "near", URL: "file:///c"}}
	if got := first.Clusters[0].Copies; !slices.Equal(got, want) {
		t.Errorf("file: got %+v, want %+v", got, want)
	}
	for _, k := range config.ClusterKeys() {
		if k.Path != "copies" {
			continue
		}
		shown := k.Value(first, first.Clusters[0])
		again, err := config.Load(config.Sources{Repo: "file:///a", Environment: []string{"PGARK_COPIES=" + shown}})
		if err != nil {
			t.Fatal(err)
		}
		if got := again.Clusters[0].Copies; !slices.Equal(got, want) {
			t.Errorf("%s: got %+v, want %+v", shown, got, want)
		}
	}
	// Who reads or writes one alone keeps to its limits, and --rate-limit takes the place of all.
	one, err := first.Clusters[0].From("dr")
	if err != nil || one.Repo.Limits != want[0].Limits {
		t.Errorf("from dr: got %+v, %v", one.Repo.Limits, err)
	}
	first.Limit(5)
	if got := first.Clusters[0].Repositories()[1].Limits; first.Limits != (config.Limits{Upload: 5, Read: 5}) || got != (config.Limits{}) {
		t.Errorf("in the place of all: got %+v, and %+v of a copy", first.Limits, got)
	}
	for _, bad := range []string{"dr.upload.rate_limit=1MB/s dr=file:///b", "dr=file:///b dr.upload.every=1s", "dr=file:///b dr.read.rate_limit=10MB", "dr=file:///b dr.read.rate_limit=1kB/s", "dr=s3://b dr.storage_class.wal=DEEP_ARCHIVE", "dr=file:///b dr.storage_class.wal=STANDARD_IA"} {
		if _, err := config.Load(config.Sources{Repo: "file:///a", Environment: []string{"PGARK_COPIES=" + bad}}); err == nil {
			t.Errorf("%s: got no fault", bad)
		}
	}
}

// TestUnversioned: who does without versions says of which repository.
func TestUnversioned(t *testing.T) {
	const repo = "clusters:\n  main:\n    copies: [{name: dr, url: \"file:///b\"}]\n    repo: {url: \"file:///a\", unversioned: \"%s\"}\n"
	c, err := config.Load(config.Sources{File: write(t, fmt.Sprintf(repo, "dr, primary"))})
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Clusters[0].Repo; r.NeedsVersions("dr") || r.NeedsVersions(config.Primary) || !r.NeedsVersions("other") {
		t.Errorf("got %+v", r)
	}
	if _, err := config.Load(config.Sources{File: write(t, fmt.Sprintf(repo, "primary,far"))}); err == nil || !strings.Contains(err.Error(), `"far" is no repository of this cluster`) {
		t.Errorf("got %v", err)
	}
}

func TestFaultsOfCopies(t *testing.T) {
	for text, want := range map[string]string{
		`copies: file:///b`: "want a list",
		`copies: [{name: dr, url: "file:///b"}, {name: dr, url: "file:///c"}]`: "two copies are named dr",
		`copies: [{name: primary, url: "file:///b"}]`:                          "not primary",
		`copies: [{name: each, url: "file:///b"}]`:                             "not primary, each or any",
		`copies: [{name: Dr, url: "file:///b"}]`:                               "lower-case",
		`copies: [{name: dr, url: "file:///a"}]`:                               "same place as the primary repository",
		`copies: [{name: dr, url: "ftp://a"}]`:                                 "unknown scheme",
		`copies: [{name: dr, urll: "file:///b"}]`:                              "no such key",
		`copies: [{name: dr, url: "file:///b", by: bucket}]`:                   "both repositories must be buckets",
		`copies: [{name: dr, url: "file:///b", by: rsync}]`:                    "want agent, or bucket",
		`required: most`: "want primary, all, or a number",
		`required: 2`:    "2 required, and there are 1 repositories",
	} {
		_, err := config.Load(config.Sources{File: write(t, "clusters:\n  main:\n    repo: file:///a\n    "+text+"\n")})
		var faults *config.Error
		if !errors.As(err, &faults) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// TestCopiesByTheBucket: they do not count for what is required, and keep the names.
func TestCopiesByTheBucket(t *testing.T) {
	const repo = "    repo: s3://acme-pg/main?region=eu-west-1\n"
	dr := config.Copy{Name: "dr", URL: "s3://acme-pg-dr/main?region=us-east-1", ByBucket: true}
	for name, from := range map[string]config.Sources{
		"file": {File: write(t, "clusters:\n  main:\n"+repo+"    copies: [{name: dr, url: \"s3://acme-pg-dr/main?region=us-east-1\", by: bucket}]\n")},
		"variable": {Repo: "s3://acme-pg/main?region=eu-west-1", Environment: []string{
			"PGARK_COPIES=dr@bucket=s3://acme-pg-dr/main?region=us-east-1", "PGARK_REQUIRED=all",
		}},
	} {
		c, err := config.Load(from)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := c.Clusters[0].Copies; !slices.Equal(got, []config.Copy{dr}) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	for text, want := range map[string]string{
		`copies: [{name: dr, url: "s3://acme-pg-dr/other", by: bucket}]`:                   "so the URL must be s3://acme-pg-dr/main",
		"copies: [{name: dr, url: \"s3://acme-pg-dr/main\", by: bucket}]\n    required: 2": "there are 1 repositories that the agent writes",
	} {
		if _, err := config.Load(config.Sources{File: write(t, "clusters:\n  main:\n"+repo+"    "+text+"\n")}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestFrom(t *testing.T) {
	c := config.Cluster{Repo: config.Repo{URL: "file:///a"}, Copies: []config.Copy{{Name: "dr", URL: "file:///b"}}}
	for from, want := range map[string]string{"": "file:///a", "primary": "file:///a", "dr": "file:///b", "file:///c": "file:///c"} {
		if got, err := c.From(from); err != nil || got.Repo.URL != want || got.Copies != nil {
			t.Errorf("%q: got %+v, %v, want %s", from, got, err, want)
		}
	}
	if _, err := c.From("drr"); err == nil || !strings.Contains(err.Error(), "dr") {
		t.Errorf("unknown name: got %v", err)
	}
}

func TestLoadMinimal(t *testing.T) {
	for name, from := range map[string]config.Sources{
		"file, short repo":  {File: write(t, "clusters:\n  main:\n    repo: file:///ark\n")},
		"no file, argument": {Repo: "file:///ark"},
		"no file, variable": {Environment: []string{"PGARK_REPO=file:///ark", "PATH=/bin", "PGARK_SLOT_NAME=", "PGARK_SLOTT="}},
		"empty cluster":     {File: write(t, "clusters:\n  main:\n"), Repo: "file:///ark"},
		"comments only":     {File: write(t, "# nothing yet\n"), Repo: "file:///ark"},
		"empty file":        {File: write(t, ""), Repo: "file:///ark"},
	} {
		got, err := config.Load(from)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c, err := got.Select("")
		if err != nil || c.Name != "main" || c.Repo.URL != "file:///ark" || c.Slot != "pgark" || c.Repo.Every != time.Second ||
			c.Repo.Compression != "zstd" || c.Backup.Schedule != "0 2 * * *" {
			t.Errorf("%s: got %+v, %v", name, c, err)
		}
	}
}

func TestPrecedence(t *testing.T) {
	file := write(t, "clusters:\n  main:\n    repo: file:///file\n    slot: { name: file }\n")
	environment := []string{"PGARK_REPO=file:///env", "PGARK_CLUSTERS_MAIN_SLOT_NAME=env"}
	got, err := config.Load(config.Sources{File: file, Environment: environment, Repo: "file:///flag"})
	if err != nil {
		t.Fatal(err)
	}
	if c := got.Clusters[0]; c.Repo.URL != "file:///flag" || c.Slot != "env" {
		t.Errorf("got %+v", c)
	}
}

func TestSecretsComeFromFiles(t *testing.T) {
	secret := write(t, "postgres://ark:secret@db/\n")
	got, err := config.Load(config.Sources{Environment: []string{"PGARK_REPO=file:///a", "PGARK_POSTGRES_FILE=" + secret}})
	if err != nil || got.Clusters[0].Postgres != "postgres://ark:secret@db/" {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = config.Load(config.Sources{Environment: []string{"PGARK_REPO=file:///a", "PGARK_POSTGRES_FILE=/nowhere/at/all"}})
	if err == nil || !strings.Contains(err.Error(), "PGARK_POSTGRES_FILE") {
		t.Errorf("missing secret file: got %v", err)
	}
	file := write(t, "clusters: { main: { repo: !env ARK_URL } }")
	got, err = config.Load(config.Sources{File: file, Environment: []string{"ARK_URL=file:///b"}})
	if err != nil || got.Clusters[0].Repo.URL != "file:///b" {
		t.Errorf("!env: got %+v, %v", got, err)
	}
}

func TestSeveralClusters(t *testing.T) {
	file := write(t, "clusters:\n  b: { repo: file:///b }\n  a: { repo: file:///a }\n")
	got, err := config.Load(config.Sources{File: file, Environment: []string{"PGARK_CLUSTERS_B_REPO_COMPRESSION=s2"}})
	if err != nil {
		t.Fatal(err)
	}
	if got.Clusters[0].Name != "a" || got.Clusters[1].Repo.Compression != "s2" {
		t.Errorf("got %+v", got.Clusters)
	}
	if _, err := got.Select(""); err == nil || !strings.Contains(err.Error(), "a, b") {
		t.Errorf("no name: got %v", err)
	}
	if _, err := got.Select("c"); err == nil {
		t.Error("unknown name: no error")
	}
	if c, err := got.Select("b"); err != nil || c.Name != "b" {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := config.Load(config.Sources{File: file, Environment: []string{"PGARK_REPO=file:///x"}}); err == nil {
		t.Error("a shorthand for two clusters: no error")
	}
	if _, err := config.Load(config.Sources{File: file, Repo: "file:///x"}); err == nil {
		t.Error("a URL for two clusters: no error")
	}
	got, err = config.Load(config.Sources{File: file, Environment: []string{"PGARK_REPO=file:///x"}, Cluster: "b"})
	if err != nil || got.Clusters[1].Repo.URL != "file:///x" {
		t.Errorf("a shorthand for the selected one: got %+v, %v", got.Clusters, err)
	}
}

// TestFaults holds each fault by its place and words: none hides another.
func TestFaults(t *testing.T) {
	file := write(t, `clusters:
  main:
    postgres: service=main
    repos: s3://acme
    repo:
      url: s3:///x
      upload: { evry: 1s, every: 5 }
      compression: zip
    backup: [1]
  dr:
    repo: !env NOPE
    slot: { name: Bad-Slot }
    backup: { schedule: "0 2 * *", timezone: EST5, max_rate: 10 }
  Main: {}
  o: { repo: http://x, backup: { timezone: Nowhere/AtAll, schedule: "0 0 31 2 *" } }
  p: { repo: "file://relative/x", slot: { name: { x: 1 } }, retention: { keep: 5d } }
  q: { repo: "s3://key:secret@bucket/x" }
log: { level: loud, format: }
http: { listen: x }
tracing: { otlp: env }
1: x
`)
	_, err := config.Load(config.Sources{File: file, Environment: []string{"PGARK_LOG_LEVL=info", "PGARK_PORT=tcp://1.2.3.4", "PGARK_SERVICE_HOST=1.2.3.4"}})
	var got *config.Error
	if !errors.As(err, &got) {
		t.Fatalf("got %v, want *Error", err)
	}
	want := []struct {
		line, column int
		key, words   string
	}{
		{4, 5, "clusters.main.repos", "did you mean repo?"},
		{6, 12, "clusters.main.repo.url", "no bucket"},
		{7, 17, "clusters.main.repo.upload.evry", "did you mean every?"},
		{7, 34, "clusters.main.repo.upload.every", "want a number with its unit"},
		{8, 20, "clusters.main.repo.compression", `"zip" is not one of zstd, s2`},
		{9, 13, "clusters.main.backup", "got a list"},
		{11, 11, "clusters.dr.repo.url", `no variable "NOPE"`},
		{12, 19, "clusters.dr.slot.name", "Bad-Slot"},
		{13, 25, "clusters.dr.backup.schedule", "want five fields"},
		{13, 46, "clusters.dr.backup.timezone", "IANA"},
		{13, 62, "clusters.dr.backup.max_rate", "not a rate"},
		{14, 3, "clusters.Main", "lower-case"},
		{15, 14, "clusters.o.repo.url", `unknown scheme "http"`},
		{15, 44, "clusters.o.backup.timezone", "Nowhere/AtAll"},
		{15, 69, "clusters.o.backup.schedule", "which comes"},
		{16, 14, "clusters.p.repo.url", "three slashes"},
		{16, 49, "clusters.p.slot.name", "want a single value"},
		{16, 61, "clusters.p.retention", "this version knows no such key"},
		{17, 14, "clusters.q.repo.url", "credentials"},
		{18, 15, "log.level", `"loud"`},
		{18, 21, "log.format", "is not one of"},
		{19, 17, "http.listen", "want host:port"},
		{20, 1, "tracing", "this version knows no such key"},
		{21, 1, "1", "this kind of key"},
		{0, 0, "PGARK_LOG_LEVL", "did you mean PGARK_LOG_LEVEL?"},
	}
	for i, f := range got.Faults {
		t.Logf("%s\n%s", f, f.Excerpt())
		if i >= len(want) {
			t.Errorf("fault %d: unexpected", i)
			continue
		}
		w := want[i]
		if f.Line != w.line || f.Column != w.column || f.Key != w.key || !strings.Contains(f.String(), w.words) {
			t.Errorf("fault %d: got %d:%d %s, want %d:%d %s with %q", i, f.Line, f.Column, f, w.line, w.column, w.key, w.words)
		}
	}
	if len(got.Faults) != len(want) {
		t.Errorf("got %d faults, want %d", len(got.Faults), len(want))
	}
	if strings.Contains(err.Error(), "key:secret") {
		t.Error("the message repeats credentials")
	}
}

func TestFaultsOfForm(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"no repository":   {"clusters:\n  main:\n    postgres: x\n", "no repository"},
		"nothing at all":  {"", "no repository"},
		"not a mapping":   {"- a\n", "want keys and values"},
		"two documents":   {"log: {}\n---\nlog: {}\n", "more than one YAML document"},
		"duplicate key":   {"clusters:\n  main:\n    postgres: a\n    postgres: b\n", "already defined"},
		"broken YAML":     {"clusters: {main\n", "pgark.yml:1"},
		"tab":             {"clusters:\n\tmain:\n", "pgark.yml:2"},
		"unknown tag":     {"clusters: {main: {repo: !secret x}}", "only !env"},
		"no credentials":  {"clusters: {main: {repo: !credential x}}", "CREDENTIALS_DIRECTORY"},
		"no proof key":    {"clusters: {main: {repo: {url: \"file:///r\", encryption: {recipients_file: /k}}}}", "proof_key_file"},
		"relative key":    {"clusters: {main: {repo: {url: \"file:///r\", encryption: {identity_file: k}}}}", "absolute path"},
		"drop, and when":  {"clusters: {main: {repo: \"file:///r\", slot: {on_limit: drop}}}", "needs slot.keep_max"},
		"keep too little": {"clusters: {main: {repo: \"file:///r\", slot: {keep_max: 64MB}}}", "want 100MB or more"},
		"keep how much":   {"clusters: {main: {repo: \"file:///r\", slot: {keep_max: 64}}}", "is not a size"},
		"neither":         {"clusters: {main: {repo: \"file:///r\", slot: {on_limit: hold}}}", "is not one of alert, drop"},
		"same twice":      {"clusters: {a: {repo: \"file:///r\"}, b: {repo: \"file:///r\"}}", "one agent per cluster"},
	} {
		_, err := config.Load(config.Sources{File: write(t, test.text)})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestEncryption(t *testing.T) {
	text := "clusters: {main: {repo: {url: \"file:///r\", encryption: {recipients_file: /etc/age.pub, identity_file: !credential repo.key}}}}"
	c, err := config.Load(config.Sources{File: write(t, text), Environment: []string{"CREDENTIALS_DIRECTORY=/run/credentials/pgark"}})
	if err != nil {
		t.Fatal(err)
	}
	want := config.Encryption{RecipientsFile: "/etc/age.pub", IdentityFile: "/run/credentials/pgark/repo.key"}
	if got := c.Clusters[0].Repo.Encryption; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := config.Load(config.Sources{File: write(t, strings.Replace(text, "repo.key", "../x", 1)), Environment: []string{"CREDENTIALS_DIRECTORY=/run"}}); err == nil {
		t.Error("a credential with a slash was taken")
	}
	c, err = config.Load(config.Sources{Repo: "file:///r", Environment: []string{"PGARK_ENCRYPTION_IDENTITY_FILE=/k"}})
	if err != nil || c.Clusters[0].Repo.Encryption.IdentityFile != "/k" {
		t.Errorf("variable: got %+v, %v", c, err)
	}
}

func TestMissingFileIsNotAFault(t *testing.T) {
	_, err := config.Load(config.Sources{File: filepath.Join(t.TempDir(), "none.yml")})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
}

func TestExcerptPointsAtTheColumn(t *testing.T) {
	f := config.Fault{Line: 12, Column: 6, Source: "\tabc: é"}
	if got, want := f.Excerpt(), "  12 | \tabc: é\n     | \t    ^"; got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestKeysHaveDocAndShorthand(t *testing.T) {
	doc, err := os.ReadFile("../docs/CONFIGURATION.md")
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Sources{Repo: "file:///r"})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range append(config.GlobalKeys(), config.ClusterKeys()...) {
		row := "| `" + k.Path + "` | `" + k.Env + "` | " + k.Doc + " |"
		if !strings.Contains(string(doc), row) {
			t.Errorf("docs/CONFIGURATION.md lacks the row\n%s", row)
		}
		// What is shown can be read again.
		if v := k.Value(c, c.Clusters[0]); v != "" {
			if _, err := config.Load(config.Sources{Repo: "file:///r", Environment: []string{k.Env + "=" + v}}); err != nil {
				t.Errorf("%s: %q cannot be read back: %v", k.Path, v, err)
			}
		}
	}
}

// FuzzLoad: no file makes the reader panic, and every fault has words.
func FuzzLoad(f *testing.F) {
	f.Add("clusters:\n  main:\n    repo: { url: s3://a/b, upload: { every: 1s } }\n    backup: { schedule: \"@daily\" }\n")
	f.Add("clusters: {a: {backup: {schedule: 'TZ=0', max_rate: 1e9GB/s, timezone: ../x}}}\nlog: !env X\n")
	f.Add("a: &x [*x]\n<<: *x\n? b\n: c\n")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(dir, "pgark.yml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.Load(config.Sources{File: file})
		var e *config.Error
		if errors.As(err, &e) {
			for _, fault := range e.Faults {
				_ = fault.Excerpt()
				if fault.Message == "" {
					t.Errorf("fault without words: %+v", fault)
				}
			}
		}
	})
}

// TestCutAtEveryByte reads the full sample cut at each byte.
func TestCutAtEveryByte(t *testing.T) {
	text := "log: { level: debug }\nclusters:\n  main:\n    repo: !env X\n    backup: { schedule: \"30 3 * * 0\", max_rate: 200MB/s }\n"
	file := filepath.Join(t.TempDir(), "pgark.yml")
	for i := range len(text) {
		if err := os.WriteFile(file, []byte(text[:i]), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(config.Sources{File: file}); err == nil {
			t.Errorf("cut at %d: no error although there is no repository", i)
		}
	}
}

func TestSync(t *testing.T) {
	file := write(t, "clusters:\n  main:\n    repo: file:///a\n    sync: { standby_names: 'ANY 1 (pgark)', degrade_after: 30s }\n")
	c, err := config.Load(config.Sources{File: file})
	if want := (config.Sync{StandbyNames: "ANY 1 (pgark)", DegradeAfter: 30 * time.Second}); err != nil || c.Clusters[0].Sync != want {
		t.Fatalf("got %+v, %v", c, err)
	}
	c, err = config.Load(config.Sources{File: file, Environment: []string{"PGARK_SYNC_DEGRADE_AFTER=0"}})
	if err != nil || c.Clusters[0].Sync.DegradeAfter != 0 {
		t.Errorf("for ever: got %+v, %v", c, err)
	}
	for text, want := range map[string]string{
		"{ degrade_after: 30s }":                        "needs sync.standby_names",
		"{ standby_names: 'a b' }":                      "want a comma",
		"{ standby_names: pgark, degrade_after: 1s }":   "out of range",
		"{ standby_names: pgark, degrade_after: 48h }":  "out of range",
		"{ standby_names: pgark, degrade_after: soon }": "not a duration",
	} {
		_, err := config.Load(config.Sources{File: write(t, "clusters:\n  main:\n    repo: file:///a\n    sync: "+text+"\n")})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
