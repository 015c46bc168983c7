package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/pgark/pgark/storage"
)

// Replication implements storage.Replicator. It needs s3:GetBucketVersioning and s3:GetReplicationConfiguration.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketReplication.html
func (s *Store) Replication(ctx context.Context) (storage.Replication, error) {
	versioning, err := s.Versioning(ctx)
	if err != nil {
		return storage.Replication{}, err
	}
	r := storage.Replication{
		Versioned: versioning == storage.VersioningEnabled, KMS: strings.HasPrefix(s.options.SSEType, "aws:kms"),
	}
	out, err := s.client.GetBucketReplication(ctx, &s3.GetBucketReplicationInput{Bucket: s.bucket()})
	switch {
	case err != nil && codeOf(err) == "ReplicationConfigurationNotFoundError":
		return r, nil
	case err != nil:
		return storage.Replication{}, s.unsupported(ctx, "replication", err)
	case out.ReplicationConfiguration != nil:
		r.Rules = s.rules(out.ReplicationConfiguration.Rules)
	}
	return r, nil
}

// unsupported gives err its place, and says of a store without the call that it is that.
func (s *Store) unsupported(ctx context.Context, op string, err error) error {
	err = s.fault(ctx, op, "", err)
	if isNotImplemented(err) {
		return fmt.Errorf("%w: %w", err, errors.ErrUnsupported)
	}
	return err
}

// rules returns the rules that concern names below the store's prefix, the one with the greatest priority first.
func (s *Store) rules(all []types.ReplicationRule) []storage.ReplicationRule {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b types.ReplicationRule) int {
		return cmp.Compare(aws.ToInt32(b.Priority), aws.ToInt32(a.Priority))
	})
	var rules []storage.ReplicationRule
	for _, r := range all {
		prefix, tagged := filterOf(r)
		within, ok := below(s.root(), prefix)
		if !ok || r.Destination == nil {
			continue
		}
		rules = append(rules, storage.ReplicationRule{
			ID: aws.ToString(r.ID), Bucket: bucketOf(aws.ToString(r.Destination.Bucket)), Enabled: r.Status == types.ReplicationRuleStatusEnabled,
			Prefix: within, Tagged: tagged,
			Deletes: r.DeleteMarkerReplication != nil && r.DeleteMarkerReplication.Status == types.DeleteMarkerReplicationStatusEnabled,
			KMS: r.SourceSelectionCriteria != nil && r.SourceSelectionCriteria.SseKmsEncryptedObjects != nil &&
				r.SourceSelectionCriteria.SseKmsEncryptedObjects.Status == types.SseKmsEncryptedObjectsStatusEnabled,
			Within: promised(r.Destination.ReplicationTime),
		})
	}
	return rules
}

// filterOf returns the prefix of a rule, and whether it asks for tags. Rules of the first version have no filter.
func filterOf(r types.ReplicationRule) (prefix string, tagged bool) {
	switch f := r.Filter; {
	case f == nil:
		return aws.ToString(r.Prefix), false //nolint:staticcheck // old configurations have no other
	case f.And != nil:
		return aws.ToString(f.And.Prefix), len(f.And.Tags) > 0
	default:
		return aws.ToString(f.Prefix), f.Tag != nil
	}
}

// below returns which keys of a store with this root begin with the prefix, as a prefix of keys; false if none does.
func below(root, prefix string) (storage.Key, bool) {
	if strings.HasPrefix(root, prefix) {
		return "", true
	}
	key, ok := strings.CutPrefix(prefix, root)
	return storage.Key(key), ok
}

// bucketOf returns the bucket's name from its ARN, arn:aws:s3:::name.
func bucketOf(arn string) string { return arn[strings.LastIndexByte(arn, ':')+1:] }

// promised returns what Replication Time Control promises; there is no promise but that of 15 minutes.
func promised(t *types.ReplicationTime) time.Duration {
	if t == nil || t.Status != types.ReplicationTimeStatusEnabled || t.Time == nil {
		return 0
	}
	return time.Duration(aws.ToInt32(t.Time.Minutes)) * time.Minute
}

// Replicated implements storage.Replicator.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/replication-status.html
func (s *Store) Replicated(ctx context.Context, key storage.Key) (storage.ReplicationStatus, error) {
	if err := ready(ctx, key); err != nil {
		return "", s.fault(ctx, "stat", key, err)
	}
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: s.bucket(), Key: s.name(key)})
	if err != nil {
		if _, err := s.explain(ctx, key, err); err != nil {
			return "", err
		}
		return "", s.fault(ctx, "stat", key, fmt.Errorf("%w: the object is listed, but not to be had", storage.ErrUnavailable))
	}
	switch out.ReplicationStatus {
	case types.ReplicationStatusPending:
		return storage.ReplicationPending, nil
	case types.ReplicationStatusComplete, types.ReplicationStatusCompleted:
		return storage.ReplicationCompleted, nil
	case types.ReplicationStatusFailed:
		return storage.ReplicationFailed, nil
	case types.ReplicationStatusReplica:
		return storage.Replica, nil
	case "":
		return storage.NotReplicated, nil
	default:
		return "", s.fault(ctx, "stat", key, fmt.Errorf("%w: replication status %q is not known", storage.ErrUnavailable, out.ReplicationStatus))
	}
}
