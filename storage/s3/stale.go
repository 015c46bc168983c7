package s3

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pgark/pgark/storage"
)

// StaleUploads implements storage.Sweeper. It needs s3:ListBucketMultipartUploads.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html
func (s *Store) StaleUploads(ctx context.Context, before time.Time) ([]storage.StaleUpload, error) {
	var stale []storage.StaleUpload
	in := &s3.ListMultipartUploadsInput{Bucket: s.bucket(), Prefix: optional(s.root())}
	for {
		out, err := s.client.ListMultipartUploads(ctx, in)
		if err != nil {
			return nil, s.fault(ctx, "list", "", err)
		}
		for _, u := range out.Uploads {
			name, ours := strings.CutPrefix(aws.ToString(u.Key), s.root())
			key := storage.Key(name)
			if ours && key.Validate() == nil && u.Initiated != nil && u.Initiated.Before(before) {
				stale = append(stale, storage.StaleUpload{Key: key, ID: aws.ToString(u.UploadId), Begun: u.Initiated.UTC()})
			}
		}
		if !aws.ToBool(out.IsTruncated) {
			return stale, nil
		}
		if aws.ToString(out.NextKeyMarker) == aws.ToString(in.KeyMarker) && aws.ToString(out.NextUploadIdMarker) == aws.ToString(in.UploadIdMarker) {
			return nil, s.fault(ctx, "list", "", fmt.Errorf("%w: a list of uploads does not go on", storage.ErrUnavailable))
		}
		in.KeyMarker, in.UploadIdMarker = out.NextKeyMarker, out.NextUploadIdMarker
	}
}

// DropUpload implements storage.Sweeper.
func (s *Store) DropUpload(ctx context.Context, u storage.StaleUpload) error {
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: s.bucket(), Key: s.name(u.Key), UploadId: optional(u.ID)})
	if err != nil {
		if err = s.fault(ctx, "abort", u.Key, err); errors.Is(err, storage.ErrUploadLost) {
			return nil
		}
	}
	return err
}
