package agent

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// tellReady tells systemd that the agent runs; without systemd it does nothing.
func tellReady(ctx context.Context, logger *slog.Logger) {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		logger.WarnContext(ctx, "systemd was not told that the agent is ready", "error", err)
	}
}

func tellStopping() { _, _ = daemon.SdNotify(false, daemon.SdNotifyStopping) }

// keepWatchdog tells systemd's watchdog, at half its interval, that the agent is alive, and shows
// what it does; it returns when ctx ends. Without a watchdog it returns at once.
func keepWatchdog(ctx context.Context, state func() string) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("read systemd's watchdog: %w", err)
	}
	if interval <= 0 {
		return nil
	}
	ticker := time.NewTicker(interval / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			// A watchdog that cannot be reached restarts the agent: nothing better could be done here.
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog+"\nSTATUS="+state())
		}
	}
}
