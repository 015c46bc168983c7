package s3

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pgark/pgark/storage"
)

// Folders implements storage.Folderer: what S3 calls common prefixes.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
func (s *Store) Folders(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Key, error] {
	return func(yield func(storage.Key, error) bool) {
		fail := func(err error) { yield("", s.fault(ctx, "list", prefix, err)) }
		if err := prefix.ValidatePrefix(); err != nil {
			fail(err)
			return
		}
		in := &s3.ListObjectsV2Input{Bucket: s.bucket(), Prefix: optional(*s.name(prefix)), Delimiter: aws.String("/")}
		if after != "" {
			in.StartAfter = s.name(after)
		}
		last := storage.Key("")
		for {
			if ctx.Err() != nil {
				fail(context.Cause(ctx))
				return
			}
			out, err := s.client.ListObjectsV2(ctx, in)
			if err != nil {
				fail(err)
				return
			}
			for _, p := range out.CommonPrefixes {
				name, inside := strings.CutPrefix(aws.ToString(p.Prefix), s.root())
				folder := storage.Key(strings.TrimSuffix(name, "/"))
				switch {
				case !inside || last != "" && folder+"/" <= last+"/":
					fail(fmt.Errorf("%w: %q after %q", errOrder, name, last))
					return
				case folder.Validate() != nil || after != "" && storage.BehindFolder(folder) <= after: // which a store may give although all of it lies before
				case !yield(folder, nil):
					return
				}
				last = folder
			}
			if !aws.ToBool(out.IsTruncated) {
				return
			}
			if aws.ToString(out.NextContinuationToken) == "" {
				fail(fmt.Errorf("%w: a list that goes on without saying where", storage.ErrUnavailable))
				return
			}
			in.ContinuationToken, in.StartAfter = out.NextContinuationToken, nil
		}
	}
}

var _ storage.Folderer = (*Store)(nil)
