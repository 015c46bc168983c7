package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
)

const (
	// sandboxPrefix begins the name of a sandbox's folder.
	sandboxPrefix = "pgark-sandbox-"
	// markerName is a file in it whose content is markerText, and which the process that works there has locked: it tells a sandbox from any other
	// folder, and one at work from one that was left.
	markerName = "pgark-sandbox"
	markerText = "This folder is a sandbox of pgark. pgark removes it, with all that is in it, when the process that made it is gone.\n"

	// maxSocketDir leaves room for "/.s.PGSQL.65535.lock" in sun_path, 108 bytes.
	maxSocketDir = 87

	lockTick    = 50 * time.Millisecond
	cleanUpTime = 2 * time.Minute
)

// Place says where sandboxes are made and with which programs. Dir and RestoreCommand are needed; the zero value of all else is valid.
type Place struct {
	// Dir is the folder in which sandboxes are made. It is made if it is not there.
	Dir string
	// BinDir holds the server's programs; empty: restore.FindBinaries looks for them.
	BinDir string
	// Owner is the user to run the server as, which takes root; nil is ours.
	Owner *restore.Owner
	// Jobs is the number of requests at work, as in restore.LayOptions.
	Jobs int
	// RestoreCommand returns what the server runs for each WAL file of a plan. It is to have replay make no tablespace outside of the folder within.
	RestoreCommand func(plan *restore.Plan, within string) (string, error)
	// Fetched and Recovering tell how far it is, as in restore.LayOptions and restore.RecoverOptions; nil tells nobody.
	Fetched    func(done, total int64)
	Recovering func(restore.Progress)
}

// Sandbox is a restored cluster that is thrown away: a folder of its own with data directory, tablespaces and socket. Its server listens on that socket
// only, does not archive, and starts nothing that reaches out by itself.
type Sandbox struct {
	Dir string // absolute

	place   Place
	lock    *os.File // of the marker
	bin     string
	version string
	server  *restore.Server
	port    int
	// user and database are those that the server let in.
	user, database string
	// settings are those that the server was given.
	settings []postgres.Setting
}

// NewSandbox makes the folder of a sandbox. First it removes what sandboxes left behind whose process is gone, with the servers that still run there. The
// caller closes the sandbox.
func NewSandbox(ctx context.Context, p Place) (*Sandbox, error) {
	dir, err := filepath.Abs(p.Dir)
	if err != nil {
		return nil, fmt.Errorf("make sandbox in %s: %w", p.Dir, err)
	}
	s := &Sandbox{place: p}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make sandbox: %w", err)
	}
	unlock, err := lockFolder(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("make sandbox in %s: %w", dir, err)
	}
	defer unlock()
	if err := sweep(ctx, dir, p.Owner); err != nil {
		return nil, fmt.Errorf("remove what an earlier sandbox left in %s: %w", dir, err)
	}
	if err := s.make(dir); err != nil {
		return nil, fmt.Errorf("make sandbox in %s: %w", dir, errors.Join(err, s.remove()))
	}
	return s, nil
}

// make makes the folder and marks it. The folder above is locked.
func (s *Sandbox) make(above string) error {
	var err error
	if s.Dir, err = os.MkdirTemp(above, sandboxPrefix); err != nil {
		return err
	}
	marker := filepath.Join(s.Dir, markerName)
	if s.lock, err = os.OpenFile(marker, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
		return err
	}
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("lock %s: %w", marker, err)
	}
	if _, err := s.lock.WriteString(markerText); err != nil {
		return err
	}
	if n := len(s.socketDir()) - maxSocketDir; n > 0 {
		return &restore.RefusedError{Path: above, Reason: fmt.Sprintf("its path is %d bytes too long for a socket below it", n)}
	}
	if err := os.Mkdir(s.socketDir(), 0o700); err != nil {
		return err
	}
	if o := s.place.Owner; o != nil {
		return errors.Join(os.Chown(s.Dir, o.UID, o.GID), os.Chown(marker, o.UID, o.GID), os.Chown(s.socketDir(), o.UID, o.GID))
	}
	return nil
}

// DataDir returns where the cluster lies, or is to lie.
func (s *Sandbox) DataDir() string { return filepath.Join(s.Dir, "data") }

func (s *Sandbox) socketDir() string { return filepath.Join(s.Dir, "s") }

// tablespaces gives each tablespace of a backup a folder in the sandbox.
func (s *Sandbox) tablespaces(b repository.Backup) map[string]string {
	spaces := map[string]string{}
	for _, t := range b.Tablespaces {
		oid := strconv.FormatUint(uint64(t.OID), 10)
		if t.Path != "pg_tblspc/"+oid { // not within the data directory
			spaces[oid] = filepath.Join(s.Dir, "tablespace-"+oid)
		}
	}
	return spaces
}

// layOptions are those of the cluster.
func (s *Sandbox) layOptions(plan *restore.Plan) restore.LayOptions {
	return restore.LayOptions{
		Dir: s.DataDir(), Tablespaces: s.tablespaces(plan.Backup), Jobs: s.place.Jobs, Owner: s.place.Owner, Progress: s.place.Fetched,
	}
}

// Look finds the server's programs and looks whether there is room. Its errors are a *restore.BinariesError, a *restore.SpaceError or a
// *restore.RefusedError: nothing speaks against the archive; and a *restore.ArchivedError if something is to be thawed, or freezes again before it is read.
func (s *Sandbox) Look(ctx context.Context, cluster *repository.Cluster, plan *restore.Plan) error {
	if len(plan.Archived) > 0 {
		host, _ := os.Hostname()
		drills, _ := cluster.Drills(ctx, restore.EstimateDrills) // without one it goes by the sizes
		if err := plan.Frozen(plan.Done(time.Now(), restore.MakeEstimate(plan, drills, host))); err != nil {
			return err
		}
	}
	var err error
	if s.bin, err = restore.FindBinaries(ctx, plan.Backup.PGVersionNum/10000, s.place.BinDir); err != nil {
		return err
	}
	if s.version, err = restore.ServerVersion(ctx, s.bin); err != nil {
		return err
	}
	site, err := restore.Look(ctx, cluster, plan, s.layOptions(plan))
	if err != nil {
		return err
	}
	return enough(site.FileSystems)
}

// LayDown lays the plan's backup down.
func (s *Sandbox) LayDown(ctx context.Context, cluster *repository.Cluster, plan *restore.Plan) (*restore.Laid, error) {
	options := s.layOptions(plan)
	var err error
	if options.RestoreCommand, err = s.place.RestoreCommand(plan, s.Dir); err != nil {
		return nil, err
	}
	return restore.LayDown(ctx, cluster, plan, options)
}

// Recover starts the server, which recovers to the plan's stop, opens and proves where it stopped.
func (s *Sandbox) Recover(ctx context.Context, cluster *repository.Cluster, plan *restore.Plan) (*restore.Recovered, error) {
	command, err := s.place.RestoreCommand(plan, s.Dir)
	if err != nil {
		return nil, err
	}
	s.settings = sandboxSettings(plan.Backup.PGVersionNum / 10000)
	got, err := restore.Recover(ctx, cluster, plan, s.DataDir(), restore.RecoverOptions{
		BinDir: s.bin, SocketDir: s.socketDir(), Owner: s.place.Owner, Progress: s.place.Recovering, Settings: s.settings, RestoreCommand: command,
		Within: s.Dir,
	})
	if err != nil {
		return nil, err
	}
	s.server, s.user, s.database, s.port = got.Server, got.User, got.Database, got.Server.Port
	return got, nil
}

// sandboxSettings are given to the server beside those that every restored one gets. They keep what the cluster would do by itself from reaching out:
// subscriptions would take changes from the publisher that the real cluster needs, and workers of extensions, such as pg_cron, would do their
// jobs a second time. Its memory is bounded, since it may run beside a server at work.
func sandboxSettings(major int) []postgres.Setting {
	list := []postgres.Setting{
		{Name: "cluster_name", Value: "pgark sandbox"},
		{Name: "max_logical_replication_workers", Value: "0"},
		{Name: "max_worker_processes", Value: "0"},
		{Name: "autovacuum", Value: "off"},
		{Name: "shared_buffers", Value: "256MB"},
		{Name: "huge_pages", Value: "off"},
		{Name: "ignore_invalid_pages", Value: "off"}, // what would hide damage
		{Name: "zero_damaged_pages", Value: "off"},
		{Name: "ignore_checksum_failure", Value: "off"},
		{Name: "default_transaction_read_only", Value: "off"},
		{Name: "wal_level", Value: "replica"}, // these two for Opened.pages
		{Name: "max_wal_senders", Value: "2"},
	}
	if major >= 17 {
		list = append(list, postgres.Setting{Name: "event_triggers", Value: "off"}) // those on login
	}
	return list
}

// ConnString returns how to reach a database of the running server.
func (s *Sandbox) ConnString(database string) string { return s.server.ConnString(s.user, database) }

// Program returns a command that runs one of PostgreSQL's programs against the sandbox, as the user the server runs as. It is an *exec.Error that wraps
// exec.ErrNotFound if this host does not have the program.
func (s *Sandbox) Program(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	if s.server != nil {
		return s.opened().program(ctx, name, args...)
	}
	return program(ctx, toolbox{s.bin, s.Dir, s.place.Owner}, name, args...)
}

// opened is the running server.
func (s *Sandbox) opened() *Opened {
	return &Opened{Server: s.server, User: s.user, Database: s.database, Owner: s.place.Owner}
}

// toolbox is where PostgreSQL's programs are, where they run, and as whom.
type toolbox struct {
	bin, dir string
	owner    *restore.Owner
}

// program returns a command that runs one of PostgreSQL's programs, or an *exec.Error that wraps exec.ErrNotFound.
func program(ctx context.Context, box toolbox, name string, args ...string) (*exec.Cmd, error) {
	path := filepath.Join(box.bin, name)
	if info, err := os.Stat(path); err != nil || info.Mode()&0o111 == 0 {
		return nil, &exec.Error{Name: path, Err: exec.ErrNotFound}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = box.dir
	cmd.Env = append(cleanEnvironment(cmd.Environ()), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is ours to pass on
	if o := box.owner; o != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(o.UID), Gid: uint32(o.GID)}
	}
	return cmd, nil
}

// cleanEnvironment drops libpq's variables, which name the cluster's real server, and what is secret.
func cleanEnvironment(env []string) []string {
	var clean []string
	for _, pair := range env {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "AWS_") && !strings.HasPrefix(name, "OTEL_") && !strings.HasPrefix(name, "LC_") && name != "LANG" {
			clean = append(clean, pair)
		}
	}
	return clean
}

// Stop ends the server with a checkpoint, and leaves the cluster where it is.
func (s *Sandbox) Stop(ctx context.Context) error {
	if s.server == nil {
		return nil
	}
	err := s.server.Stop(ctx)
	if err == nil {
		s.server = nil
	}
	return err
}

// Keep stops the server and lets go of the sandbox: it stays, and no other removes it. A server that is started on it by hand is as shut off as it was.
func (s *Sandbox) Keep(ctx context.Context) error {
	if err := s.Stop(ctx); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.DataDir(), "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("keep sandbox: %w", err)
	}
	_, err = f.WriteString(s.keptSettings())
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("keep sandbox: %w", err)
	}
	return errors.Join(os.Remove(filepath.Join(s.Dir, markerName)), s.lock.Close())
}

// keptSettings are the lines that make a server keep to the sandbox.
func (s *Sandbox) keptSettings() string {
	var lines strings.Builder
	for _, set := range append([]postgres.Setting{
		{Name: "listen_addresses"},
		{Name: "port", Value: strconv.Itoa(s.port)},
		{Name: "unix_socket_directories", Value: s.socketDir()},
		{Name: "hba_file", Value: filepath.Join(s.socketDir(), "pg_hba.conf")},
		{Name: "ident_file", Value: filepath.Join(s.socketDir(), "pg_ident.conf")},
		{Name: "ssl", Value: "off"},
	}, s.settings...) {
		_, _ = fmt.Fprintf(&lines, "%s = '%s'\n", set.Name, strings.NewReplacer("'", "''", `\`, `\\`).Replace(set.Value))
	}
	return lines.String()
}

// Close ends the server and removes the sandbox with all that is in it, also when ctx has ended.
func (s *Sandbox) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		return fmt.Errorf("close sandbox %s: %w", s.Dir, err)
	}
	if err := s.remove(); err != nil {
		return fmt.Errorf("close sandbox: %w", err)
	}
	return nil
}

func (s *Sandbox) remove() error {
	var err error
	if s.Dir != "" {
		err = removeSandbox(s.Dir)
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// removeSandbox deletes a sandbox, its marker last: until then it is known for what it is.
func removeSandbox(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != markerName {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// lockFolder takes a folder for this process, and waits for others.
func lockFolder(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockTick)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-tick.C:
		}
	}
}

// sweep removes the sandboxes in dir whose process is gone. It touches only what is provably one: a folder of ours by name, owner and marker, whose
// marker nobody has locked; or one that is empty. The folder dir is locked.
func sweep(ctx context.Context, dir string, owner *restore.Owner) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), sandboxPrefix) {
			continue
		}
		if err := sweepOne(ctx, filepath.Join(dir, e.Name()), owner); err != nil {
			return err
		}
	}
	return nil
}

func sweepOne(ctx context.Context, dir string, owner *restore.Owner) error {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || !ours(info, owner) {
		return err
	}
	lock, err := os.Open(filepath.Join(dir, markerName))
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.Remove(dir); err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil // kept, or not ours
	}
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	text := make([]byte, len(markerText)+1)
	n, _ := lock.Read(text)
	// A process that was killed may have left the marker empty, nothing else was made then.
	if !bytes.Equal(text[:n], []byte(markerText)) && n > 0 {
		return nil
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil //nolint:nilerr // at work
	}
	if pid := serverIn(filepath.Join(dir, "data")); pid > 0 {
		if err := (&restore.Server{PID: pid}).Stop(ctx); err != nil {
			return err
		}
	}
	return removeSandbox(dir)
}

// ours reports whether we, or the user we make sandboxes for, own what info describes.
func ours(info fs.FileInfo, owner *restore.Owner) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && (int(st.Uid) == os.Geteuid() || owner != nil && int(st.Uid) == owner.UID)
}

// serverIn returns the process of the server that runs on a data directory, 0 if there is none. A number in postmaster.pid that another process has by
// now is told by its working directory, which is a server's data directory.
func serverIn(data string) int {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 1 {
		return 0
	}
	if at, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || at != data {
		return 0
	}
	return pid
}
