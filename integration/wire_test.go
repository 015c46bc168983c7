package integration_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pgark/pgark/wal"
)

// statusUpdate is what a client told the server of its progress (Standby status update, protocol-replication in PostgreSQL's manual).
type statusUpdate struct{ write, flush, apply wal.LSN }

// wire is a proxy in front of a server that shows every status update to the test before the server sees it: so a test
// can judge, at that very moment, whether what the server is about to be told is true.
type wire struct {
	listener net.Listener
	upstream string
	observe  func(statusUpdate)

	mu    sync.Mutex
	conns []net.Conn
	done  sync.WaitGroup
}

// newWire listens on a free loopback port in front of the server at address. observe is called from one goroutine a connection.
func newWire(t testing.TB, address string, observe func(statusUpdate)) *wire {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, upstream: address, observe: observe}
	w.done.Go(w.accept)
	t.Cleanup(w.close)
	return w
}

func (w *wire) port() int {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(w.listener.Addr().String())).Port
}

func (w *wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		server, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", w.upstream)
		if err != nil {
			_ = client.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, client, server)
		w.mu.Unlock()
		w.done.Go(func() {
			_, _ = io.Copy(client, server)
			_ = client.Close()
		})
		w.done.Go(func() {
			_ = w.forward(server, client)
			_ = server.Close()
		})
	}
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

func (w *wire) close() {
	_ = w.listener.Close()
	w.cut()
	w.done.Wait()
}

const cancelRequest, sslRequest = 80877102, 80877103

// forward passes the client's messages on, one by one. The first has no type byte; an SSL request is answered by the server in the clear and the
// client starts over (protocol-flow in PostgreSQL's manual).
func (w *wire) forward(server io.Writer, client io.Reader) error {
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
		if head[0] == 'd' && len(body) >= 25 && body[0] == 'r' {
			w.observe(statusUpdate{
				write: wal.LSN(binary.BigEndian.Uint64(body[1:])),
				flush: wal.LSN(binary.BigEndian.Uint64(body[9:])),
				apply: wal.LSN(binary.BigEndian.Uint64(body[17:])),
			})
		}
		if _, err := server.Write(append(head, body...)); err != nil {
			return err
		}
	}
}
