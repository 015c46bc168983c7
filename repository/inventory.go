package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// inventoryReads is how many headers are read at a time.
const inventoryReads = 8

// Inventory is what a repository holds of all that one base backup needs. Keys, sizes and headers were looked at; of the data nothing was
// read, so that it shows what is missing or cut, and not what is damaged.
type Inventory struct {
	Objects int   // that are there and as long as they should be
	Bytes   int64 // of these
	Lacks   []Lack
}

// Lack is something that a base backup needs and the repository does not hold, or not whole.
type Lack struct {
	Key    storage.Key // of the object, or of the record whose WAL it is
	Reason string
}

// String names the object and what is wrong.
func (l Lack) String() string { return string(l.Key) + ": " + l.Reason }

// Inventory looks for every object that b, a record that Backups or Backup returned, names, for the WAL that makes it consistent, and
// for the history file of each timeline that has WAL here. In a repository that another store copies without an order, the record may be
// there before what it names.
func (c *Cluster) Inventory(ctx context.Context, b Backup) (Inventory, error) {
	taker := stocktaker{cluster: c, backup: b}
	for _, step := range []func(context.Context) error{taker.data, taker.wal, taker.histories} {
		if err := step(ctx); err != nil {
			return Inventory{}, fmt.Errorf("look for what backup %s needs: %w", b.ID, err)
		}
	}
	return taker.found, nil
}

// DataInventory is Inventory without the WAL and the history files. It costs a listing of the backup's folder and one read.
func (c *Cluster) DataInventory(ctx context.Context, b Backup) (Inventory, error) {
	taker := stocktaker{cluster: c, backup: b}
	if err := taker.data(ctx); err != nil {
		return Inventory{}, fmt.Errorf("look for the data of backup %s: %w", b.ID, err)
	}
	return taker.found, nil
}

// stocktaker makes an Inventory.
type stocktaker struct {
	cluster *Cluster
	backup  Backup

	mu    sync.Mutex
	found Inventory
}

func (s *stocktaker) holds(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found.Objects++
	s.found.Bytes += size
}

func (s *stocktaker) lacks(key storage.Key, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found.Lacks = append(s.found.Lacks, Lack{key, fmt.Sprintf(format, args...)})
}

// data looks for the objects in the backup's folder.
func (s *stocktaker) data(ctx context.Context) error {
	prefix := backupPrefix(s.cluster.id, s.backup.ID)
	there := map[storage.Key]int64{}
	for info, err := range s.cluster.store.List(ctx, prefix, "") {
		if err != nil {
			return err
		}
		there[info.Key] = info.Size
	}
	look := func(key storage.Key, want int64) bool {
		got, ok := there[key]
		switch {
		case !ok:
			s.lacks(key, "is missing")
		case got != want && !hasSize(ctx, s.cluster.store, key, want):
			s.lacks(key, "has %d bytes, want %d", got, want)
		default:
			s.holds(want)
			return true
		}
		return false
	}
	look(prefix+s.backup.name(manifestName), s.backup.Manifest.Size)
	indexed := look(prefix+s.backup.name(indexName), s.backup.Index.Size)
	if s.backup.Sealed() {
		for _, p := range s.backup.Encryption.Packs {
			look(prefix+s.backup.name(storage.Key(p.Name)), p.Size)
		}
		return nil
	}
	if !indexed {
		return nil // it names the packs
	}
	reader, err := s.cluster.OpenBackup(ctx, s.backup)
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		s.lacks(corrupt.Key, "cannot be read: %s", corrupt.Reason)
		return nil
	}
	if err != nil {
		return err
	}
	for _, p := range reader.Packs() {
		look(p.key(prefix), p.Stored)
	}
	return nil
}

// wal looks for the WAL that makes the backup consistent. A header says how long its object must be.
func (s *stocktaker) wal(ctx context.Context) error {
	b := s.backup
	var objects []Entry
	for e, err := range s.cluster.ListWAL(ctx, b.Timeline, b.StartLSN) {
		if err != nil {
			return err
		}
		if e.Range.Start >= b.StopLSN {
			break
		}
		objects = append(objects, e)
	}
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(inventoryReads)
	end := b.StartLSN
	for _, e := range Assemble(b.StartLSN, objects) {
		end = e.Range.End
		group.Go(func() error { return s.header(reading, e) })
	}
	if end < b.StopLSN {
		s.lacks(recordKey(s.cluster.id, b.ID), "its WAL %s is missing", wal.Range{Start: end, End: b.StopLSN})
	}
	return group.Wait()
}

func (s *stocktaker) header(ctx context.Context, e Entry) error {
	_, err := s.cluster.ReadHeader(ctx, e)
	var corrupt *CorruptError
	switch {
	case errors.As(err, &corrupt):
		s.lacks(e.Key, "%s", corrupt.Reason)
		return nil
	case errors.Is(err, ErrNoWAL):
		return nil // a piece whose segment was completed since the listing
	case err == nil:
		s.holds(e.Stored)
	}
	return err
}

// histories looks for the history files: without one no server goes to its timeline.
func (s *stocktaker) histories(ctx context.Context) error {
	timelines, err := s.cluster.Timelines(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(timelines, s.backup.Timeline) {
		timelines = append(timelines, s.backup.Timeline)
	}
	for _, tli := range timelines {
		if tli == 1 {
			continue
		}
		_, raw, err := s.cluster.History(ctx, tli)
		var corrupt *CorruptError
		switch {
		case errors.Is(err, ErrNoWAL):
			s.lacks(historyKey(s.cluster.id, tli), "is missing")
		case errors.As(err, &corrupt):
			s.lacks(corrupt.Key, "%s", corrupt.Reason)
		case err != nil:
			return err
		case tli == s.backup.Timeline && !bytes.Equal(raw, s.backup.History):
			s.lacks(historyKey(s.cluster.id, tli), "is not the one that the backup's record holds")
		default:
			s.holds(int64(len(raw)))
		}
	}
	return nil
}
