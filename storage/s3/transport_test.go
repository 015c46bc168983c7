package s3

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestCoalescedConnection(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 200000) // 3.2 MB
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(got, body) || r.ProtoMajor != 1 {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = w.Write(got) // the client counts
	}))
	defer server.Close()
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	transport := newTransport(&tls.Config{RootCAs: pool})
	defer transport.CloseIdleConnections()
	for _, reader := range []io.Reader{bytes.NewReader(body), io.LimitReader(bytes.NewReader(body), int64(len(body)))} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL, reader)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it was read to its end
		if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(got, body) {
			t.Errorf("got status %d, %d bytes, %v", resp.StatusCode, len(got), err)
		}
	}
}

// recordedConn counts writes.
type recordedConn struct {
	net.Conn
	writes int
	size   int
}

func (c *recordedConn) Write(p []byte) (int, error) {
	c.writes++
	c.size += len(p)
	return len(p), nil
}

func TestBufferedConnHolds(t *testing.T) {
	raw := &recordedConn{}
	c := &bufferedConn{Conn: raw}
	for range 3 {
		if _, err := c.Write(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	c.hold()
	for range 16 {
		if _, err := c.Write(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	if raw.writes != 3 {
		t.Errorf("while holding: got %d writes, want 3", raw.writes)
	}
	if err := c.release(); err != nil {
		t.Fatal(err)
	}
	if raw.writes != 4 || raw.size != 190 {
		t.Errorf("got %d writes of %d bytes, want 4 of 190", raw.writes, raw.size)
	}
}
