package agent

import (
	"context"
	"fmt"
	"sync"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/telemetry"
)

// Copied is how much was copied from one repository to another.
type Copied struct {
	Objects int64
	Bytes   int64
}

// CopyRepository copies from one repository what another lacks, as repository.CatchUp does, and tells progress after each object and
// part. What is made has the lock of to. What was copied is returned with an error too.
func CopyRepository(ctx context.Context, from, to config.Cluster, o StoreOptions, progress func(Copied)) (Copied, error) {
	ctx, span := telemetry.Begin(ctx, telemetry.Copy, telemetry.Cluster.String(to.Name))
	done, err := copyRepository(ctx, from, to, o, progress)
	span.Set(telemetry.Objects.Int64(done.Objects), telemetry.Bytes.Int64(done.Bytes))
	span.End(err)
	return done, err
}

func copyRepository(ctx context.Context, from, to config.Cluster, o StoreOptions, progress func(Copied)) (Copied, error) {
	source, err := OpenStore(ctx, from.Repo.URL, o.of(from.Repositories()[0]))
	if err != nil {
		return Copied{}, err
	}
	defer func() { _ = source.Close() }() // only reads were made
	if _, err := repository.Open(ctx, source); err != nil {
		return Copied{}, opening(from.Repo.URL, err)
	}
	target, err := OpenStore(ctx, to.Repo.URL, o.of(to.Repositories()[0]))
	if err != nil {
		return Copied{}, err
	}
	defer func() { _ = target.Close() }() // all writes were confirmed before
	if _, err := storage.Probe(ctx, target); err != nil {
		return Copied{}, fmt.Errorf("write to %s: %w", to.Repo.URL, err)
	}
	counted := &countingStore{Store: target, progress: progress}
	err = repository.CatchUp(Patient(ctx), source, counted)
	if err != nil {
		err = fmt.Errorf("copy %s to %s: %w", from.Repo.URL, to.Repo.URL, err)
	}
	return counted.copied(), err
}

// countingStore counts what is created in a store.
type countingStore struct {
	storage.Store

	mu       sync.Mutex
	sum      Copied
	progress func(Copied)
}

func (s *countingStore) copied() Copied {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sum
}

func (s *countingStore) add(objects, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum.Objects += int64(objects)
	s.sum.Bytes += int64(bytes)
	s.progress(s.sum)
}

// Put implements storage.Store.
func (s *countingStore) Put(ctx context.Context, key storage.Key, body []byte) error {
	err := s.Store.Put(ctx, key, body)
	if err == nil {
		s.add(1, len(body))
	}
	return err
}

// Begin implements storage.Store.
func (s *countingStore) Begin(ctx context.Context, key storage.Key) (storage.Upload, error) {
	u, err := s.Store.Begin(ctx, key)
	if err != nil {
		return nil, err
	}
	return &countingUpload{u, s}, nil
}

type countingUpload struct {
	storage.Upload

	store *countingStore
}

// Part implements storage.Upload.
func (u *countingUpload) Part(ctx context.Context, n int, body []byte) error {
	err := u.Upload.Part(ctx, n, body)
	if err == nil {
		u.store.add(0, len(body))
	}
	return err
}

// Commit implements storage.Upload.
func (u *countingUpload) Commit(ctx context.Context) error {
	err := u.Upload.Commit(ctx)
	if err == nil {
		u.store.add(1, 0)
	}
	return err
}
