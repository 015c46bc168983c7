package main

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// canary is a secret of this run that nothing else looks like.
func canary() string {
	var b [12]byte
	_, _ = rand.Read(b[:])
	return "canary" + hex.EncodeToString(b[:])
}

// hushed is one way for a secret to get into pgark that ends, or may end, in an error.
type hushed struct {
	name string
	// file is the configuration, empty for none; SECRET in it, in env and in args is the canary, DIR a folder.
	file string
	env  []string
	args []string
	// files are other files in DIR.
	files map[string]string
}

func waysIn() []hushed {
	dsn := func(s string) string {
		return "clusters: { main: { repo: \"file://DIR/repo\", postgres: \"" + s + "\" } }\n"
	}
	repo := func(s string) string { return "clusters: { main: { repo: \"" + s + "\" } }\n" }
	key := func(s string) string {
		return "clusters: { main: { repo: { url: \"file://DIR/repo\", encryption: { " + s + " } } } }\n"
	}
	notify := func(s string) string {
		return "clusters: { main: { repo: \"file://DIR/repo\", notify: { " + s + " } } }\n"
	}
	list := []hushed{
		{name: "DSN", file: dsn("postgres://ark:SECRET@127.0.0.1:1/x?sslpassword=SECRET&connect_timeout=1")},
		{name: "DSN of keywords", file: dsn("host=127.0.0.1 port=1 connect_timeout=1 user=ark password=SECRET sslpassword='SECRET'")},
		{name: "DSN with a quote", file: dsn("host=127.0.0.1 port=1 connect_timeout=1 password='it\\\\'s SECRET'")},
		{name: "DSN with a bad port", file: dsn("postgres://ark:SECRET@127.0.0.1:port/x")},
		{name: "DSN with a bad host", file: dsn("postgres://ark:SECRET@[::1/x")},
		{name: "DSN with a bad escape", file: dsn("postgres://ark:%ZZSECRET@db/x")},
		{name: "DSN with spaces and slashes in the password", file: dsn("postgres://ark:a b/SECRET@127.0.0.1:1/x")},
		{name: "DSN with an open quote", file: dsn("host=127.0.0.1 password='SECRET")},
		{name: "DSN with a bad number", file: dsn("password=SECRET port=abc")},
		{name: "DSN of several hosts", file: dsn("postgres://ark:SECRET@127.0.0.1:1,127.0.0.1:2/x?connect_timeout=1")},
		{name: "URL with a user", file: repo("s3://key:SECRET@bucket/prefix?region=x")},
		{name: "URL with a user that cannot be parsed", file: repo("s3://key:SECRET@bucket:no/prefix")},
		{name: "URL with an unknown parameter", file: repo("s3://bucket/prefix?secret_access_key=SECRET")},
		{name: "URL with another unknown parameter", file: repo("s3://bucket/prefix?token=SECRET&region=x")},
		{name: "URL with a bad escape", file: repo("s3://bucket/prefix?password=%ZZSECRET")},
		{name: "URL of another scheme", file: repo("https://user:SECRET@host/bucket")},
		{name: "URL of an endpoint with a user", file: repo("s3://bucket/prefix?endpoint=https://user:SECRET@127.0.0.1:1")},
		{name: "URL with a signature", file: repo("s3://bucket/prefix?X-Amz-Signature=SECRET")},
		{name: "URL of a folder with a user", file: repo("file://user:SECRET@host/folder")},
		{name: "YAML that ends too early", file: "clusters:\n  main:\n    postgres: \"password=SECRET\n"},
		{name: "YAML with an unknown key", file: "clusters:\n  main:\n    password: SECRET\n"},
		{name: "YAML with an unknown key beside", file: "clusters:\n  main:\n    postgres: \"password=SECRET\"\n    pasword: x\n"},
		{name: "YAML with a list for a text", file: "clusters:\n  main:\n    postgres: [\"password=SECRET\"]\n"},
		{name: "YAML with a tab", file: "clusters:\n  main:\n    postgres: \"password=SECRET\"\n\t repo: x\n"},
		{name: "YAML with a number", file: "clusters:\n  main:\n    postgres: \"password=SECRET\"\n    status_interval: soon\n"},
		{name: "YAML with a key twice", file: "clusters:\n  main:\n    postgres: \"password=SECRET\"\n    postgres: \"password=SECRET\"\n"},
		{name: "private key where public ones belong", file: key("recipients_file: DIR/r"), files: map[string]string{"r": "AGE-SECRET-KEY-1SECRET\n"}},
		{name: "private key that is none", file: key("identity_file: DIR/i"), files: map[string]string{"i": "AGE-SECRET-KEY-1SECRET\n"}},
		{name: "private key in a line of words", file: key("identity_file: DIR/i"), files: map[string]string{"i": "SECRET SECRET\n"}},
		{name: "proof key that is none", file: key("recipients_file: DIR/r, proof_key_file: DIR/p"), files: map[string]string{"r": "age1x\n", "p": "SECRET\n"}},
		{name: "heartbeat of a wrong scheme", file: notify("heartbeat: ftp://hc.example/SECRET")},
		{name: "heartbeat that is no URL", file: notify("heartbeat: 'https://hc.example:x/SECRET'")},
		{name: "heartbeat with a fault behind it", file: notify("heartbeat: https://hc.example/SECRET, heartbeat_every: 1s")},
		{name: "target of a scheme that nobody knows", file: notify("to: [\"nobody://SECRET@chat\"]")},
		{name: "targets line by line", file: "clusters:\n  main:\n    repo: file://DIR/repo\n    notify:\n      to:\n        - webhook+https://ops.example/SECRET\n        - webhook+SECRET\n      remind_every: 1s\n"},
		{name: "secret that is too short beside one that is not known", file: notify("secret: SECRET, scret: SECRET")},
		{name: "targets with a tab", file: "clusters:\n  main:\n    notify:\n      to: [\"webhook+https://ops.example/SECRET\"]\n\t heartbeat: https://hc.example/SECRET\n"},
		{name: "targets that are right", file: notify("to: [\"webhook+https://ops.example/SECRET\"], heartbeat: https://hc.example/SECRET, secret: SECRETSECRET")},
		{name: "variables of notifications", env: []string{"PGARK_REPO=file://DIR/repo", "PGARK_NOTIFY_TO=nobody://SECRET", "PGARK_NOTIFY_HEARTBEAT=ftp://x/SECRET", "PGARK_NOTIFY_REMIND_EVERY=1s"}},
		{name: "variables of libpq", env: []string{"PGPASSWORD=SECRET", "PGSSLPASSWORD=SECRET", "PGPORT=abc", "PGARK_REPO=file://DIR/repo"}},
		{name: "variable with a DSN", env: []string{"PGARK_POSTGRES=postgres://ark:SECRET@127.0.0.1:port/x", "PGARK_REPO=file://DIR/repo"}},
		{name: "variable with a URL", env: []string{"PGARK_REPO=s3://key:SECRET@bucket/x"}},
		{name: "variable with copies", env: []string{"PGARK_REPO=file://DIR/repo", "PGARK_COPIES=near=s3://key:SECRET@bucket/x"}},
		{name: "variable with copies without a name", env: []string{"PGARK_REPO=file://DIR/repo", "PGARK_COPIES=s3://key:SECRET@bucket/x"}},
		{name: "unknown variable", env: []string{"PGARK_REPO=file://DIR/repo", "PGARK_PASSWORD=SECRET"}},
		{name: "credentials of AWS", file: repo("s3://bucket/prefix?region=x&endpoint=http://127.0.0.1:1"), env: []string{
			"AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=SECRET", "AWS_SESSION_TOKEN=SECRET", "AWS_MAX_ATTEMPTS=1",
		}},
		{name: "credentials of AWS in a broken file", env: []string{
			"AWS_SHARED_CREDENTIALS_FILE=DIR/c",
		}, args: []string{"list", "s3://bucket/prefix?region=x&endpoint=http://127.0.0.1:1"}, files: map[string]string{"c": "[default]\naws_access_key_id = x\n aws_secret_access_key = SECRET\n[[[SECRET\nSECRET\n"}},
		{
			name: "service file that is broken", env: []string{"PGSERVICE=x", "PGSERVICEFILE=DIR/s", "PGARK_REPO=file://DIR/repo"},
			files: map[string]string{"s": "[x]\npassword=SECRET\nSECRET\n"},
		},
		{name: "URL on the command line", args: []string{"list", "s3://key:SECRET@bucket/x"}},
		{name: "URL behind a flag", args: []string{"list", "--repo", "s3://bucket/x?secret_key=SECRET"}},
		{name: "flag behind a URL", args: []string{"list", "s3://key:SECRET@bucket/x", "--json"}},
		{name: "two URLs", args: []string{"list", "s3://key:SECRET@bucket/x", "s3://key:SECRET@bucket/x"}},
	}
	return list
}

// TestSecretsStayHidden guards T9: whatever is wrong with what holds a secret, no output has it, as text or as JSON, at the most talkative level.
func TestSecretsStayHidden(t *testing.T) {
	secret := canary()
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, way := range waysIn() {
		t.Run(way.name, func(t *testing.T) {
			dir := t.TempDir()
			fill := strings.NewReplacer("SECRET", secret, "DIR", dir).Replace
			for name, text := range way.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(fill(text)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var common []string
			if way.file != "" {
				common = []string{"-c", filepath.Join(dir, "pgark.yml")}
				if err := os.WriteFile(common[1], []byte(fill(way.file)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			environment := []string{"PGHOST=" + dir, "PGCONNECT_TIMEOUT=1"}
			for _, pair := range way.env {
				name, value, _ := strings.Cut(fill(pair), "=")
				t.Setenv(name, value) // what libraries read
				environment = append(environment, name+"="+value)
			}
			commands := [][]string{{"check"}, {"config", "show"}, {"repo", "policy"}, {"config", "validate"}, {"list"}, {"status"}}
			formats := [][]string{{"--verbose", "--timeout", "1s"}, {"-o", "json", "--timeout", "1s"}}
			if testing.Short() {
				commands, formats = commands[:2], formats[1:]
			}
			if way.args != nil {
				commands = [][]string{way.args}
			}
			for _, command := range commands {
				for _, format := range formats {
					words := append(append([]string{}, common...), format...)
					for _, word := range command {
						words = append(words, fill(word))
					}
					stdout, stderr, _ := call(t, environment, words...)
					for _, line := range strings.Split(stdout+stderr, "\n") {
						if strings.Contains(line, secret) {
							t.Errorf("pgark %v prints %q", command, strings.ReplaceAll(line, secret, secret[:6]+"…"))
						}
					}
				}
			}
		})
	}
}
