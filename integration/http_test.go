package integration_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/cost"
	"github.com/pgark/pgark/notify"
	"github.com/pgark/pgark/storage/storagetest"
	"github.com/pgark/pgark/telemetry/otlptest"
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
// that anybody is asked. The heartbeat beats once all is well. People are told of an outage once when it begins and once when it is over, though the agent is begun anew
// in between by a reload, and nothing again by the next process. A receiver of spans that hangs changes none of that.
func TestHTTP(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	s := newSyncSite(t, 17)
	var beats atomic.Int64
	beaten := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { beats.Add(1) }))
	defer beaten.Close()
	inbox := newInbox(t)
	receiver := otlptest.NewReceiver(t)
	receiver.Hang(t)
	s.tool = s.tool.with("OTEL_EXPORTER_OTLP_ENDPOINT="+receiver.URL, "PGARK_HTTP_LISTEN="+address, "PGARK_DRILL_SCHEDULE=off", "PGARK_NOTIFY_HEARTBEAT="+beaten.URL+"/uuid", "PGARK_NOTIFY_HEARTBEAT_EVERY=10s")
	s.tool = s.tool.with("PGARK_PRICES_STORAGE=1000")
	s.tool = s.tool.with(inbox.environment("rpo_missed,repo_down,gap,backup_failed,slot_near_limit")...)
	file := s.configure(t, "1s")
	agent := s.tool.start(t, "run", "--config", file)
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
	var bill cost.Bill
	if err := json.Unmarshal([]byte(s.tool.must(t.Context(), t, "repo", "cost", "-o", "json", s.url)), &bill); err != nil || bill.Month == nil || *bill.Month <= 0 {
		t.Errorf("the repository costs %+v, %v", bill, err)
	}
	if v, _ := told(`pgark_repo_cost_usd_month{cluster="main"}`); v <= 0 || v > 2*(*bill.Month) {
		t.Errorf("Prometheus is told of %f USD a month, the command of %f", v, *bill.Month)
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
	if receiver.Asked() == 0 {
		t.Error("no span was sent to the receiver that hangs")
	}
	judgeAlerts(t, phase{told: good}, phase{told: bad, stands: true, want: []string{"PgarkRPOMissed"}}, phase{told: scrapedNow(t, address)})

	mend := s.proxy.Add(storagetest.Rule{Fault: storagetest.Answer(http.StatusServiceUnavailable, "SlowDown")})
	s.server.Exec(t, "insert into kept values (2)")
	eventually(t, 3*time.Minute, "people to be told of the outage", func() bool {
		return inbox.has(notify.RepoDown, notify.Begun) && inbox.has(notify.RPOMissed, notify.Begun)
	})
	mend()
	s.configure(t, "2s")
	if err := agent.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, waitLong, "the agent to begin anew", func() bool { return strings.Contains(agent.output(), `"the configuration was read anew"`) })
	eventually(t, 3*time.Minute, "people to be told that the outage is over", func() bool {
		return inbox.has(notify.RepoDown, notify.Ended) && inbox.has(notify.RPOMissed, notify.Ended)
	})
	agent.stop(t)
	before := beats.Load()
	s.tool.start(t, "run", "--config", file)
	eventually(t, waitLong, "the heartbeat of the next process", func() bool { return beats.Load() > before })
	if m := inbox.once(t, notify.RepoDown); m.Repository != "primary" {
		t.Errorf("told of %+v", m)
	}
	if m := inbox.once(t, notify.RPOMissed); !strings.Contains(m.Text, "AT RISK rpo=") {
		t.Errorf("told of %+v", m)
	}
	for _, kind := range []notify.Kind{notify.Gap, notify.BackupFailed, notify.SlotNearLimit} {
		if said := inbox.said(kind); len(said) != 0 {
			t.Errorf("told of what did not happen: %v", said)
		}
	}
}

// configure writes the file of an agent whose uploads wait for so long, and returns its name, which is the same for a test.
func (s *syncSite) configure(t testing.TB, every string) (file string) {
	t.Helper()
	file = filepath.Join(filepath.Dir(s.server.DataDir), "pgark.yml")
	text := "clusters:\n  main:\n    repo:\n      url: " + s.url + "\n      upload: { every: " + every + " }\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
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
