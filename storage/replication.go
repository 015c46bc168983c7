package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Replicator is the optional ability of a store to tell what its bucket copies to other buckets by itself.
type Replicator interface {
	// Replication returns how the bucket is set up. A bucket that copies nothing has no rules. It returns an error that wraps
	// errors.ErrUnsupported if the store does not know such a thing.
	Replication(ctx context.Context) (Replication, error)
	// Replicated returns how far the copying of one object has come. It returns ErrNotFound if the object does not exist.
	Replicated(ctx context.Context, key Key) (ReplicationStatus, error)
}

// Replication is how a bucket copies to others by itself, as far as it concerns the store.
type Replication struct {
	// Versioned says that the bucket keeps versions, without which nothing is copied.
	Versioned bool
	// KMS says that the store asks for its objects to be encrypted with a key of a key service.
	KMS bool
	// Rules are those that concern objects of the store, the strongest first.
	Rules []ReplicationRule
}

// ReplicationRule is one rule of a bucket.
type ReplicationRule struct {
	// ID is the rule's name; it may be empty.
	ID string
	// Bucket is the name of the bucket that is copied to. The keys stay the same.
	Bucket  string
	Enabled bool
	// Prefix is the part of the store that is copied; empty for all of it.
	Prefix Key
	// Tagged says that objects with certain tags alone are copied. Those of a store have no tags.
	Tagged bool
	// Deletes says that what is deleted here is deleted there too.
	Deletes bool
	// KMS says that objects encrypted with a key of a key service are copied too.
	KMS bool
	// Within is how soon the provider promises an object to be there; 0 for no promise.
	Within time.Duration
}

// ReplicationStatus is how far the copying of an object has come. With several rules it is that of the slowest.
type ReplicationStatus string

// The statuses.
const (
	// NotReplicated says that no rule concerned the object when it was created.
	NotReplicated ReplicationStatus = ""
	// ReplicationPending says that the object is to be copied; also for as long as the other bucket is away.
	ReplicationPending ReplicationStatus = "pending"
	// ReplicationCompleted says that the other bucket holds the object.
	ReplicationCompleted ReplicationStatus = "completed"
	// ReplicationFailed says that the object was not copied and never will be: a permission or a key is missing.
	ReplicationFailed ReplicationStatus = "failed"
	// Replica says that the object came from another bucket. It is not copied on.
	Replica ReplicationStatus = "replica"
)

// BucketReplication calls store's Replication if it has one; errors.ErrUnsupported otherwise.
func BucketReplication(ctx context.Context, store Store) (Replication, error) {
	if r, ok := store.(Replicator); ok {
		return r.Replication(ctx)
	}
	return Replication{}, errNoReplication
}

// Replicated calls store's Replicated if it has one; errors.ErrUnsupported otherwise.
func Replicated(ctx context.Context, store Store, key Key) (ReplicationStatus, error) {
	if r, ok := store.(Replicator); ok {
		return r.Replicated(ctx, key)
	}
	return NotReplicated, errNoReplication
}

var errNoReplication = fmt.Errorf("replication of a store that is no bucket: %w", errors.ErrUnsupported)

// Covers returns what is wrong with the rule for objects of a store that r describes, in words, or nothing.
func (r Replication) Covers(rule ReplicationRule) (faults []string) {
	name := rule.name()
	if !rule.Enabled {
		faults = append(faults, name+" is disabled")
	}
	if rule.Prefix != "" {
		faults = append(faults, fmt.Sprintf("%s copies only what begins with %s", name, rule.Prefix))
	}
	if rule.Tagged {
		faults = append(faults, name+" copies only objects with tags, and pgark sets none")
	}
	if r.KMS && !rule.KMS {
		faults = append(faults, name+" does not copy objects that are encrypted with KMS, and these are")
	}
	return faults
}

func (r ReplicationRule) name() string {
	return strings.TrimSpace("rule " + r.ID)
}
