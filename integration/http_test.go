package integration_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// metric is the value of a series in what an agent tells Prometheus, and whether it is there.
func metric(t testing.TB, text, series string) (float64, bool) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (.*)$`).FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v, true
}

// TestHTTP: metrics, the API and `pgark status` tell the same of a real agent, its backup is told of as it happens, and what an outage costs shows at once without
// that anybody is asked. The heartbeat beats once all is well.
func TestHTTP(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	s := newSyncSite(t, 17)
	var beats atomic.Int64
	beaten := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { beats.Add(1) }))
	defer beaten.Close()
	s.tool = s.tool.with("PGARK_HTTP_LISTEN="+address, "PGARK_DRILL_SCHEDULE=off", "PGARK_NOTIFY_HEARTBEAT="+beaten.URL+"/uuid", "PGARK_NOTIFY_HEARTBEAT_EVERY=10s")
	s.tool.start(t, "run", s.url)
	body := func(path string) string {
		t.Helper()
		_, text := ask(t, "http://"+address+path)
		return text
	}
	told := func(series string) (float64, bool) {
		t.Helper()
		return metric(t, body("/metrics"), series)
	}
	eventually(t, waitLong, "an answer", func() bool { code, _ := ask(t, "http://"+address+"/healthz"); return code == 200 })
	events := listen(t, "http://"+address+"/api/v1/events")
	eventually(t, waitLong, "the base backup to be told of", func() bool {
		_, ok := told(`pgark_backup_last_success_timestamp_seconds{cluster="main",type="full"}`)
		return ok
	})
	eventually(t, waitLong, "all to be well", func() bool { v, _ := told(`pgark_protected{cluster="main"}`); return v == 1 })
	eventually(t, waitLong, "the heartbeat to beat", func() bool { return beats.Load() > 0 })
	if failed, ok := told(`pgark_notify_failures_total{cluster="main"}`); !ok || failed != 0 {
		t.Errorf("%v pings failed, told %t", failed, ok)
	}
	until, ok := told(`pgark_recoverable_until_timestamp_seconds{cluster="main"}`)
	if age := float64(time.Now().UnixMilli())/1000 - until; !ok || age > 15 {
		t.Errorf("an idle server: the RPO reads %.1f s", age)
	}
	for _, series := range []string{
		`pgark_leader{cluster="main"}`, `pgark_repo_up{cluster="main",repo="primary"}`, `pgark_wal_stored_bytes_total{cluster="main",repo="primary"}`,
		`pgark_wal_durable_lsn_bytes{cluster="main",repo="primary"}`, `pgark_wal_upload_duration_seconds_count{cluster="main",repo="primary"}`,
	} {
		if v, _ := told(series); v <= 0 {
			t.Errorf("%s is %v", series, v)
		}
	}

	var fromAPI, fromCLI map[string]any
	if text := body("/api/v1/status"); json.Unmarshal([]byte(text), &fromAPI) != nil {
		t.Fatalf("the API says %s", text)
	}
	if err := json.Unmarshal([]byte(s.tool.must(t.Context(), t, "status", "-o", "json", s.url)), &fromCLI); err != nil {
		t.Fatal(err)
	}
	for key := range fromCLI {
		if _, ok := fromAPI[key]; !ok {
			t.Errorf("the API lacks %s", key)
		}
	}
	for _, key := range []string{"cluster", "repository", "system_id", "verdict", "recoverable_from", "backups"} {
		if a, b := mustJSON(t, fromAPI[key]), mustJSON(t, fromCLI[key]); a != b {
			t.Errorf("%s: the API says %s, the command %s", key, a, b)
		}
	}
	if !events.saw("job", `"kind":"backup"`) {
		t.Error("no event told of the base backup")
	}
	body("/api/v1/live")
	body("/api/v1/site")
	good := scrapedNow(t, address)

	heal := s.hangAll()
	s.server.Exec(t, "insert into kept values (1)")
	eventually(t, waitLong, "what would be lost to be told of", func() bool {
		v, ok := told(`pgark_recoverable_until_timestamp_seconds{cluster="main"}`)
		return ok && float64(time.Now().UnixMilli())/1000-v > 3
	})
	bad := scrapedNow(t, address)
	heal()
	eventually(t, waitLong, "all to be durable again", func() bool {
		v, ok := told(`pgark_recoverable_until_timestamp_seconds{cluster="main"}`)
		return ok && float64(time.Now().UnixMilli())/1000-v < 2
	})
	judgeAlerts(t, phase{told: good}, phase{told: bad, stands: true, want: []string{"PgarkRPOMissed"}}, phase{told: scrapedNow(t, address)})
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// heard is what came of events so far.
type heard struct{ lines chan string }

// listen collects events until the test ends.
func listen(t testing.TB, url string) *heard {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request) //nolint:bodyclose // closed when the test ends
	if err != nil {
		t.Fatal(err)
	}
	h := &heard{make(chan string, 1<<16)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(answer.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			planted().look("events of "+url, lines.Bytes())
			select {
			case h.lines <- lines.Text():
			default:
			}
		}
	}()
	t.Cleanup(func() { _ = answer.Body.Close(); <-done })
	return h
}

// saw reports whether an event of the name came that holds the text, of those that came since the last call.
func (h *heard) saw(name, text string) bool {
	found, in := false, false
	for {
		select {
		case line := <-h.lines:
			in = line == "event: "+name || in && strings.HasPrefix(line, "data: ")
			found = found || in && strings.Contains(line, text)
		default:
			return found
		}
	}
}
