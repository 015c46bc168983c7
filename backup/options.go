package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/wal"
)

// Conditions that Run reports; compare with errors.Is.
var (
	// ErrRunning means that another backup holds the Lock.
	ErrRunning = errors.New("a backup is running already")
	// ErrWALMissing means that the repository does not hold all of the WAL the backup needs, and that
	// waiting will not bring it.
	ErrWALMissing = errors.New("the repository lacks WAL that the backup needs")
	// ErrPageChecksums means that the server found pages with wrong checksums. The backup is stored
	// with that verdict and is not to be counted as a good one.
	ErrPageChecksums = errors.New("pages with wrong checksums in the cluster")
)

// TimelineError says that the server changed its timeline during the backup: it was promoted, or
// follows another server that was. No record is written; the next backup is on the new timeline.
type TimelineError struct {
	Start, Stop wal.TimelineID
}

// Error names both timelines.
func (e *TimelineError) Error() string {
	return fmt.Sprintf("timeline changed from %s to %s during the backup", e.Start, e.Stop)
}

// ContentError says that what the server sent is not what its manifest or control file says.
type ContentError struct {
	// Path is relative to the data directory.
	Path string
	// Reason names what differs, got and want.
	Reason string
}

// Error names the file and what is wrong with it.
func (e *ContentError) Error() string { return fmt.Sprintf("%s: %s", e.Path, e.Reason) }

// Lock keeps two backups from running at once in one process. The zero value is free.
type Lock struct {
	mu sync.Mutex
}

// Options say how a backup is taken. The zero value is valid.
type Options struct {
	// Workers is the number of goroutines that compress; 0 means one for each core, at most 16: one
	// stream does not feed more. Each holds about 8 MiB.
	Workers int
	// Codec compresses the packs; nil means zstd.
	Codec compression.Codec
	// WaitDurable returns nil when the WAL of the timeline tli before lsn is in the repository of the
	// backup. Nil means to look into the repository until it is there, which needs nothing of the
	// process that archives.
	WaitDurable func(ctx context.Context, tli wal.TimelineID, lsn wal.LSN) error
	// WALTimeout is how long the WAL may take to come after the files are stored; 0 means 6 hours.
	WALTimeout time.Duration
	// Progress is told where the backup stands: never by two goroutines at once, about once for each
	// MiB. It must not block. Nil means nobody is told.
	Progress func(Progress)
	// Lock, if not nil, makes Run return ErrRunning while another Run holds it.
	Lock *Lock
	// Writer is what the record names as its writer; empty means "pgark".
	Writer string
	// Labels are the user's; they go into the record.
	Labels map[string]string
	// KeptUntil goes into the record; the zero time means that the backup is not kept beyond others.
	KeptUntil time.Time
	// Logger gets warnings; nil means none.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Workers <= 0 {
		o.Workers = min(runtime.GOMAXPROCS(0), 16)
	}
	if o.Codec == nil {
		o.Codec = compression.Zstd()
	}
	if o.WALTimeout <= 0 {
		o.WALTimeout = 6 * time.Hour
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Writer == "" {
		o.Writer = "pgark"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Phase is what a backup is doing.
type Phase string

// The phases, in their order.
const (
	// PhaseBegin: the server makes its checkpoint.
	PhaseBegin Phase = "begin"
	// PhaseCopy: files are read, compressed and stored.
	PhaseCopy Phase = "copy"
	// PhaseWAL: all files are stored; the WAL up to the stop LSN is awaited.
	PhaseWAL Phase = "wal"
	// PhaseCommit: the index and the record are written.
	PhaseCommit Phase = "commit"
)

// Progress says where a backup stands.
type Progress struct {
	Phase Phase
	// Done is the number of plain bytes stored so far, tar headers and padding included.
	Done int64
	// Total is the server's estimate of Done's last value; the cluster may grow past it. It is 0 if
	// the server gave none.
	Total int64
	// Stored is the number of compressed bytes that Done made.
	Stored int64
}
