package backup_test

import (
	"testing"

	"filippo.io/age"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/memory"
)

// BenchmarkRun is the pipeline alone: no server and no disk. B/s are plain bytes.
func BenchmarkRun(b *testing.B) {
	for name, file := range map[string]fakeFile{
		"pattern": {path: "base/5/1", kind: repository.TypeFile, size: 256 << 20},
		"noise":   {path: "base/5/1", kind: repository.TypeFile, size: 256 << 20, noise: true},
	} {
		for kind, keys := range map[string]encryption.Keys{"clear": {}, "encrypted": benchKeys(b)} {
			b.Run(name+"/"+kind, func(b *testing.B) {
				b.SetBytes(file.size)
				src := newSource(file)
				src.stop.Manifest = src.makeManifest()
				for b.Loop() {
					c := newCluster(b, memory.New()).With(keys)
					src.next = 0
					if _, err := backup.Run(b.Context(), src, c, backup.Options{WaitDurable: durable}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// benchKeys are two public keys, as a host has them.
func benchKeys(b *testing.B) encryption.Keys {
	b.Helper()
	var text string
	for range 2 {
		pair, err := age.GenerateX25519Identity()
		if err != nil {
			b.Fatal(err)
		}
		text += pair.Recipient().String() + "\n"
	}
	to, err := encryption.ParseRecipients([]byte(text))
	if err != nil {
		b.Fatal(err)
	}
	return encryption.Keys{Recipients: to}
}
