package notify

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// heartbeatTarget is what the heartbeat is called among the targets.
const heartbeatTarget = "heartbeat"

// heartbeat asks a URL for nothing, again and again, while every objective is met: who watches it is told of every other case by silence, a dead host among them.
type heartbeat struct {
	target Target
	client *http.Client
	url    string
	agent  string
	every  time.Duration
	counts *Counts
	logger *slog.Logger

	paused string // why it is silent; "" while it beats
	began  bool
	failed bool // the last ping; told once
}

func newHeartbeat(o Options, counts *Counts) (*heartbeat, error) {
	u, err := parseHTTP(o.Heartbeat)
	if err != nil {
		return nil, err
	}
	counts.add(heartbeatTarget, 0, 0)
	return &heartbeat{
		target: Target{name: heartbeatTarget, hide: hiding(u)}, client: newClient(), url: o.Heartbeat, agent: o.Agent, every: o.HeartbeatEvery, counts: counts, logger: o.Logger,
	}, nil
}

// run beats until ctx ends. Each beat is judged by facts of that moment.
func (h *heartbeat) run(ctx context.Context, source func() Facts) {
	ticker := time.NewTicker(h.every)
	defer ticker.Stop()
	for {
		h.beat(ctx, source())
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (h *heartbeat) beat(ctx context.Context, f Facts) {
	why := Unmet(f, time.Now())
	h.tell(ctx, why)
	if why != "" || ctx.Err() != nil {
		return
	}
	err := h.ping(ctx)
	if err != nil && ctx.Err() == nil {
		err = h.ping(ctx) // a packet is lost now and then
	}
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		h.counts.add(heartbeatTarget, 1, 0)
		h.failed = false
		return
	}
	h.counts.add(heartbeatTarget, 0, 1)
	if !h.failed {
		h.failed = true
		h.logger.WarnContext(ctx, "the heartbeat does not arrive", "target", heartbeatTarget, "err", h.target.failing(err))
	}
}

// tell logs when it falls silent and when it goes on, once.
func (h *heartbeat) tell(ctx context.Context, why string) {
	switch {
	case why != "" && (h.paused == "" || !h.began):
		h.logger.WarnContext(ctx, "the heartbeat is silent: not every objective is met", "detail", why)
	case why == "" && (h.paused != "" || !h.began):
		h.logger.InfoContext(ctx, "the heartbeat beats: every objective is met")
	}
	h.paused, h.began = why, true
}

func (h *heartbeat) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callFor)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url, nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", h.agent)
	return call(h.client, r)
}
