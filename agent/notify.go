package agent

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// tellReady tells systemd that the agent runs; without systemd it does nothing.
func tellReady(ctx context.Context, logger *slog.Logger) {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		logger.WarnContext(ctx, "systemd was not told that the agent is ready", "err", err)
	}
}

// TellStopping tells systemd that the process ends: from then on the time to stop counts, and the watchdog not any more. An agent that ends while others of
// its process go on must not say so.
func TellStopping() { _, _ = daemon.SdNotify(false, daemon.SdNotifyStopping) }

// TellReloading tells systemd that the configuration is read anew, and done that it was.
func TellReloading() (done func()) {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReloading)
	return func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyReady) }
}

// notifyTrigger has systemd act as if the watchdog had not been told anything in time (sd_notify(3), from version 243 on).
const notifyTrigger = "WATCHDOG=trigger"

// pulse is what systemd is told of an agent.
type pulse struct {
	state string // as systemctl status shows it
	// stuck says that the agent itself stands still, and would do better when it begins again: no server and no store has a part in it.
	stuck bool
}

// keepWatchdog tells systemd's watchdog, at half its interval, how the agent is, and shows what it does; it returns when ctx ends.
// Without a watchdog it returns at once. One agent of a process that is stuck has the whole process started anew, however well the
// others are: to say nothing would leave that to them.
func keepWatchdog(ctx context.Context, logger *slog.Logger, feel func() pulse) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		logger.WarnContext(ctx, "systemd's watchdog cannot be read and is not told anything", "err", err)
	}
	if err != nil || interval <= 0 {
		return
	}
	ticker := time.NewTicker(interval / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			// A watchdog that cannot be reached restarts the agent: nothing better could be done here.
			_, _ = daemon.SdNotify(false, feel().message())
		}
	}
}

// message is p in the words of sd_notify(3), in which a line is one assignment.
func (p pulse) message() string {
	word := daemon.SdNotifyWatchdog
	if p.stuck {
		word = notifyTrigger
	}
	return word + "\nSTATUS=" + strings.Join(strings.Fields(p.state), " ")
}
