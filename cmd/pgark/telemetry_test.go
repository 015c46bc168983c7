package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/telemetry"
	"github.com/pgark/pgark/telemetry/otlptest"
	"github.com/pgark/pgark/wal"
)

// exported calls pgark with variables that are the process's too, as the exporters read them.
func exported(t *testing.T, r *otlptest.Receiver, variables []string, args ...string) (stderr string, code int) {
	t.Helper()
	variables = append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + r.URL, "PGCONNECT_TIMEOUT=1", "PGHOST=" + t.TempDir()}, variables...)
	for _, pair := range variables {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
	_, stderr, code = call(t, variables, args...)
	return stderr, code
}

// TestCommandsAreTraced: each command that does a job tells of it also when it fails, below the span of who called it; no secret is told.
func TestCommandsAreTraced(t *testing.T) {
	secret := canary()
	dir := t.TempDir()
	file := filepath.Join(dir, "pgark.yml")
	text := "log: { level: debug }\nclusters: { main: { repo: \"file://" + dir + "/none\", postgres: \"postgres://ark:" + secret + "@127.0.0.1:1/x?connect_timeout=1\" } }\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   telemetry.Name
		class  string
		phases string
		args   []string
	}{
		{telemetry.Backup, "no_repository", "", []string{"backup"}},
		{telemetry.Verify, "no_repository", "", []string{"verify"}},
		{telemetry.Prune, "no_repository", "", []string{"prune"}},
		{telemetry.Copy, "no_repository", "", []string{"repo", "copy", "--to", "file://" + dir + "/other"}},
		{telemetry.Restore, "no_repository", "restore.plan", []string{"restore", "--into", dir + "/into"}},
		{telemetry.Drill, "no_repository", "drill.plan", []string{"drill", "run", "--dir", dir + "/drill"}},
	} {
		t.Run(string(test.name), func(t *testing.T) {
			r := otlptest.NewReceiver(t)
			variables := []string{
				"TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "OTEL_EXPORTER_OTLP_HEADERS=key=" + secret,
				"PGPASSWORD=" + secret, "AWS_SECRET_ACCESS_KEY=" + secret,
			}
			stderr, code := exported(t, r, variables, append(slices.Clone(test.args), "-c", file)...)
			spans := r.Named(test.name)
			if len(spans) != 1 || !spans[0].Failed || spans[0].Attributes["error.type"] != test.class || spans[0].Attributes["pgark.cluster"] != "main" {
				t.Errorf("exit %d, got %+v\n%s", code, spans, stderr)
			}
			if len(spans) == 1 && (spans[0].Trace != "0af7651916cd43dd8448eb211c80319c" || strings.Join(r.Below(spans[0]), " ") != test.phases) {
				t.Errorf("trace %s, below %v", spans[0].Trace, r.Below(spans[0]))
			}
			if strays := r.Strays(); len(strays) > 0 {
				t.Errorf("not listed: %v", strays)
			}
			if bytes.Contains(r.Raw(), []byte(secret)) || strings.Contains(stderr, secret) {
				t.Error("a secret was told")
			}
		})
	}
	for _, off := range []string{"PGARK_TELEMETRY_OTLP=off", "OTEL_SDK_DISABLED=true", "OTEL_EXPORTER_OTLP_ENDPOINT="} {
		r := otlptest.NewReceiver(t)
		if _, code := exported(t, r, []string{off}, "verify", "-c", file); code != exitNoRepository || r.Asked() != 0 {
			t.Errorf("%s: exit %d, %d requests", off, code, r.Asked())
		}
	}
}

// TestTelemetryThatIsNotThere: what is asked for and not in this program is said on one line, and the command does its work all the same.
func TestTelemetryThatIsNotThere(t *testing.T) {
	r := otlptest.NewReceiver(t)
	stderr, code := exported(t, r, []string{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, "verify", "file://"+t.TempDir()+"/none")
	if code != exitNoRepository || strings.Count(stderr, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc") != 1 || r.Asked() != 0 {
		t.Errorf("exit %d, %d requests\n%s", code, r.Asked(), stderr)
	}
}

// TestInterruptIsNotHeldUp: a receiver that hangs keeps an interrupted command for no longer than its last look takes, and changes nothing of its end.
func TestInterruptIsNotHeldUp(t *testing.T) {
	r := otlptest.NewReceiver(t)
	r.Hang(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL)
	var out, err bytes.Buffer
	p := &program{
		stdin: strings.NewReader(""), stdout: &out, stderr: &err, environment: os.Environ(), now: time.Now,
		interrupted: func() os.Signal { return syscall.SIGINT },
	}
	if code := p.main(t.Context(), []string{"pgark", "verify", "file://" + t.TempDir() + "/none"}); code != exitNoRepository { // this would never end
		t.Errorf("exit %d\n%s", code, err.String())
	}
	if r.Asked() == 0 {
		t.Error("nothing was sent: the test shows nothing")
	}
}

// TestRestoreSpans: what a recovery says of itself becomes the phases of its restore.
func TestRestoreSpans(t *testing.T) {
	receiver := otlptest.NewReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL)
	p := &program{environment: os.Environ(), now: time.Now, interrupted: func() os.Signal { return nil }}
	s := &session{program: p, ctx: t.Context(), cancel: func() {}, stderr: &screen{to: &bytes.Buffer{}}, loaded: &config.Config{}, progress: "none"}
	s.log = slog.New(slog.DiscardHandler)
	r := &restoring{session: s}
	r.meter = s.newMeter()
	defer r.meter.end()
	r.beginSpan(telemetry.Restore, config.Cluster{Name: "main"})
	r.phases.Enter(telemetry.Fetch)
	for _, phase := range []restore.Phase{restore.PhaseStarting, restore.PhaseReplaying, restore.PhaseReplaying, restore.PhaseOpening, restore.PhaseOpening} {
		r.showRecovery(restore.Progress{Phase: phase, Start: wal.LSN(1), Stop: wal.LSN(2)})
	}
	r.endSpan(&codeError{code: exitDegraded})
	s.close()
	spans := receiver.Named(telemetry.Restore)
	if len(spans) != 1 || spans[0].Attributes["error.type"] != "degraded" {
		t.Fatalf("got %+v", receiver.Spans())
	}
	if got := strings.Join(receiver.Below(spans[0]), " "); got != "restore.plan restore.fetch restore.replay restore.open" {
		t.Errorf("phases %s", got)
	}
}

// TestClassesAreDocumented: docs/TELEMETRY.md has each class of an error.
func TestClassesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/TELEMETRY.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range exitCodes() {
		if word := exitWord(c.code); c.code != exitOK && (word == "" || !strings.Contains(string(page), "`"+word+"`")) {
			t.Errorf("exit code %d: docs/TELEMETRY.md lacks %q", c.code, word)
		}
	}
}
