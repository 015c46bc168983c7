package repository_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// BenchmarkEncodeSegment encodes 16 MiB that shrink about as WAL does.
func BenchmarkEncodeSegment(b *testing.B) {
	span := wal.Range{Start: 16 * mib, End: 32 * mib}
	plain := noisyPages(16 * mib)
	for _, how := range []struct {
		name  string
		codec compression.Codec
		keys  encryption.Keys
	}{
		{"zstd", compression.Zstd(), encryption.Keys{}}, {"zstd-proved", compression.Zstd(), publicHost(b, newTestKeys(b))}, {"s2", compression.S2(), encryption.Keys{}},
	} {
		b.Run(how.name, func(b *testing.B) {
			encoder := repository.NewWALEncoder(how.codec)
			c, _ := cluster(b)
			c.With(how.keys).Prove(encoder)
			var body []byte
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			for b.Loop() {
				encoder.Reset(body)
				e, err := encoder.Encode(object(repository.KindSegment, 1, 16*mib, span), plain)
				if err != nil {
					b.Fatal(err)
				}
				body = e.Body
			}
			b.ReportMetric(float64(len(plain))/float64(len(body)), "ratio")
		})
	}
}

func BenchmarkReadSegment(b *testing.B) {
	span := wal.Range{Start: 16 * mib, End: 32 * mib}
	c, _ := cluster(b)
	plain := noisyPages(16 * mib)
	e := encode(b, compression.Zstd(), object(repository.KindSegment, 1, 16*mib, span), plain)
	if err := c.PutWAL(context.Background(), e); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(plain)))
	b.ReportAllocs()
	var reader repository.SegmentReader
	for b.Loop() {
		if _, err := reader.Read(context.Background(), c, 16*mib, wal.SegmentID{Timeline: 1, Number: 1}); err != nil {
			b.Fatal(err)
		}
	}
}

// noisyPages returns bytes of which a quarter is random, in pages of 8 KiB.
func noisyPages(n int) []byte {
	random := rand.New(rand.NewPCG(3, 4))
	b := make([]byte, n)
	for i := 0; i < n; i += 64 {
		copy(b[i:], "heap insert off 12 flags 0x00 blkref rel 1663/16384/2619 ")
		for j := i + 44; j < min(i+60, n); j++ {
			b[j] = byte(random.Uint32())
		}
	}
	return b
}
