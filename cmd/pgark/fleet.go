package main

import (
	"context"
	"log/slog"
	"os"
	"reflect"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
)

// fleet is the agents of one process: one for each cluster. A reload stops those whose settings changed, and starts them anew: an agent
// holds no state but the server's slot and the repository, so that nothing is lost but the base backup it was at. One that fails leaves the
// others alone, and begins again unless that would not help; with a reload it does in any case.
type fleet struct {
	// read returns the configuration as it is now, and the clusters of it that this process archives.
	read func() (config.Config, []config.Cluster, error)
	// run archives one cluster until its context ends.
	run func(context.Context, config.Config, config.Cluster) error
	// limit gives new agents the bandwidth of a configuration, level its log level.
	limit, level func(config.Config)
	// crew is told of the clusters that are archived from now on, before the agents of those that came begin.
	crew func(config.Config, []config.Cluster)
	// explain says what an agent failed of, and what would help.
	explain func(error) failure
	reloads *agent.Reloads
	logger  *slog.Logger
	now     func() time.Time

	config  config.Config
	running map[string]*berth
	begun   int // of which the end was not taken from ended
	ended   chan *berth
}

// againAfter is how long an agent that failed rests before it begins again beside others: as long as the unit's RestartSec.
const againAfter = 2 * time.Second

// berth is the place of one agent, which is at work or rests before that.
type berth struct {
	cluster config.Cluster
	stop    context.CancelFunc
	done    chan struct{} // closed when it has ended, of err
	err     error
}

// sail runs the agents of clusters until ctx ends or all have ended, and reads the configuration anew at each hangup. It returns the error of the last one
// that ended: of those before it is told in the log.
func (f *fleet) sail(ctx context.Context, c config.Config, clusters []config.Cluster, hangups <-chan os.Signal) error {
	f.config, f.running, f.ended = c, map[string]*berth{}, make(chan *berth)
	f.reloads.Note(f.now(), nil)
	for _, cluster := range clusters {
		f.start(ctx, cluster, 0)
	}
	var last error
	for f.begun > 0 {
		select {
		case b := <-f.ended:
			f.begun--
			if f.running[b.cluster.Name] != b { // a reload stopped it, and waited
				if b.err != nil {
					f.logger.WarnContext(ctx, "an agent that was stopped did not end well", "cluster", b.cluster.Name, "err", b.err)
				}
				break
			}
			delete(f.running, b.cluster.Name)
			last = b.err
			if b.err != nil && ctx.Err() == nil && len(f.running) > 0 {
				f.failed(ctx, b)
			}
		case <-hangups:
			f.reload(ctx)
		}
	}
	return last
}

// failed tells that an agent ended while others go on, and lets it begin again where that may help.
func (f *fleet) failed(ctx context.Context, b *berth) {
	why := f.explain(b.err)
	attrs := []any{"cluster", b.cluster.Name, "err", why.Message, "code", why.Code, "fix", why.Fix}
	switch why.Code {
	case exitUsage, exitRefused, exitLocked, exitWrongKey: // RestartPreventExitStatus of the unit
		f.logger.ErrorContext(ctx, "an agent ended; those of the other clusters go on, and it begins again when the configuration is read anew", attrs...)
	default:
		f.logger.ErrorContext(ctx, "an agent ended, and begins again; those of the other clusters go on", attrs...)
		f.start(ctx, b.cluster, againAfter)
	}
}

// start begins an agent after a rest.
func (f *fleet) start(ctx context.Context, cluster config.Cluster, rest time.Duration) {
	own, stop := context.WithCancel(ctx)
	b := &berth{cluster: cluster, stop: stop, done: make(chan struct{})}
	f.running[cluster.Name] = b
	f.begun++
	whole, ended := f.config, f.ended
	go func() {
		defer stop()
		resting := time.NewTimer(rest)
		defer resting.Stop()
		select {
		case <-resting.C:
			b.err = f.run(own, whole, cluster)
		case <-own.Done():
		}
		close(b.done)
		ended <- b
	}()
}

// reload takes the configuration as it is now. One with a fault changes nothing.
func (f *fleet) reload(ctx context.Context) {
	defer agent.TellReloading()()
	c, clusters, err := f.read()
	f.reloads.Note(f.now(), err)
	if err != nil {
		f.logger.ErrorContext(ctx, "the configuration was read anew and has faults: the old one stays in force", "err", err, "fix", "pgark config validate")
		return
	}
	before := f.config
	f.config = c
	f.level(c)
	f.crew(c, clusters)
	if c.HTTP != before.HTTP {
		f.logger.WarnContext(ctx, "http: was changed, and needs a restart of the agent")
	}
	if c.Telemetry != before.Telemetry {
		f.logger.WarnContext(ctx, "telemetry: was changed, and needs a restart of the agent")
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
			f.start(ctx, cluster, 0)
		}
	}
	f.logger.InfoContext(ctx, "the configuration was read anew", "agents", len(f.running), "changed", len(wanted))
}
