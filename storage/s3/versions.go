package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/pgark/pgark/storage"
)

// Versioning implements storage.Versioner. It needs s3:GetBucketVersioning.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketVersioning.html
func (s *Store) Versioning(ctx context.Context) (storage.Versioning, error) {
	out, err := s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: s.bucket()})
	if err != nil {
		return "", s.unsupported(ctx, "versioning", err)
	}
	switch out.Status {
	case types.BucketVersioningStatusEnabled:
		return storage.VersioningEnabled, nil
	case types.BucketVersioningStatusSuspended:
		return storage.VersioningSuspended, nil
	default:
		return storage.VersioningOff, nil
	}
}

// Versions implements storage.Versioner. It needs s3:ListBucketVersions.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
func (s *Store) Versions(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Version, error] {
	return func(yield func(storage.Version, error) bool) {
		fail := func(err error) { yield(storage.Version{}, s.fault(ctx, "versions", prefix, err)) }
		if err := prefix.ValidatePrefix(); err != nil {
			fail(err)
			return
		}
		in := &s3.ListObjectVersionsInput{Bucket: s.bucket(), Prefix: optional(*s.name(prefix)), MaxKeys: s.pageSize}
		if after != "" {
			in.KeyMarker = s.name(after)
		}
		var last storage.Info
		for {
			if ctx.Err() != nil {
				fail(context.Cause(ctx))
				return
			}
			page, err := s.versions(ctx, in)
			if err != nil {
				fail(err)
				return
			}
			for _, v := range page {
				if v.Key < last.Key || !strings.HasPrefix(string(v.Key), string(prefix)) {
					fail(fmt.Errorf("%w: %q after %q", errOrder, v.Key, last.Key))
					return
				}
				// Some stores begin a page with the entry that the markers name, and not behind it.
				again := v.Key <= after || v.Key == last.Key && v.Version == last.Version
				last = v.Info
				if !again && v.Key.Validate() == nil && !yield(v, nil) {
					return
				}
			}
			if in.KeyMarker == nil && in.VersionIdMarker == nil {
				return
			}
		}
	}
}

// versions returns one page in order and sets the markers of in to where the next one begins, or to nil at the end.
func (s *Store) versions(ctx context.Context, in *s3.ListObjectVersionsInput) ([]storage.Version, error) {
	out, err := s.client.ListObjectVersions(ctx, in)
	if err != nil {
		return nil, err
	}
	switch {
	case !aws.ToBool(out.IsTruncated):
		in.KeyMarker, in.VersionIdMarker = nil, nil
	case aws.ToString(out.NextKeyMarker) == "" || aws.ToString(out.NextKeyMarker) == aws.ToString(in.KeyMarker) && aws.ToString(out.NextVersionIdMarker) == aws.ToString(in.VersionIdMarker):
		return nil, fmt.Errorf("%w: a list of versions does not go on", storage.ErrUnavailable)
	default:
		in.KeyMarker, in.VersionIdMarker = out.NextKeyMarker, out.NextVersionIdMarker
	}
	return s.merge(out), nil
}

// merge makes one list of the versions and the markers of a page, which the answer holds in one order and the SDK gives in two lists.
func (s *Store) merge(out *s3.ListObjectVersionsOutput) []storage.Version {
	versions, markers := make([]storage.Version, 0, len(out.Versions)), make([]storage.Version, 0, len(out.DeleteMarkers))
	key := func(name *string) storage.Key { return storage.Key(strings.TrimPrefix(aws.ToString(name), s.root())) }
	for _, v := range out.Versions {
		versions = append(versions, storage.Version{Current: aws.ToBool(v.IsLatest), Begun: begun(v), Info: storage.Info{
			Key: key(v.Key), Size: aws.ToInt64(v.Size), Modified: made(version(v.VersionId), aws.ToTime(v.LastModified)), Version: version(v.VersionId),
			Archive: listedArchive(string(v.StorageClass)),
		}})
	}
	for _, m := range out.DeleteMarkers {
		markers = append(markers, storage.Version{Marker: true, Current: aws.ToBool(m.IsLatest), Info: storage.Info{
			Key: key(m.Key), Modified: made(version(m.VersionId), aws.ToTime(m.LastModified)), Version: version(m.VersionId),
		}})
	}
	merged := make([]storage.Version, 0, len(versions)+len(markers))
	for len(versions) > 0 && len(markers) > 0 {
		if markerFirst(versions[0], markers[0]) {
			merged, markers = append(merged, markers[0]), markers[1:]
		} else {
			merged, versions = append(merged, versions[0]), versions[1:]
		}
	}
	return append(append(merged, versions...), markers...)
}

func markerFirst(v, marker storage.Version) bool {
	switch {
	case v.Key != marker.Key:
		return marker.Key < v.Key
	case v.Current || marker.Current:
		return marker.Current
	default:
		return marker.Modified.Truncate(time.Second).After(v.Modified.Truncate(time.Second))
	}
}

// version is an id as it is asked for: what was put when the bucket kept no versions has the id null.
func version(id *string) string { return cmp.Or(aws.ToString(id), storage.NullVersion) }

// made is when a version was made. versitygw 1.8 dates one that is not the newest any more when another took its place, and a marker when the object that it hides
// was put; its ids are ULIDs, whose first ten digits hold the milliseconds since 1970 at which they were given (https://github.com/ulid/spec). No other store is known
// to have such ids.
func made(id string, modified time.Time) time.Time {
	if at, ok := given(id); ok {
		return at
	}
	return modified.UTC()
}

// begun tells whether a store may date a version when its upload began: one that was sent in parts, whose ETag ends in a dash and their number, or has none.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
func begun(v types.ObjectVersion) bool {
	_, exact := given(version(v.VersionId))
	return !exact && (aws.ToString(v.ETag) == "" || strings.Contains(*v.ETag, "-"))
}

// given is when an id was given that tells so.
func given(id string) (at time.Time, ok bool) {
	const digits, length, stamp = "0123456789ABCDEFGHJKMNPQRSTVWXYZ", 26, 10
	var ms int64
	for i := range len(id) {
		digit := strings.IndexByte(digits, id[i])
		if digit < 0 || i == 0 && digit > 7 {
			return time.Time{}, false
		}
		if i < stamp {
			ms = ms<<5 | int64(digit)
		}
	}
	at = time.UnixMilli(ms).UTC()
	return at, len(id) == length && at.Year() > 2015 && at.Year() < 2100
}

// readyFor is ready for calls that are for one version: without its id S3 takes a deletion for one that makes a marker, and a read for one of the current version.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html
func readyFor(ctx context.Context, key storage.Key, version string) error {
	if version == "" {
		return storage.ErrNoVersion
	}
	return ready(ctx, key)
}

// GetVersion implements storage.Versioner. It needs s3:GetObjectVersion.
func (s *Store) GetVersion(ctx context.Context, key storage.Key, version string, span storage.Span) (io.ReadCloser, error) {
	if version == "" {
		return nil, s.fault(ctx, "get", key, storage.ErrNoVersion)
	}
	return s.get(ctx, key, version, span)
}

// StatVersion implements storage.VersionStater. It needs s3:GetObjectVersion.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
func (s *Store) StatVersion(ctx context.Context, key storage.Key, version string) (storage.Info, error) {
	if err := readyFor(ctx, key, version); err != nil {
		return storage.Info{}, s.fault(ctx, "stat", key, err)
	}
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: s.bucket(), Key: s.name(key), VersionId: aws.String(version)})
	if err == nil {
		info, err := s.described(ctx, key, out)
		info.Version, info.Modified = version, made(version, info.Modified)
		return info, err
	}
	// The answer to HEAD has no body that would say what is not there; a marker is 405.
	switch statusOf(err) {
	case http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed:
		if _, listed := s.sizeOf(ctx, "stat", key, version); listed != nil {
			return storage.Info{}, listed
		}
	}
	return storage.Info{}, s.fault(ctx, "stat", key, err)
}

// renewedFrom names what is noted with an object that is a copy of one of its older versions: that version.
const renewedFrom = "pgark-renewed-from"

// RenewedFrom implements storage.Versioner.
func (s *Store) RenewedFrom(ctx context.Context, key storage.Key) (string, error) {
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
	return out.Metadata[renewedFrom], nil
}

// RenewVersion implements storage.Versioner. It needs s3:GetObjectVersion and s3:PutObject without a condition on what is there already.
func (s *Store) RenewVersion(ctx context.Context, version storage.Info) error {
	if err := readyFor(ctx, version.Key, version.Version); err != nil {
		return s.fault(ctx, "renew", version.Key, err)
	}
	if version.Size > s.maxCopy {
		return s.renewInParts(ctx, version)
	}
	lock, err := s.retention(ctx)
	if err != nil {
		return s.fault(ctx, "renew", version.Key, err)
	}
	out, err := s.client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket:                    s.bucket(),
		Key:                       s.name(version.Key),
		CopySource:                s.source(version),
		MetadataDirective:         types.MetadataDirectiveReplace,
		Metadata:                  map[string]string{renewedFrom: version.Version},
		ServerSideEncryption:      types.ServerSideEncryption(s.options.SSEType),
		SSEKMSKeyId:               optional(s.options.KMSKeyID),
		StorageClass:              s.options.classOf(version.Key),
		ObjectLockMode:            lock.mode,
		ObjectLockRetainUntilDate: lock.until,
	})
	// S3 may send 200 and then an error in the body; the SDK makes an error of that, and what is neither has no ETag.
	if err == nil && (out.CopyObjectResult == nil || aws.ToString(out.CopyObjectResult.ETag) == "") {
		err = fmt.Errorf("%w: the answer has no ETag", storage.ErrUnavailable)
	}
	return s.renewed(ctx, version.Key, err)
}

// renewInParts copies an object that is too large for one request.
func (s *Store) renewInParts(ctx context.Context, version storage.Info) (err error) {
	u, err := s.begin(ctx, version.Key, func(in *s3.CreateMultipartUploadInput) { in.Metadata = map[string]string{renewedFrom: version.Version} })
	if err != nil {
		return err
	}
	u.supersedes = true
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Abort(context.WithoutCancel(ctx)))
		}
	}()
	var parts []types.CompletedPart
	for at := int64(0); at < version.Size; at += s.maxCopy {
		n := aws.Int32(int32(len(parts) + 1)) //nolint:gosec // at most 10,000
		out, err := s.client.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
			Bucket: s.bucket(), Key: s.name(version.Key), UploadId: u.id, PartNumber: n, CopySource: s.source(version),
			CopySourceRange: aws.String(fmt.Sprintf("bytes=%d-%d", at, min(at+s.maxCopy, version.Size)-1)),
		})
		if err == nil && (out.CopyPartResult == nil || aws.ToString(out.CopyPartResult.ETag) == "") {
			err = fmt.Errorf("%w: the answer has no ETag", storage.ErrUnavailable)
		}
		if err != nil {
			return s.renewed(ctx, version.Key, err)
		}
		parts = append(parts, types.CompletedPart{
			PartNumber: n, ETag: out.CopyPartResult.ETag, ChecksumCRC64NVME: out.CopyPartResult.ChecksumCRC64NVME,
		})
	}
	out, err := s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: s.bucket(), Key: s.name(version.Key), UploadId: u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	if err == nil && aws.ToString(out.ETag) == "" {
		err = fmt.Errorf("%w: the answer has no ETag", storage.ErrUnavailable)
	}
	return s.renewed(ctx, version.Key, err)
}

// renewed gives the error of a copy its meaning: a version that is not there, or is a marker.
func (s *Store) renewed(ctx context.Context, key storage.Key, err error) error {
	if err != nil && isNoVersion(err) {
		err = storage.ErrNotFound
	}
	if err != nil {
		return s.fault(ctx, "renew", key, err)
	}
	return nil
}

// isNoVersion tells whether an answer means that there are no bytes of such a version. A marker that is asked for by its id is 405.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html
func isNoVersion(err error) bool {
	switch codeOf(err) {
	case "NoSuchVersion", "NoSuchKey":
		return true
	case "MethodNotAllowed":
		return statusOf(err) == http.StatusMethodNotAllowed
	}
	return false
}

// source names a version for a copy.
func (s *Store) source(version storage.Info) *string {
	return aws.String(s.options.Bucket + "/" + (&url.URL{Path: *s.name(version.Key)}).EscapedPath() + "?versionId=" + url.QueryEscape(version.Version))
}

// RemoveVersion implements storage.Versioner. It needs s3:DeleteObjectVersion, and s3:GetObjectRetention to tell until when a version is under lock.
func (s *Store) RemoveVersion(ctx context.Context, key storage.Key, version string) error {
	if err := readyFor(ctx, key, version); err != nil {
		return s.fault(ctx, "remove", key, err)
	}
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: s.bucket(), Key: s.name(key), VersionId: aws.String(version)})
	if err == nil || isNoVersion(err) || statusOf(err) == http.StatusBadRequest && s.isGone(ctx, key, version) {
		return nil
	}
	if locked := s.locked(ctx, key, version, err); locked != nil {
		err = locked
	}
	return s.fault(ctx, "remove", key, err)
}

// isGone tells whether the list proves that there is no such version: some stores call the id invalid then.
func (s *Store) isGone(ctx context.Context, key storage.Key, version string) bool {
	for v, err := range s.Versions(ctx, key, "") {
		switch {
		case err != nil, v.Key == key && v.Version == version:
			return false
		case v.Key != key:
			return true
		}
	}
	return true
}
