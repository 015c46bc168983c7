package archiver

import (
	"context"
	"log/slog"
	"runtime"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// Options of New. The zero value is valid.
type Options struct {
	// Slot is the replication slot that keeps WAL for us. "" means "pgark".
	Slot string
	// Interval is the least time between two pieces of the open segment: about
	// what is lost when host and disks are. 0 means 1 s. Archiver.FlushOnDemand
	// does without it.
	Interval time.Duration
	// Uploads is how many objects may be in flight, at most 64, besides one
	// segment that replaces its pieces. 0 means 4.
	Uploads int
	// Buffer bounds the received bytes that are not durable yet, plain and
	// encoded together; more stays on the server. 0 means 64 MiB, the least
	// is 8 MiB.
	Buffer int64
	// BeatEvery is the time between coverage beats while the server is idle.
	// 0 means repository.BeatInterval.
	BeatEvery time.Duration
	// Codec compresses what is put. nil means zstd.
	Codec compression.Codec
	// Workers is how many segments are compressed at a time. 0 means one for
	// each CPU.
	Workers int
	// Adopt is a system identifier that may be archived although this root
	// holds another cluster already, as after pg_upgrade. 0 means none.
	Adopt wal.SystemID
	// StopTimeout bounds the upload of the tail when Run is told to stop, or
	// when a new connection waits for the uploads of the one before. 0 means 30 s.
	StopTimeout time.Duration
	// ShutdownTimeout bounds it when the server shuts down and waits for us.
	// 0 means 5 s.
	ShutdownTimeout time.Duration
	// Probe finds out whether the server is shutting down, by an error that is
	// postgres.ErrShuttingDown. nil opens a connection and closes it.
	Probe func(ctx context.Context) error
	// Gap is told of each gap when its record is durable. It must not block. nil
	// means nobody is told.
	Gap func(repository.Gap)
	// Fence asks, wherever else somebody may have taken over from the server, whether one did: before anything is written on a connection, and now and then
	// while it streams. It returns a *repository.FencedError or a *TimelineError if one did, and nil also where it gets no answer. nil asks nobody. What
	// is put is confirmed only after the repository itself was asked.
	Fence func(ctx context.Context, server postgres.System) error
	// Putting is told of each object of WAL that is to be put, and returns the context to put it with and what is told once, with nil when it is durable. It
	// keeps nothing of the object, and neither may block. nil means nobody is told.
	Putting func(context.Context, *repository.EncodedWAL) (context.Context, func(error))
	// Logger is told each change of state once. nil drops it.
	Logger *slog.Logger
}

const (
	leastBuffer = 8 << 20

	// statusEvery is the longest time between two status updates, also while
	// nothing is read: well under half of any sensible wal_sender_timeout.
	statusEvery = time.Second
	// askEvery is how often the server is asked for a keepalive.
	askEvery = 2 * time.Second
	// silence is how long a server that is asked may say nothing.
	silence = 30 * time.Second
	// probeAfter is how long the server waits for a confirmation before it is
	// probed, and probeEvery how often.
	probeAfter = 1500 * time.Millisecond
	probeEvery = 2 * time.Second
	// probeTimeout bounds one probe, and callTimeout other single calls.
	probeTimeout = 2 * time.Second
	callTimeout  = 30 * time.Second
	beatTimeout  = 5 * time.Second
	// deleteTimeout bounds the deletion of one segment's pieces.
	deleteTimeout = 5 * time.Minute

	// Waits between attempts to connect, and to upload what the store refused.
	leastWait = 250 * time.Millisecond
	mostWait  = 15 * time.Second
)

func (o Options) withDefaults() Options {
	if o.Slot == "" {
		o.Slot = "pgark"
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.Uploads <= 0 {
		o.Uploads = 4
	}
	o.Uploads = min(o.Uploads, mostUploads)
	if o.Buffer <= 0 {
		o.Buffer = 64 << 20
	}
	o.Buffer = max(o.Buffer, leastBuffer)
	if o.BeatEvery <= 0 {
		o.BeatEvery = repository.BeatInterval
	}
	if o.Codec == nil {
		o.Codec = compression.Zstd()
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.StopTimeout <= 0 {
		o.StopTimeout = 30 * time.Second
	}
	if o.ShutdownTimeout <= 0 {
		o.ShutdownTimeout = 5 * time.Second
	}
	if o.Putting == nil {
		o.Putting = func(ctx context.Context, _ *repository.EncodedWAL) (context.Context, func(error)) {
			return ctx, func(error) {}
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// maxPiece is a quarter of the buffer: what waits to become a piece, what the
// open segment was encoded to so far (half), and one frame always fit.
func (o Options) maxPiece() wal.LSN {
	return wal.LSN(o.Buffer/4) &^ (frameSize - 1)
}

// Opener opens the repository, or makes it. It is called until it succeeds
// once.
type Opener func(ctx context.Context) (*repository.Repository, error)
