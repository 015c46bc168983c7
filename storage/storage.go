// Package storage defines what pgark asks of a place that keeps objects: create once, read a range,
// stat, list in key order, delete. It knows keys, not their meaning; the room repository alone knows
// what lies under which key. The stores are storage/file, storage/s3 and storage/memory;
// storage/retry wraps any of them and is the only retry loop; storage/storagetest is the suite that
// all of them pass.
package storage

import (
	"context"
	"io"
	"iter"
	"time"
)

// Info is what a store says about an object without reading it.
type Info struct {
	// Key of the object.
	Key Key
	// Size in bytes.
	Size int64
	// Modified is the store's own time of the object's creation. It is informative: no decision about
	// safety may rest on it alone.
	Modified time.Time
	// Version is the store's version id, empty where the store has none or does not tell it here.
	Version string
	// Archive says that the object must be thawed before it can be read; zero for all others.
	Archive Archive
}

// Store keeps objects that are created once and never changed. All methods are safe for concurrent
// use. Errors wrap the sentinels of this package; Retryable tells whether a call may be made again.
//
// A store may refuse a key K while a key K+"/"+… exists, and the other way round: a folder cannot be a
// file as well.
type Store interface {
	// Put creates the object key with the bytes of body, which it does not keep. When it returns nil
	// the object is durable. It returns ErrExists, without comparing the content, if the object exists:
	// also when an earlier Put whose answer was lost created it. ErrExists too means that the object is
	// durable.
	Put(ctx context.Context, key Key, body []byte) error

	// Begin starts a large object that is sent in parts. Nothing is visible before Upload.Commit. The
	// caller ends each Upload with Commit or Abort.
	Begin(ctx context.Context, key Key) (Upload, error)

	// Get reads the bytes of span. It returns ErrNotFound if the object does not exist and ErrSpan if
	// the span does not lie within it. The reader gives exactly the span, and io.ErrUnexpectedEOF
	// where the store sends less. The caller closes it. Cancelling ctx ends the reading.
	Get(ctx context.Context, key Key, span Span) (io.ReadCloser, error)

	// Stat returns ErrNotFound if the object does not exist.
	Stat(ctx context.Context, key Key) (Info, error)

	// List yields the objects whose keys begin with prefix and are greater than after, in ascending
	// byte order of their keys. The prefix need not end at a slash. It ends after the first error.
	// Names in the store that are no valid keys are passed over.
	List(ctx context.Context, prefix, after Key) iter.Seq2[Info, error]

	// Delete removes the object; it returns nil if there is none. In a versioned bucket it makes a
	// delete marker, which some stores take for an object when the key is created again: do not use a
	// key twice.
	Delete(ctx context.Context, key Key) error
}

// Upload is one large object on its way. Part is safe for concurrent use with different n; Commit and
// Abort are not to be called while a Part is running.
type Upload interface {
	// Part sends part n, from 1 to MaxParts; parts may come in any order. Each part but the last has
	// MinPart bytes or more. A part sent again replaces the one before. Body may be used again after
	// the return.
	Part(ctx context.Context, n int, body []byte) error

	// Commit makes the object of the parts 1 to n, which must all have been sent. When it returns nil
	// the object is visible and durable. It returns ErrExists if the key exists. After an error for
	// which Retryable is true it may be called again: it returns nil if the call before did its work
	// and only its answer was lost. After any other error the caller calls Abort.
	Commit(ctx context.Context) error

	// Abort drops what was sent. It is idempotent, does nothing after a Commit that returned nil, and
	// leaves nothing behind when it returns nil.
	Abort(ctx context.Context) error
}

const (
	// MinPart is the least size of a part that is not the last, in bytes (S3's limit).
	MinPart = 5 << 20
	// MaxPart is the greatest size of a part, in bytes.
	MaxPart = 5 << 30
	// MaxParts is the greatest number of a part (S3's limit).
	MaxParts = 10000
)

// Conditional says how a store treats a create that must not overwrite.
type Conditional int

const (
	// ConditionalUnknown means that the store was not probed yet.
	ConditionalUnknown Conditional = iota
	// ConditionalHonoured means that of several creates of a key exactly one succeeds.
	ConditionalHonoured
	// ConditionalIgnored means that the store overwrites although it was told not to. The store then
	// looks before each create, which protects against mistakes but not against two writers at the
	// same instant.
	ConditionalIgnored
)

// String returns "unknown", "honoured" or "ignored".
func (c Conditional) String() string {
	switch c {
	case ConditionalHonoured:
		return "honoured"
	case ConditionalIgnored:
		return "ignored"
	case ConditionalUnknown:
		return "unknown"
	default:
		return "invalid"
	}
}

// Prober is the optional ability of a store to find out by writing whether it honours conditional
// creates. Every process that writes calls Probe once before it writes.
type Prober interface {
	// Probe creates the object ProbeKey, twice if need be, and remembers the answer for later writes.
	Probe(ctx context.Context) (Conditional, error)
}

// ProbeKey is the object that Probe leaves behind. It is a few bytes and never changes.
const ProbeKey Key = "pgark-probe"

// Probe calls store's Probe if it has one, and otherwise returns ConditionalHonoured: a store without
// it creates once by construction.
func Probe(ctx context.Context, store Store) (Conditional, error) {
	if p, ok := store.(Prober); ok {
		return p.Probe(ctx)
	}
	return ConditionalHonoured, nil
}
