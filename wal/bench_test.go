package wal_test

import (
	"testing"

	"github.com/pgark/pgark/wal"
)

// BenchmarkDecoder reads 16 MiB such as a small transaction load writes: in
// bytes about 100 a record, and a commit to every five records.
func BenchmarkDecoder(b *testing.B) {
	s := newStream(testSize.Start(1))
	for i := 0; len(s.bytes) < 16<<20; i++ {
		for _, length := range []int{59, 74, 83, 79} {
			s.heap(length + i%100)
		}
		s.commit(uint32(i), wal.Time(i))
	}
	big := newStream(testSize.Start(1))
	for len(big.bytes) < 16<<20 {
		big.heap(8000)
	}
	benchmarks := []struct {
		name    string
		stream  *stream
		options []wal.Option
	}{
		{"small", s, nil},
		{"small-events", s, []wal.Option{wal.EventsOnly}},
		{"small-tablespaces", s, []wal.Option{wal.EventsOnly, wal.TablespaceEvents}},
		{"small-storage", s, []wal.Option{wal.StorageEvents}},
		{"small-crc", s, []wal.Option{wal.CheckCRC}},
		{"pages", big, nil},
		{"pages-crc", big, []wal.Option{wal.CheckCRC}},
	}
	for _, bench := range benchmarks {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(bench.stream.bytes)))
			b.ReportAllocs()
			for b.Loop() {
				d := wal.NewDecoder(testSize, bench.stream.start, bench.options...)
				for p := bench.stream.bytes; len(p) > 0; {
					n := min(128<<10, len(p)) // what a server sends at most
					if err := d.Write(p[:n]); err != nil {
						b.Fatal(err)
					}
					for _, ok := d.Next(); ok; _, ok = d.Next() {
					}
					p = p[n:]
				}
			}
		})
	}
}
