package storage

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Conditions that stores report; compare with errors.Is.
var (
	// ErrNotFound means that the store is there and answered that the object is not. It is never
	// returned because the store, the bucket or the network failed.
	ErrNotFound = errors.New("not found")
	// ErrExists means that a create found the key taken.
	ErrExists = errors.New("already exists")
	// ErrConflict means that a copy of the store holds another content under the key (storage/copies).
	ErrConflict = errors.New("exists with another content")
	// ErrDenied means that the credential is not known or may not do this.
	ErrDenied = errors.New("access denied")
	// ErrExpired means that the credential has expired. A new one is looked for with each call, so the
	// call may be made again.
	ErrExpired = errors.New("credentials expired")
	// ErrSkewed means that the store refuses requests because this host's clock differs too much from
	// its own.
	ErrSkewed = errors.New("clock differs from the store's")
	// ErrUnavailable means that the store did not answer, or not as it should, and may do so later.
	ErrUnavailable = errors.New("unavailable")
	// ErrNoStore means that the bucket itself does not exist.
	ErrNoStore = errors.New("no such bucket")
	// ErrUploadLost means that the store does not know this upload any more: it must be begun again.
	ErrUploadLost = errors.New("upload lost")
	// ErrNoVersions means that an object was not superseded because the store would have lost the one in its place: the bucket keeps
	// no versions.
	ErrNoVersions = errors.New("keeps no older versions")
	// ErrNoLock means that the store has no Object Lock, so that an object which is to be locked was not made.
	ErrNoLock = errors.New("has no Object Lock")
	// ErrLocked means that a version was not removed because it is under lock; the error is a *LockedError.
	ErrLocked = errors.New("under lock")
	// ErrArchived means that the object lies where it must be thawed before it can be read.
	ErrArchived = errors.New("archived: it must be thawed first")
	// ErrReadOnly means that nothing can be written here: the store is shown as it was at an instant (storage/asof).
	ErrReadOnly = errors.New("may only be read")
	// ErrKey means that a key is not valid.
	ErrKey = errors.New("invalid key")
	// ErrNoVersion means that a call that is for one version of an object names none.
	ErrNoVersion = errors.New("no version is named")
	// ErrSpan means that a span does not lie within the object.
	ErrSpan = errors.New("invalid span")
	// ErrTooLarge means that an object is larger than the caller allows.
	ErrTooLarge = errors.New("too large")
	// ErrClosed means that an upload was used after its end.
	ErrClosed = errors.New("upload has ended")

	errEmptyName = errors.New("a name is empty")
	errDotName   = errors.New("a name begins with a dot")
)

// Error says which operation on which key in which store failed and why. It reads
// "put a/b: s3://bucket: access denied (403 AccessDenied)".
type Error struct {
	// Op is put, begin, supersede, part, commit, abort, get, stat, list, delete, lock, probe, versioning, versions, renew, remove, thaw, lifecycle or replication.
	Op string
	// Key is empty where the operation has none.
	Key Key
	// Place names the store without any secret: "s3://bucket", "file:///srv/archive".
	Place string
	// Err is the cause; it wraps one of the sentinels where one fits.
	Err error
	// Detail is the store's own short word on it, such as "403 AccessDenied"; it may be empty.
	Detail string
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Key != "" {
		b.WriteString(" " + string(e.Key))
	}
	if e.Place != "" {
		b.WriteString(": " + e.Place)
	}
	b.WriteString(": " + e.Err.Error())
	if e.Detail != "" {
		b.WriteString(" (" + e.Detail + ")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Retryable tells whether the call that returned err may succeed if it is made again unchanged:
// the store is unavailable, the credential has expired, the clock was wrong, a body was cut. It is
// false for nil, for ErrNotFound, ErrExists, ErrDenied and the like, and for the end of the caller's
// own context.
func Retryable(err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrExpired), errors.Is(err, ErrSkewed):
		return true
	default:
		return false
	}
}

// ShortBody returns the error of a reader whose store sent got bytes of want: it wraps both
// ErrUnavailable and io.ErrUnexpectedEOF.
func ShortBody(got, want int64) error {
	return fmt.Errorf("%w: body ended after %d of %d bytes: %w", ErrUnavailable, got, want, io.ErrUnexpectedEOF)
}
