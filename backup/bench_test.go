package backup_test

import (
	"testing"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/memory"
)

// BenchmarkRun is the pipeline alone: no server and no disk. B/s are plain bytes.
func BenchmarkRun(b *testing.B) {
	for name, file := range map[string]fakeFile{
		"pattern": {path: "base/5/1", kind: repository.TypeFile, size: 256 << 20},
		"noise":   {path: "base/5/1", kind: repository.TypeFile, size: 256 << 20, noise: true},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(file.size)
			src := newSource(file)
			src.stop.Manifest = src.makeManifest()
			for b.Loop() {
				c := newCluster(b, memory.New())
				src.next = 0
				if _, err := backup.Run(b.Context(), src, c, backup.Options{WaitDurable: durable}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
