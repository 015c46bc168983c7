package s3

import (
	"context"
	"net"
)

// DialTLS replaces how TLS connections are made.
func (s *Store) DialTLS(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	s.transport.DialTLSContext = dial
}
