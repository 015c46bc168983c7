package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/pgark/pgark/storage"
)

// upload is a multipart upload.
type upload struct {
	store *Store
	key   storage.Key
	id    *string
	// supersedes says that it takes the place of an object, which the bucket keeps as an older version.
	supersedes bool

	mu     sync.Mutex
	parts  map[int]part
	state  state
	unsure bool // a commit may have done its work without our hearing of it
}

type part struct {
	etag *string
	sum  crc
	size int64
}

type state int

const (
	open state = iota
	committed
	aborted
)

// Begin implements storage.Store.
func (s *Store) Begin(ctx context.Context, key storage.Key) (storage.Upload, error) {
	if err := ready(ctx, key); err != nil {
		return nil, s.fault(ctx, "begin", key, err)
	}
	return s.begin(ctx, key)
}

// Supersede implements storage.Superseder: in a bucket with versioning a write without a condition makes a new version. It needs
// s3:GetBucketVersioning. https://docs.aws.amazon.com/AmazonS3/latest/userguide/AddingObjectstoVersioningEnabledBuckets.html
func (s *Store) Supersede(ctx context.Context, key storage.Key) (storage.Upload, error) {
	if err := ready(ctx, key); err != nil {
		return nil, s.fault(ctx, "supersede", key, err)
	}
	versioning, err := s.Versioning(ctx)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, err
	}
	if versioning != storage.VersioningEnabled {
		return nil, s.fault(ctx, "supersede", key, storage.ErrNoVersions)
	}
	u, err := s.begin(ctx, key)
	if err != nil {
		return nil, err
	}
	u.supersedes = true
	return u, nil
}

func (s *Store) begin(ctx context.Context, key storage.Key, with ...func(*s3.CreateMultipartUploadInput)) (*upload, error) {
	lock, err := s.retention(ctx)
	if err != nil {
		return nil, s.fault(ctx, "begin", key, err)
	}
	in := &s3.CreateMultipartUploadInput{
		Bucket:                    s.bucket(),
		Key:                       s.name(key),
		ServerSideEncryption:      types.ServerSideEncryption(s.options.SSEType),
		SSEKMSKeyId:               optional(s.options.KMSKeyID),
		StorageClass:              s.options.classOf(key),
		ObjectLockMode:            lock.mode,
		ObjectLockRetainUntilDate: lock.until,
	}
	if s.sendsChecksum() {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc64nvme
		in.ChecksumType = types.ChecksumTypeFullObject
	}
	for _, f := range with {
		f(in)
	}
	out, err := s.client.CreateMultipartUpload(ctx, in)
	if err == nil && aws.ToString(out.UploadId) == "" {
		err = fmt.Errorf("%w: the answer has no upload id", storage.ErrUnavailable)
	}
	if err != nil {
		return nil, s.lockFault(ctx, "begin", key, lock, err)
	}
	return &upload{store: s, key: key, id: out.UploadId, parts: make(map[int]part)}, nil
}

// Part implements storage.Upload.
func (u *upload) Part(ctx context.Context, n int, body []byte) error {
	s := u.store
	if n < 1 || n > storage.MaxParts {
		return s.fault(ctx, "part", u.key, fmt.Errorf("%w: part %d is not within 1 to %d", errParts, n, storage.MaxParts))
	}
	if u.current() != open {
		return s.fault(ctx, "part", u.key, storage.ErrClosed)
	}
	sum := crcOf(body)
	out, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket:            s.bucket(),
		Key:               s.name(u.key),
		UploadId:          u.id,
		PartNumber:        aws.Int32(int32(n)),
		Body:              bytes.NewReader(body),
		ContentLength:     aws.Int64(int64(len(body))),
		ContentMD5:        s.digest(body),
		ChecksumCRC64NVME: s.checksum(sum),
	}, s.withBody)
	if err == nil {
		err = verify(out.ETag, out.ChecksumCRC64NVME, sum)
	}
	if err != nil {
		return s.fault(ctx, "part", u.key, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts[n] = part{etag: out.ETag, sum: sum, size: int64(len(body))}
	return nil
}

func (u *upload) current() state {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.state
}

// Commit implements storage.Upload.
func (u *upload) Commit(ctx context.Context) error {
	switch u.current() {
	case committed:
		return nil
	case aborted:
		return u.store.fault(ctx, "commit", u.key, storage.ErrClosed)
	case open:
	}
	whole, err := u.whole()
	if err != nil {
		return u.store.fault(ctx, "commit", u.key, err)
	}
	err = u.complete(ctx, whole)
	if u.unsure && (errors.Is(err, storage.ErrExists) || errors.Is(err, storage.ErrUploadLost)) {
		err = u.recognise(ctx, whole, err)
	}
	if err != nil {
		u.unsure = u.unsure || storage.Retryable(err) || ctx.Err() != nil
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.state = committed
	return nil
}

// whole is the object that the parts make.
type whole struct {
	parts []types.CompletedPart
	sum   crc
	size  int64
}

func (u *upload) whole() (whole, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var w whole
	for n := 1; n <= len(u.parts); n++ {
		p, ok := u.parts[n]
		switch {
		case !ok:
			return whole{}, fmt.Errorf("%w: part %d of %d is missing", errParts, n, len(u.parts))
		case n < len(u.parts) && p.size < storage.MinPart:
			return whole{}, fmt.Errorf("%w: part %d has %d bytes, at least %d", errParts, n, p.size, storage.MinPart)
		}
		w.sum = combine(w.sum, p.sum, p.size)
		w.size += p.size
		w.parts = append(w.parts, types.CompletedPart{
			ETag: p.etag, PartNumber: aws.Int32(int32(n)), ChecksumCRC64NVME: u.store.checksum(p.sum),
		})
	}
	if len(w.parts) == 0 {
		return whole{}, fmt.Errorf("%w: none was sent", errParts)
	}
	return w, nil
}

func (u *upload) complete(ctx context.Context, w whole) error {
	s := u.store
	var condition *string
	if !u.supersedes {
		var err error
		if condition, err = s.condition(ctx, u.key); err != nil {
			return err
		}
	}
	in := &s3.CompleteMultipartUploadInput{
		Bucket:          s.bucket(),
		Key:             s.name(u.key),
		UploadId:        u.id,
		IfNoneMatch:     condition,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: w.parts},
	}
	if s.sendsChecksum() {
		in.ChecksumType = types.ChecksumTypeFullObject
		in.ChecksumCRC64NVME = s.checksum(w.sum)
		in.MpuObjectSize = aws.Int64(w.size)
	}
	out, err := s.client.CompleteMultipartUpload(ctx, in)
	if err == nil {
		err = verify(out.ETag, out.ChecksumCRC64NVME, w.sum)
	}
	if err != nil {
		return s.fault(ctx, "commit", u.key, err)
	}
	return nil
}

// recognise returns nil if the object that stands in the way is the one that a commit before this one
// made: its length and CRC are the same. Otherwise it returns refusal.
func (u *upload) recognise(ctx context.Context, w whole, refusal error) error {
	s := u.store
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: s.bucket(), Key: s.name(u.key), ChecksumMode: types.ChecksumModeEnabled,
	})
	switch {
	case err != nil && statusOf(err) == 404:
		return refusal
	case err != nil:
		return s.fault(ctx, "commit", u.key, err)
	case aws.ToInt64(out.ContentLength) == w.size && aws.ToString(out.ChecksumCRC64NVME) == w.sum.String():
		return nil
	default:
		return s.fault(ctx, "commit", u.key, storage.ErrExists)
	}
}

// Abort implements storage.Upload.
func (u *upload) Abort(ctx context.Context) error {
	if u.current() != open {
		return nil
	}
	s := u.store
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: s.bucket(), Key: s.name(u.key), UploadId: u.id,
	})
	if err != nil {
		if err = s.fault(ctx, "abort", u.key, err); !errors.Is(err, storage.ErrUploadLost) {
			return err
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.state = aborted
	return nil
}

var errParts = errors.New("parts do not make an object")
