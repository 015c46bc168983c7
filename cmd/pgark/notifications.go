package main

import (
	"context"
	"os"
	"sync"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/dashboard"
	"github.com/pgark/pgark/notify"
	"github.com/pgark/pgark/status"
)

// memories are what was told of each cluster by this process: a reload begins an agent anew, and must not tell everything again. The zero value has none.
type memories struct {
	mu sync.Mutex
	of map[string]*notify.Memory
}

// get returns that of a cluster.
func (m *memories) get(cluster string) *notify.Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[string]*notify.Memory{}
	}
	if m.of[cluster] == nil {
		m.of[cluster] = &notify.Memory{}
	}
	return m.of[cluster]
}

// unsaid is how many messages about a cluster were given up; nil where nobody is to be told.
func (s *session) unsaid(c config.Cluster) *uint64 {
	if s.memories == nil || !c.Notify.Any() {
		return nil
	}
	var failed uint64
	for _, one := range s.memories.get(c.Name).Counts.All() {
		failed += one.Failed
	}
	return &failed
}

// herald tells of one cluster while its agent runs. A nil one tells nobody.
type herald struct {
	notifier *notify.Notifier
	source   func() notify.Facts
	look     *dashboard.Look // nil where the site looks anyway
}

// newHerald returns the herald of an agent, and has the agent tell it what it knows. It returns nil where nobody is to be told.
func (s *session) newHerald(whole config.Config, c config.Cluster, site *site, o *agent.Options) (*herald, error) {
	if o.Vitals != nil {
		o.Vitals.Reconfigure(c)
	}
	if !c.Notify.Any() {
		return nil, nil
	}
	n, err := notify.New(notifyOptions(c, o), s.memories.get(c.Name))
	if err != nil {
		return nil, err
	}
	h := &herald{notifier: n}
	last := func() *status.Report { return site.dashboard.Last(c.Name) }
	if o.Vitals == nil { // nobody else asks after it: no site, or the cluster is newer than that
		o.Vitals = agent.NewVitals(c)
		h.look = dashboard.NewLook(s.surveyOf(func() config.Config { return whole }, o.Vitals), nil)
		last = h.look.Last
		o.Vitals.Tell(func(e status.Event) {
			if e.Job == nil || e.Job.Ended != nil {
				h.look.Ask()
			}
		})
	}
	v := o.Vitals
	h.source = func() notify.Facts {
		return notify.Facts{Live: v.Live(), Health: v.Facts(), Report: last(), RTOTarget: c.Objectives.RTO}
	}
	return h, nil
}

// notifyOptions are those of a cluster's notifier.
func notifyOptions(c config.Cluster, o *agent.Options) notify.Options {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	return notify.Options{
		Heartbeat: c.Notify.Heartbeat, HeartbeatEvery: c.Notify.HeartbeatEvery, To: c.Notify.Targets(), Secret: c.Notify.Secret,
		Policy:  notify.Policy{On: c.Notify.Kinds(), Remind: c.Notify.RemindEvery},
		Cluster: c.Name, Host: host, Agent: "pgark/" + agent.Version(), Logger: o.Logger,
	}
}

// tellWhile tells until work returns, and returns its error. What is left to be said then delays the end by some seconds at most.
func (h *herald) tellWhile(ctx context.Context, work func() error) error {
	if h == nil {
		return work()
	}
	telling, done := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { h.notifier.Run(telling, h.source) })
	if h.look != nil {
		group.Go(func() { h.look.Run(telling) })
	}
	err := work()
	done()
	group.Wait()
	return err
}
