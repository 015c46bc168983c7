package main

import (
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/config"
)

// runSession is a session of `run` that says nothing.
func runSession(t *testing.T) *session {
	t.Helper()
	p := &program{now: time.Now, interrupted: func() os.Signal { return nil }}
	app := p.app()
	s := &session{
		program: p, cli: cli.NewContext(app, flag.NewFlagSet("run", flag.ContinueOnError), nil), ctx: t.Context(), stderr: &screen{to: &redactingWriter{io.Discard, newRedactor(nil)}},
	}
	s.log = slog.New(slog.NewTextHandler(s.stderr, nil))
	return s
}

// TestProfilesAreForWhoSeesThePage: there are none before they are asked for, and none for who may not see the page.
func TestProfilesAreForWhoSeesThePage(t *testing.T) {
	for _, test := range []struct {
		listen   string
		profiles bool
		want     int
	}{
		{"127.0.0.1:0", true, http.StatusOK},
		{"127.0.0.1:0", false, http.StatusNotFound},
		{"0.0.0.0:0", true, http.StatusForbidden},
	} {
		s := runSession(t)
		h, err := s.openSite(config.Config{HTTP: config.HTTP{Listen: test.listen, Profiles: test.profiles}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		h.handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/debug/pprof/goroutine", nil))
		if w.Code != test.want {
			t.Errorf("%+v: %d %.100q", test, w.Code, w.Body)
		}
		if err := h.listener.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSiteFollowsReload: a cluster that a reload brings is answered for in every way, and one that goes in none.
func TestSiteFollowsReload(t *testing.T) {
	dir := t.TempDir()
	s := runSession(t)
	of := func(names ...string) config.Config {
		c := config.Config{HTTP: config.HTTP{Listen: "127.0.0.1:0"}}
		for _, name := range names {
			c.Clusters = append(c.Clusters, config.Cluster{Name: name, Slot: "pgark", Repo: config.Repo{URL: "file://" + dir + "/" + name}})
		}
		return c
	}
	first := of("main")
	h, err := s.openSite(first, first.Clusters)
	if err != nil {
		t.Fatal(err)
	}
	kept := h.vitals(first.Clusters[0])
	ask := func(path string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.listener.Address()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
	err = h.serveWhile(t.Context(), s.log, func() error {
		for _, step := range []struct{ clusters, gone []string }{
			{[]string{"main"}, []string{"second"}},
			{[]string{"main", "second"}, nil},
			{[]string{"main"}, []string{"second"}},
		} {
			c := of(step.clusters...)
			s.answerFor(h, c, c.Clusters)
			_, metrics := ask("/metrics")
			_, site := ask("/api/v1/site")
			for _, name := range step.clusters {
				if code, body := ask("/healthz?cluster=" + name); code != http.StatusOK {
					t.Errorf("%q: healthz of %s: %d %s", step.clusters, name, code, body)
				}
				if code, body := ask("/api/v1/live?cluster=" + name); code != http.StatusOK || !strings.Contains(body, `"cluster": "`+name+`"`) {
					t.Errorf("%q: live of %s: %d %s", step.clusters, name, code, body)
				}
				if !strings.Contains(metrics, `{cluster="`+name+`"`) || !strings.Contains(site, `"name": "`+name+`"`) {
					t.Errorf("%q: %s is not told of:\n%s%s", step.clusters, name, site, metrics)
				}
			}
			for _, name := range step.gone {
				health, _ := ask("/healthz?cluster=" + name)
				live, _ := ask("/api/v1/live?cluster=" + name)
				if health != http.StatusBadRequest || live != http.StatusBadRequest || strings.Contains(metrics+site, `"`+name+`"`) {
					t.Errorf("%q: %s is still answered for: %d, %d\n%s%s", step.clusters, name, health, live, site, metrics)
				}
			}
			several := len(step.clusters) > 1
			if strings.Contains(site, "--cluster main") != several {
				t.Errorf("%q: the command that restores: %s", step.clusters, site)
			}
		}
		s.log.Warn("archiver lost the server", "error", "host=db password=hunter22")
		if code, body := ask("/api/v1/log"); code != http.StatusOK || !strings.Contains(body, "archiver lost the server") || strings.Contains(body, "hunter22") {
			t.Errorf("log: %d %s", code, body)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if h.vitals(first.Clusters[0]) != kept {
		t.Error("what was known of the cluster that stayed was dropped")
	}
}
