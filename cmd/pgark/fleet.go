package main

import (
	"context"
	"log/slog"
	"os"
	"reflect"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
)

// fleet is the agents of one process: one for each cluster. A reload stops those whose settings changed, and starts them anew: an agent
// holds no state but the server's slot and the repository, so that nothing is lost but the base backup it was at.
type fleet struct {
	// read returns the configuration as it is now, and the clusters of it that this process archives.
	read func() (config.Config, []config.Cluster, error)
	// run archives one cluster until its context ends.
	run func(context.Context, config.Config, config.Cluster) error
	// limit gives new agents the bandwidth of a configuration, level its log level.
	limit, level func(config.Config)
	reloads      *agent.Reloads
	logger       *slog.Logger
	now          func() time.Time

	config  config.Config
	running map[string]*berth
	group   *errgroup.Group
	ended   chan *berth
	over    chan struct{} // nobody takes from ended any more
}

// berth is the place of one agent.
type berth struct {
	cluster config.Cluster
	stop    context.CancelFunc
	done    chan struct{}
}

// sail runs the agents of clusters until ctx ends, one of them fails or all have ended, and reads the configuration anew at each hangup.
func (f *fleet) sail(ctx context.Context, c config.Config, clusters []config.Cluster, hangups <-chan os.Signal) error {
	f.config, f.running, f.ended, f.over = c, map[string]*berth{}, make(chan *berth), make(chan struct{})
	var inner context.Context
	f.group, inner = errgroup.WithContext(ctx)
	f.reloads.Note(f.now(), nil)
	for _, cluster := range clusters {
		f.start(inner, cluster)
	}
	for len(f.running) > 0 {
		select {
		case b := <-f.ended:
			if f.running[b.cluster.Name] == b {
				delete(f.running, b.cluster.Name)
			}
		case <-hangups:
			f.reload(inner)
		}
	}
	close(f.over)
	return f.group.Wait()
}

// start begins an agent.
func (f *fleet) start(ctx context.Context, cluster config.Cluster) {
	own, stop := context.WithCancel(ctx)
	b := &berth{cluster, stop, make(chan struct{})}
	f.running[cluster.Name] = b
	whole := f.config
	f.group.Go(func() error {
		defer stop()
		err := f.run(own, whole, cluster)
		close(b.done)
		select {
		case f.ended <- b:
		case <-f.over:
		}
		return err
	})
}

// reload takes the configuration as it is now. One with a fault changes nothing.
func (f *fleet) reload(ctx context.Context) {
	defer agent.TellReloading()()
	c, clusters, err := f.read()
	f.reloads.Note(f.now(), err)
	if err != nil {
		f.logger.ErrorContext(ctx, "the configuration was read anew and has faults: the old one stays in force", "error", err, "fix", "pgark config validate")
		return
	}
	before := f.config
	f.config = c
	f.level(c)
	if c.HTTP != before.HTTP {
		f.logger.WarnContext(ctx, "http: was changed, and needs a restart of the agent")
	}
	if c.Log.Format != before.Log.Format {
		f.logger.WarnContext(ctx, "log.format was changed, and needs a restart of the agent")
	}
	all := c.Limits != before.Limits
	if all {
		f.limit(c)
	}
	wanted := map[string]config.Cluster{}
	for _, cluster := range clusters {
		wanted[cluster.Name] = cluster
	}
	var stopped []*berth
	for name, b := range f.running {
		cluster, stays := wanted[name]
		if stays && !all && reflect.DeepEqual(cluster, b.cluster) {
			delete(wanted, name)
			continue
		}
		f.logger.InfoContext(ctx, "an agent is stopped, for its settings were changed", "cluster", name, "goes_on", stays)
		b.stop()
		stopped = append(stopped, b)
	}
	for _, b := range stopped {
		<-b.done // its last WAL is uploaded, and its slot is free
		delete(f.running, b.cluster.Name)
	}
	for _, cluster := range clusters {
		if _, changed := wanted[cluster.Name]; changed && ctx.Err() == nil {
			f.start(ctx, cluster)
		}
	}
	f.logger.InfoContext(ctx, "the configuration was read anew", "agents", len(f.running), "changed", len(wanted))
}
