package asof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/pgark/pgark/storage"
)

// refuse is the answer to what would change something, now or then.
func (s *Store) refuse(op string, key storage.Key) error {
	return &storage.Error{Op: op, Key: key, Place: "as of " + s.options.At.UTC().Format(time.RFC3339), Err: storage.ErrReadOnly}
}

// errPast is the answer to what can be asked of the present alone.
var errPast = fmt.Errorf("of a repository as it was: %w", errors.ErrUnsupported)

// Put implements storage.Store by refusing.
func (s *Store) Put(_ context.Context, key storage.Key, _ []byte) error { return s.refuse("put", key) }

// Begin implements storage.Store by refusing.
func (s *Store) Begin(_ context.Context, key storage.Key) (storage.Upload, error) {
	return nil, s.refuse("begin", key)
}

// Delete implements storage.Store by refusing.
func (s *Store) Delete(_ context.Context, key storage.Key) error { return s.refuse("delete", key) }

// Probe implements storage.Prober by refusing.
func (s *Store) Probe(context.Context) (storage.Conditional, error) {
	return storage.ConditionalUnknown, s.refuse("probe", storage.ProbeKey)
}

// Supersede implements storage.Superseder by refusing.
func (s *Store) Supersede(_ context.Context, key storage.Key) (storage.Upload, error) {
	return nil, s.refuse("supersede", key)
}

// StaleUploads implements storage.Sweeper: there are none.
func (s *Store) StaleUploads(context.Context, time.Time) ([]storage.StaleUpload, error) {
	return nil, nil
}

// DropUpload implements storage.Sweeper by refusing.
func (s *Store) DropUpload(_ context.Context, u storage.StaleUpload) error {
	return s.refuse("abort", u.Key)
}

// Replication implements storage.Replicator: what the bucket copies is said of the present.
func (s *Store) Replication(context.Context) (storage.Replication, error) {
	return storage.Replication{}, errPast
}

// Replicated implements storage.Replicator as Replication does.
func (s *Store) Replicated(context.Context, storage.Key) (storage.ReplicationStatus, error) {
	return storage.NotReplicated, errPast
}

// Versioning implements storage.Versioner: what is seen has one version each.
func (s *Store) Versioning(context.Context) (storage.Versioning, error) { return "", errPast }

// Versions implements storage.Versioner as Versioning does.
func (s *Store) Versions(context.Context, storage.Key, storage.Key) iter.Seq2[storage.Version, error] {
	return func(yield func(storage.Version, error) bool) { yield(storage.Version{}, errPast) }
}

// GetVersion implements storage.Versioner as Versioning does.
func (s *Store) GetVersion(context.Context, storage.Key, string, storage.Span) (io.ReadCloser, error) {
	return nil, errPast
}

// StatVersion implements storage.VersionStater as Versioning does.
func (s *Store) StatVersion(context.Context, storage.Key, string) (storage.Info, error) {
	return storage.Info{}, errPast
}

// RenewVersion implements storage.Versioner by refusing.
func (s *Store) RenewVersion(_ context.Context, version storage.Info) error {
	return s.refuse("renew", version.Key)
}

// RenewedFrom implements storage.Versioner as Versioning does.
func (s *Store) RenewedFrom(context.Context, storage.Key) (string, error) { return "", errPast }

// RemoveVersion implements storage.Versioner by refusing.
func (s *Store) RemoveVersion(_ context.Context, key storage.Key, _ string) error {
	return s.refuse("remove", key)
}
