package notify_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pgark/pgark/notify"
)

// TestChat: a service of shoutrrr's gets the message as a text, and what is wrong with it is told without its secret.
func TestChat(t *testing.T) {
	const canary = "T0PS3CRETcanary"
	var got atomic.Value
	var code atomic.Int64
	code.Store(http.StatusOK)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got.Store(string(body))
		w.WriteHeader(int(code.Load()))
		_, _ = io.WriteString(w, "{}")
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	try := func(url string) (string, error) {
		n, err := notify.New(notify.Options{To: []string{url}, Cluster: "main", Host: "db1", Logger: slog.New(slog.DiscardHandler)}, &notify.Memory{})
		if err != nil {
			return "", err
		}
		tried := n.Try(t.Context())[0]
		return tried.Target, tried.Err
	}
	name, err := try("ntfy://" + host + "/" + canary + "?scheme=http")
	if text, _ := got.Load().(string); err != nil || name != "ntfy" || !strings.Contains(text, "pgark main: a test") || !strings.Contains(text, "host db1") {
		t.Errorf("%s: got %q, %v", name, text, err)
	}
	code.Store(http.StatusForbidden)
	for _, url := range []string{
		"ntfy://user:" + canary + "@" + host + "/" + canary + "?scheme=http", "ntfy://127.0.0.1:1/" + canary + "?scheme=http", "gotify://" + host + "/" + canary + "?disabletls=yes",
		"slack://hook:" + canary + "-x@webhook", "slack://" + canary, "ntfy://[::1/" + canary, "logger://" + canary, "ntfy+x://" + canary, "discord://" + canary,
	} {
		if name, err := try(url); err == nil || strings.Contains(err.Error(), canary) || strings.Contains(name, canary) {
			t.Errorf("%s: got %s, %v", url, name, err)
		}
	}
}
