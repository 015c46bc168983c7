package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/dashboard"
	"github.com/pgark/pgark/metrics"
	"github.com/pgark/pgark/web"
)

// site is what the agents of this process answer over HTTP. A nil one answers nobody.
type site struct {
	listener  *web.Listener
	metrics   *metrics.Exporter
	dashboard *dashboard.Site
	guard     dashboard.Guard
	log       *logTail
	profiles  bool // whether profiles of the process are answered
	// The rest is exchanged when the configuration is read anew.
	agents atomic.Pointer[map[string]*agent.Vitals] // by cluster
	config atomic.Pointer[config.Config]
	health atomic.Pointer[http.Handler]
}

// openSite opens the port before anything else is done, so that two agents with one port are found out at once. It returns nil where
// none is configured.
func (s *session) openSite(c config.Config, clusters []config.Cluster) (*site, error) {
	if c.HTTP.Listen == "" {
		return nil, nil
	}
	listener, err := web.Listen(s.ctx, web.Options{Address: c.HTTP.Listen, ConfigFile: c.HTTP.WebConfigFile, Logger: s.log})
	if err != nil {
		return nil, err
	}
	h := &site{listener: listener, log: s.keepLog(), guard: guardOf(listener.Address(), c.HTTP.WebConfigFile), profiles: c.HTTP.Profiles}
	h.agents.Store(&map[string]*agent.Vitals{})
	h.dashboard = dashboard.New(s.dashboardOptions(h.guard, nil))
	h.metrics = metrics.New(metrics.Build{Version: agent.Version(), Revision: revision()}, nil)
	s.answerFor(h, c, clusters)
	return h, nil
}

// vitals returns those of a cluster's agent, about which the site answers; nil without a site.
func (h *site) vitals(c config.Cluster) *agent.Vitals {
	if h == nil {
		return nil
	}
	return (*h.agents.Load())[c.Name]
}

// serveWhile answers until work returns, also while the agents stop, and returns work's error. An error of its own is told and ends
// nothing: archiving is worth more than to be asked about it.
func (h *site) serveWhile(ctx context.Context, logger *slog.Logger, work func() error) error {
	if h == nil {
		return work()
	}
	serving, done := context.WithCancel(context.WithoutCancel(ctx))
	var answering sync.WaitGroup
	answering.Go(func() { h.dashboard.Run(serving) })
	answering.Go(func() {
		if err := h.listener.Serve(serving, h.handler()); err != nil {
			logger.ErrorContext(ctx, "nothing is answered over HTTP any more", "err", err)
		}
	})
	err := work()
	done()
	answering.Wait()
	return err
}

// explainListen explains why nothing can be answered over HTTP.
func explainListen(err error, f *failure) bool {
	var listen *web.ListenError
	var file *web.ConfigError
	switch {
	case errors.As(err, &file):
		f.Code, f.Fix = exitUsage, "correct the file, or leave http.web_config_file out; docs/HEALTH.md has an example"
	case errors.As(err, &listen) && errors.Is(err, syscall.EADDRINUSE):
		f.Cause = "another program listens there: another agent perhaps"
		f.Fix = "give each agent a port of its own: http.listen; ss -ltnp shows who has it"
	case errors.As(err, &listen):
		f.Code, f.Fix = exitUsage, "http.listen: an address of this host, like 127.0.0.1:9868, and a port above 1023"
	default:
		return false
	}
	return true
}
