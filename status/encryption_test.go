package status

import (
	"reflect"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// TestEncryptionOf guards I38: what is in clear beside what is encrypted is told of, and what was put in clear after encryption had begun is told apart from what is older.
func TestEncryptionOf(t *testing.T) {
	const mib = 1 << 20
	sealed := func(tli wal.TimelineID, start, end wal.LSN) repository.Entry {
		return repository.Entry{Key: "w.zst.age", Timeline: tli, Range: wal.Range{Start: start, End: end}, Stored: 100}
	}
	plain := func(key storage.Key, tli wal.TimelineID, start, end wal.LSN) repository.Entry {
		return repository.Entry{Key: key, Timeline: tli, Range: wal.Range{Start: start, End: end}, Stored: 10}
	}
	taken := func(id string, encrypted bool) repository.Backup {
		b := repository.Backup{ID: id, Stored: 1000, Started: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
		if encrypted {
			b.Encryption = &repository.BackupEncryption{Scheme: scheme}
		}
		return b
	}
	for name, test := range map[string]struct {
		wal     []repository.Entry
		backups []repository.Backup
		want    *Encryption
	}{
		"all in clear": {[]repository.Entry{plain("a", 1, mib, 2*mib)}, []repository.Backup{taken("1", false)}, nil},
		"all encrypted": {
			[]repository.Entry{sealed(1, mib, 2*mib)},
			[]repository.Backup{taken("1", true)},
			&Encryption{Scheme: scheme, Recipients: 3},
		},
		"begun in the middle of a segment, whose pieces in clear stay beside it": {
			[]repository.Entry{
				plain("a", 1, mib, 2*mib), sealed(1, 2*mib, 3*mib), plain("b", 1, 2*mib, 2*mib+500), sealed(1, 2*mib+500, 3*mib), sealed(1, 3*mib, 4*mib),
			},
			[]repository.Backup{taken("1", false), taken("2", true)},
			&Encryption{Scheme: scheme, Recipients: 3, PlainBackups: 1, PlainWAL: 2, PlainBytes: 1020},
		},
		"put in clear behind what is encrypted": {
			[]repository.Entry{sealed(1, 2*mib, 3*mib), plain("late", 1, 3*mib, 4*mib), sealed(1, 4*mib, 5*mib)},
			[]repository.Backup{taken("2", true), taken("3", false)},
			&Encryption{Scheme: scheme, Recipients: 3, PlainBackups: 1, PlainWAL: 1, PlainBytes: 1010, Late: []string{"late", "backup 3"}, LateTotal: 2},
		},
		"in clear on a timeline after one that is encrypted": {
			[]repository.Entry{sealed(1, 2*mib, 3*mib), plain("late", 2, 3*mib, 4*mib)},
			nil,
			&Encryption{Scheme: scheme, Recipients: 3, PlainWAL: 1, PlainBytes: 10, Late: []string{"late"}, LateTotal: 1},
		},
		"a later timeline that left earlier": {
			[]repository.Entry{plain("a", 1, 2*mib, 9*mib), plain("b", 2, 9*mib, 10*mib), sealed(3, 4*mib, 5*mib)},
			nil,
			&Encryption{Scheme: scheme, Recipients: 3, PlainWAL: 2, PlainBytes: 20},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := Facts{Backups: test.backups}
			for _, e := range test.wal {
				f.Sealed.add(e)
			}
			f.Sealed.NewestRecipients = 3
			got := f.encryption()
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}
