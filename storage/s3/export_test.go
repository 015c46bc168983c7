package s3

import (
	"context"
	"net"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// DialTLS replaces how TLS connections are made.
func (s *Store) DialTLS(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	s.transport.DialTLSContext = dial
}

// SetMaxCopy replaces the greatest number of bytes that one request copies.
func (s *Store) SetMaxCopy(n int64) { s.maxCopy = n }

// SetPageSize replaces how many versions a page of a list has.
func (s *Store) SetPageSize(n int32) { s.pageSize = aws.Int32(n) }

// AgeLock makes what the store knows of the bucket's lock so old that it is asked for again.
func (s *Store) AgeLock() {
	s.locking.mu.Lock()
	defer s.locking.mu.Unlock()
	s.locking.asked = s.locking.asked.Add(-2 * askAgain)
}
