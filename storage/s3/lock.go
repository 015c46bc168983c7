package s3

import (
	"cmp"
	"context"
	"crypto/md5" //nolint:gosec // S3 takes no other in place of a CRC
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/pgark/pgark/storage"
)

// locking is what a store that locks its objects knows of the bucket's own default.
type locking struct {
	mu       sync.Mutex
	asked    time.Time // zero: never
	byBucket bool      // the bucket's default covers what is asked for
}

// askAgain is how long an answer on the bucket's default is gone by: its owner may change it while an agent runs.
const askAgain = time.Hour

// retention is what a request that creates an object says of its lock. The zero value says nothing.
type retention struct {
	mode  types.ObjectLockMode
	until *time.Time
}

// retention returns the lock that the next object must be sent with: none if none is asked for, or if the bucket gives it by itself, which
// needs no right of the writer. Where the credential may not see the bucket's default it is sent.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html#object-lock-bucket-config
func (s *Store) retention(ctx context.Context) (retention, error) {
	if s.options.Lock.IsZero() {
		return retention{}, nil
	}
	byBucket, err := s.lockedByBucket(ctx)
	if err != nil || byBucket {
		return retention{}, err
	}
	return retention{types.ObjectLockMode(modeOf(s.options.Lock.Mode)), s.until(s.options.Lock)}, nil
}

// lockedByBucket tells whether the bucket's default covers what is asked for. All wait for the first answer; while it is asked again the others go
// by the last one, which also counts where there is no other.
func (s *Store) lockedByBucket(ctx context.Context) (bool, error) {
	l := &s.locking
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.asked.IsZero()
	if !first && time.Since(l.asked) < askAgain {
		return l.byBucket, nil
	}
	if !first {
		l.asked = time.Now()
		l.mu.Unlock()
	}
	found, err := s.BucketLock(ctx)
	if !first {
		l.mu.Lock()
	}
	switch {
	case err == nil:
		l.asked, l.byBucket = time.Now(), found.Covers(s.options.Lock)
	case refused(err):
		l.asked, l.byBucket = time.Now(), false
	case first || errors.Is(err, storage.ErrNoLock):
		return false, err
	}
	return l.byBucket, nil
}

// until is the end of a lock that begins now, by the store's clock, to the next second.
func (s *Store) until(l storage.Lock) *time.Time {
	return aws.Time(s.clock.now().Add(l.For + time.Second).UTC().Truncate(time.Second))
}

func modeOf(m storage.LockMode) types.ObjectLockRetentionMode {
	if m == storage.Compliance {
		return types.ObjectLockRetentionModeCompliance
	}
	return types.ObjectLockRetentionModeGovernance
}

func parseMode(m types.ObjectLockRetentionMode) storage.LockMode {
	switch m {
	case types.ObjectLockRetentionModeGovernance:
		return storage.Governance
	case types.ObjectLockRetentionModeCompliance:
		return storage.Compliance
	default:
		return storage.Unlocked
	}
}

// lockFault is fault for a request that bore r: what the store refuses then may be the lock alone.
func (s *Store) lockFault(ctx context.Context, op string, key storage.Key, r retention, err error) error {
	if r.until == nil {
		return s.fault(ctx, op, key, err)
	}
	lacks := codeOf(err) == "InvalidRequest" // "Bucket is missing Object Lock Configuration"
	err = s.fault(ctx, op, key, err)
	var known *storage.Error
	switch {
	case !errors.As(err, &known):
	case lacks:
		known.Err = storage.ErrNoLock
	case refused(err):
		known.Detail += ", sent with a lock"
	}
	return err
}

// refused tells whether a known credential may not do something, from an error that fault has made. One that is not known, or a role that cannot
// be assumed, is another matter.
func refused(err error) bool {
	var known *storage.Error
	return errors.As(err, &known) && errors.Is(err, storage.ErrDenied) && strings.HasPrefix(known.Detail, "403 AccessDenied")
}

// digest is the MD5 of a body, nil where a CRC is sent: S3 wants one of the two for an object that is to be locked.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
func (s *Store) digest(body []byte) *string {
	if s.options.Lock.IsZero() || s.sendsChecksum() {
		return nil
	}
	sum := md5.Sum(body) //nolint:gosec // as above
	return aws.String(base64.StdEncoding.EncodeToString(sum[:]))
}

// BucketLock implements storage.Locker. It needs s3:GetBucketObjectLockConfiguration.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectLockConfiguration.html
func (s *Store) BucketLock(ctx context.Context) (storage.Lock, error) {
	out, err := s.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: s.bucket()})
	if err != nil {
		none := codeOf(err) == "ObjectLockConfigurationNotFoundError" || statusOf(err) == http.StatusNotImplemented
		err = s.fault(ctx, "lock", "", err)
		if none {
			err = s.fault(ctx, "lock", "", storage.ErrNoLock)
		}
		return storage.Lock{}, err
	}
	c := out.ObjectLockConfiguration
	if c == nil || c.ObjectLockEnabled != types.ObjectLockEnabledEnabled {
		return storage.Lock{}, s.fault(ctx, "lock", "", storage.ErrNoLock)
	}
	if c.Rule == nil || c.Rule.DefaultRetention == nil {
		return storage.Lock{}, nil
	}
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	d := c.Rule.DefaultRetention
	found := storage.Lock{
		Mode: parseMode(d.Mode), For: time.Duration(aws.ToInt32(d.Days))*day + time.Duration(aws.ToInt32(d.Years))*year,
	}
	if found.IsZero() || found.For <= 0 {
		return storage.Lock{}, nil
	}
	return found, nil
}

// Extend implements storage.Locker. It needs s3:GetObjectRetention and s3:PutObjectRetention.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectRetention.html
func (s *Store) Extend(ctx context.Context, key storage.Key, version string, l storage.Lock, least time.Duration) (bool, error) {
	was, until, err := s.Locked(ctx, key, version)
	if err != nil {
		return false, err
	}
	if was != storage.Unlocked && until.Sub(s.clock.now()) >= least {
		return false, nil
	}
	mode := modeOf(cmp.Or(was, l.Mode)) // as it was made: a lock of one mode cannot be made longer in the other
	_, err = s.client.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{
		Bucket: s.bucket(), Key: s.name(key), VersionId: optional(version), Retention: &types.ObjectLockRetention{Mode: mode, RetainUntilDate: s.until(l)},
	})
	switch {
	case err == nil:
		return true, nil
	case s.vanished(ctx, key, version, err):
		return false, s.fault(ctx, "lock", key, storage.ErrNotFound)
	default:
		return false, s.fault(ctx, "lock", key, err)
	}
}

// vanished reports whether a request for the lock of a version failed because there is none: it may have been removed since it was listed. Of a delete marker S3 answers 405.
func (s *Store) vanished(ctx context.Context, key storage.Key, version string, err error) bool {
	if version != "" {
		return isNoVersion(err) || statusOf(err) == http.StatusBadRequest && s.isGone(ctx, key, version)
	}
	return statusOf(err) == http.StatusMethodNotAllowed || s.hidden(ctx, key, err)
}

// Locked implements storage.Locker. It needs s3:GetObjectRetention.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectRetention.html
func (s *Store) Locked(ctx context.Context, key storage.Key, version string) (storage.LockMode, time.Time, error) {
	if err := ready(ctx, key); err != nil {
		return storage.Unlocked, time.Time{}, s.fault(ctx, "lock", key, err)
	}
	out, err := s.client.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: s.bucket(), Key: s.name(key), VersionId: optional(version)})
	switch {
	case err != nil && codeOf(err) == "NoSuchObjectLockConfiguration": // it is not locked
		return storage.Unlocked, time.Time{}, nil
	case err != nil && codeOf(err) == "InvalidRequest":
		err = storage.ErrNoLock
	case err != nil && s.vanished(ctx, key, version, err):
		err = storage.ErrNotFound
	}
	if err != nil {
		return storage.Unlocked, time.Time{}, s.fault(ctx, "lock", key, err)
	}
	if out.Retention == nil {
		return storage.Unlocked, time.Time{}, nil
	}
	return parseMode(out.Retention.Mode), aws.ToTime(out.Retention.RetainUntilDate), nil
}

// locked returns a *storage.LockedError if a version could not be removed because it is under lock, and nil if that is not known to be why. A lock is
// answered as a missing right is, 403 AccessDenied; elsewhere than at Amazon's also as 400.
func (s *Store) locked(ctx context.Context, key storage.Key, version string, err error) error {
	if status := statusOf(err); status != http.StatusForbidden && status != http.StatusBadRequest {
		return nil
	}
	out, getErr := s.client.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{
		Bucket: s.bucket(), Key: s.name(key), VersionId: optional(version),
	})
	if getErr == nil && out.Retention != nil {
		if until := aws.ToTime(out.Retention.RetainUntilDate); until.After(s.clock.now()) {
			return &storage.LockedError{Until: until}
		}
	}
	// Who may not see the lock, and a store that does not show the lock of a bucket's default, have the words alone.
	var api smithy.APIError
	if errors.As(err, &api) && lockWords.MatchString(api.ErrorMessage()) {
		return &storage.LockedError{}
	}
	return nil
}

var lockWords = regexp.MustCompile(`(?i)object lock|WORM protected`)

// clock tells the store's time by what its answers say.
type clock struct {
	next  http.RoundTripper
	ahead atomic.Int64 // of the host's clock, by nanoseconds
}

// RoundTrip implements http.RoundTripper.
func (c *clock) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		return resp, err //nolint:wrapcheck // a round tripper gives on what it got
	}
	// To the second. What is less than that is not worth the noise of the network.
	if date, dateErr := http.ParseTime(resp.Header.Get("Date")); dateErr == nil {
		ahead := time.Until(date)
		if ahead.Abs() < 2*time.Second {
			ahead = 0
		}
		c.ahead.Store(int64(ahead))
	}
	return resp, nil
}

// now is the time that the store showed last, and what has passed since; the host's before it has answered.
func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

var errLockFor = fmt.Errorf("a lock needs a mode and a time of a second or more: %w", ErrURL)

func (o Options) validateLock() error {
	if l := o.Lock; l.IsZero() != (l.For == 0) || l.For < 0 || l.For > 0 && l.For < time.Second {
		return errLockFor
	}
	return nil
}
