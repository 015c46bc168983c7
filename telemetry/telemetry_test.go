package telemetry_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgark/pgark/telemetry"
	"github.com/pgark/pgark/telemetry/otlptest"
)

// exporting has the variables of the test's process ask for exporting to r, and returns what does, with the context to begin spans in.
func exporting(t *testing.T, r *otlptest.Receiver, o telemetry.Options, variables ...string) (context.Context, *telemetry.Exporter) {
	t.Helper()
	for _, pair := range append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + r.URL}, variables...) {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
	o.Environment = os.Environ()
	e := telemetry.Start(t.Context(), o)
	t.Cleanup(func() { finish(t, e) })
	return e.Join(t.Context(), o.Environment), e
}

// finish exports what is held. What takes a minute is never done.
func finish(t *testing.T, e *telemetry.Exporter) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	e.Close(ctx)
	if ctx.Err() != nil {
		t.Error("what is held was not exported within a minute")
	}
}

const secret = "hunter22secret"

func redact(s string) string { return strings.ReplaceAll(s, secret, "***") }

// TestSpans: spans come with their parents, attributes, errors and resource, below the span that the caller names, with the headers that the variables
// name, and without secrets.
func TestSpans(t *testing.T) {
	r := otlptest.NewReceiver(t)
	ctx, e := exporting(t, r, telemetry.Options{Version: "1.2.3", Redact: redact, Class: func(error) string { return "storage" }},
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20x", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=prod",
		"TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	ctx, job := telemetry.Begin(ctx, telemetry.Backup, telemetry.Cluster.String("main"), telemetry.SystemID.String("id "+secret), telemetry.Bytes.Int64(7))
	phases := telemetry.NewPhases(ctx, telemetry.Backup)
	for _, phase := range []string{"begin", "copy", "copy", "wal"} {
		phases.Enter(phase)
	}
	err := fmt.Errorf("put: password=%s refused", secret)
	phases.End(err)
	job.End(err)
	_, upload := telemetry.Begin(e.Into(t.Context()), telemetry.Upload)
	upload.End(nil)
	upload.Done(t.Context(), telemetry.Put, time.Hour, nil, telemetry.Repo.String("dr"))
	finish(t, e)

	if strays := r.Strays(); len(strays) > 0 {
		t.Errorf("not listed: %v", strays)
	}
	backups := r.Named(telemetry.Backup)
	if len(backups) != 1 {
		t.Fatalf("got %+v", r.Spans())
	}
	b := backups[0]
	if b.Trace != "0af7651916cd43dd8448eb211c80319c" || b.Parent != "\xb7\xadkqi 31" {
		t.Errorf("it did not join the caller's trace: %+v", b)
	}
	if got := fmt.Sprint(r.Below(b)); got != "[backup.begin backup.copy backup.wal]" {
		t.Errorf("phases %s", got)
	}
	if got := fmt.Sprint(b.Attributes); got != "map[error.type:storage pgark.bytes:7 pgark.cluster:main pgark.system_id:id ***]" {
		t.Errorf("attributes %s", got)
	}
	if !b.Failed || b.Status != "put: password=*** refused" {
		t.Errorf("failed %t: %q", b.Failed, b.Status)
	}
	for name, failed := range map[telemetry.Name]bool{"backup.begin": false, "backup.copy": false, "backup.wal": true} {
		if s := r.Named(name); len(s) != 1 || s[0].Failed != failed {
			t.Errorf("%s: got %+v, want failed %t", name, s, failed)
		}
	}
	want := map[string]string{"service.name": "pgark", "service.version": "1.2.3", "deployment.environment.name": "prod"}
	for key, value := range want {
		if b.Resource[key] != value {
			t.Errorf("%s is %q, want %q", key, b.Resource[key], value)
		}
	}
	u, p := r.Named(telemetry.Upload)[0], r.Named(telemetry.Put)[0]
	if u.Parent != "" || u.Trace == b.Trace || p.Parent != u.ID || p.Took < time.Hour {
		t.Errorf("upload %+v, put %+v", u, p)
	}
	if got := r.Headers()[0].Get("Authorization"); got != "Bearer x" {
		t.Errorf("the header of the variables is %q", got)
	}
	if bytes.Contains(r.Raw(), []byte(secret)) {
		t.Error("the secret was exported")
	}
	// Whoever goes on meanwhile has none of that.
	if _, span := telemetry.Begin(t.Context(), telemetry.Backup); span != nil {
		t.Error("a span began where none is exported")
	}
}

// TestSampler: OTEL_TRACES_SAMPLER decides, OTEL_SERVICE_NAME names, and a caller who does not sample is obeyed.
func TestSampler(t *testing.T) {
	for _, test := range []struct {
		variables []string
		want      int
	}{
		{[]string{"OTEL_TRACES_SAMPLER=always_off"}, 0},
		{[]string{"OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=0"}, 0},
		{[]string{"OTEL_TRACES_SAMPLER=always_on", "OTEL_SERVICE_NAME=ark"}, 1},
		{[]string{"TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}, 0},
	} {
		t.Run(test.variables[0], func(t *testing.T) {
			r := otlptest.NewReceiver(t)
			ctx, e := exporting(t, r, telemetry.Options{}, test.variables...)
			_, span := telemetry.Begin(ctx, telemetry.Verify, telemetry.Objects.Int(1))
			span.End(nil)
			finish(t, e)
			got := r.Spans()
			if len(got) != test.want {
				t.Errorf("got %+v, want %d", got, test.want)
			}
			if test.want == 1 && got[0].Resource["service.name"] != "ark" {
				t.Errorf("service.name is %q", got[0].Resource["service.name"])
			}
		})
	}
}

// TestLines: lines of the log come with their keys, as they are printed, below the span that they were written in, and without secrets.
func TestLines(t *testing.T) {
	r := otlptest.NewReceiver(t)
	ctx, e := exporting(t, r, telemetry.Options{Redact: redact, Form: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			a.Value = slog.Float64Value(a.Value.Duration().Seconds())
		}
		return a
	}})
	log := slog.New(e.Handler()).With("cluster", "main", "url", "postgres://ark:"+secret+"@db/x")
	ctx, span := telemetry.Begin(ctx, telemetry.Prune)
	log.WarnContext(ctx, "storage call failed; "+secret, "dur", 1500*time.Millisecond, "err", errors.New("no "+secret), "attempt", 3,
		"began", time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC))
	span.End(nil)
	finish(t, e)
	got := r.Lines()
	if len(got) != 1 {
		t.Fatalf("got %+v", got)
	}
	want := "map[attempt:3 began:2026-11-22T10:00:00Z cluster:main dur:1.5 err:no *** url:postgres://ark:***@db/x]"
	if fmt.Sprint(got[0].Attributes) != want || got[0].Text != "storage call failed; ***" || got[0].Severity != "WARN" {
		t.Errorf("got %+v", got[0])
	}
	if spans := r.Named(telemetry.Prune); len(spans) != 1 || spans[0].Trace != got[0].Trace {
		t.Errorf("the line is of trace %s, the span %+v", got[0].Trace, spans)
	}
	if bytes.Contains(r.Raw(), []byte(secret)) {
		t.Error("the secret was exported")
	}
}

// TestHangingReceiver: nobody waits for a receiver that answers nothing, and the end comes when its time is over.
func TestHangingReceiver(t *testing.T) {
	r := otlptest.NewReceiver(t)
	r.Hang(t)
	ctx, e := exporting(t, r, telemetry.Options{})
	tellMuch(ctx, e)
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	e.Close(short) // this would never end
	if r.Asked() == 0 {
		t.Error("nothing was sent: the test shows nothing")
	}
}

// much is far more than is held: queues of 2048 and batches of 512.
const much, held = 6_000, 2048 + 2*512

func tellMuch(ctx context.Context, e *telemetry.Exporter) {
	log := slog.New(e.Handler())
	for range much {
		_, span := telemetry.Begin(ctx, telemetry.Upload)
		span.End(nil)
		log.InfoContext(ctx, "line")
	}
}

// TestHeldIsBounded: what a receiver does not take is held up to a bound, and the rest dropped.
func TestHeldIsBounded(t *testing.T) {
	r := otlptest.NewReceiver(t)
	release := r.Hang(t)
	ctx, e := exporting(t, r, telemetry.Options{})
	tellMuch(ctx, e)
	release()
	finish(t, e)
	if n := len(r.Spans()); n == 0 || n > held {
		t.Errorf("%d spans came, want %d at most of %d", n, held, much)
	}
	if n := len(r.Lines()); n == 0 || n > held {
		t.Errorf("%d lines came, want %d at most of %d", n, held, much)
	}
}

// TestFaultsAreToldOnce: a receiver that refuses is told of in one line, with what it said, but not all of it.
func TestFaultsAreToldOnce(t *testing.T) {
	r := otlptest.NewReceiver(t)
	var logged bytes.Buffer
	ctx, e := exporting(t, r, telemetry.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil)), Redact: redact},
		"OTEL_EXPORTER_OTLP_ENDPOINT="+r.URL+"/nothing-there/"+strings.Repeat("x", 600)+secret, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=1",
		"OTEL_EXPORTER_OTLP_HEADERS=no header "+secret)
	for range 20 {
		_, span := telemetry.Begin(ctx, telemetry.Upload)
		span.End(nil)
	}
	finish(t, e)
	if n := strings.Count(logged.String(), "\n"); n != 1 {
		t.Errorf("%d lines:\n%s", n, logged.String())
	}
	if strings.Contains(logged.String(), secret) || len(logged.String()) > 1000 || !strings.Contains(logged.String(), "level=WARN") {
		t.Errorf("logged %s", logged.String())
	}
}

// TestTLS: OTEL_EXPORTER_OTLP_CERTIFICATE names who may be told; without it nobody whom the host does not trust is.
func TestTLS(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	tell := func(variables ...string) (told int64) {
		before := asked.Load()
		ctx, e := exporting(t, &otlptest.Receiver{URL: server.URL}, telemetry.Options{}, variables...)
		_, span := telemetry.Begin(ctx, telemetry.Upload)
		span.End(nil)
		slog.New(e.Handler()).Info("line")
		finish(t, e)
		return asked.Load() - before
	}
	if n := tell(); n != 0 {
		t.Errorf("%d requests to a server that nobody trusts", n)
	}
	if n := tell("OTEL_EXPORTER_OTLP_CERTIFICATE=" + authority); n != 2 {
		t.Errorf("%d requests, want one with the span and one with the line", n)
	}
}

// TestOff: without variables there is nothing, and nothing costs anything.
func TestOff(t *testing.T) {
	before := runtime.NumGoroutine()
	e := telemetry.Start(t.Context(), telemetry.Options{Environment: []string{"OTEL_SERVICE_NAME=ark", "OTEL_EXPORTER_OTLP_ENDPOINT="}})
	if e != nil || e.Handler() != nil || runtime.NumGoroutine() > before {
		t.Errorf("got %v, %v, %d goroutines after %d", e, e.Handler(), runtime.NumGoroutine(), before)
	}
	e.Close(t.Context())
	ctx := e.Join(t.Context(), []string{"TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
	if ctx != t.Context() || telemetry.On(ctx) {
		t.Error("spans are begun")
	}
	if n := testing.AllocsPerRun(100, func() {
		inner, span := telemetry.Begin(ctx, telemetry.Upload)
		span.Done(inner, telemetry.Put, time.Second, nil)
		span.Set()
		span.End(nil)
		phases := telemetry.NewPhases(ctx, telemetry.Backup)
		phases.Enter("copy")
		phases.End(nil)
	}); n != 0 {
		t.Errorf("%.0f allocations", n)
	}
}

// TestRefused: what this program cannot do is said, and keeps nothing else from being done.
func TestRefused(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:9"
	for _, test := range []struct {
		environment []string
		says        string // "" nothing
		traces      bool
		logs        bool
	}{
		{[]string{endpoint, "OTEL_SDK_DISABLED=TRUE", "OTEL_TRACES_EXPORTER=otlp"}, "", false, false},
		{[]string{endpoint}, "", true, true},
		{[]string{endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc: this program speaks http/protobuf", false, false},
		{[]string{endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf"}, "PROTOCOL=grpc", true, false},
		{[]string{endpoint, "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/json", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json"}, "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/json", true, false},
		{[]string{endpoint, "OTEL_TRACES_EXPORTER=none"}, "", false, true},
		{[]string{"OTEL_TRACES_EXPORTER=otlp"}, "", true, false},
		{[]string{"OTEL_LOGS_EXPORTER= otlp , console"}, "OTEL_LOGS_EXPORTER=console: this program exports to otlp alone", false, true},
		{[]string{"OTEL_TRACES_EXPORTER=zipkin"}, "OTEL_TRACES_EXPORTER=zipkin", false, false},
		{[]string{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=http://127.0.0.1:9/x"}, "", false, true},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT is no URL", false, false},
		{[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=ftp://user:" + secret + "@host/x"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is no URL", false, false},
		{[]string{"OTEL_METRICS_EXPORTER=otlp"}, "metrics are not exported", false, false},
		{[]string{"OTEL_METRICS_EXPORTER=none", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, "", false, false},
	} {
		t.Run(fmt.Sprint(test.environment), func(t *testing.T) {
			var logged bytes.Buffer
			e := telemetry.Start(t.Context(), telemetry.Options{Environment: test.environment, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
			defer finish(t, e)
			if telemetry.On(e.Into(t.Context())) != test.traces || (e.Handler() != nil) != test.logs {
				t.Errorf("spans %t, lines %t", telemetry.On(e.Into(t.Context())), e.Handler() != nil)
			}
			if lines := logged.String(); test.says == "" && lines != "" || !strings.Contains(lines, test.says) || strings.Contains(lines, secret) || strings.Count(lines, "\n") > 1 {
				t.Errorf("logged %q, want %q", lines, test.says)
			}
		})
	}
}

// TestPageListsAll: docs/TELEMETRY.md has every span and attribute, and no other.
func TestPageListsAll(t *testing.T) {
	raw, err := os.ReadFile("../docs/TELEMETRY.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "| `") {
			rows = append(rows, strings.TrimSpace(line))
		}
	}
	var want []string
	for _, k := range telemetry.Spans() {
		var has []string
		for _, key := range k.Has {
			has = append(has, "`"+string(key)+"`")
		}
		above := ""
		if k.Parent != "" {
			above = "`" + string(k.Parent) + "`"
		}
		want = append(want, fmt.Sprintf("| `%s` | %s | %s | %s |", k.Name, above, k.Text, strings.Join(has, " ")))
	}
	for _, a := range telemetry.Attributes() {
		want = append(want, fmt.Sprintf("| `%s` | %s |", a.Key, a.Text))
	}
	for _, row := range want {
		if !slices.Contains(rows, row) {
			t.Errorf("docs/TELEMETRY.md lacks the row\n%s", row)
		}
	}
	for _, row := range rows {
		if !slices.Contains(want, row) && !strings.HasPrefix(row, "| `OTEL_") && !strings.HasPrefix(row, "| `TRACE") {
			t.Errorf("docs/TELEMETRY.md has a row that is no span and no attribute\n%s", row)
		}
	}
	for _, k := range telemetry.Spans() {
		for _, key := range k.Has {
			if !slices.ContainsFunc(telemetry.Attributes(), func(m telemetry.Meaning) bool { return m.Key == key }) {
				t.Errorf("%s has %s, which is not described", k.Name, key)
			}
		}
	}
}
