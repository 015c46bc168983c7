package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
)

// Versioning says whether a bucket keeps the older versions of its objects, and those that were deleted.
type Versioning string

const (
	// VersioningEnabled means that every put makes a new version, and a deletion a marker that hides those before it.
	VersioningEnabled Versioning = "enabled"
	// VersioningSuspended means that versions are kept which were made before, and that what is put and deleted now is not.
	VersioningSuspended Versioning = "suspended"
	// VersioningOff means that the bucket never kept versions.
	VersioningOff Versioning = "off"
)

// NullVersion is the id of what was put, and of the markers of what was deleted, while the bucket kept no versions: before it began to, or while that was suspended. An object has
// at most one; the next takes its place, which leaves nothing behind.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/VersioningWorkflows.html
const NullVersion = "null"

// Version is one version of an object, or a marker that hides the versions before it. Info.Version is never empty. Info.Modified is the
// store's time of it, in S3 to the second; that of an object which was sent in parts is when the upload began, at some stores, among them Amazon's.
type Version struct {
	Info

	// Marker says that it is a delete marker. It has no bytes.
	Marker bool
	// Begun says that Modified is when its upload began, as far as can be told, so that it may have been put much later.
	Begun bool
	// Current says that it is the newest of its key: Get gives it, or, if it is a marker, ErrNotFound.
	Current bool
}

// Versioner is the optional ability of a store to give back what was put over or deleted. What it lists and reads are versions that exist
// already: nothing here makes a store keep them.
type Versioner interface {
	// Versioning returns how the bucket is set up. It returns an error that wraps errors.ErrUnsupported if the store does not know such a thing.
	Versioning(ctx context.Context) (Versioning, error)

	// Versions yields all versions and delete markers of the keys that begin with prefix and are greater than after, the keys in ascending
	// byte order, and of one key the newest first. Of a version and a marker of one second, neither of them current, the version
	// comes first. It ends after the first error. Names in the store that are no valid keys are passed over.
	Versions(ctx context.Context, prefix, after Key) iter.Seq2[Version, error]

	// GetVersion is Get of one version. It returns ErrNotFound if there is no such version, or if it is a marker, and ErrNoVersion, as the calls below do, if the version is
	// empty: it never means the current one.
	GetVersion(ctx context.Context, key Key, version string, span Span) (io.ReadCloser, error)

	// RenewVersion puts the bytes of a version under its key again, as the newest one and durably, without sending them through this host.
	// The version itself, which must not be a marker, stays. It returns ErrNotFound if there is none. Called again it makes one more.
	RenewVersion(ctx context.Context, version Info) error

	// RenewedFrom returns the version that the current one of the key was made of by RenewVersion, empty if it was not. The store's word on it can be forged by
	// whoever may put objects.
	RenewedFrom(ctx context.Context, key Key) (version string, err error)

	// RemoveVersion removes one version, or one marker, for good. It returns nil if there is none. If it was the current one, the one before
	// it is current.
	RemoveVersion(ctx context.Context, key Key, version string) error
}

// VersionStater is the ability of a Versioner to tell of one version what a list of them does not: whether it is thawed.
type VersionStater interface {
	// StatVersion is Stat of one version. It returns ErrNotFound if there is no such version, or if it is a marker.
	StatVersion(ctx context.Context, key Key, version string) (Info, error)
}

// BucketVersioning calls store's Versioning if it has one; errors.ErrUnsupported otherwise.
func BucketVersioning(ctx context.Context, store Store) (Versioning, error) {
	if v, ok := store.(Versioner); ok {
		return v.Versioning(ctx)
	}
	return "", errNoVersioning
}

// Versions calls store's Versions if it has one. Otherwise it yields an error that wraps errors.ErrUnsupported.
func Versions(ctx context.Context, store Store, prefix, after Key) iter.Seq2[Version, error] {
	if v, ok := store.(Versioner); ok {
		return v.Versions(ctx, prefix, after)
	}
	return func(yield func(Version, error) bool) { yield(Version{}, errNoVersioning) }
}

// GetVersion calls store's GetVersion if it has one; errors.ErrUnsupported otherwise.
func GetVersion(ctx context.Context, store Store, version Info, span Span) (io.ReadCloser, error) {
	if v, ok := store.(Versioner); ok {
		return v.GetVersion(ctx, version.Key, version.Version, span)
	}
	return nil, errNoVersioning
}

// StatVersion calls store's StatVersion if it has one; errors.ErrUnsupported otherwise.
func StatVersion(ctx context.Context, store Store, version Info) (Info, error) {
	if v, ok := store.(VersionStater); ok {
		return v.StatVersion(ctx, version.Key, version.Version)
	}
	return Info{}, errNoVersioning
}

// RenewVersion calls store's RenewVersion if it has one; errors.ErrUnsupported otherwise.
func RenewVersion(ctx context.Context, store Store, version Info) error {
	if v, ok := store.(Versioner); ok {
		return v.RenewVersion(ctx, version)
	}
	return errNoVersioning
}

// RenewedFrom calls store's RenewedFrom if it has one; errors.ErrUnsupported otherwise.
func RenewedFrom(ctx context.Context, store Store, key Key) (version string, err error) {
	if v, ok := store.(Versioner); ok {
		return v.RenewedFrom(ctx, key)
	}
	return "", errNoVersioning
}

// RemoveVersion calls store's RemoveVersion if it has one; errors.ErrUnsupported otherwise.
func RemoveVersion(ctx context.Context, store Store, key Key, version string) error {
	if v, ok := store.(Versioner); ok {
		return v.RemoveVersion(ctx, key, version)
	}
	return errNoVersioning
}

var errNoVersioning = fmt.Errorf("versions in a store that is no bucket: %w", errors.ErrUnsupported)
