package agent

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/pgark/pgark/config"
)

// HookRun is what became of a hook.
type HookRun struct {
	Run  []string
	Took time.Duration
	Err  error  // nil: it exited 0
	Said string // the end of its output
}

const (
	// hookSaid is how much of a hook's output is kept, in bytes.
	hookSaid = 2000
	// hookGoodbye is how long what a killed hook leaves open is waited for.
	hookGoodbye = 2 * time.Second
	// hookPath is the PATH of a hook.
	hookPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// hooks runs the hooks in their order. One that fails keeps no other from running, and undoes nothing.
func (p *promotion) hooks(ctx context.Context) error {
	for _, h := range p.config.Standby.Hooks {
		p.options.Told("running " + h.Run[0])
		p.result.Hooks = append(p.result.Hooks, runHook(ctx, h, p.facts()))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// facts are what hooks are told, as variables.
func (p *promotion) facts() []string {
	r := p.result
	facts := []string{
		"PATH=" + hookPath,
		"PGARK_CLUSTER=" + p.config.Name,
		"PGARK_SYSTEM_ID=" + r.SystemID.String(),
		"PGARK_HOST=" + r.Host,
		"PGARK_DIRECTORY=" + r.Directory,
		fmt.Sprint("PGARK_OLD_TIMELINE=", uint32(r.From)),
		fmt.Sprint("PGARK_TIMELINE=", uint32(r.To)),
		"PGARK_LSN=" + r.Switch.String(),
		fmt.Sprint("PGARK_ARCHIVED=", r.Archived),
	}
	if r.Last != nil {
		facts = append(facts, "PGARK_LAST_COMMIT="+r.Last.Time.UTC().Format(time.RFC3339Nano), fmt.Sprint("PGARK_LAST_XID=", uint32(r.Last.XID)))
	}
	return facts
}

// runHook runs one, and kills it with all that it started when its time is over.
func runHook(ctx context.Context, h config.Hook, environment []string) HookRun {
	run := HookRun{Run: h.Run}
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, h.Timeout, fmt.Errorf("killed after %s", h.Timeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, h.Run[0], h.Run[1:]...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = environment, "/", hookGoodbye
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var said lastBytes
	cmd.Stdout, cmd.Stderr = &said, &said
	run.Err = cmd.Run()
	if cause := context.Cause(ctx); run.Err != nil && cause != nil {
		run.Err = cause
	}
	if errors.Is(run.Err, exec.ErrWaitDelay) {
		run.Err = fmt.Errorf("it left a program behind that holds its output: %w", run.Err)
	}
	run.Said = strings.TrimSpace(strings.ToValidUTF8(string(said), "?"))
	run.Took = time.Since(began)
	return run
}

// lastBytes keeps the last hookSaid bytes of what is written to it: a hook that goes mad must not take the memory of a server that was just promoted.
type lastBytes []byte

// Write never fails.
func (b *lastBytes) Write(p []byte) (int, error) {
	kept := append(*b, p[max(0, len(p)-hookSaid):]...)
	*b = append(kept[:0], kept[max(0, len(kept)-hookSaid):]...)
	return len(p), nil
}
