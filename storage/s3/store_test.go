package s3_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/storage/storagetest"
)

func open(t *testing.T, url string) *s3.Store {
	t.Helper()
	options, err := s3.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := s3.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// conformance runs the suite in prefixes of one bucket.
func conformance(t *testing.T, server *storagetest.Server) {
	t.Helper()
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	var n atomic.Int32
	storagetest.Run(t, func(t *testing.T) storage.Store {
		return open(t, server.URL("bucket", fmt.Sprintf("run/%d", n.Add(1))))
	})
}

func TestConformance(t *testing.T)    { conformance(t, storagetest.StartServer(t)) }
func TestConformanceTLS(t *testing.T) { conformance(t, storagetest.StartTLSServer(t)) }

// TestConformanceAtRoot has a bucket for each store, whose keys have no prefix.
func TestConformanceAtRoot(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	var n atomic.Int32
	storagetest.Run(t, func(t *testing.T) storage.Store {
		bucket := fmt.Sprintf("bucket-%d", n.Add(1))
		server.CreateBucket(t, bucket)
		return retry.New(open(t, server.URL(bucket, "")), retry.Options{MaxElapsed: time.Minute})
	})
}
