package limit

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/pgark/pgark/storage"
)

// Options of Wrap: the limiters that all bytes of a store pass, such as its own and one that several stores share. Those that are nil limit nothing.
type Options struct {
	Upload []*Limiter
	Read   []*Limiter
}

// Store is a storage.Store whose objects' bytes pass limiters. What the store beneath can do besides, it can. Requests and answers without an object's bytes are not counted.
type Store struct {
	storage.Store

	options Options
}

// Wrap puts limiters before a store.
func Wrap(store storage.Store, options Options) *Store { return &Store{Store: store, options: options} }

// Again charges bytes that are sent once more because an attempt failed.
func (o Options) Again(n int64) {
	for _, l := range o.Upload {
		if l != nil {
			l.charge(int(n))
		}
	}
}

// Put implements storage.Store.
func (s *Store) Put(ctx context.Context, key storage.Key, body []byte) error {
	if err := pass(ctx, s.options.Upload, len(body)); err != nil {
		return &storage.Error{Op: "put", Key: key, Err: err}
	}
	return s.Store.Put(ctx, key, body)
}

// Begin implements storage.Store.
func (s *Store) Begin(ctx context.Context, key storage.Key) (storage.Upload, error) {
	return s.limited(key)(s.Store.Begin(ctx, key))
}

// Supersede implements storage.Superseder.
func (s *Store) Supersede(ctx context.Context, key storage.Key) (storage.Upload, error) {
	return s.limited(key)(storage.Supersede(ctx, s.Store, key))
}

func (s *Store) limited(key storage.Key) func(storage.Upload, error) (storage.Upload, error) {
	return func(u storage.Upload, err error) (storage.Upload, error) {
		if err != nil {
			return nil, err
		}
		return &upload{u, key, s.options.Upload}, nil
	}
}

type upload struct {
	storage.Upload

	key      storage.Key
	limiters []*Limiter
}

// Part implements storage.Upload.
func (u *upload) Part(ctx context.Context, n int, body []byte) error {
	if err := pass(ctx, u.limiters, len(body)); err != nil {
		return &storage.Error{Op: "part", Key: u.key, Err: err}
	}
	return u.Upload.Part(ctx, n, body)
}

// Get implements storage.Store. The bytes pass as they are read.
func (s *Store) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	body, err := s.Store.Get(ctx, key, span)
	if err != nil {
		return nil, err
	}
	return s.reader(ctx, key, body), nil
}

func (s *Store) reader(ctx context.Context, key storage.Key, body io.ReadCloser) *reader {
	r := &reader{ReadCloser: body}
	r.pass = func(n int) error {
		if err := pass(ctx, s.options.Read, n); err != nil {
			return &storage.Error{Op: "read", Key: key, Err: err}
		}
		return nil
	}
	for _, l := range s.options.Read {
		if l != nil && (r.most == 0 || l.most() < r.most) {
			r.most = l.most()
		}
	}
	return r
}

type reader struct {
	io.ReadCloser

	most int // bytes of one Read; 0 for any number
	pass func(n int) error
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.most > 0 && len(p) > r.most {
		p = p[:r.most]
	}
	n, err := r.ReadCloser.Read(p)
	if passErr := r.pass(n); passErr != nil {
		return n, passErr
	}
	return n, err
}

// Probe implements storage.Prober.
func (s *Store) Probe(ctx context.Context) (storage.Conditional, error) {
	return storage.Probe(ctx, s.Store)
}

// Replication implements storage.Replicator.
func (s *Store) Replication(ctx context.Context) (storage.Replication, error) {
	return storage.BucketReplication(ctx, s.Store)
}

// Replicated implements storage.Replicator.
func (s *Store) Replicated(ctx context.Context, key storage.Key) (storage.ReplicationStatus, error) {
	return storage.Replicated(ctx, s.Store, key)
}

// StaleUploads implements storage.Sweeper.
func (s *Store) StaleUploads(ctx context.Context, before time.Time) ([]storage.StaleUpload, error) {
	return storage.StaleUploads(ctx, s.Store, before)
}

// DropUpload implements storage.Sweeper.
func (s *Store) DropUpload(ctx context.Context, u storage.StaleUpload) error {
	return storage.DropUpload(ctx, s.Store, u)
}

// Versioning implements storage.Versioner.
func (s *Store) Versioning(ctx context.Context) (storage.Versioning, error) {
	return storage.BucketVersioning(ctx, s.Store)
}

// Versions implements storage.Versioner.
func (s *Store) Versions(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Version, error] {
	return storage.Versions(ctx, s.Store, prefix, after)
}

// GetVersion implements storage.Versioner.
func (s *Store) GetVersion(ctx context.Context, key storage.Key, version string, span storage.Span) (io.ReadCloser, error) {
	body, err := storage.GetVersion(ctx, s.Store, storage.Info{Key: key, Version: version}, span)
	if err != nil {
		return nil, err
	}
	return s.reader(ctx, key, body), nil
}

// StatVersion implements storage.VersionStater.
func (s *Store) StatVersion(ctx context.Context, key storage.Key, version string) (storage.Info, error) {
	return storage.StatVersion(ctx, s.Store, storage.Info{Key: key, Version: version})
}

// RenewVersion implements storage.Versioner.
func (s *Store) RenewVersion(ctx context.Context, version storage.Info) error {
	return storage.RenewVersion(ctx, s.Store, version)
}

// RenewedFrom implements storage.Versioner.
func (s *Store) RenewedFrom(ctx context.Context, key storage.Key) (version string, err error) {
	return storage.RenewedFrom(ctx, s.Store, key)
}

// RemoveVersion implements storage.Versioner.
func (s *Store) RemoveVersion(ctx context.Context, key storage.Key, version string) error {
	return storage.RemoveVersion(ctx, s.Store, key, version)
}

// BucketLock implements storage.Locker.
func (s *Store) BucketLock(ctx context.Context) (storage.Lock, error) {
	return storage.BucketLock(ctx, s.Store)
}

// Locked implements storage.Locker.
func (s *Store) Locked(ctx context.Context, key storage.Key, version string) (storage.LockMode, time.Time, error) {
	return storage.Locked(ctx, s.Store, storage.Info{Key: key, Version: version})
}

// Extend implements storage.Locker.
func (s *Store) Extend(ctx context.Context, key storage.Key, version string, l storage.Lock, least time.Duration) (bool, error) {
	return storage.Extend(ctx, s.Store, storage.Info{Key: key, Version: version}, l, least)
}

// Thaw implements storage.Thawer.
func (s *Store) Thaw(ctx context.Context, object storage.Info, how storage.Thaw) error {
	return storage.ThawObject(ctx, s.Store, object, how)
}

// Lifecycle implements storage.Lifecycler.
func (s *Store) Lifecycle(ctx context.Context) ([]storage.LifecycleRule, error) {
	return storage.BucketLifecycle(ctx, s.Store)
}

var (
	_ storage.Lifecycler = (*Store)(nil)
	_ storage.Locker     = (*Store)(nil)
	_ storage.Prober     = (*Store)(nil)
	_ storage.Replicator = (*Store)(nil)
	_ storage.Superseder = (*Store)(nil)
	_ storage.Sweeper    = (*Store)(nil)
	_ storage.Thawer     = (*Store)(nil)
	_ storage.Versioner  = (*Store)(nil)
)

// Folders implements storage.Folderer.
func (s *Store) Folders(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Key, error] {
	return storage.Folders(ctx, s.Store, prefix, after)
}

// Powers implements storage.PowerProber.
func (s *Store) Powers(ctx context.Context, key storage.Key) (storage.Powers, error) {
	return storage.ProbePowers(ctx, s.Store, key)
}

// Skew implements storage.Clock.
func (s *Store) Skew(ctx context.Context) (storage.Skew, error) {
	return storage.ClockSkew(ctx, s.Store)
}
