package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/setup"
)

func diagnoseCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "diagnose", Usage: "pack what is needed to help from afar into one file, without secrets and without data",
		ArgsUsage: "[URL]",
		Description: "Packs version, configuration, check, status, list, drills, the server's settings and the last of the agent's log, each as its command prints it, into a file that\n" +
			"only you may read; --timeout is for each of these. Passwords and keys are taken out; it holds names of hosts, buckets and roles: look into it before you send it.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "file", Usage: "write to `FILE`, which is not there yet; pgark-diagnose-TIME.tar.gz here by default"}},
	}, atMostOne, diagnose)
}

// part is one file of the bundle.
type part struct {
	name    string
	content string
	about   string
}

// partPatience is how long one part may take, unless --timeout says otherwise: who needs help often has something that does not answer.
const partPatience = time.Minute

func diagnose(s *session) error {
	file := s.cli.String("file")
	if file == "" {
		file = "pgark-diagnose-" + s.program.now().UTC().Format("20060102T150405Z") + ".tar.gz"
	}
	var parts []part
	for _, one := range []struct {
		name, about string
		words       []string
	}{
		{"version.json", "pgark's version", []string{"version"}},
		{"config.json", "the configuration in force, without secrets", []string{"config", "show"}},
		{"check.json", "what check finds; it tries the repository, and deletes what it puts there", []string{"check"}},
		{"status.json", "what status shows, the newest beats of the agent in it", []string{"status"}},
		{"list.json", "base backups and gaps", []string{"list"}},
		{"drills.json", "drills that were held", []string{"drill", "list"}},
	} {
		s.note("%s", one.about)
		parts = append(parts, part{one.name, s.ownOutput(one.words), one.about})
		if whole := s.cli.Context; whole.Err() != nil {
			return context.Cause(whole)
		}
	}
	parts = append(parts, part{"host.txt", s.aboutHost(), "the host, and the names of variables that are set, without their values"})
	parts = append(parts, part{"server.txt", s.aboutServer(), "settings and slots of the server, none that may hold a password; no table is read"})
	log, whyNot := s.agentLog()
	parts = append(parts, part{"agent.log", log + whyNot, "the last of what the agent on this host logged, or why it is not here"})
	parts = append([]part{{"README.txt", contentsOf(parts), ""}}, parts...)
	redactor := newRedactor(s.program.environment)
	for i := range parts {
		parts[i].content = redactor.redact(parts[i].content)
	}
	if err := writeBundle(file, parts, s.program.now()); err != nil {
		return err
	}
	if s.json {
		names := make([]string, 0, len(parts))
		for _, p := range parts {
			names = append(names, p.name)
		}
		return s.printJSON(map[string]any{"file": file, "holds": names})
	}
	s.printf("written to %s, mode 0600. It holds:\n", file)
	for _, p := range parts[1:] {
		s.printf("  %-13s %s\n", p.name, p.about)
	}
	if whyNot != "" {
		s.printf("The agent's log is not in it: %s", whyNot)
	}
	return nil
}

// logBytes is more than an agent keeps of its log.
const logBytes = 1 << 20

// agentLog returns the last lines that the agent on this host logged, or why there are none.
func (s *session) agentLog() (lines, whyNot string) {
	const elsewhere = "journalctl -u pgark --since -1d   may have it\n"
	c, err := s.loadWith(s.argument())
	if err == nil && c.HTTP.Listen == "" {
		err = errNoListen
	}
	var code int
	var body []byte
	if err == nil {
		code, body, err = askAgent(s.cli.Context, c.HTTP, "/api/v1/log", logBytes)
	}
	switch {
	case err != nil:
		return "", err.Error() + "\n" + elsewhere
	case code != http.StatusOK:
		return "", fmt.Sprintf("the agent answers %d %s\n%s", code, http.StatusText(code), elsewhere)
	}
	return string(body), ""
}

// contentsOf is the first file of a bundle: what is in it, and what is not.
func contentsOf(parts []part) string {
	var b strings.Builder
	b.WriteString("Written by pgark diagnose. Passwords, keys and tokens were taken out by their form and by their value.\n\n")
	for _, p := range parts {
		fmt.Fprintf(&b, "%-13s %s\n", p.name, p.about)
	}
	b.WriteString("\nNot in it: rows of tables, WAL.\n")
	return b.String()
}

// eachPart is how long one part may take.
func (s *session) eachPart() time.Duration {
	if d, err := config.ParseDuration(text(s.cli, "timeout")); err == nil && d > 0 {
		return d
	}
	return partPatience
}

// ownOutput is what another command prints in JSON, with the configuration of this call, and what it says on standard error.
func (s *session) ownOutput(words []string) string {
	var out, said bytes.Buffer
	sub := *s.program
	sub.stdout, sub.stderr, sub.stdin = &out, &said, strings.NewReader("")
	line := append([]string{"pgark"}, words...)
	line = append(line, "--output", "json", "--quiet", "--timeout", config.FormatDuration(s.eachPart()))
	for _, flag := range []string{"config", "cluster", "repo"} {
		if at := innermost(s.cli, flag); at.IsSet(flag) && at.String(flag) != "" {
			line = append(line, "--"+flag, at.String(flag))
		}
	}
	if url := s.argument(); url != "" {
		line = append(line, "--repo", url)
	}
	code := sub.main(s.cli.Context, line)
	text := out.String()
	if words[0] == "config" {
		text = withoutCommands(text)
	}
	if code != exitOK || said.Len() > 0 {
		text += fmt.Sprintf("\nexit code %d\n%s", code, said.String())
	}
	return text
}

// withoutCommands takes the arguments of commands out of a configuration: a token is often among them, in a form that nobody knows.
func withoutCommands(document string) string {
	var c map[string]any
	if json.Unmarshal([]byte(document), &c) != nil {
		return document
	}
	clusters, _ := c["clusters"].(map[string]any)
	for _, one := range clusters {
		keys, _ := one.(map[string]any)
		for key, value := range keys {
			if text, _ := value.(string); text != "" && (strings.Contains(key, "hook") || strings.Contains(key, "notify") || strings.Contains(key, "heartbeat")) {
				keys[key] = redacted
			}
		}
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return document
	}
	return string(text) + "\n"
}

func (s *session) aboutHost() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s/%s, %d CPUs, user %d\n", versionLine(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), os.Geteuid())
	for _, file := range []string{"/proc/version", "/proc/loadavg", "/etc/os-release"} {
		if text, err := os.ReadFile(file); err == nil {
			fmt.Fprintf(&b, "\n%s\n%s", file, text)
		}
	}
	var names []string
	for _, entry := range s.program.environment {
		name, _, _ := strings.Cut(entry, "=")
		for _, prefix := range []string{"PG", "AWS_", "NO_COLOR", "LC_", "LANG", "TZ", "OTEL_", "HTTP", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"} {
			if strings.HasPrefix(name, prefix) {
				names = append(names, name)
				break
			}
		}
	}
	slices.Sort(names)
	fmt.Fprintf(&b, "\nvariables that are set\n%s\n", strings.Join(names, "\n"))
	return b.String()
}

// aboutServer asks the configured server for settings and states.
func (s *session) aboutServer() string {
	c, err := s.clusterWith(s.argument())
	if err != nil {
		return "no configuration: config.json says why\n"
	}
	ctx, cancel := context.WithTimeout(s.cli.Context, s.eachPart())
	defer cancel()
	text, err := setup.Describe(ctx, c.Postgres)
	if err != nil {
		return text + "\n" + err.Error() + "\n"
	}
	return text
}

// writeBundle writes the parts as a tar file that only its owner may read. It never replaces a file.
func writeBundle(file string, parts []part, at time.Time) (err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(file))
		}
	}()
	z := gzip.NewWriter(f)
	t := tar.NewWriter(z)
	for _, p := range parts {
		header := &tar.Header{Name: "pgark-diagnose/" + p.name, Mode: 0o600, Size: int64(len(p.content)), ModTime: at, Format: tar.FormatPAX}
		if err := t.WriteHeader(header); err != nil {
			return err
		}
		if _, err := t.Write([]byte(p.content)); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), z.Close(), f.Sync())
}
