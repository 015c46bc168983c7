package notify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/pgark/pgark/notify"
)

const patience = 20 * time.Second

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		<-time.After(time.Millisecond)
	}
}

// ledger is a log that may be read while it is written.
type ledger struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *ledger) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// run has a notifier tell of facts until the test ends, or stop is called.
func run(t *testing.T, o notify.Options, m *notify.Memory, source func() notify.Facts) (stop func(), log *ledger) {
	t.Helper()
	log = &ledger{}
	o.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Cluster, o.Host, o.Agent, o.JudgeEvery = "main", "db1", "pgark/test", time.Millisecond
	n, err := notify.New(o, m)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { n.Run(ctx, source); close(done) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop, log
}

// TestHeartbeat: a real server is asked while all is well, is not asked any more when the RPO is missed, and is asked again afterwards. The dead man's switch
// is worth what its silence is worth.
func TestHeartbeat(t *testing.T) {
	var pings, looks atomic.Int64
	var missed atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == "/uuid" {
			pings.Add(1)
		}
	}))
	defer server.Close()
	source := func() notify.Facts {
		f := well(time.Now())
		if missed.Load() {
			f.Health.Archive.Exposure.Until = f.Live.Now.Add(-time.Minute)
			looks.Add(1)
		}
		return f
	}
	_, log := run(t, notify.Options{Heartbeat: server.URL + "/uuid", HeartbeatEvery: time.Millisecond}, &notify.Memory{}, source)
	eventually(t, "pings while all is well", func() bool { return pings.Load() > 3 })
	missed.Store(true)
	eventually(t, "a look at the RPO that is missed", func() bool { return looks.Load() > 1 }) // the ping before it has ended
	before := pings.Load()
	eventually(t, "more looks", func() bool { return looks.Load() > 10 })
	if after := pings.Load(); after != before {
		t.Errorf("%d pings while the RPO was missed", after-before)
	}
	missed.Store(false)
	eventually(t, "pings again", func() bool { return pings.Load() > before+3 })
	if n := strings.Count(log.String(), "heartbeat is silent"); n != 1 {
		t.Errorf("its silence was logged %d times:\n%s", n, log)
	}
}

// TestHeartbeatIsTriedOnceMore: one packet that is lost wakes nobody up.
func TestHeartbeatIsTriedOnceMore(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1)%2 == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer server.Close()
	var m notify.Memory
	run(t, notify.Options{Heartbeat: server.URL + "/uuid", HeartbeatEvery: time.Millisecond}, &m, func() notify.Facts { return well(time.Now()) })
	eventually(t, "pings", func() bool { return m.Counts.All()[0].Sent > 2 })
	if c := m.Counts.All()[0]; c.Target != "heartbeat" || c.Failed != 0 {
		t.Errorf("got %+v", c)
	}
}

// received are the bodies that a webhook got.
type received struct {
	mu     sync.Mutex
	bodies [][]byte
	wrong  []string
}

func (r *received) ServeHTTP(_ http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies = append(r.bodies, body)
	if err != nil || q.Method != http.MethodPost || q.Header.Get("Content-Type") != "application/json" || q.Header.Get("X-Pgark-Event") == "" ||
		q.Header.Get("X-Pgark-Signature-256") != notify.Sign(body, "a secret of some length") {
		r.wrong = append(r.wrong, q.Method+" "+string(body))
	}
}

func (r *received) all() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]byte(nil), r.bodies...)
}

// TestWebhook: a webhook gets what its schema says, signed; another that hangs holds nothing up, and one that is away costs nothing but a count.
func TestWebhook(t *testing.T) {
	var good received
	server := httptest.NewServer(&good)
	defer server.Close()
	free := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-free }))
	defer hanging.Close()
	let := sync.OnceFunc(func() { close(free) })
	defer let()
	var lost atomic.Bool
	lost.Store(true)
	source := func() notify.Facts {
		f := well(time.Now())
		f.Health.Archive.Lost = lost.Load()
		return f
	}
	o := notify.Options{To: []string{"webhook+" + hanging.URL, "webhook+" + server.URL + "/x"}, Secret: "a secret of some length"}
	var m notify.Memory
	stop, _ := run(t, o, &m, source)
	eventually(t, "a message", func() bool { return len(good.all()) == 1 })
	lost.Store(false)
	// A stop before the answer was read would have it told once more.
	eventually(t, "its end", func() bool {
		return slices.ContainsFunc(m.Counts.All(), func(c notify.Count) bool { return c.Sent == 2 })
	})
	let()
	stop()
	run(t, o, &m, func() notify.Facts { return well(time.Now()) }) // of a reload
	n, err := notify.New(notify.Options{To: o.To[1:], Secret: o.Secret, Cluster: "main", Logger: slog.New(slog.DiscardHandler)}, &m)
	if err != nil {
		t.Fatal(err)
	}
	if tried := n.Try(t.Context()); len(tried) != 1 || tried[0].Err != nil {
		t.Errorf("a test message: got %v", tried)
	}
	schema, err := jsonschema.NewCompiler().Compile("../docs/notification.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, body := range good.all() {
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(document); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		var message notify.Message
		if err := json.Unmarshal(body, &message); err != nil || message.Cluster != "main" {
			t.Errorf("%s: %v", body, err)
		}
		said = append(said, string(message.Event)+" "+string(message.State))
	}
	if got := strings.Join(said, ", "); got != "gap begun, gap ended, test test" || len(good.wrong) != 0 {
		t.Errorf("got %s; wrong: %v", got, good.wrong)
	}
}

// TestWebhookIsTriedAgain: a webhook that is away for a moment gets its message; one that says no is not asked again.
func TestWebhookIsTriedAgain(t *testing.T) {
	var asked, refused atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refused.Add(1)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusFound)
	}))
	defer refusing.Close()
	var m notify.Memory
	_, log := run(t, notify.Options{To: []string{"webhook+" + server.URL, "webhook+" + refusing.URL}}, &m, func() notify.Facts {
		f := well(time.Now())
		f.Health.Archive.Lost = true
		return f
	})
	eventually(t, "both to have ended", func() bool {
		all := m.Counts.All()
		return all[0].Sent == 1 && all[1].Failed == 1
	})
	if refused.Load() != 1 || !strings.Contains(log.String(), "is given up") {
		t.Errorf("asked %d times\n%s", refused.Load(), log)
	}
}

// TestURLsStayHidden: whatever goes wrong, neither a log nor an error has what is secret of a URL.
func TestURLsStayHidden(t *testing.T) {
	const canary = "T0PS3CRETcanary"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer server.Close()
	for _, url := range []string{
		"webhook+" + server.URL + "/" + canary, "webhook+" + server.URL + "/?token=" + canary, "webhook+http://user:" + canary + "@127.0.0.1:1/" + canary,
		"webhook+http://127.0.0.1:1/a/" + canary + "?x=" + canary + "#" + canary, "webhook+https://" + strings.TrimPrefix(server.URL, "http://") + "/" + canary + "%20" + canary,
		"webhook+http://[::1/" + canary, "webhook+ftp://host/" + canary, "webhook+http:///" + canary, canary, "webhook+" + canary, "nobody://" + canary + "@chat/" + canary,
	} {
		log := &ledger{}
		n, err := notify.New(notify.Options{To: []string{url}, Cluster: "main", Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, &notify.Memory{})
		if err == nil {
			tried := n.Try(t.Context())
			if err = tried[0].Err; err == nil || strings.Contains(tried[0].Target, canary) {
				t.Errorf("%s: got %+v", url, tried)
			}
		}
		if err == nil || strings.Contains(err.Error(), canary) || strings.Contains(log.String(), canary) {
			t.Errorf("%s is told of as %v, %s", url, err, log)
		}
	}
	log := &ledger{}
	n, err := notify.New(notify.Options{Heartbeat: server.URL + "/" + canary, HeartbeatEvery: time.Hour, Logger: slog.New(slog.NewTextHandler(log, nil))}, &notify.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { n.Run(ctx, func() notify.Facts { return well(time.Now()) }); close(done) }()
	eventually(t, "a ping that fails", func() bool { return strings.Contains(log.String(), "does not arrive") })
	cancel()
	<-done
	if strings.Contains(log.String(), canary) {
		t.Errorf("the heartbeat is told of as %s", log)
	}
}
