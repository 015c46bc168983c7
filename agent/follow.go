package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/postgres/walsender"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/standby"
)

// FollowPort is only a part of the socket's name, which libpq takes if it is told no other.
const FollowPort = 5432

// FollowOptions say how an archive is followed. SocketDir is needed.
type FollowOptions struct {
	// SocketDir is the folder of the socket that standbys connect to; Port is a part of its name.
	SocketDir string
	Port      int
	// Interval is how long the follower waits between two looks while WAL comes, half of what it waits when none has come for a few; 0 is a second.
	Interval time.Duration
	// Logger is told what the follower does; nil for nobody.
	Logger *slog.Logger
	// Began, if it is not nil, is called once with the follower, before standbys are served.
	Began func(*standby.Follower)
}

// Follow serves what comes to a cluster's repository to the standbys on this host until ctx ends, and returns nil then. The error is one of
// syscall.EADDRINUSE if another process does so there.
func Follow(ctx context.Context, cluster *repository.Cluster, o FollowOptions) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	follower, err := standby.NewFollower(ctx, cluster, standby.Options{Interval: o.Interval, Idle: 2 * o.Interval, Logger: o.Logger})
	if err != nil {
		return err
	}
	l, err := walsender.Listen(ctx, o.SocketDir, o.Port)
	if err != nil {
		return err
	}
	if o.Began != nil {
		o.Began(follower)
	}
	at := follower.Status()
	o.Logger.InfoContext(ctx, "archive is followed", "tli", uint32(at.Timeline), "lsn", at.End.String(), "socket", l.Addr().String())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		follower.Run(ctx)
		return nil
	})
	group.Go(func() error { return walsender.New(follower, walsender.Options{Logger: o.Logger}).Serve(ctx, l) })
	return group.Wait()
}

const (
	// promotionEvery is how often a standby is asked whether it still is one.
	promotionEvery = 500 * time.Millisecond
	// followAgain is how long a follower that ended is left alone.
	followAgain = 5 * time.Second
)

// following is the agent of a standby that was not promoted yet.
type following struct {
	server  server
	config  config.Cluster
	options Options
	// archive is what the follower knows; nil before it began, which closes began.
	archive atomic.Pointer[followed]
	began   chan struct{}
}

func newFollowing(srv server, c config.Cluster, o Options) *following {
	return &following{server: srv, config: c, options: o, began: make(chan struct{})}
}

// followed is a follower and the cluster that it follows, which can be read as long as it runs.
type followed struct {
	cluster  *repository.Cluster
	follower *standby.Follower
}

// run streams the archive to the server, and keeps the slot on it from which it is archived once it was promoted. It returns true when the server is no
// standby, and false when ctx ended.
func (f *following) run(ctx context.Context) (promoted bool, err error) {
	logger := f.options.Logger
	if f.answersAsPrimary(ctx) {
		logger.WarnContext(ctx, "the server is no standby: it is archived", "server", f.server.config.String())
		return true, nil
	}
	outer := ctx
	ctx, promote := context.WithCancel(ctx)
	defer promote()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer promote()
		promoted = f.awaitPromotion(ctx)
		return nil
	})
	group.Go(func() error { return f.serve(ctx) })
	group.Go(func() error {
		keepWatchdog(ctx, logger, func() pulse { return pulse{state: f.state()} })
		return nil
	})
	if v := f.options.Vitals; v != nil {
		group.Go(func() error { f.watch(ctx, v); return nil })
	}
	if f.config.StandbySlots {
		group.Go(func() error { f.keepSlot(ctx); return nil })
	}
	tellReady(ctx, logger)
	err = group.Wait()
	if promoted {
		logger.InfoContext(outer, "the server was promoted: it is archived from now on", "server", f.server.config.String())
		return true, nil
	}
	return false, err
}

// keepSlot keeps the slot on the server, so that it has all that is to be archived when it is promoted, also if no agent runs then.
func (f *following) keepSlot(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-f.began:
	}
	slots := &standbys{servers: []server{f.server}, slot: f.config.Slot, limit: f.config.Keep, state: f.end, logger: f.options.Logger}
	slots.run(ctx)
}

// end is the archive's end, in the form of what an archiver says.
func (f *following) end() archiver.Status {
	a := f.archive.Load()
	if a == nil {
		return archiver.Status{}
	}
	at := a.follower.Status()
	return archiver.Status{SystemID: a.cluster.SystemID(), Durable: archiver.Position{Timeline: at.Timeline, LSN: at.End}}
}

// state is what systemd shows.
func (f *following) state() string {
	a := f.archive.Load()
	if a == nil {
		return "standby; the archive does not answer yet"
	}
	at := a.follower.Status()
	if at.Err != nil {
		return "standby; the archive does not answer: " + at.Err.Error()
	}
	return fmt.Sprintf("standby follows the archive, whose end is %s on timeline %d", at.End, uint32(at.Timeline))
}

// answersAsPrimary asks the server once.
func (f *following) answersAsPrimary(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, preflightTimeout)
	defer cancel()
	conn, err := f.server.connect(ctx)
	if err != nil {
		return false
	}
	defer hangUp(ctx, conn)
	recovery, err := inRecovery(ctx, conn)
	return err == nil && !recovery
}

func inRecovery(ctx context.Context, conn *postgres.Conn) (bool, error) {
	v, err := conn.Setting(ctx, "in_hot_standby")
	return v == "on", err
}

// awaitPromotion returns true when the server says that it is no standby, and false when ctx ends. A server that does not answer is waited for.
func (f *following) awaitPromotion(ctx context.Context) bool {
	ticker := time.NewTicker(promotionEvery)
	defer ticker.Stop()
	var conn *postgres.Conn
	defer func() {
		if conn != nil {
			hangUp(ctx, conn)
		}
	}()
	told := ""
	for {
		recovery := true
		var err error
		if conn == nil {
			conn, err = f.connect(ctx)
		}
		if err == nil {
			recovery, err = inRecovery(ctx, conn)
		}
		switch {
		case ctx.Err() != nil:
			return false
		case err != nil:
			if conn != nil {
				hangUp(ctx, conn)
				conn = nil
			}
			if told != err.Error() {
				told = err.Error()
				f.options.Logger.WarnContext(ctx, "the standby does not answer", "server", f.server.config.String(), "err", err)
			}
		case !recovery:
			return true
		default:
			told = ""
		}
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
}

func (f *following) connect(ctx context.Context) (*postgres.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, standbyTimeout)
	defer cancel()
	return f.server.connect(ctx)
}

// serve follows the archive again and again until ctx ends. The error is one that waiting does not mend.
func (f *following) serve(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		err := f.serveOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && lasting(err) && !mayCome(err):
			return fmt.Errorf("follow the archive: %w", err)
		case err != nil && told != err.Error():
			told = err.Error()
			f.options.Logger.WarnContext(ctx, "the archive cannot be followed yet; the agent keeps trying", "err", err)
		}
		timer.Reset(followAgain)
	}
}

// mayCome tells whether err is of an archive that has nothing yet, of a folder of the socket that is not there yet, or of a socket that another follower holds.
func mayCome(err error) bool {
	for _, passing := range []error{ErrEmpty, repository.ErrNoRepository, repository.ErrNoWAL, syscall.EADDRINUSE, syscall.ENOENT} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// serveOnce opens the archive and follows it.
func (f *following) serveOnce(ctx context.Context) error {
	from := f.config
	if f.config.Standby.From != "" {
		var err error
		if from, err = f.config.From(f.config.Standby.From); err != nil {
			return err
		}
	}
	r, sources, err := OpenSources(ctx, from, StoreOptions{Patience: Brief, Bandwidth: f.options.Bandwidth, Logger: f.options.Logger})
	if err != nil {
		return err
	}
	defer func() { _ = sources.Close() }() // only reads were made
	cluster, err := SelectCluster(ctx, r, 0)
	if several := new(AmbiguousError); errors.As(err, &several) {
		system, errServer := f.server.identify(ctx)
		if errServer != nil {
			return fmt.Errorf("which of the clusters in the archive this is, only the server can say: %w", errServer)
		}
		cluster, err = SelectCluster(ctx, r, system.ID)
	}
	if err != nil {
		return err
	}
	return Follow(ctx, cluster, FollowOptions{
		SocketDir: f.config.Standby.SocketDir, Port: FollowPort, Interval: time.Second, Logger: f.options.Logger,
		Began: func(follower *standby.Follower) {
			if f.archive.Swap(&followed{cluster, follower}) == nil {
				close(f.began)
			}
		},
	})
}
