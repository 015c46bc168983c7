package notify

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// judgeEvery is how often the facts are judged.
const judgeEvery = 5 * time.Second

// Options of one cluster's notifier.
type Options struct {
	// Heartbeat is a URL of HTTP that is asked every HeartbeatEvery while every objective is met; "" is none.
	Heartbeat      string
	HeartbeatEvery time.Duration
	// To are the targets' URLs, as ParseTarget takes them.
	To     []string
	Secret string
	Policy Policy
	// Cluster and Host say of whom messages tell; Agent is the User-Agent.
	Cluster, Host, Agent string
	Logger               *slog.Logger
	// JudgeEvery is how often the facts are judged; 0 is every five seconds.
	JudgeEvery time.Duration
}

// Memory is what outlives a notifier: the next one of the same cluster goes on from there. The zero value remembers nothing; one notifier at a time uses it.
type Memory struct {
	journal Journal
	Counts  Counts
}

// Notifier tells of one cluster.
type Notifier struct {
	options  Options
	memory   *Memory
	couriers []*courier
	beat     *heartbeat // nil where none is configured
}

// New returns a notifier. Its errors hold no secret.
func New(o Options, m *Memory) (*Notifier, error) {
	if o.JudgeEvery == 0 {
		o.JudgeEvery = judgeEvery
	}
	n := &Notifier{options: o, memory: m}
	for _, text := range o.To {
		t, err := ParseTarget(text, TargetOptions{Secret: o.Secret, Agent: o.Agent})
		if err != nil {
			return nil, err
		}
		n.couriers = append(n.couriers, newCourier(t, &m.Counts, o.Logger))
	}
	if o.Heartbeat != "" {
		var err error
		if n.beat, err = newHeartbeat(o, &m.Counts); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Run judges what source knows and tells of it, until ctx ends. source must not wait for anything but memory. What is left to be said then is tried once more.
func (n *Notifier) Run(ctx context.Context, source func() Facts) {
	var group sync.WaitGroup
	defer group.Wait()
	for _, c := range n.couriers {
		group.Go(func() { c.run(ctx) })
	}
	if n.beat != nil {
		group.Go(func() { n.beat.run(ctx, source) })
	}
	if len(n.couriers) == 0 {
		return
	}
	ticker := time.NewTicker(n.options.JudgeEvery)
	defer ticker.Stop()
	for {
		for _, m := range n.memory.journal.Next(source(), n.options.Policy) {
			m.Host = n.options.Host
			for _, c := range n.couriers {
				c.hand(ctx, m)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Tried is what came of a test message.
type Tried struct {
	Target string
	// Err is nil where it was taken. It holds no secret.
	Err error
}

// Try sends a test message to each target, once, and returns what came of it, in their order. The heartbeat is left alone: to beat is to say that all is well.
func (n *Notifier) Try(ctx context.Context) []Tried {
	now := time.Now().UTC()
	m := Message{
		Version: messageVersion, ID: idOf(n.options.Cluster, Condition{Kind: Kind(Test)}, now), Event: Kind(Test), State: Test, Cluster: n.options.Cluster, Host: n.options.Host,
		Time: now, Since: now, Text: "this is a test: messages about this cluster arrive here",
	}
	all := make([]Tried, len(n.couriers))
	var group sync.WaitGroup
	for i, c := range n.couriers {
		group.Go(func() {
			all[i] = Tried{c.target.name, c.try(ctx, m)}
		})
	}
	group.Wait()
	return all
}
