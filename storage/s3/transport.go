package s3

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	dialTimeout  = 10 * time.Second
	idleTimeout  = 60 * time.Second
	idleConns    = 64
	bufferSize   = 64 << 10
	coalesceSize = 256 << 10
	// unackedTimeout ends a connection whose peer vanished without a word: data that stays
	// unacknowledged for so long is given up (TCP_USER_TIMEOUT).
	unackedTimeout = 30 * time.Second
)

// newTransport returns a transport with a pool that is large enough for many uploads, and TLS
// connections that hand the kernel few large writes instead of one for each TLS record.
func newTransport(config *tls.Config) *http.Transport {
	if config == nil {
		config = &tls.Config{}
	}
	config = config.Clone()
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	config.NextProtos = nil
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second, ControlContext: limitUnacked}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   dialTimeout,
		MaxIdleConns:          idleConns,
		MaxIdleConnsPerHost:   idleConns,
		IdleConnTimeout:       idleTimeout,
		ExpectContinueTimeout: time.Second,
		WriteBufferSize:       bufferSize,
		ReadBufferSize:        bufferSize,
		DisableCompression:    true,
		TLSNextProto:          map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 only
	}
	t.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return dialTLS(ctx, dialer, config, address{network, addr})
	}
	return t
}

type address struct{ network, addr string }

func dialTLS(ctx context.Context, dialer *net.Dialer, config *tls.Config, a address) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*dialTimeout)
	defer cancel()
	raw, err := dialer.DialContext(ctx, a.network, a.addr)
	if err != nil {
		return nil, err
	}
	if config.ServerName == "" {
		config = config.Clone()
		if config.ServerName, _, err = net.SplitHostPort(a.addr); err != nil {
			return nil, errors.Join(err, raw.Close())
		}
	}
	buffered := &bufferedConn{Conn: raw}
	conn := tls.Client(buffered, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return &coalescedConn{Conn: conn, buffered: buffered}, nil
}

// bufferedConn is a connection whose writes can be held back and sent together. crypto/tls writes each
// record of 16 KiB by itself.
type bufferedConn struct {
	net.Conn

	mu      sync.Mutex
	holding bool
	buf     bytes.Buffer
}

// Write implements net.Conn.
func (c *bufferedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holding {
		return c.buf.Write(p)
	}
	return c.Conn.Write(p)
}

func (c *bufferedConn) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = true
}

// release sends what was held.
func (c *bufferedConn) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = false
	if c.buf.Len() == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.buf.Bytes())
	c.buf.Reset()
	return err
}

// coalescedConn is a TLS connection that sends the records of one Write together.
type coalescedConn struct {
	*tls.Conn
	buffered *bufferedConn

	mu    sync.Mutex // one Write at a time
	chunk []byte
}

// Write implements net.Conn.
func (c *coalescedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write(p)
}

func (c *coalescedConn) write(p []byte) (int, error) {
	written := 0
	for {
		piece := p[written:min(written+coalesceSize, len(p))]
		c.buffered.hold()
		n, err := c.Conn.Write(piece)
		written += n
		if err = errors.Join(err, c.buffered.release()); err != nil || written == len(p) {
			return written, err
		}
	}
}

// ReadFrom implements io.ReaderFrom, so that net/http hands over bodies in large pieces.
func (c *coalescedConn) ReadFrom(r io.Reader) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.chunk == nil {
		c.chunk = make([]byte, coalesceSize)
	}
	var total int64
	for {
		n, err := io.ReadFull(r, c.chunk)
		if n > 0 {
			written, writeErr := c.write(c.chunk[:n])
			total += int64(written)
			if writeErr != nil {
				return total, writeErr
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
