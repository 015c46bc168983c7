package main

import (
	"context"
	"net/http"
	"net/netip"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/dashboard"
	"github.com/pgark/pgark/health"
	"github.com/pgark/pgark/metrics"
	"github.com/pgark/pgark/status"
)

// surveyPatience is how long a repository that does not answer is asked again, for the page and the metrics.
const surveyPatience = agent.Patience(20 * time.Second)

// build makes what answers about these clusters.
func (s *session) build(h *site, c config.Config, clusters []config.Cluster) {
	var sources []metrics.Source
	var shown []dashboard.Cluster
	for _, cluster := range clusters {
		v := agent.NewVitals(cluster)
		h.agents[cluster.Name] = v
		sources = append(sources, func() metrics.Facts {
			now := v.Settings() // a reload may have changed them
			return metrics.Facts{
				Live: v.Live(), Health: v.Facts(), Report: h.dashboard.Last(cluster.Name),
				RTOTarget: now.Objectives.RTO, Window: now.Retain.Window, Pauses: v.Pauses(),
			}
		})
		shown = append(shown, dashboard.Cluster{
			Name: cluster.Name, Live: v.Live, Restore: s.restoreLine(c, cluster),
			Survey: func(ctx context.Context) (status.Report, error) {
				now := v.Settings() // a reload may have changed them
				r, err := agent.Survey(ctx, now, 0, agent.StoreOptions{Patience: surveyPatience, Bandwidth: s.bandwidth})
				if err == nil {
					r.Judge(s.commands(c, now))
				}
				return r, err
			},
		})
	}
	h.dashboard = dashboard.New(s.dashboardOptions(h.guard, shown))
	h.metrics = metrics.New(metrics.Build{Version: agent.Version(), Revision: revision()}, sources)
	for name, v := range h.agents {
		v.Tell(h.dashboard.Tell)
		v.TellUploads(h.metrics.Uploaded(name))
	}
}

// tellReloads has metrics tell whether the configuration that was read last is in force.
func (h *site) tellReloads(r *agent.Reloads) {
	if h == nil {
		return
	}
	h.metrics.ReloadFrom(func() (bool, error) {
		last, known := r.Last()
		return known, last.Err
	})
}

// dashboardOptions are those of a page: nothing leaves the process that is not printed either.
func (s *session) dashboardOptions(g dashboard.Guard, clusters []dashboard.Cluster) dashboard.Options {
	return dashboard.Options{
		Clusters: clusters, Version: agent.Version(), Guard: g,
		Redact:  newRedactor(s.program.environment).redact,
		Explain: func(err error) any { return s.program.explain(err) },
	}
}

// restoreLine is the beginning of the command that restores a cluster, as this call knows it.
func (s *session) restoreLine(c config.Config, cluster config.Cluster) string {
	words := "pgark restore"
	if c.File != "" && c.File != config.DefaultFile {
		file, err := filepath.Abs(c.File)
		if err != nil {
			file = c.File
		}
		words += " --config " + quoteWord(file)
	}
	if len(c.Clusters) > 1 || text(s.cli, "cluster") != "" {
		words += " --cluster " + quoteWord(cluster.Name)
	}
	if c.File == "" || s.argument() != "" || text(s.cli, "repo") != "" {
		words += " --repo " + quoteWord(cluster.Repo.URL)
	}
	return words
}

// handler answers everything: health checks, metrics, the page and what it is made of. It redirects nowhere.
func (h *site) handler() http.Handler {
	sources := map[string]health.Source{}
	for name, v := range h.agents {
		sources[name] = v.Facts
	}
	paths := map[string]http.Handler{"/metrics": dashboard.Guard{Loopback: h.guard.Loopback}.Before(h.metrics.Handler())}
	page := h.dashboard.Handler()
	for _, path := range h.dashboard.Paths() {
		paths[path] = page
	}
	rest := health.Handler(sources)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if one, ok := paths[r.URL.Path]; ok {
			one.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})
}

// guardOf says who may see the page at an address. It names hosts and repositories: beyond this host only who was let in by a web configuration file.
func guardOf(address, webConfig string) dashboard.Guard {
	at, err := netip.ParseAddrPort(address)
	loopback := err == nil && at.Addr().Unmap().IsLoopback()
	switch {
	case webConfig != "":
		return dashboard.Guard{}
	case loopback:
		return dashboard.Guard{Loopback: true}
	}
	return dashboard.Guard{Closed: "the page is closed: it would be open to everybody who reaches this address; set http.web_config_file for TLS and passwords, or listen on 127.0.0.1 (docs/HTTP.md)"}
}

// revision is the commit that this program was built of; "" where that is not known.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var found string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			found = s.Value + found
		case s.Key == "vcs.modified" && s.Value == "true":
			found += "-dirty"
		}
	}
	return strings.TrimSpace(found)
}
