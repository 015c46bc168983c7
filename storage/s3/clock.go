package s3

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pgark/pgark/storage"
)

// dateStep is how coarse the Date of an answer is: whole seconds, of which what is finer is cut off
// (https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7), written by some servers once a second for all answers.
const dateStep = 2 * time.Second

// Skew implements storage.Clock, by the Date of the answer to a list of one key.
func (s *Store) Skew(ctx context.Context) (storage.Skew, error) {
	began := time.Now()
	out, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: s.bucket(), Prefix: optional(s.root()), MaxKeys: aws.Int32(1)})
	took := time.Since(began)
	if err != nil {
		return storage.Skew{}, s.fault(ctx, "clock", "", err)
	}
	date, ok := middleware.GetServerTime(out.ResultMetadata)
	if !ok {
		return storage.Skew{}, s.fault(ctx, "clock", "", fmt.Errorf("%w: the answer has no Date", storage.ErrUnavailable))
	}
	// It was written in that second or the next, at some moment between question and answer.
	return storage.Skew{Ahead: date.Add(dateStep / 2).Sub(began.Add(took / 2)), Within: (dateStep + took) / 2}, nil
}
