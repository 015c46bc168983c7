package repository

import (
	"errors"
	"fmt"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Conditions that callers act on; compare with errors.Is.
var (
	// ErrNoRepository means that the root holds no marker.
	ErrNoRepository = errors.New("no repository here")
	// ErrNoWAL means that the repository was reached and proves that it holds no such WAL.
	ErrNoWAL = errors.New("no such WAL in the repository")
	// ErrNoBackup means that the repository was reached and holds no visible backup with this id.
	ErrNoBackup = errors.New("no such backup in the repository")
	// ErrBackupExists means that objects lie under a new backup's id already.
	ErrBackupExists = errors.New("backup id is taken")

	errBroken  = errors.New("an earlier write failed")
	errAborted = errors.New("aborted")
	errEnded   = errors.New("the backup has ended")
)

// FormatError says that the repository has a newer format than this program knows. Nothing may be
// read or written then.
type FormatError struct {
	Got, Known int
}

// Error names both versions.
func (e *FormatError) Error() string {
	return fmt.Sprintf("repository has format %d, this pgark knows up to %d", e.Got, e.Known)
}

// ConflictError says that an object exists already and holds other content than the one to be put:
// two servers share one history. The writer stops.
type ConflictError struct {
	Key   storage.Key
	Range wal.Range // empty for a history file
}

// Error names the object.
func (e *ConflictError) Error() string {
	if e.Range.Empty() {
		return fmt.Sprintf("%s exists with other content", e.Key)
	}
	return fmt.Sprintf("%s exists with other content for WAL %s", e.Key, e.Range)
}

// CorruptError says that an object is not what was written: cut short, changed, or lying under a
// wrong key.
type CorruptError struct {
	Key    storage.Key
	Reason string
	Err    error // the cause, where there is one
}

// Error names the object and what is wrong with it.
func (e *CorruptError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s is corrupt: %s: %v", e.Key, e.Reason, e.Err)
	}
	return fmt.Sprintf("%s is corrupt: %s", e.Key, e.Reason)
}

// Unwrap returns the cause, which may be nil.
func (e *CorruptError) Unwrap() error { return e.Err }

// OnlyUnreadable reports whether err says of records that they are corrupt or of a newer format, and nothing else, as the errors of
// Backups and Gaps may. Such records do not keep from using the others; a store that does not answer does.
func OnlyUnreadable(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			if e != nil && !OnlyUnreadable(e) {
				return false
			}
		}
		return true
	}
	var corrupt *CorruptError
	var format *FormatError
	return errors.As(err, &corrupt) || errors.As(err, &format)
}
