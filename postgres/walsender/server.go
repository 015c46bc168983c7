package walsender

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/pgark/pgark/wal"
)

// Options says how a server serves. The zero value is valid.
type Options struct {
	// Keepalive is how often an idle standby hears of us, 0 for 10 s. A walreceiver gives up after
	// wal_receiver_timeout, a minute by default.
	Keepalive time.Duration
	// Version is the server version that clients are told, such as "17.6"; it should be that of the cluster.
	Version string
	// Logger is told of standbys that come and go; nil for none.
	Logger *slog.Logger
}

// Client is a standby that is connected, and how far it says it is.
type Client struct {
	Name  string // its application_name, by default walreceiver or its cluster_name
	Since time.Time
	// Timeline and Sent are what was sent last; 0 before it streams. The others are what it reported at
	// Reported: 0 for nothing yet.
	Timeline                   wal.TimelineID
	Sent, Write, Flush, Replay wal.LSN
	Reported                   time.Time
}

// Server serves the WAL of one source to any number of standbys.
type Server struct {
	source  Source
	options Options

	mu      sync.Mutex
	clients map[*session]Client
}

// New returns a server of source.
func New(source Source, o Options) *Server {
	o.Keepalive = cmp.Or(o.Keepalive, 10*time.Second)
	o.Version = cmp.Or(o.Version, "14.0")
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{source: source, options: o, clients: map[*session]Client{}}
}

// acceptAgain is how long a listener is left alone that could not accept, as one without file descriptors.
const acceptAgain = 100 * time.Millisecond

// Serve answers what connects to l until ctx ends, and returns nil then, when all sessions have ended. It
// closes l. The error is net.ErrClosed if somebody else did.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer cancel()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // those who are connected stay
			s.options.Logger.WarnContext(ctx, "standby was not let in", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptAgain):
			}
			continue
		}
		sessions.Go(func() { s.serve(ctx, conn) })
	}
}

// Clients returns who is connected, by the time they came.
func (s *Server) Clients() []Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Client, 0, len(s.clients))
	for _, c := range s.clients {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Client) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// note changes what is known of a session's client.
func (s *Server) note(of *session, change func(*Client)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[of]
	change(&c)
	s.clients[of] = c
}

func (s *Server) forget(of *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, of)
}
