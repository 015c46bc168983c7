package dashboard_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/dashboard"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

// site is one that shows these clusters, at work until the test ends.
func site(t *testing.T, o dashboard.Options) *httptest.Server {
	t.Helper()
	s := dashboard.New(o)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	server := httptest.NewServer(s.Handler())
	t.Cleanup(func() { stop(); <-done; server.Close() })
	return server
}

func cluster(name string, r status.Report, err error) dashboard.Cluster {
	r.Cluster, r.SystemID = name, 7
	return dashboard.Cluster{
		Name: name, Survey: func(context.Context) (status.Report, error) { return r, err },
		Live:    func() status.Live { return status.Live{Cluster: name, Jobs: []status.Job{}} },
		Restore: "pgark restore --cluster " + name,
	}
}

// reply is what was answered, but for the body.
type reply struct {
	StatusCode int
	Header     http.Header
}

func get(t *testing.T, url string, change ...func(*http.Request)) (reply, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(r)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var body strings.Builder
	if _, err := bufio.NewReader(answer.Body).WriteTo(&body); err != nil {
		t.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header}, body.String()
}

// TestStatus: one cluster is its report, several are an array, and a look that fails is an error and never an old report.
func TestStatus(t *testing.T) {
	good := cluster("main", status.Report{Verdict: status.Protected, Backups: []status.Backup{}}, nil)
	bad := cluster("other", status.Report{}, errors.New("no bucket"))
	one := site(t, dashboard.Options{Clusters: []dashboard.Cluster{good}})
	answer, body := get(t, one.URL+"/api/v1/status")
	var report status.Report
	if err := json.Unmarshal([]byte(body), &report); err != nil || report.Cluster != "main" || report.Verdict != status.Protected || answer.StatusCode != 200 {
		t.Errorf("one cluster: %d %v %s", answer.StatusCode, err, body)
	}
	if answer.Header.Get("Age") == "" || answer.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", answer.Header)
	}
	two := site(t, dashboard.Options{Clusters: []dashboard.Cluster{good, bad}})
	_, body = get(t, two.URL+"/api/v1/status")
	var all []map[string]any
	if err := json.Unmarshal([]byte(body), &all); err != nil || len(all) != 2 || all[0]["cluster"] != "main" || all[1]["error"] == nil {
		t.Errorf("two clusters: %v %s", err, body)
	}
	if answer, body = get(t, two.URL+"/api/v1/status?cluster=other"); answer.StatusCode != 503 || !strings.Contains(body, "no bucket") {
		t.Errorf("a look that fails: %d %s", answer.StatusCode, body)
	}
	for _, query := range []string{"?cluster=none", "?clutser=main", "?cluster=main&cluster=other"} {
		if answer, _ = get(t, two.URL+"/api/v1/status"+query); answer.StatusCode != 400 {
			t.Errorf("%s: %d", query, answer.StatusCode)
		}
	}
}

// TestGuard: nothing but reading, no other site's page, no name that somebody else may have pointed at this host.
func TestGuard(t *testing.T) {
	one := cluster("main", status.Report{}, nil)
	s := site(t, dashboard.Options{Clusters: []dashboard.Cluster{one}, Guard: dashboard.Guard{Loopback: true}})
	for _, path := range []string{"/", "/api/v1/status", "/api/v1/site", "/api/v1/live", "/api/v1/history", "/page.js"} {
		answer, _ := get(t, s.URL+path, func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") })
		if answer.StatusCode != 200 || answer.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d %v", path, answer.StatusCode, answer.Header)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin", "X-Frame-Options": "DENY"} {
			if got := answer.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		if policy := answer.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if answer, _ = get(t, s.URL+path, func(r *http.Request) { r.Method = http.MethodPost }); answer.StatusCode != 405 {
			t.Errorf("POST %s: %d", path, answer.StatusCode)
		}
		for host, want := range map[string]int{"localhost:9868": 200, "127.0.0.2": 200, "[::1]:80": 200, "LOCALHOST": 200, "evil.example:9868": 421, "127.0.0.1.evil.example": 421, "10.0.0.1": 421} {
			if answer, _ = get(t, s.URL+path, func(r *http.Request) { r.Host = host }); answer.StatusCode != want {
				t.Errorf("%s asked as %s: %d, want %d", path, host, answer.StatusCode, want)
			}
		}
	}
	closed := site(t, dashboard.Options{Clusters: []dashboard.Cluster{one}, Guard: dashboard.Guard{Closed: "no"}})
	if answer, _ := get(t, closed.URL+"/api/v1/status"); answer.StatusCode != 403 {
		t.Errorf("a closed page: %d", answer.StatusCode)
	}
}

// TestNoSecrets: what the rest of the program does not print does not leave here either, by no path.
func TestNoSecrets(t *testing.T) {
	const canary = "canary-s3cr3t"
	one := cluster("main", status.Report{}, nil)
	one.Restore += canary
	one.Survey = func(context.Context) (status.Report, error) {
		return status.Report{Cluster: "main", DrillReports: []repository.Drill{{ID: "x", Failure: canary}}}, nil
	}
	shown := cluster("shown", status.Report{Repository: "s3://b?x=" + canary, Causes: []status.Cause{{What: canary, Fix: "psql " + canary}}, ServerError: canary}, nil)
	live := status.Live{Error: canary, Jobs: []status.Job{{Detail: canary}}}
	one.Live = func() status.Live { return live }
	bad := cluster("bad", status.Report{}, errors.New(canary))
	redact := func(s string) string { return strings.ReplaceAll(s, canary, "***") }
	o := dashboard.Options{Clusters: []dashboard.Cluster{one, shown, bad}, Redact: redact}
	d := dashboard.New(o)
	s := site(t, o)
	for _, path := range d.Paths() {
		if path == "/api/v1/events" {
			continue
		}
		for _, query := range []string{"", "?cluster=main", "?cluster=bad", "?cluster=shown", "?cluster=main&id=x", "?cluster=" + canary} {
			if _, body := get(t, s.URL+path+query); strings.Contains(body, canary) {
				t.Errorf("%s%s shows it: %s", path, query, body)
			}
		}
	}
}

// TestDrill: the whole report of a drill that the last look read, and of no other.
func TestDrill(t *testing.T) {
	report := status.Report{DrillReports: []repository.Drill{{ID: "20261120T030000Z", SystemID: 7, Host: "db-1", Checks: []repository.DrillCheck{{Kind: repository.CheckPages, Result: repository.CheckPassed, Count: 7}}}}}
	one := site(t, dashboard.Options{Clusters: []dashboard.Cluster{cluster("main", report, nil)}})
	several := site(t, dashboard.Options{Clusters: []dashboard.Cluster{cluster("main", report, nil), cluster("other", status.Report{}, errors.New("no bucket"))}})
	for _, s := range []*httptest.Server{one, several} {
		get(t, s.URL+"/api/v1/status") // waits for a look
		answer, body := get(t, s.URL+"/api/v1/drill?cluster=main&id=20261120T030000Z")
		var d repository.Drill
		if err := json.Unmarshal([]byte(body), &d); err != nil || answer.StatusCode != 200 || d.Host != "db-1" || len(d.Checks) != 1 || d.Checks[0].Count != 7 {
			t.Errorf("%d %v %s", answer.StatusCode, err, body)
		}
	}
	for query, code := range map[string]int{"?id=20261120T030000Z": 400, "?cluster=main": 400, "?cluster=main&id=no": 404, "?cluster=other&id=x": 503, "?cluster=no&id=x": 400, "?cluster=main&id=x&y=z": 400} {
		if answer, body := get(t, several.URL+"/api/v1/drill"+query); answer.StatusCode != code {
			t.Errorf("%s: %d %s, want %d", query, answer.StatusCode, body, code)
		}
	}
	if answer, _ := get(t, one.URL+"/api/v1/drill?id=20261120T030000Z"); answer.StatusCode != 200 {
		t.Errorf("the only cluster needs no name: %d", answer.StatusCode)
	}
	if _, body := get(t, one.URL+"/api/v1/status"); strings.Contains(body, "db-1") {
		t.Error("the report of the cluster holds those of drills")
	}
}

// TestEvents: who listens hears what happens, and who comes back what was missed, but not what passes.
func TestEvents(t *testing.T) {
	one := cluster("main", status.Report{Verdict: status.Protected}, nil)
	d := dashboard.New(dashboard.Options{Clusters: []dashboard.Cluster{one}})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { d.Run(ctx); close(done) }()
	s := httptest.NewServer(d.Handler())
	t.Cleanup(func() { stop(); <-done; s.Close() })
	listen := func(since string) (*bufio.Scanner, func()) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		if since != "" {
			r.Header.Set("Last-Event-ID", since)
		}
		answer, err := http.DefaultClient.Do(r) //nolint:bodyclose // who leaves closes it
		if err != nil {
			t.Fatal(err)
		}
		if kind := answer.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
			t.Fatalf("it is %s", kind)
		}
		lines := bufio.NewScanner(answer.Body)
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), "retry: ") {
			t.Fatalf("it begins with %q", lines.Text())
		}
		return lines, func() { _ = answer.Body.Close() }
	}
	// await reads on to an event of a name and returns its id and data.
	await := func(lines *bufio.Scanner, name string) (id, data string) {
		for lines.Scan() {
			switch line := lines.Text(); {
			case strings.HasPrefix(line, "id: "):
				id = line[4:]
			case line == "event: "+name:
				lines.Scan()
				return id, strings.TrimPrefix(lines.Text(), "data: ")
			case line == "":
				id = ""
			}
		}
		t.Fatalf("no %s came: %v", name, lines.Err())
		return "", ""
	}
	lines, leave := listen("")
	job := status.Job{ID: 1, Kind: status.JobBackup}
	d.Tell(status.Event{Kind: status.EventJob, Cluster: "main", Job: &job})
	id, data := await(lines, "job")
	if id == "" || !strings.Contains(data, `"kind":"backup"`) {
		t.Errorf("a job that begins: id %q, %s", id, data)
	}
	d.Tell(status.Event{Kind: status.EventJob, Cluster: "main", Job: &job, Passing: true})
	if passing, _ := await(lines, "job"); passing != "" {
		t.Errorf("what passes has the id %s", passing)
	}
	leave()
	d.Tell(status.Event{Kind: status.EventGap, Cluster: "main", Text: "WAL was lost"})
	lines, leave = listen(id)
	defer leave()
	if _, data := await(lines, "gap"); !strings.Contains(data, "WAL was lost") {
		t.Errorf("who comes back: %s", data)
	}
	if _, data := await(lines, "live"); !strings.Contains(data, `"cluster":"main"`) {
		t.Errorf("live: %s", data)
	}
}

// TestListeners: telling does not wait for who listens and does not take it, and there is a limit to how many may.
func TestListeners(t *testing.T) {
	one := cluster("main", status.Report{Verdict: status.Protected}, nil)
	d := dashboard.New(dashboard.Options{Clusters: []dashboard.Cluster{one}})
	s := httptest.NewServer(d.Handler())
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { d.Run(ctx); close(done) }()
	refused := 0
	var open []io.Closer
	for range 40 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r) //nolint:bodyclose // closed at the end, for all stay open until then
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode == http.StatusServiceUnavailable {
			refused++
		}
		open = append(open, answer.Body)
	}
	if refused != 8 {
		t.Errorf("%d of 40 listeners were refused, want 8", refused)
	}
	for range 100_000 { // nobody reads a word of it
		d.Tell(status.Event{Kind: status.EventGap, Cluster: "main", Text: strings.Repeat("x", 100), Passing: true})
	}
	stop()
	<-done // lets all go
	for _, body := range open {
		_ = body.Close()
	}
	s.Close()
}

// TestLooks: however many ask, there is one look at a time and a pause between two; a look is made without being asked for as well.
func TestLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int32
		l := dashboard.NewLook(func(context.Context) (status.Report, error) {
			looks.Add(1)
			time.Sleep(500 * time.Millisecond)
			return status.Report{}, nil
		}, nil)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { l.Run(ctx); close(done) }()
		asked := func(n int) {
			answers := make(chan dashboard.Found, n)
			for range n {
				go func() { answers <- l.Get(ctx) }()
			}
			var at []time.Time
			for range n {
				f := <-answers
				if f.Report == nil {
					t.Errorf("no report: %v", f.Err)
				}
				at = append(at, f.At)
			}
			if len(slices.Compact(at)) != 1 {
				t.Errorf("not all got the same: %v", at)
			}
		}
		asked(100)
		asked(100)
		if n := looks.Load(); n != 1 {
			t.Errorf("%d looks, want 1", n)
		}
		time.Sleep(11 * time.Second)
		asked(100)
		if n := looks.Load(); n != 2 {
			t.Errorf("%d looks after the pause, want 2", n)
		}
		time.Sleep(11 * time.Minute)
		if n := looks.Load(); n != 4 {
			t.Errorf("%d looks after eleven minutes in which nobody asked, want 4", n)
		}
		stop()
		<-done
	})
}

// TestHistory: each minute has its worst, what was not known is a hole, and a day is all.
func TestHistory(t *testing.T) {
	var h dashboard.History
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	add := func(after time.Duration, rpo float64) { h.Add(at.Add(after), &rpo) }
	add(0, 1)
	add(5*time.Second, 3)
	add(10*time.Second, 2)
	add(3*time.Minute, 7)
	h.Add(at.Add(3*time.Minute+5*time.Second), nil)
	add(3*time.Minute+10*time.Second, 1)
	p := h.Past()
	raw, err := json.Marshal(p)
	if want := `{"from":"2026-11-20T10:00:00Z","step_seconds":60,"values":[3,null,null,null]}`; err != nil || string(raw) != want {
		t.Errorf("got %s, want %s", raw, want)
	}
	for i := range 3000 {
		add(time.Duration(i+4)*time.Minute, 1)
	}
	if n := len(h.Past().Values); n != 24*60 {
		t.Errorf("%d minutes are kept", n)
	}
}
