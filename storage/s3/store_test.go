package s3_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/pgark/pgark/storage"
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

func conformance(t *testing.T, server *storagetest.Server) {
	t.Helper()
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	var n atomic.Int32
	t.Run("in a prefix", func(t *testing.T) {
		storagetest.Run(t, func(t *testing.T) storage.Store {
			return open(t, server.URL("bucket", fmt.Sprintf("run/%d", n.Add(1))))
		})
	})
	t.Run("at the root", func(t *testing.T) {
		storagetest.Run(t, func(t *testing.T) storage.Store {
			bucket := fmt.Sprintf("bucket-%d", n.Add(1))
			server.CreateBucket(t, bucket)
			return open(t, server.URL(bucket, ""))
		})
	})
}

func TestConformance(t *testing.T)    { conformance(t, storagetest.StartServer(t)) }
func TestConformanceTLS(t *testing.T) { conformance(t, storagetest.StartTLSServer(t)) }
