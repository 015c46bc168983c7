// Package metrics tells Prometheus how clusters stand. What it tells comes from facts that the agent has anyway: neither a server nor a store is asked when it is
// scraped. What is not known is absent, never 0, and instants are told as timestamps, so that an agent that is gone is not taken for one that is up to date.
//
// list.go names every metric, samples.go makes samples from facts: both are pure. docs/METRICS.md describes them to their users.
package metrics

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pgark/pgark/health"
	"github.com/pgark/pgark/status"
)

// Facts are what is known of one cluster at one time.
type Facts struct {
	// Live and Health are what its agent knows by itself.
	Live   status.Live
	Health health.Facts
	// Report is the last look at its repositories and server; nil before the first one succeeded.
	Report *status.Report
	// RTOTarget is the objective for the time that a restore takes; 0 where there is none.
	RTOTarget time.Duration
	// Window is how far back every instant is to stay restorable; 0 where everything is kept.
	Window time.Duration
	// Pauses is the longest time between two runs that the schedule of each job names; a job that is not there is not scheduled.
	Pauses map[status.JobKind]time.Duration
	// Unsaid is how many notifications were given up since the process began; nil where nobody is to be told.
	Unsaid *uint64
}

// Source returns what is known of a cluster now. It asks nobody and does not wait; it may be called at any time.
type Source func() Facts

// Build says which program this is.
type Build struct{ Version, Revision string }

// Exporter answers Prometheus for the clusters of one process. Its methods are safe for concurrent use.
type Exporter struct {
	registry *prometheus.Registry
	uploads  *prometheus.HistogramVec
	sources  atomic.Pointer[[]Source]
	reloaded atomic.Pointer[Reloaded]
}

// Reloaded says why the configuration was not taken over when it was read last, nil if it was, and whether it was read at all.
type Reloaded func() (known bool, err error)

// Of a native histogram: each bucket is at most so much wider than the one before, and there are at most so many; it is begun anew at most so often.
const (
	bucketFactor  = 1.1
	mostBuckets   = 160
	leastLifetime = time.Hour
)

// New returns an exporter for these clusters.
func New(b Build, sources []Source) *Exporter {
	e := &Exporter{registry: prometheus.NewRegistry()}
	e.Watch(sources)
	e.uploads = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: uploadDuration, Help: helpOf(uploadDuration),
		NativeHistogramBucketFactor: bucketFactor, NativeHistogramMaxBucketNumber: mostBuckets, NativeHistogramMinResetDuration: leastLifetime,
	}, []string{"cluster", "repo"})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: buildInfo, Help: helpOf(buildInfo), ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision},
	})
	build.Set(1)
	e.registry.MustRegister(e.uploads, build, (*collector)(e))
	return e
}

// Watch has these clusters told of instead of those before.
func (e *Exporter) Watch(sources []Source) { e.sources.Store(&sources) }

// Forget drops what was counted of a cluster that is told of no more.
func (e *Exporter) Forget(cluster string) {
	e.uploads.DeletePartialMatch(prometheus.Labels{"cluster": cluster})
}

// Uploaded returns what takes how long each repository of a cluster took for each object of WAL.
func (e *Exporter) Uploaded(cluster string) func(repository string, took time.Duration) {
	return func(repository string, took time.Duration) {
		e.uploads.WithLabelValues(cluster, repository).Observe(took.Seconds())
	}
}

// ReloadFrom has f asked whether the configuration was taken over. Before the first call nothing is told of it.
func (e *Exporter) ReloadFrom(f Reloaded) { e.reloaded.Store(&f) }

// Gatherer gives what is told now.
func (e *Exporter) Gatherer() prometheus.Gatherer { return e.registry }

// Handler answers a scrape.
func (e *Exporter) Handler() http.Handler {
	return promhttp.HandlerFor(e.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4})
}

// collector makes metrics of samples.
type collector Exporter

// Describe implements prometheus.Collector. It names nothing: which labels there are depends on what happened.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	known := list()
	send := func(s Sample) {
		m := known[s.Name]
		labels, values := make([]string, 0, len(m.Labels)), make([]string, 0, len(m.Labels))
		for _, label := range m.Labels {
			labels, values = append(labels, label), append(values, s.Labels[label])
		}
		kind := prometheus.GaugeValue
		if m.Counter {
			kind = prometheus.CounterValue
		}
		one, err := prometheus.NewConstMetric(prometheus.NewDesc(s.Name, m.Help, labels, nil), kind, s.Value, values...)
		if err != nil {
			one = prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		}
		out <- one
	}
	if asked := c.reloaded.Load(); asked != nil {
		if known, err := (*asked)(); known {
			send(Sample{Name: reloadSuccessful, Value: number(err == nil)})
		}
	}
	for _, source := range *c.sources.Load() {
		for _, s := range Samples(source()) {
			send(s)
		}
	}
}
