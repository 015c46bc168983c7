package restore_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/restore"
)

// BenchmarkLayDown lays a made-up cluster of some 550 MB down from memory:
// many small files, many of a megabyte, two large ones.
func BenchmarkLayDown(b *testing.B) {
	members := dataDirectory()[:11]
	size := 0
	for i := range 2000 {
		members = append(members, noise(fmt.Sprintf("base/5/s%d", i), 16<<10))
		size += 16 << 10
	}
	for i := range 256 {
		members = append(members, noise(fmt.Sprintf("base/5/m%d", i), 1<<20))
		size += 1 << 20
	}
	to, secret := keyPair(b)
	identities, err := encryption.ParseIdentities([]byte(secret))
	if err != nil {
		b.Fatal(err)
	}
	for kind, keys := range map[string]encryption.Keys{"clear": {}, "encrypted": {Recipients: to, Identities: identities}} {
		b.Run(kind, func(b *testing.B) {
			store, plan := fakeBackupWith(b, keys, nil, pack{"base", members},
				pack{"base", []member{noise("base/5/l1", 128<<20)}}, pack{"base", []member{noise("base/5/l2", 128<<20)}})
			cluster := clusterIn(b, store).With(keys)
			b.SetBytes(int64(size + 256<<20))
			for b.Loop() {
				o := layInto(b)
				o.Jobs = 0
				if _, err := restore.LayDown(b.Context(), cluster, plan, o); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := os.RemoveAll(o.Dir); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
