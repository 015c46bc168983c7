package integration_test

import (
	"context"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// steady is stock pgbench against the primary of the moment, begun anew whenever a server is gone under it. Each row of pgbench_history names its transaction.
type steady struct {
	t       *testing.T
	program string
	rate    int // transactions a second

	mu     sync.Mutex
	server *postgrestest.Cluster

	end  context.CancelFunc // of what runs; nil while nothing does
	done chan struct{}
}

// newSteady fills the tables. Each unit of scale is 100,000 accounts.
func newSteady(t *testing.T, server *postgrestest.Cluster, scale, rate int) *steady {
	t.Helper()
	pgbench{t: t, server: server}.fill(scale)
	server.Exec(t, "alter table pgbench_history add xid xid8 not null default pg_current_xact_id()")
	s := &steady{t: t, program: postgrestest.Client(t, "pgbench"), rate: rate, server: server}
	t.Cleanup(s.stop)
	return s
}

// start begins to write, into server from now on.
func (s *steady) start(server *postgrestest.Cluster) {
	s.move(server)
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	s.end, s.done = cancel, make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		for ctx.Err() == nil {
			_ = s.command(ctx).Run() // it ends with its server, and when it is told to
			wait(ctx, 100*time.Millisecond)
		}
	}(s.done)
}

// move has the next pgbench write into another server.
func (s *steady) move(server *postgrestest.Cluster) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = server
}

func (s *steady) command(ctx context.Context) *exec.Cmd {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Without -n it would empty pgbench_history first.
	cmd := exec.CommandContext(ctx, s.program, "-n", "-c", "4", "-T", "36000", "--rate", strconv.Itoa(s.rate),
		"-h", s.server.SocketDir, "-p", strconv.Itoa(s.server.Port), "-U", s.server.Superuser, "postgres")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// stop ends it; a transaction that was under way may come to its end.
func (s *steady) stop() {
	if s.end == nil {
		return
	}
	s.end()
	<-s.done
	s.end = nil
}
