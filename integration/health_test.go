package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// freeAddress is one on which nobody listens now.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// ask is what an agent answers over HTTP: the status, 0 where nobody answers, and the line.
func ask(t testing.TB, url string) (code int, line string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	planted().look("the answer to "+url, body)
	return response.StatusCode, strings.TrimSpace(string(body))
}

// TestHealth: what a traffic manager is told is what a user's data stands at. A server that is gone, or a store that takes nothing, is
// told of within seconds, by an agent that waits for neither.
func TestHealth(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	s := newSyncSite(t, 15)
	s.tool = s.tool.with("PGARK_HTTP_LISTEN=" + address)
	began, last := time.Now(), ""
	said := func(path string, want int) func() bool {
		return func() bool {
			code, line := ask(t, "http://"+address+path)
			word, _, _ := strings.Cut(line, "=")
			if is := fmt.Sprint(path, " ", code, " ", word); is != last {
				last = is
				t.Logf("%v %s: %d %s", time.Since(began).Round(time.Millisecond), path, code, line)
			}
			return code == want
		}
	}
	now := func(path string, want int) {
		t.Helper()
		if !said(path, want)() {
			t.Errorf("%s: want %d", path, want)
		}
	}
	s.tool.start(t, "run", s.url)
	eventually(t, waitLong, "an answer", said("/healthz", 200))
	eventually(t, waitLong, "the primary", said("/primary", 200))
	eventually(t, waitLong, "the agent to be ready", said("/readyz", 200))
	eventually(t, waitLong, "the base backup to be known", said("/rpo?max=30s", 200))
	eventually(t, waitLong, "an idle server to have nothing to lose", func() bool {
		code, line := ask(t, "http://"+address+"/rpo?max=1s")
		return code == 200 && strings.HasPrefix(line, "PROTECTED rpo=0.0s")
	})
	var report struct {
		RPO *float64 `json:"rpo_seconds"`
	}
	if err := json.Unmarshal([]byte(s.tool.must(t.Context(), t, "status", "-o", "json", s.url)), &report); err != nil {
		t.Fatal(err)
	}
	if report.RPO == nil || *report.RPO != 0 {
		t.Errorf("status says an RPO of %v beside it", report.RPO)
	}

	second := s.tool.run(t.Context(), "run", s.url)
	if second.code != 1 || !strings.Contains(second.stderr, "listen on "+address) || !strings.Contains(second.stderr, "http.listen") {
		t.Errorf("a second agent on the port: exit %d\n%s", second.code, second.stderr)
	}

	heal := s.hangAll()
	s.server.Exec(t, "insert into kept values (1)")
	eventually(t, waitLong, "what would be lost to be told of", said("/rpo?max=1s", 503))
	now("/healthz", 200)
	now("/primary", 200)
	now("/rpo?max=1h", 200)
	heal()
	eventually(t, waitLong, "all to be durable again", said("/rpo?max=1s", 200))

	s.server.Stop(t, postgrestest.Fast)
	eventually(t, waitLong, "the server to be missed", said("/primary", 503))
	now("/healthz", 200)
	eventually(t, waitLong, "no WAL to come", said("/readyz", 503))
	s.server.Start(t)
	eventually(t, waitLong, "the server to be back", said("/primary", 200))
	eventually(t, waitLong, "its WAL to come", said("/readyz", 200))
	now("/rpo?cluster=main", 200)
}
