package s3

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pgark/pgark/storage"
)

// Stat implements storage.Store.
func (s *Store) Stat(ctx context.Context, key storage.Key) (storage.Info, error) {
	if err := ready(ctx, key); err != nil {
		return storage.Info{}, s.fault(ctx, "stat", key, err)
	}
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: s.bucket(), Key: s.name(key)})
	if err != nil {
		return s.explain(ctx, key, err)
	}
	return s.described(ctx, key, out)
}

// described reads the answer to HEAD.
func (s *Store) described(ctx context.Context, key storage.Key, out *s3.HeadObjectOutput) (storage.Info, error) {
	if out.ContentLength == nil || *out.ContentLength < 0 {
		return storage.Info{}, s.fault(ctx, "stat", key, fmt.Errorf("%w: the answer has no length", storage.ErrUnavailable))
	}
	return storage.Info{
		Key: key, Size: *out.ContentLength, Modified: aws.ToTime(out.LastModified).UTC(), Version: aws.ToString(out.VersionId),
		Archive: archiveOf(out),
	}, nil
}

// explain finds out why a HEAD failed. Its answer has no body: 404 may mean the bucket as well as the
// object, 400 and 403 an expired credential. A list of this one key tells, and proves an absence.
func (s *Store) explain(ctx context.Context, key storage.Key, headErr error) (storage.Info, error) {
	status := statusOf(headErr)
	if status < 400 || status >= 500 || status == 429 {
		return storage.Info{}, s.fault(ctx, "stat", key, headErr)
	}
	infos, _, err := s.page(ctx, pageOf{prefix: *s.name(key), max: 1})
	if err != nil {
		return storage.Info{}, s.fault(ctx, "stat", key, err)
	}
	if len(infos) > 0 && infos[0].Key == key {
		if status == 404 {
			return infos[0], nil
		}
		return storage.Info{}, s.fault(ctx, "stat", key, headErr)
	}
	return storage.Info{}, s.fault(ctx, "stat", key, storage.ErrNotFound)
}

// List implements storage.Store.
func (s *Store) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		fail := func(err error) { yield(storage.Info{}, s.fault(ctx, "list", prefix, err)) }
		if err := prefix.ValidatePrefix(); err != nil {
			fail(err)
			return
		}
		p := pageOf{prefix: *s.name(prefix)}
		if after != "" {
			p.after = *s.name(after)
		}
		for {
			if ctx.Err() != nil {
				fail(context.Cause(ctx))
				return
			}
			infos, next, err := s.page(ctx, p)
			if err != nil {
				fail(err)
				return
			}
			for _, info := range infos {
				if !yield(info, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			p.after = next
		}
	}
}

// pageOf asks for one page of a list; prefix and after are names in the bucket.
type pageOf struct {
	prefix, after string
	max           int32 // 0: the store's own number
}

// page returns the valid keys of one page, and the name after which the next page begins, empty at the
// end. It checks that names rise and have the prefix, for the order is what the callers build on.
func (s *Store) page(ctx context.Context, p pageOf) (infos []storage.Info, next string, err error) {
	in := &s3.ListObjectsV2Input{Bucket: s.bucket(), Prefix: optional(p.prefix), StartAfter: optional(p.after)}
	if p.max > 0 {
		in.MaxKeys = aws.Int32(p.max)
	}
	out, err := s.client.ListObjectsV2(ctx, in)
	if err != nil {
		return nil, "", err
	}
	last := p.after
	for _, o := range out.Contents {
		name := aws.ToString(o.Key)
		if name <= last || !strings.HasPrefix(name, p.prefix) {
			return nil, "", fmt.Errorf("%w: %q after %q", errOrder, name, last)
		}
		last = name
		key := storage.Key(strings.TrimPrefix(name, s.root()))
		if key.Validate() == nil {
			infos = append(infos, storage.Info{
				Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified).UTC(), Archive: listedArchive(string(o.StorageClass)),
			})
		}
	}
	if !aws.ToBool(out.IsTruncated) {
		return infos, "", nil
	}
	if last == p.after {
		return nil, "", fmt.Errorf("%w: an empty page that is not the last", storage.ErrUnavailable)
	}
	return infos, last, nil
}

// root is what stands before each key in the bucket.
func (s *Store) root() string { return *s.name("") }

var errOrder = errors.New("the store's list is not in order")
