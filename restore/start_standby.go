package restore

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// standbyLog is the log of a standby that StartStandby started, in its data directory.
const standbyLog = "pgark-standby.log"

// StartStandby starts a server on a standby that LayDown put into dataDir, of which plan was, with its own configuration, but listening on a socket in a folder for its
// user alone. It returns when queries are answered, which takes until replay is consistent, or the server has ended: with a *ServerError then. When ctx ends it stops the
// server again; otherwise that runs on. Of o it takes BinDir, SocketDir, Port and Owner.
func StartStandby(ctx context.Context, plan *Plan, dataDir string, o RecoverOptions) (*Server, error) {
	o.major = plan.Backup.PGVersionNum / 10000
	s, err := newServer(ctx, dataDir, o)
	if err != nil {
		return nil, fmt.Errorf("start standby: %w", err)
	}
	s.Log = filepath.Join(s.DataDir, standbyLog)
	if o.Owner != nil {
		err = os.Chown(s.SocketDir, o.Owner.UID, o.Owner.GID)
	}
	if err == nil {
		err = checkLibraries(ctx, s, o.Owner)
	}
	if err == nil {
		err = s.pgCtlStart(ctx, o.Owner)
	}
	if err != nil {
		return nil, fmt.Errorf("start standby: %w", err)
	}
	s.PID = runningServer(s.DataDir)
	return s, nil
}

// pgCtlStart starts the server and waits until it answers.
func (s *Server) pgCtlStart(ctx context.Context, owner *Owner) error {
	options := fmt.Sprintf("-c listen_addresses='' -c unix_socket_directories=%s -c unix_socket_permissions=0700 -p %d", shellQuote(s.SocketDir), s.Port)
	const forever = 7 * 24 * time.Hour // a long replay is none of its faults
	cmd := s.pgCtl(ctx, owner, "-w", "-t", strconv.Itoa(int(forever.Seconds())), "-l", s.Log, "-o", options, "start")
	err := cmd.Run()
	if ctx.Err() != nil {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		_ = s.pgCtl(stopping, owner, "-w", "-m", "fast", "stop").Run() // what is left is told with the error
		return ctx.Err()
	}
	if err != nil {
		return &ServerError{Words: lastWords(s.Log), Log: s.Log, Err: err}
	}
	return nil
}

// pgCtl is a call of pg_ctl for the server.
func (s *Server) pgCtl(ctx context.Context, owner *Owner, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.BinDir, "pg_ctl"), append([]string{"-s", "-D", s.DataDir}, args...)...)
	cmd.Env, cmd.Dir = serverEnvironment(cmd.Environ()), s.DataDir
	if owner != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(owner.UID), Gid: uint32(owner.GID)}}
	}
	return cmd
}

// lastWords are the last lines of a log that say why a server ended.
func lastWords(log string) string {
	b, err := os.ReadFile(log)
	if err != nil {
		return "it said nothing"
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	var fatal []string
	for _, line := range lines {
		if strings.Contains(line, "FATAL: ") || strings.Contains(line, "PANIC: ") {
			fatal = []string{line}
		} else if len(fatal) > 0 && (strings.Contains(line, "DETAIL: ") || strings.Contains(line, "HINT: ")) {
			fatal = append(fatal, line)
		}
	}
	if len(fatal) == 0 {
		fatal = lines[max(0, len(lines)-3):]
	}
	return strings.Join(fatal, " | ")
}

// shellQuote has the shell that pg_ctl calls take s as it is.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
