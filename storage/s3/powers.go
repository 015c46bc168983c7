package s3

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/pgark/pgark/storage"
)

// noETag is that of no object.
const noETag = `"00000000000000000000000000000000"`

// Powers implements storage.PowerProber. Whether it may put over the object it asks with an If-Match that cannot hold: who may is answered 412,
// for permissions are looked at first, and nothing is written. Deleting is tried by deleting: the version first, which leaves nothing behind, and
// only if that is refused the object, which leaves a marker in a bucket with versions.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html (s3:DeleteObject, s3:DeleteObjectVersion)
func (s *Store) Powers(ctx context.Context, key storage.Key) (storage.Powers, error) {
	var p storage.Powers
	var err error
	if p.Overwrite, err = s.mayOverwrite(ctx, key); err != nil {
		return p, err
	}
	for { // a store that passed over the condition has made one more
		info, err := s.Stat(ctx, key)
		if errors.Is(err, storage.ErrNotFound) {
			return p, nil
		}
		if err != nil {
			return p, err
		}
		if info.Version == "" || info.Version == storage.NullVersion {
			break
		}
		p.Versioned = true
		may, err := allowed(s.RemoveVersion(ctx, key, info.Version))
		if err != nil {
			return p, err
		}
		if !may {
			break
		}
		p.Delete, p.DeleteVersions = true, true
	}
	p.Delete, err = allowed(s.Delete(ctx, key))
	return p, err
}

func (s *Store) mayOverwrite(ctx context.Context, key storage.Key) (bool, error) {
	probe := object{body: []byte(probeBody), match: aws.String(noETag)}
	err := s.put(ctx, key, probe)
	if isNotImplemented(err) {
		probe.match = nil
		err = s.put(ctx, key, probe)
	}
	if errors.Is(err, storage.ErrExists) {
		return true, nil
	}
	return allowed(err)
}

// allowed tells of the error of a trial whether the trial was let through. A lock that is in the way stands for a right that is missing.
func allowed(err error) (bool, error) {
	refusals := []error{storage.ErrDenied, storage.ErrLocked}
	if slices.ContainsFunc(refusals, func(refusal error) bool { return errors.Is(err, refusal) }) {
		return false, nil
	}
	return err == nil, err
}
