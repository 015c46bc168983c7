package restore_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/file"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/storage/storagetest"
	"github.com/pgark/pgark/wal"
)

// BenchmarkSupply makes WAL ready for a server that takes each segment as soon as it is there, by the command of a supervised one.
func BenchmarkSupply(b *testing.B) {
	const size, segments = wal.DefaultSegmentSize, 32
	stores := map[string]func(*testing.B) storage.Store{
		"memory": func(*testing.B) storage.Store { return memory.New() },
		"file": func(b *testing.B) storage.Store {
			store, err := file.Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			return store
		},
		"s3": func(b *testing.B) storage.Store {
			server := storagetest.StartServer(b)
			server.CreateBucket(b, "pgark")
			server.Setenv(b)
			store, err := s3.Open(b.Context(), s3.Options{Bucket: "pgark", Prefix: "main", Endpoint: server.Endpoint(), Region: "us-east-1"})
			if err != nil {
				b.Fatal(err)
			}
			return store
		},
	}
	for _, kind := range []string{"memory", "file", "s3"} {
		b.Run(kind, func(b *testing.B) {
			repo, err := repository.Create(b.Context(), stores[kind](b))
			if err != nil {
				b.Fatal(err)
			}
			c := repo.Cluster(fakeSystem)
			plain, random := make([]byte, size), rand.New(rand.NewPCG(3, 4))
			for i := 0; i < len(plain); i += 64 {
				copy(plain[i:], "heap insert off 12 flags 0x00 blkref rel 1663/16384/2619 ")
				for j := i + 42; j < i+60; j++ {
					plain[j] = byte(random.Uint32())
				}
			}
			encoder := repository.NewWALEncoder(compression.Zstd())
			plan := &restore.Plan{
				Backup: repository.Backup{SegmentSize: size}, Timeline: 1, Until: size.Start(2 + segments),
				Legs: []restore.Leg{{Timeline: 1, Range: wal.Range{Start: size.Start(2), End: size.Start(2 + segments)}, Segments: segments}},
			}
			for n := wal.SegmentNumber(2); n < 2+segments; n++ {
				encoder.Reset(nil)
				e, err := encoder.Encode(repository.WALObject{Kind: repository.KindSegment, Timeline: 1, SystemID: fakeSystem, SegmentSize: size, Range: size.Range(n)}, plain)
				if err != nil {
					b.Fatal(err)
				}
				if err := c.PutWAL(b.Context(), e); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(segments * int64(size))
			for b.Loop() {
				b.StopTimer()
				dir := b.TempDir()
				if err := os.Mkdir(filepath.Join(dir, "pg_wal"), 0o700); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				done := make(chan error, 1)
				prefetch, err := restore.NewPrefetch(plan, dir, restore.RecoverOptions{})
				if err != nil {
					b.Fatal(err)
				}
				go func() { done <- prefetch.Run(b.Context(), c) }()
				for n := wal.SegmentNumber(2); n < 2+segments; n++ {
					file := size.FileName(wal.SegmentID{Timeline: 1, Number: n})
					for shell(b.Context(), b, dir, take(plan, file, "pg_wal/"+file, "exit 1")) != 0 {
						time.Sleep(time.Millisecond)
					}
				}
				b.StopTimer() // some of it is still being written to disk
				if err := <-done; err != nil {
					b.Fatal(err)
				}
				if err := os.RemoveAll(dir); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
