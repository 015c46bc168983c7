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
	"github.com/pgark/pgark/web"
)

// surveyPatience is how long a repository that does not answer is asked again, for the page and the metrics.
const surveyPatience = agent.Patience(20 * time.Second)

// answerFor has the site answer for these clusters from now on: for those that came too, and for none that went. Those that stay keep what is known of them.
// It is not safe for concurrent use; a nil site answers nobody.
func (s *session) answerFor(h *site, c config.Config, clusters []config.Cluster) {
	if h == nil {
		return
	}
	h.config.Store(&c)
	before, agents := *h.agents.Load(), map[string]*agent.Vitals{}
	var sources []metrics.Source
	var shown []dashboard.Cluster
	healths := map[string]health.Source{}
	for _, cluster := range clusters {
		v := before[cluster.Name]
		if v == nil {
			v = agent.NewVitals(cluster)
			v.Tell(h.dashboard.Tell)
			v.TellUploads(h.metrics.Uploaded(cluster.Name))
		}
		agents[cluster.Name], healths[cluster.Name] = v, v.Facts
		sources = append(sources, func() metrics.Facts {
			now := v.Settings() // a reload may have changed them
			return metrics.Facts{
				Live: v.Live(), Health: v.Facts(), Report: h.dashboard.Last(cluster.Name),
				RTOTarget: now.Objectives.RTO, Window: now.Retain.Window, Pauses: v.Pauses(), Unsaid: s.unsaid(now),
			}
		})
		shown = append(shown, dashboard.Cluster{
			Name: cluster.Name, Live: v.Live, Restore: s.restoreLine(c, cluster),
			Survey: s.surveyOf(func() config.Config { return *h.config.Load() }, v),
		})
	}
	answers := health.Handler(healths)
	h.agents.Store(&agents)
	h.health.Store(&answers)
	h.metrics.Watch(sources)
	h.dashboard.Show(shown)
	for name := range before {
		if agents[name] == nil {
			h.metrics.Forget(name)
		}
	}
}

// surveyOf looks at the cluster of an agent, with the settings that are in force.
func (s *session) surveyOf(whole func() config.Config, v *agent.Vitals) dashboard.Survey {
	return func(ctx context.Context) (status.Report, error) {
		now := v.Settings() // a reload may have changed them
		r, err := agent.Survey(ctx, now, 0, agent.StoreOptions{Patience: surveyPatience, Bandwidth: s.bandwidth, Looks: true, Counted: v.Live().PutsAMonth})
		if err == nil {
			r.Troubles = v.Live().Troubles()
			r.Judge(s.commands(whole(), now))
		}
		return r, err
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
	paths := map[string]http.Handler{"/metrics": dashboard.Guard{Loopback: h.guard.Loopback}.Before(h.metrics.Handler())}
	paths["/api/v1/log"] = h.guard.Before(h.log)
	page := h.dashboard.Handler()
	for _, path := range h.dashboard.Paths() {
		paths[path] = page
	}
	profiles := h.guard.Before(web.Profiles())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if one, ok := paths[r.URL.Path]; ok {
			one.ServeHTTP(w, r)
			return
		}
		if h.profiles && strings.HasPrefix(r.URL.Path, web.ProfilesPath) {
			profiles.ServeHTTP(w, r)
			return
		}
		(*h.health.Load()).ServeHTTP(w, r)
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
