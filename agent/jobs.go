package agent

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/repository"
)

const (
	// jobGoodbye is how long a drill or a verification may take to clean up when the agent stops. What a drill leaves then, the next one removes.
	jobGoodbye = 30 * time.Second
	// jobNice is how far they stand back behind everything else on their host (setpriority(2)).
	jobNice = 10
)

// jobSchedule does a job, drills or verifications, when it is due: first at the first time the schedule names. Each is a process of its own, so that none can
// harm the archiver.
type jobSchedule struct {
	plan    *backup.Schedule // nil is never
	command []string         // without one nothing is done
	// look returns when it was done last, or the zero time if it never was, and whether it can be done now.
	look func(context.Context) (last time.Time, ready bool, err error)
	// do does it once. Its error says that it could not be done, and goes to tell.
	do   func(context.Context) error
	tell func(context.Context, error)

	began time.Time // when the schedule began to run
	tried time.Time // when it was done, or could not be, last
}

// jobs does the jobs of a cluster from when its WAL streams until ctx ends, and returns nil then; beside them runs listing, which ends with ctx too.
func (a *running) jobs(ctx context.Context, listing func(context.Context, *repository.Cluster), all ...func(*repository.Cluster) *jobSchedule) error {
	var cluster *repository.Cluster
	select {
	case <-ctx.Done():
		return nil
	case cluster = <-a.archived:
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		listing(ctx, cluster)
		return nil
	})
	for _, one := range all {
		if s := one(cluster); s.plan != nil && len(s.command) > 0 {
			group.Go(func() error { return s.run(ctx) })
		}
	}
	return group.Wait()
}

// run does the job until ctx ends, and returns nil then. Whatever comes of it, it never ends the agent.
func (s *jobSchedule) run(ctx context.Context) error {
	s.began = time.Now()
	for {
		wait, err := s.step(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			wait = longestWait
			s.tell(ctx, err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// step does the job if it is due, and returns how long to wait until it looks again. What could not be done is tried again when it is due the next time.
func (s *jobSchedule) step(ctx context.Context) (time.Duration, error) {
	last, ready, err := s.look(ctx)
	if err != nil {
		return 0, err
	}
	if last.IsZero() {
		last = s.began
	}
	if s.tried.After(last) {
		last = s.tried
	}
	now := time.Now()
	if next := s.plan.Next(last); ready && !next.IsZero() && !next.After(now) {
		s.tried = now
		if err := s.do(ctx); err != nil {
			return 0, err
		}
		last, now = s.tried, time.Now()
	}
	next := s.plan.Next(last)
	if next.IsZero() || !ready {
		return longestWait, nil
	}
	return max(time.Second, min(next.Sub(now), longestWait)), nil
}

// runJob runs a command and reads the JSON that it prints into report, and how far it is from its standard error. The error is what it says it is, if it says so in
// JSON.
func runJob(ctx context.Context, command []string, report any, j *job) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = jobGoodbye
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is ours to pass on
	var out bytes.Buffer
	said := jobWords{job: j}
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, cmd.Process.Pid, jobNice) // it is only slower for the others without
	err := cmd.Wait()
	if json.Unmarshal(out.Bytes(), report) == nil {
		return nil
	}
	var told struct {
		Error struct{ Message, Fix string } `json:"error"`
	}
	if json.Unmarshal(said.rest.Bytes(), &told) == nil && told.Error.Message != "" {
		return errors.New(told.Error.Message + "; " + told.Error.Fix)
	}
	return fmt.Errorf("it printed no report: %w", cmp.Or(err, errNoReport))
}

// jobWords takes what a job says on its standard error: lines of progress for who looks on, and the rest.
type jobWords struct {
	job  *job
	line []byte // the start of a line that is not whole yet
	rest bytes.Buffer
}

// Write implements io.Writer.
func (w *jobWords) Write(p []byte) (int, error) {
	w.line = append(w.line, p...)
	for {
		line, after, whole := bytes.Cut(w.line, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		var said struct {
			Phase       *string
			Done, Total int64
		}
		if json.Unmarshal(line, &said) == nil && said.Phase != nil {
			w.job.progress(*said.Phase, said.Done, said.Total)
		} else if w.rest.Len() < mostSaid {
			w.rest.Write(append(line, '\n'))
		}
		w.line = append(w.line[:0], after...)
	}
}

// mostSaid is how much of what is no progress is kept, in bytes.
const mostSaid = 1 << 20

var errNoReport = errors.New("it ended well")
