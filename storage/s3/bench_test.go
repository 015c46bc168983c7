package s3_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/storage/storagetest"
)

func BenchmarkPut(b *testing.B) {
	for name, start := range map[string]func(testing.TB) *storagetest.Server{
		"http": storagetest.StartServer, "https": storagetest.StartTLSServer,
	} {
		for _, size := range []int{8 << 10, 1 << 20, 16 << 20} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				server := start(b)
				for _, e := range server.Env() {
					key, value, _ := strings.Cut(e, "=")
					b.Setenv(key, value)
				}
				server.CreateBucket(b, "bucket")
				options, err := s3.ParseURL(server.URL("bucket", ""))
				if err != nil {
					b.Fatal(err)
				}
				s, err := s3.Open(b.Context(), options)
				if err != nil {
					b.Fatal(err)
				}
				body := storagetest.Random(size, 1)
				b.SetBytes(int64(size))
				for i := 0; b.Loop(); i++ {
					if err := s.Put(b.Context(), storage.Key(fmt.Sprintf("k/%d", i)), body); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
