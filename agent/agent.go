// Package agent puts the rooms together for one cluster: it opens the store that a URL names,
// connects to the server that the configuration names, and runs what lives long, the archiver and
// the backup schedule. The commands that look once, or act once, are here too when they need both
// the server and the repository.
//
// It holds no knowledge of bytes, keys or messages, and its callers alone print and exit.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/asof"
	"github.com/pgark/pgark/storage/file"
	"github.com/pgark/pgark/storage/limit"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/wal"
)

// Patience says how long a storage call that fails for a while is made again.
type Patience time.Duration

// The patience of a command that a person waits for, and of an agent.
const (
	Brief   = Patience(30 * time.Second)
	Forever = Patience(0)
)

// LookAnswer is FirstAnswer for who only looks: so long a person waits for a store before being told that it does not answer.
const LookAnswer = 5 * time.Second

// StoreOptions say how a store is used. The zero value tries for ever and logs nothing.
type StoreOptions struct {
	Patience Patience
	// FirstAnswer is how long a store may take to answer at all; 0 is Patience. The error of one that does not wraps ErrSilent.
	FirstAnswer time.Duration
	// Lock is that of new objects in the bucket.
	Lock storage.Lock
	// Bandwidth is shared with the other stores of the process; nil limits nothing.
	Bandwidth *Bandwidth
	Logger    *slog.Logger

	// Looks says that an agent looks at the repositories for its page and metrics, and Counted how many requests wrote to one, by its name, in a month; nil is not
	// known. Both are for what a survey reckons to be the cost.
	Looks   bool
	Counted func(repository string) *float64
	// Home is the URL of the primary where a copy alone is looked at: what is put there comes from beside it. "" is the repository that is looked at. It is for the
	// cost too.
	Home string

	// tally counts what the stores of a cluster take and refuse; nil counts nothing.
	tally *tally
	// uploads make spans of what the stores of a cluster take; nil makes none.
	uploads *uploadSpans

	// Of the one store.
	name    string
	own     config.Limits
	classes config.StorageClasses
	// AsOf, if not zero, shows the store as it was at that instant, for reading alone (storage/asof).
	AsOf time.Time
	// Whole has surveys list all WAL, also what the last census counts.
	Whole bool
	// first shows the first versions of then.
	first bool
}

// Faults of the configuration that a bucket shows: the URL cannot be used, the region in it is not the bucket's, the server's
// certificate is not trusted here.
var (
	ErrURL         = s3.ErrURL
	ErrRegion      = s3.ErrRegion
	ErrCertificate = s3.ErrCertificate
)

// ErrSilent means that a store has not answered at all within StoreOptions.FirstAnswer.
var ErrSilent = retry.ErrSilent

// Store is an open store with the one retry loop around it, and the limits of bandwidth around that; Close releases what it holds. What the store
// beneath can do besides, it can.
type Store struct {
	*limit.Store

	closer io.Closer
	past   *asof.Store // what it is as it was at an instant; nil now
}

// Lossy reports whether a store that is read as it was may lack some of that: its bucket did not keep versions all the time since (asof.Store.Lossy). What was
// read shows it.
func (s *Store) Lossy() bool { return s.past != nil && s.past.Lossy() }

// Close releases the store. Calls after it fail.
func (s *Store) Close() error {
	if s.closer == nil {
		return nil
	}
	return s.closer.Close()
}

// OpenStore opens the store that a repository URL names, s3://bucket/prefix?… or file:///path, with
// the one retry loop around it, as it is now or was at o.AsOf. It reads and writes nothing in it.
func OpenStore(ctx context.Context, repoURL string, o StoreOptions) (*Store, error) {
	u, err := url.Parse(repoURL)
	if err != nil {
		return nil, errors.New("repository URL cannot be read")
	}
	var inner storage.Store
	var closer io.Closer
	switch u.Scheme {
	case "file":
		f, err := file.Open(u.Path)
		if err != nil {
			return nil, fmt.Errorf("open repository %s: %w", repoURL, err)
		}
		inner, closer = f, f
	case "s3":
		s, err := openS3(ctx, repoURL, o)
		if err != nil {
			return nil, fmt.Errorf("open repository %s: %w", repoURL, err)
		}
		inner = s
	default:
		return nil, fmt.Errorf("%w: unknown scheme %q, want s3 or file", ErrURL, u.Scheme)
	}
	limits, log := o.limits(), logRetries(ctx, o.Logger)
	var open storage.Store = retry.New(inner, retry.Options{
		MaxElapsed: time.Duration(o.Patience), FirstAnswer: o.FirstAnswer, Observe: o.uploads.of(ctx, o.name, o.tally.of(o.name)),
		OnRetry: func(e retry.Event) {
			limits.Again(e.Size)
			log(e)
		},
	})
	var past *asof.Store
	if !o.AsOf.IsZero() {
		// Around the retries: a list may pass over much that is not seen, and stands still meanwhile to who looks at it.
		past = asof.New(open, asof.Options{At: o.AsOf, First: o.first})
		open = past
	}
	return &Store{limit.Wrap(open, limits), closer, past}, nil
}

// logRetries tells of a call's failures: aloud the third one, and each when the waits have become long.
func logRetries(ctx context.Context, logger *slog.Logger) func(retry.Event) {
	if logger == nil {
		return func(retry.Event) {}
	}
	return func(e retry.Event) {
		level := slog.LevelDebug
		if e.Attempt == 3 || e.Wait >= 10*time.Second {
			level = slog.LevelWarn
		}
		logger.Log(ctx, level, "storage call failed; trying again",
			"op", e.Op, "key", string(e.Key), "err", e.Err, "attempt", e.Attempt, "dur", e.Since)
	}
}

// OpenRepository opens the existing repository of a cluster's configuration. It returns
// repository.ErrNoRepository if there is none. The caller closes the store.
func OpenRepository(ctx context.Context, c config.Cluster, o StoreOptions) (*repository.Repository, *Store, error) {
	keys, err := loadKeys(c)
	if err != nil {
		return nil, nil, err
	}
	store, err := OpenStore(ctx, c.Repo.URL, o.of(c.Repositories()[0]))
	if err != nil {
		return nil, nil, err
	}
	r, err := repository.Open(ctx, store)
	if err != nil {
		return nil, nil, errors.Join(opening(c.Repo.URL, err), store.Close())
	}
	return r.With(keys), store, nil
}

// opening says which repository could not be opened.
func opening(repoURL string, err error) error {
	if errors.Is(err, repository.ErrNoRepository) {
		// The store's own words on what is absent say no more.
		return fmt.Errorf("%s: %w", repoURL, repository.ErrNoRepository)
	}
	return fmt.Errorf("open repository %s: %w", repoURL, err)
}

// AmbiguousError says that a repository holds several clusters and none was named.
type AmbiguousError struct{ IDs []wal.SystemID }

// Error names them.
func (e *AmbiguousError) Error() string {
	names := make([]string, 0, len(e.IDs))
	for _, id := range e.IDs {
		names = append(names, id.String())
	}
	return "the repository holds several clusters: " + strings.Join(names, ", ")
}

// ErrEmpty says that a repository holds no cluster yet.
var ErrEmpty = errors.New("nothing is archived in the repository yet")

// SelectCluster returns the part of the repository that belongs to the system identifier id; 0
// takes the only one. It returns ErrEmpty or an *AmbiguousError if there is not exactly one.
func SelectCluster(ctx context.Context, r *repository.Repository, id wal.SystemID) (*repository.Cluster, error) {
	ids, err := r.Clusters(ctx)
	if err != nil {
		return nil, fmt.Errorf("list clusters: %w", err)
	}
	switch {
	case len(ids) == 0:
		return nil, ErrEmpty
	case id != 0 && !slices.Contains(ids, id):
		return nil, fmt.Errorf("cluster %s: %w", id, ErrEmpty)
	case id != 0:
		return r.Cluster(id), nil
	case len(ids) > 1:
		return nil, &AmbiguousError{ids}
	}
	return r.Cluster(ids[0]), nil
}

// refuseForeign returns an *archiver.ForeignError if the repository holds other clusters and not id.
func refuseForeign(ctx context.Context, r *repository.Repository, id wal.SystemID) error {
	ids, err := r.Clusters(ctx)
	if err != nil {
		return fmt.Errorf("list clusters: %w", err)
	}
	if len(ids) > 0 && !slices.Contains(ids, id) {
		return &archiver.ForeignError{Server: id, Archived: ids}
	}
	return nil
}

// ConnectionError is a connection string that cannot be read: a fault of the configuration.
type ConnectionError struct{ Err error }

// Error implements error; the text never holds the connection string.
func (e *ConnectionError) Error() string { return "postgres connection string: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *ConnectionError) Unwrap() error { return e.Err }

// server opens replication connections to one cluster's server.
type server struct{ config *postgres.Config }

func newServer(c config.Cluster) (server, error) {
	parsed, err := postgres.ParseConfig(c.Postgres)
	if err != nil {
		return server{}, &ConnectionError{err}
	}
	return server{parsed}, nil
}

func (s server) connect(ctx context.Context) (*postgres.Conn, error) {
	return postgres.Connect(ctx, s.config)
}

// closeTimeout is how long a connection's goodbye may take.
const closeTimeout = 5 * time.Second

// hangUp closes a connection, also when ctx has ended.
func hangUp(ctx context.Context, conn *postgres.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = conn.Close(ctx) // the connection is dropped also when the goodbye fails
}

// identify connects for a moment and asks the server who it is.
func (s server) identify(ctx context.Context) (postgres.System, error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return postgres.System{}, err
	}
	defer hangUp(ctx, conn)
	return conn.System(ctx)
}

func openS3(ctx context.Context, repoURL string, o StoreOptions) (*s3.Store, error) {
	options, err := s3.ParseURL(repoURL)
	if err != nil {
		return nil, err
	}
	options.Lock = o.Lock
	if o.classes != (config.StorageClasses{}) {
		options.Classes = repository.StorageClasses(o.classes)
	}
	return s3.Open(ctx, options)
}
