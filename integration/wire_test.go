package integration_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgark/pgark/archiver/archivertest"
	"github.com/pgark/pgark/storage/storagetest"
	"github.com/pgark/pgark/wal"
)

// wire is a proxy in front of a server. It records what a client streams and tells the server of its progress, at the moment
// before the server sees it; and it breaks connections on request. What is behind it may change, as a moving address does.
type wire struct {
	listener  net.Listener
	recording *archivertest.Recording
	closed    chan struct{}
	done      sync.WaitGroup

	mu       sync.Mutex
	upstream string
	conns    map[int][2]net.Conn
	count    int
	held     map[way]chan struct{} // closed when the direction flows again
	lag      time.Duration
}

// way is a direction of a wire.
type way string

const (
	toServer   way = "to the server"
	fromServer way = "from the server"
)

// newWire listens on a free port of the loopback in front of the server at address.
func newWire(t testing.TB, address string, recording *archivertest.Recording) *wire {
	t.Helper()
	return newWireAt(t, "127.0.0.1", address, recording)
}

// newWireAt listens on a free port of one of this host's addresses.
func newWireAt(t testing.TB, host, address string, recording *archivertest.Recording) *wire {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{
		listener: l, recording: recording, upstream: address, closed: make(chan struct{}),
		conns: map[int][2]net.Conn{}, held: map[way]chan struct{}{},
	}
	w.done.Go(w.accept)
	t.Cleanup(w.close)
	return w
}

// at is where it listens.
func (w *wire) at() netip.AddrPort { return netip.MustParseAddrPort(w.listener.Addr().String()) }

func (w *wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		upstream := w.upstream
		w.mu.Unlock()
		server, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", upstream)
		if err != nil {
			_ = client.Close()
			continue
		}
		w.mu.Lock()
		w.count++
		id := w.count
		w.conns[id] = [2]net.Conn{client, server}
		w.mu.Unlock()
		w.done.Go(func() {
			_, _ = io.Copy(&gate{wire: w, way: fromServer, to: client}, server)
			_ = client.Close()
		})
		w.done.Go(func() {
			_ = w.forward(id, &gate{wire: w, way: toServer, to: server}, client)
			_ = server.Close()
			w.mu.Lock()
			delete(w.conns, id)
			w.mu.Unlock()
		})
	}
}

// retarget puts another server behind the wire for the connections to come, and cuts those that are.
func (w *wire) retarget(address string) {
	w.mu.Lock()
	w.upstream = address
	w.mu.Unlock()
	w.cut()
}

// cut breaks all connections and returns how many.
func (w *wire) cut() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, both := range w.conns {
		_ = both[0].Close()
		_ = both[1].Close()
	}
	return len(w.conns)
}

// stall keeps what goes one way from arriving until it is released; nobody is told.
func (w *wire) stall(direction way) (release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	flows := make(chan struct{})
	w.held[direction] = flows
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.held, direction)
		close(flows)
	})
}

// delay makes each message, both ways, come later by d; 0 ends that.
func (w *wire) delay(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lag = d
}

func (w *wire) close() {
	close(w.closed)
	_ = w.listener.Close()
	w.cut()
	w.done.Wait()
}

// gate is one direction of one connection.
type gate struct {
	wire *wire
	way  way
	to   io.Writer
}

// Write implements io.Writer.
func (g *gate) Write(b []byte) (int, error) {
	g.wire.mu.Lock()
	held, lag := g.wire.held[g.way], g.wire.lag
	g.wire.mu.Unlock()
	if lag > 0 {
		timer := time.NewTimer(lag)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-g.wire.closed:
		}
	}
	if held != nil {
		select {
		case <-held:
		case <-g.wire.closed:
			return 0, net.ErrClosed
		}
	}
	return g.to.Write(b)
}

const cancelRequest, sslRequest = 80877102, 80877103

// forward passes the client's messages on, one by one. The first has no type byte; an SSL request is answered by the server in the clear and the
// client starts over (protocol-flow in PostgreSQL's manual).
func (w *wire) forward(id int, server io.Writer, client io.Reader) error {
	for {
		head := make([]byte, 8)
		if _, err := io.ReadFull(client, head); err != nil {
			return err
		}
		body := make([]byte, int(binary.BigEndian.Uint32(head))-8)
		if _, err := io.ReadFull(client, body); err != nil {
			return err
		}
		if _, err := server.Write(append(head, body...)); err != nil {
			return err
		}
		if code := binary.BigEndian.Uint32(head[4:]); code != sslRequest && code != cancelRequest {
			break
		}
	}
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(client, head); err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint32(head[1:])) - 4
		if n < 0 || n > 1<<30 {
			return errors.New("message out of step")
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(client, body); err != nil {
			return err
		}
		if w.recording != nil {
			w.record(id, head[0], body)
		}
		if _, err := server.Write(append(head, body...)); err != nil {
			return err
		}
	}
}

var startReplication = regexp.MustCompile(`^START_REPLICATION SLOT .*PHYSICAL ([0-9A-F]+/[0-9A-F]+) TIMELINE (\d+)`)

// record notes the messages that the judge wants to see: the start of a stream, and standby status updates (protocol-replication in
// PostgreSQL's manual).
func (w *wire) record(id int, kind byte, body []byte) {
	switch {
	case kind == 'Q':
		m := startReplication.FindSubmatch(body)
		if m == nil {
			return
		}
		lsn, err := wal.ParseLSN(string(m[1]))
		tli, atoi := strconv.ParseUint(string(m[2]), 10, 32)
		if err == nil && atoi == nil {
			w.recording.Add(archivertest.Event{Kind: archivertest.Stream, Conn: id, Timeline: wal.TimelineID(tli), LSN: lsn})
		}
	case kind == 'd' && len(body) >= 25 && body[0] == 'r':
		w.recording.Add(archivertest.Event{
			Kind: archivertest.Told, Conn: id,
			Write: wal.LSN(binary.BigEndian.Uint64(body[1:])),
			Flush: wal.LSN(binary.BigEndian.Uint64(body[9:])),
			Apply: wal.LSN(binary.BigEndian.Uint64(body[17:])),
		})
	}
}

// recordStore adds to a recording what clients learned through a proxy of the repository main in a bucket: that an object is there, by
// an acknowledged create or because they were shown it, and what they deleted.
func recordStore(r *archivertest.Recording, repository string, proxy *storagetest.Proxy, bucket string) {
	const prefix = "main/"
	bucket = "/" + bucket + "/"
	seen := map[string]bool{}
	held := func(at time.Time, path string) {
		key, ok := strings.CutPrefix(path, bucket+prefix)
		if ok && !seen[key] && (strings.Contains(key, "/wal/") || strings.Contains(key, "/gaps/")) {
			seen[key] = true
			r.AddAt(at, archivertest.Event{Kind: archivertest.Held, Repository: repository, Key: key})
		}
	}
	for _, c := range proxy.Calls() {
		good := c.Status >= 200 && c.Status < 300
		switch c.Op {
		case storagetest.Put, storagetest.Commit, storagetest.Get, storagetest.Head:
			// A 200 with an error inside made nothing.
			if good && (c.Created || c.Op == storagetest.Get || c.Op == storagetest.Head) {
				held(c.Ended, c.Path)
			}
		case storagetest.List:
			for _, key := range c.Keys {
				held(c.Ended, bucket+key)
			}
		case storagetest.Delete:
			if key, ok := strings.CutPrefix(c.Path, bucket+prefix); ok {
				r.AddAt(c.Began, archivertest.Event{Kind: archivertest.Deleted, Repository: repository, Key: key})
			}
		case storagetest.Any, storagetest.Begin, storagetest.Part, storagetest.Abort, storagetest.Other:
		}
	}
}
