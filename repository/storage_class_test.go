package repository_test

import (
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
)

func TestStorageClasses(t *testing.T) {
	c := repository.StorageClasses{Backups: "B", WAL: "W"}
	const cluster, backup = "7423474350493388827", "7423474350493388827/backups/20261121T024000Z"
	for key, want := range map[storage.Key]string{
		backup + "/base-00001.tar.zst":                            "B",
		backup + "/16384-00012.tar.zst.age":                       "B",
		backup + "/index.zst":                                     "",
		backup + "/backup_manifest.zst.age":                       "",
		backup + "/record.json":                                   "",
		cluster + "/wal/00000001/000000010000000000000007.zst":    "W",
		cluster + "/wal/00000001/000000010000000000000007.s2.age": "W",
		cluster + "/wal/00000001/000000010000000000000007.part/0000000007000000-0000000007000100.zst": "",
		cluster + "/wal/00000002.history":   "",
		cluster + "/beats/20261121T024000Z": "",
		"pgark.json":                        "",
		storage.ProbeKey:                    "",
	} {
		if got := c.ClassOf(key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
}
