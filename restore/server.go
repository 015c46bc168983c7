package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Server is a PostgreSQL server that was started on a restored cluster. It
// listens on a socket in a folder that only its user may enter, and outlives
// the process that started it.
type Server struct {
	PID       int
	DataDir   string
	SocketDir string
	Port      int
	Log       string // path of the file it logs to
	BinDir    string
	// Confined says that RecoverOptions.Within is held.
	Confined bool

	status *int // exit status, once it has ended
}

// ConnString returns how to reach it as user in database.
func (s *Server) ConnString(user, database string) string {
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace
	return fmt.Sprintf("host='%s' port=%d user='%s' dbname='%s' sslmode=disable target_session_attrs=any connect_timeout=5",
		quote(s.SocketDir), s.Port, quote(user), quote(database))
}

// BinariesError says that no server programs of a major version were found.
type BinariesError struct {
	Major int
	Tried []string // what was looked at, and what it is
}

// Error names what was tried.
func (e *BinariesError) Error() string {
	return fmt.Sprintf("no server programs of PostgreSQL %d: %s", e.Major, strings.Join(e.Tried, "; "))
}

// FindBinaries returns the folder that holds postgres of the major version:
// hint, if it is not empty, which must be right; otherwise where packages put
// it, where pg_config says, and where PATH leads.
func FindBinaries(ctx context.Context, major int, hint string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	folders := []string{hint}
	if hint == "" {
		folders = []string{
			fmt.Sprintf("/usr/lib/postgresql/%d/bin", major), fmt.Sprintf("/usr/pgsql-%d/bin", major),
			fmt.Sprintf("/usr/local/pgsql-%d/bin", major), "/usr/local/pgsql/bin",
		}
		if out, err := program(ctx, "pg_config", "--bindir").Output(); err == nil {
			folders = append(folders, strings.TrimSpace(string(out)))
		}
		if path, err := exec.LookPath("postgres"); err == nil {
			folders = append(folders, filepath.Dir(path))
		}
	}
	e := &BinariesError{Major: major}
	for _, folder := range folders {
		out, err := program(ctx, filepath.Join(folder, "postgres"), "--version").Output()
		if ctx.Err() != nil {
			return "", fmt.Errorf("look for server programs: %w", ctx.Err())
		}
		if err != nil {
			e.Tried = append(e.Tried, folder+" has none")
			continue
		}
		version := strings.TrimSpace(string(out))
		if majorOf(version) == major {
			return folder, nil
		}
		e.Tried = append(e.Tried, folder+" has "+version)
	}
	return "", e
}

// program is one of PostgreSQL's that tells of itself, and needs to know nothing.
func program(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = serverEnvironment(cmd.Environ())
	return cmd
}

// ServerVersion returns the version of the server programs in a folder, such as "17.6".
func ServerVersion(ctx context.Context, folder string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := program(ctx, filepath.Join(folder, "postgres"), "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s/postgres for its version: %w", folder, err)
	}
	_, version, _ := strings.Cut(strings.TrimSpace(string(out)), "(PostgreSQL) ")
	version, _, _ = strings.Cut(version, " ")
	return version, nil
}

// majorOf returns the major version in "postgres (PostgreSQL) 17.6 (Debian …)", or 0.
func majorOf(version string) int {
	_, rest, _ := strings.Cut(version, "(PostgreSQL) ")
	digits, _ := cutDigits(rest)
	if digits == "" || len(digits) > 9 {
		return 0
	}
	return atoi(digits)
}

// CatalogConnString is ConnString for questions of our own: names are those of PostgreSQL's catalogs, whatever schemas a database or a role puts before them.
// Else the owner of a database would have a superuser call functions of his.
func (s *Server) CatalogConnString(user, database string) string {
	return s.ConnString(user, database) + " options='-c search_path=pg_catalog'"
}

// launch starts the server. Its own configuration counts but for what would
// let it listen, archive or log elsewhere, or open other files than the
// restored ones.
func launch(ctx context.Context, s *Server, o RecoverOptions) error {
	hba, ident := filepath.Join(s.SocketDir, "pg_hba.conf"), filepath.Join(s.SocketDir, "pg_ident.conf")
	for path, text := range map[string]string{hba: "local all all trust\nlocal replication all trust\n", ident: ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("start server: %w", err)
		}
	}
	log, err := os.OpenFile(s.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start server: %w", err)
	}
	defer func() { _ = log.Close() }() // the server has its own
	for _, path := range []string{s.SocketDir, hba, ident, s.Log} {
		if o.Owner == nil {
			break
		}
		if err := os.Chown(path, o.Owner.UID, o.Owner.GID); err != nil {
			return fmt.Errorf("start server: %w", err)
		}
	}
	hot := "off" // no check that settings suffice for queries during recovery
	if o.Action == ActionPause {
		hot = "on"
	}
	args := []string{"-D", s.DataDir}
	for _, set := range [][2]string{
		{"data_directory", s.DataDir},
		{"hba_file", hba},
		{"ident_file", ident},
		{"external_pid_file", filepath.Join(s.SocketDir, "server.pid")},
		{"listen_addresses", ""},
		{"port", strconv.Itoa(s.Port)},
		{"unix_socket_directories", s.SocketDir},
		{"unix_socket_permissions", "0700"},
		{"unix_socket_group", ""},
		{"ssl", "off"},
		{"archive_mode", "off"},
		{"hot_standby", hot},
		{"logging_collector", "off"},
		{"log_destination", "stderr"},
		{"log_min_messages", "warning"},
		{"log_line_prefix", "%m [%p] "},
		{"lc_messages", "C"},
		{"restart_after_crash", "off"},
	} {
		args = append(args, "-c", set[0]+"="+set[1])
	}
	if o.major >= 15 {
		args = append(args, "-c", "log_startup_progress_interval=1s")
	}
	if o.major < 15 {
		args = append(args, "-c", "stats_temp_directory=pg_stat_tmp") // not where another server has its own
	}
	if o.major < 17 {
		args = append(args, "-c", "db_user_namespace=off") // a role is who it says
	} else {
		args = append(args, "-c", "sync_replication_slots=off") // which connects to a primary
	}
	if o.RestoreCommand != "" {
		args = append(args, "-c", "restore_command="+o.RestoreCommand)
	}
	for _, set := range o.Settings {
		args = append(args, "-c", set.Name+"="+set.Value)
	}
	// Not CommandContext: the server is to outlive us, and is ended by signals.
	cmd := exec.Command(filepath.Join(s.BinDir, "postgres"), args...) //nolint:noctx // see above
	cmd.Env = serverEnvironment(cmd.Environ())
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.DataDir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // not stopped by the terminal's Ctrl-C: we do that
	if o.Owner != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(o.Owner.UID), Gid: uint32(o.Owner.GID)}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if o.Within == "" {
		err = cmd.Start()
	} else {
		s.Confined, err = confined([]string{o.Within}, cmd.Start)
	}
	if err != nil {
		return fmt.Errorf("start server: %w", err)
	}
	s.PID = cmd.Process.Pid
	return cmd.Process.Release()
}

// exited reports whether the server has ended, and its exit status.
func (s *Server) exited() (bool, int) {
	if s.status != nil {
		return true, *s.status
	}
	var ws syscall.WaitStatus
	pid, err := syscall.Wait4(s.PID, &ws, syscall.WNOHANG, nil)
	switch {
	case err == nil && pid == s.PID:
		status := ws.ExitStatus()
		s.status = &status
		return true, status
	case errors.Is(err, syscall.ECHILD):
		return !alive(s.PID), -1 // another process started it
	}
	return false, 0
}

// Stop ends the server: fast, then immediately after ten seconds, then by
// force. It returns when the server is gone.
func (s *Server) Stop(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, 10 * time.Second}, {syscall.SIGQUIT, 5 * time.Second}, {syscall.SIGKILL, 5 * time.Second}} {
		if gone, _ := s.exited(); gone {
			return nil
		}
		if err := syscall.Kill(s.PID, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop server: %w", err)
		}
		for limit := time.Now().Add(step.wait); time.Now().Before(limit); {
			if gone, _ := s.exited(); gone {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("stop server: %w", ctx.Err())
			case <-tick.C:
			}
		}
	}
	return fmt.Errorf("stop server: process %d does not end", s.PID)
}

// serverEnvironment returns env without the variables that a server takes for settings of its own before it reads its command line
// (InitializeGUCOptionsFromEnvironment, src/backend/utils/misc/guc.c). They are meant for clients: PGPORT may list the ports of several hosts, and then the
// server would not start. Nor does it get what opens the server that was backed up, or the headers of OpenTelemetry, which hold
// keys; its restore_command needs what opens the repository.
func serverEnvironment(env []string) []string {
	without := []string{"PGPORT", "PGDATESTYLE", "PGCLIENTENCODING", "PGPASSWORD", "PGPASSFILE", "PGSSLPASSWORD", "PGSSLKEY", "PGSSLCERT", "PGSERVICE", "PGSERVICEFILE"}
	return slices.DeleteFunc(slices.Clone(env), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.Contains(without, name) || strings.HasPrefix(name, "OTEL_EXPORTER_OTLP_") && strings.HasSuffix(name, "HEADERS")
	})
}
