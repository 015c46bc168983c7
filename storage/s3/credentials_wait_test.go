package s3_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/s3"
)

// TestWaitForCredentials: a call that ends while credentials are looked for says so: it is not the store that does not answer.
func TestWaitForCredentials(t *testing.T) {
	metadata, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // it takes connections, and answers none
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = metadata.Close() }()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://"+metadata.Addr().String())
	s, err := s3.Open(t.Context(), s3.Options{Bucket: "bucket", Region: "us-east-1", Endpoint: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, storage.ErrUnavailable)
	defer cancel()
	if _, err := s.Stat(ctx, "a"); !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "while looking for credentials") {
		t.Errorf("got %v, want that credentials were looked for", err)
	}
}
