package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// RecoverOptions says how a restored cluster is started. The zero value is valid.
type RecoverOptions struct {
	// BinDir holds the server's programs; empty: FindBinaries looks for them.
	BinDir string
	// SocketDir is made if it is not there, for its user alone; empty: a folder
	// in the data directory, or where its path is too long for a socket a new
	// temporary one. Port is that in the socket's name, 0 for 5433.
	SocketDir string
	Port      int
	// Action and RestoreCommand must be those of the cluster's LayOptions. The server gets a RestoreCommand that first takes what was read
	// ahead; empty: it uses the one of its configuration alone, which is slower.
	Action         Action
	RestoreCommand string
	// Owner is the user to run the server as, which takes root; nil is ours.
	Owner *Owner
	// Settings are given to the server on its command line, after what every restored server gets.
	Settings []postgres.Setting
	// Within is the folder in which the server, and all that it starts, may change what is in files, whatever its configuration and WAL say; empty: wherever its user
	// may. It is held where the kernel knows Landlock as of Linux 6.2, but for what empties files from 5.19 on: see Server.Confined.
	Within string
	// Replaces are the folders of tablespaces of the cluster whose place this one takes: see FetchOptions.Replaces, which RestoreCommand is to have too.
	Replaces []string
	// Progress is called about ten times a second, from one goroutine.
	Progress func(Progress)

	major int
}

// Phase is a part of recovery.
type Phase string

// The phases, in order.
const (
	PhaseStarting  Phase = "starting"
	PhaseReplaying Phase = "replaying"
	PhaseOpening   Phase = "opening" // the stop is reached
)

// Progress says how far recovery is.
type Progress struct {
	Phase   Phase
	LSN     wal.LSN // replayed up to about here
	Start   wal.LSN
	Stop    wal.LSN
	Elapsed time.Duration // since the server was started
	Left    time.Duration // estimate; 0 if there is none yet
}

// Recovered is what the server itself proved after recovery.
type Recovered struct {
	Server     *Server // nil with ActionShutdown: it has ended
	User       string  // database user that the server let in, a superuser where there is one; empty with ActionShutdown
	Database   string  // that it let the user into
	Timeline   wal.TimelineID
	InRecovery bool     // paused at the stop
	Replayed   wal.LSN  // end of the last record applied
	LastTime   wal.Time // of the last transaction end applied, 0 if there was none
	LastCommit *wal.TransactionEnd
	// Later is how many of the LaterChecked transactions that committed behind
	// the stop are there: 0.
	Later, LaterChecked int
	// Late is how many of the plan's segments the server asked for before they had been read: it waited for these.
	Late int
	// Invalid are the databases of which a part may be gone, since DROP DATABASE was at work on them at the stop. Not looked up with ActionShutdown.
	Invalid []string
	Took    time.Duration
	// Replay is the part of Took until recovery reached its stop, Open from there until the server accepted connections, or paused; to a tenth of a
	// second. Both are 0 with ActionShutdown.
	Replay, Open time.Duration
}

// ServerError says that the server gave up, in its own words.
type ServerError struct {
	Words string // its last FATAL or PANIC with what belongs to it, or its last lines
	Log   string // path of its log
	Err   error  // syscall.ENOSPC where a full disk was the reason; nil where that is not known
}

// Error begins with the server's words.
func (e *ServerError) Error() string {
	return fmt.Sprintf("server ended: %s (log: %s)", e.Words, e.Log)
}

// Unwrap returns the reason.
func (e *ServerError) Unwrap() error { return e.Err }

const (
	logName    = "pgark-recovery.log"
	socketName = "pgark-socket"
	// maxSocketDir leaves room for "/.s.PGSQL.65535.lock" in sun_path, 108 bytes.
	maxSocketDir = 87

	defaultPort = 5433
	superviseAt = 100 * time.Millisecond
)

// Recover starts a server on the cluster that LayDown put into dataDir, reads
// WAL ahead for it, watches until it has reached the plan's stop and, unless it
// is to shut down there, accepts connections, and has the server prove where
// it stopped. On any error, and when ctx ends, it stops the server again.
// Otherwise the server runs on.
func Recover(ctx context.Context, cluster *repository.Cluster, plan *Plan, dataDir string, o RecoverOptions) (*Recovered, error) {
	if o.Action == "" {
		o.Action = ActionPromote
	}
	o.major = plan.Backup.PGVersionNum / 10000
	s, err := newServer(ctx, dataDir, o)
	if err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	started := time.Now()
	prefetch, err := NewPrefetch(plan, s.DataDir, o)
	if err != nil {
		return nil, fmt.Errorf("recover: %w", errors.Join(err, s.forget(o)))
	}
	ahead, stopAhead := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return prefetch.Run(ahead, cluster) })
	if o.RestoreCommand != "" {
		o.RestoreCommand = TakeCommand(plan, o.RestoreCommand)
	}
	result, err := supervise(ctx, s, plan, o)
	stopAhead()
	var damage *DamageError
	var tablespace *TablespaceError
	why := g.Wait()
	switch { // recovery only gets slower without what else was not read ahead
	case err == nil || ctx.Err() != nil:
	case errors.As(why, &damage):
		err = errors.Join(err, damage)
	case errors.As(why, &tablespace):
		err = errors.Join(err, tablespace)
	}
	prefetch.Remove()
	if err != nil {
		clean := context.WithoutCancel(ctx)
		if s.PID > 0 {
			err = errors.Join(err, s.Stop(clean))
		}
		return nil, fmt.Errorf("recover: %w", errors.Join(err, s.forget(o)))
	}
	result.Took, result.Late = time.Since(started), prefetch.Late()
	if result.Server == nil {
		err = s.forget(o)
	}
	return result, err
}

// newServer finds the programs and makes the socket's folder.
func newServer(ctx context.Context, dataDir string, o RecoverOptions) (*Server, error) {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return nil, err
	}
	s := &Server{DataDir: dir, Port: o.Port, SocketDir: o.SocketDir, Log: filepath.Join(dir, logName)}
	if pid := runningServer(dir); pid > 0 {
		return nil, &RefusedError{Path: dir, Reason: fmt.Sprintf("a server runs in it (process %d)", pid)}
	}
	if s.BinDir, err = FindBinaries(ctx, o.major, o.BinDir); err != nil {
		return nil, err
	}
	if s.Port == 0 {
		s.Port = defaultPort
	}
	if s.SocketDir == "" {
		s.SocketDir = DefaultSocketDir(dir)
	}
	if s.SocketDir == "" {
		s.SocketDir, err = os.MkdirTemp("", "pgark-")
		return s, err
	}
	if s.SocketDir, err = filepath.Abs(s.SocketDir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.SocketDir, 0o700); err != nil {
		return nil, fmt.Errorf("make socket folder: %w", err)
	}
	return s, os.Chmod(s.SocketDir, 0o700)
}

// DefaultSocketDir returns where Recover puts the socket of a server on the
// data directory dataDir, which is absolute, or "" if that is a temporary folder.
func DefaultSocketDir(dataDir string) string {
	if dir := filepath.Join(dataDir, socketName); len(dir) <= maxSocketDir {
		return dir
	}
	return ""
}

// forget removes the socket's folder, if it was made for this server.
func (s *Server) forget(o RecoverOptions) error {
	if o.SocketDir != "" {
		return nil
	}
	return os.RemoveAll(s.SocketDir)
}

// supervise starts the server and watches it until the proof.
func supervise(ctx context.Context, s *Server, plan *Plan, o RecoverOptions) (*Recovered, error) {
	log, err := openLog(s.Log)
	if err != nil {
		return nil, err
	}
	defer log.close()
	if err := checkLibraries(ctx, s, o.Owner); err != nil {
		return nil, err
	}
	if err := launch(ctx, s, o); err != nil {
		return nil, err
	}
	w := watch{server: s, plan: plan, options: o, started: time.Now(), log: log}
	tick := time.NewTicker(superviseAt)
	defer tick.Stop()
	for {
		gone, status := s.exited() // before the log: what it wrote last is read then
		if err := w.read(); err != nil {
			return nil, err
		}
		switch {
		case gone && o.Action == ActionShutdown && status == 0 && w.shutDown:
			return w.shutdownProof()
		case gone:
			return nil, w.end()
		case w.ready && o.Action != ActionShutdown:
			replay, open := w.measured()
			result, err := prove(ctx, s, plan, o)
			if err == nil {
				result.Replay, result.Open = replay, open
			}
			return result, err
		}
		w.report()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}
