package status

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Encryption is which of a repository's contents are encrypted, as far as that shows without a private key.
type Encryption struct {
	// Scheme is how: age.
	Scheme string `json:"scheme"`
	// Recipients is to how many public keys what was archived last of it is encrypted; absent where that could not be read.
	Recipients int `json:"recipients,omitempty"`
	// PlainBackups and PlainWAL are the objects in clear, from before it began; PlainBytes is how much that is.
	PlainBackups int   `json:"plain_backups,omitempty"`
	PlainWAL     int   `json:"plain_wal_objects,omitempty"`
	PlainBytes   int64 `json:"plain_bytes,omitempty"`
	// Late are of these the backups and WAL objects that were put in clear after it had begun: nothing of pgark does that. LateTotal is how many
	// they are, of which Late names the first.
	Late      []string `json:"late_plain,omitempty"`
	LateTotal int      `json:"late_plain_total,omitempty"`
}

const scheme = "age"

// lateNamed is how many objects are named that were put in clear late.
const lateNamed = 10

// Sealed is which contents of a repository are encrypted.
type Sealed struct {
	// Recipients is to how many public keys a backup is encrypted, by its id, where that could be read.
	Recipients map[string]int
	// Newest is the encrypted WAL object that ends last, on the newest timeline that has one; NewestRecipients to how many public keys it is.
	Newest           *repository.Entry
	NewestRecipients int
	// PlainWAL and PlainBytes are the WAL objects in clear; Late those behind the end of an encrypted one, LateTotal how many.
	PlainWAL   int
	PlainBytes int64
	Late       []string
	LateTotal  int

	began wal.LSN // where the first encrypted object ended; 0 if none was seen
}

// add takes the next object in the order of ListWAL, of one timeline after the other.
func (s *Sealed) add(e repository.Entry) {
	if e.Sealed() {
		if s.began == 0 || e.Range.End < s.began {
			s.began = e.Range.End
		}
		if s.Newest == nil || e.Timeline > s.Newest.Timeline || e.Range.End > s.Newest.Range.End {
			s.Newest = &e
		}
		return
	}
	s.PlainWAL++
	s.PlainBytes += e.Stored
	if s.began != 0 && e.Range.Start >= s.began {
		s.late(string(e.Key))
	}
}

// addBlock takes a block in the place of the objects in it. The last encrypted object before the end, or before what is in clear, lies in none.
func (s *Sealed) addBlock(tli wal.TimelineID, b repository.Block) {
	if b.Sealed {
		return // nor does the first one
	}
	s.PlainWAL += b.Objects
	s.PlainBytes += b.Stored
	if s.began != 0 && b.Range.Start >= s.began {
		s.late(fmt.Sprintf("WAL %s of timeline %s", b.Range, tli))
		s.LateTotal += b.Objects - 1
	}
}

func (s *Sealed) late(name string) {
	s.LateTotal++
	if len(s.Late) < lateNamed {
		s.Late = append(s.Late, name)
	}
}

// readsAtOnce is how many headers are read at a time.
const readsAtOnce = 32

// count reads to how many keys backups and the newest WAL are encrypted. An object that is gone or damaged tells nothing.
func (s *Sealed) count(ctx context.Context, c *repository.Cluster, backups []repository.Backup) error {
	tells := func(n int, err error) (int, error) {
		var corrupt *repository.CorruptError
		if errors.As(err, &corrupt) || errors.Is(err, storage.ErrNotFound) || errors.Is(err, repository.ErrNoWAL) {
			return 0, nil
		}
		return n, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readsAtOnce)
	counts := make([]int, len(backups))
	for i, b := range backups {
		if !b.Sealed() {
			continue
		}
		group.Go(func() (err error) {
			counts[i], err = tells(c.BackupRecipients(ctx, b))
			return err
		})
	}
	if s.Newest != nil {
		group.Go(func() (err error) {
			s.NewestRecipients, err = tells(c.Recipients(ctx, *s.Newest))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	s.Recipients = make(map[string]int, len(backups))
	for i, b := range backups {
		s.Recipients[b.ID] = counts[i]
	}
	return nil
}

// encryption is nil where nothing is encrypted.
func (f *Facts) encryption() *Encryption {
	s := f.Sealed
	e := &Encryption{Scheme: scheme, Recipients: s.NewestRecipients, PlainWAL: s.PlainWAL, PlainBytes: s.PlainBytes}
	sealedBackup := false
	for _, b := range f.Backups {
		switch {
		case b.Sealed():
			sealedBackup = true
			if s.Newest == nil {
				e.Recipients = s.Recipients[b.ID]
			}
		default:
			e.PlainBackups++
			e.PlainBytes += b.Stored
			if sealedBackup {
				s.late("backup " + b.ID)
			}
		}
	}
	if s.Newest == nil && !sealedBackup {
		return nil
	}
	e.Late, e.LateTotal = s.Late, s.LateTotal
	return e
}
