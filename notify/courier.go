package notify

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

const (
	// queued is how many messages may wait for a target. One that is full takes no more: what is told is late already.
	queued = 64
	// partingFor is how long an agent that stops waits for its last messages.
	partingFor = 5 * time.Second
)

// waits are those between the attempts at one message.
func waits() []time.Duration {
	return []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute}
}

// Count is how many messages a target took, and how many were given up. The heartbeat is a target too.
type Count struct {
	Target       string
	Sent, Failed uint64
}

// Counts are those of all targets of a cluster since the process began. The zero value has none; it is safe for concurrent use.
type Counts struct {
	mu  sync.Mutex
	all []Count
}

// All returns them in the order in which targets were met first.
func (c *Counts) All() []Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Count(nil), c.all...)
}

func (c *Counts) add(target string, sent, failed uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.all {
		if c.all[i].Target == target {
			c.all[i].Sent += sent
			c.all[i].Failed += failed
			return
		}
	}
	c.all = append(c.all, Count{target, sent, failed})
}

// courier carries messages to one target, one after another, so that none waits for another target.
type courier struct {
	target Target
	client *http.Client
	counts *Counts
	logger *slog.Logger
	queue  chan Message
	// left is the one that was in hand when its context ended.
	left []Message
}

func newCourier(t Target, counts *Counts, logger *slog.Logger) *courier {
	counts.add(t.name, 0, 0)
	return &courier{target: t, client: newClient(), counts: counts, logger: logger, queue: make(chan Message, queued)}
}

// hand queues a message. It never waits.
func (c *courier) hand(ctx context.Context, m Message) {
	select {
	case c.queue <- m:
	default:
		c.counts.add(c.target.name, 0, 1)
		c.logger.WarnContext(ctx, "a notification was dropped: too many wait", "target", c.target.name, "event", string(m.Event), "state", string(m.State))
	}
}

// run carries until ctx ends, and then tries once more what is left.
func (c *courier) run(ctx context.Context) {
	for {
		select {
		case m := <-c.queue:
			c.carry(ctx, m)
		case <-ctx.Done():
			c.part(ctx)
			return
		}
	}
}

// part tries each message that is left once.
func (c *courier) part(ctx context.Context) {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), partingFor)
	defer cancel()
	for {
		var m Message
		if len(c.left) > 0 {
			m, c.left = c.left[0], nil
		} else {
			select {
			case m = <-c.queue:
			default:
				return
			}
		}
		c.tell(last, m, 1, c.try(last, m))
	}
}

// carry tries a message until it was taken, a try shows that it never will be, or there were enough of them.
func (c *courier) carry(ctx context.Context, m Message) {
	pauses := waits()
	for attempt := 1; ; attempt++ {
		err := c.try(ctx, m)
		var failed *deliveryError
		if ctx.Err() != nil && err != nil {
			c.left = append(c.left, m)
			return
		}
		if err == nil || attempt > len(pauses) || errors.As(err, &failed) && failed.final {
			c.tell(ctx, m, attempt, err)
			return
		}
		c.logger.DebugContext(ctx, "a notification was not delivered; trying again", "target", c.target.name, "event", string(m.Event), "attempt", attempt, "err", err)
		timer := time.NewTimer(pauses[attempt-1])
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			c.left = append(c.left, m)
			return
		}
	}
}

// try makes one attempt.
func (c *courier) try(ctx context.Context, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, callFor)
	defer cancel()
	if err := c.target.send(ctx, c.client, m); err != nil {
		return c.target.failing(err)
	}
	return nil
}

// tell counts and logs what came of a message.
func (c *courier) tell(ctx context.Context, m Message, attempt int, err error) {
	if err == nil {
		c.counts.add(c.target.name, 1, 0)
		c.logger.InfoContext(ctx, "notified", "target", c.target.name, "event", string(m.Event), "state", string(m.State))
		return
	}
	c.counts.add(c.target.name, 0, 1)
	c.logger.ErrorContext(ctx, "a notification was not delivered, and is given up",
		"target", c.target.name, "event", string(m.Event), "state", string(m.State), "attempt", attempt, "err", err)
}
