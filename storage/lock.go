package storage

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// LockMode says who may end a lock before its time.
type LockMode string

// The modes, by S3's words. https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
const (
	// Unlocked is the zero value.
	Unlocked LockMode = ""
	// Governance lets those with a right of their own end it, which no role of pgark has.
	Governance LockMode = "governance"
	// Compliance lets nobody, the account's owner included.
	Compliance LockMode = "compliance"
)

// Lock is a protection of objects: for so long from its creation no version of an object can be deleted or changed. The zero value is none.
type Lock struct {
	Mode LockMode
	For  time.Duration
}

// IsZero reports whether l is no lock.
func (l Lock) IsZero() bool { return l.Mode == Unlocked }

// Covers reports whether an object under l is protected no less than under other.
func (l Lock) Covers(other Lock) bool {
	return other.IsZero() || (l.Mode == other.Mode || l.Mode == Compliance) && l.For >= other.For
}

// String says it as "governance 14d", or "none".
func (l Lock) String() string {
	if l.IsZero() {
		return "none"
	}
	const day = 24 * time.Hour
	if l.For%day == 0 {
		return fmt.Sprintf("%s %dd", l.Mode, l.For/day)
	}
	return fmt.Sprintf("%s %s", l.Mode, l.For)
}

// Locker is the optional ability of a store to lock objects. One that is opened with a Lock locks every object that it creates.
type Locker interface {
	// BucketLock returns the lock that the bucket itself gives to new objects. It returns ErrNoLock if objects cannot be locked there,
	// and ErrDenied if the credential may not see it.
	BucketLock(ctx context.Context) (Lock, error)

	// Extend sees to it that a version of an object stays locked for least from now, by the store's clock: if its lock ends sooner, it is
	// made to end l.For from now. An empty version is the current one. It returns whether it did that. No lock is shortened or weakened. It
	// returns ErrNotFound if there is no such version, or if it is a marker, and ErrNoLock if it cannot be locked.
	Extend(ctx context.Context, key Key, version string, l Lock, least time.Duration) (extended bool, err error)

	// Locked returns the mode and the end of the lock of a version, the current one if it is empty. The end may be past; the mode is
	// Unlocked if it never had one. It returns ErrDenied if the credential may not see it, and the errors of Extend.
	Locked(ctx context.Context, key Key, version string) (mode LockMode, until time.Time, err error)
}

// LockedError is ErrLocked with the end of the lock.
type LockedError struct {
	Until time.Time // by the store's clock; zero if it does not tell
}

// Error names the end.
func (e *LockedError) Error() string {
	if e.Until.IsZero() {
		return ErrLocked.Error()
	}
	return ErrLocked.Error() + " until " + e.Until.UTC().Format(time.RFC3339)
}

// Is reports whether target is ErrLocked.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// BucketLock calls store's BucketLock if it has one; ErrNoLock otherwise.
func BucketLock(ctx context.Context, store Store) (Lock, error) {
	if s, ok := store.(Locker); ok {
		return s.BucketLock(ctx)
	}
	return Lock{}, &Error{Op: "lock", Err: ErrNoLock}
}

// Extend calls store's Extend if it has one; ErrNoLock otherwise. Of the version its key and id count.
func Extend(ctx context.Context, store Store, version Info, l Lock, least time.Duration) (bool, error) {
	if s, ok := store.(Locker); ok {
		return s.Extend(ctx, version.Key, version.Version, l, least)
	}
	return false, &Error{Op: "lock", Key: version.Key, Err: ErrNoLock}
}

// Locked calls store's Locked if it has one; ErrNoLock otherwise. Of the version its key and id count.
func Locked(ctx context.Context, store Store, version Info) (LockMode, time.Time, error) {
	if s, ok := store.(Locker); ok {
		return s.Locked(ctx, version.Key, version.Version)
	}
	return Unlocked, time.Time{}, &Error{Op: "lock", Key: version.Key, Err: ErrNoLock}
}

var errLock = errors.New("want governance or compliance")

// ParseLockMode reads a mode; "off" is Unlocked.
func ParseLockMode(s string) (LockMode, error) {
	switch m := LockMode(s); m {
	case Governance, Compliance:
		return m, nil
	case "off", Unlocked:
		return Unlocked, nil
	default:
		return Unlocked, fmt.Errorf("lock mode %q: %w", s, errLock)
	}
}
