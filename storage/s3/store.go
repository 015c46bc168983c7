package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/pgark/pgark/storage"
)

// name returns the key in the bucket.
func (s *Store) name(key storage.Key) *string {
	if s.options.Prefix == "" {
		return aws.String(string(key))
	}
	return aws.String(s.options.Prefix + "/" + string(key))
}

func (s *Store) bucket() *string { return aws.String(s.options.Bucket) }

// ready returns what keeps a call from being made at all.
func ready(ctx context.Context, key storage.Key) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return key.Validate()
}

// withBody are the client options of calls that send a body.
func (s *Store) withBody(o *s3.Options) {
	if s.unsigned {
		o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	}
}

func (s *Store) sendsChecksum() bool { return s.options.RequestChecksum != whenRequired }

// checksum returns the CRC to send, nil if none is to be sent.
func (s *Store) checksum(sum crc) *string {
	if !s.sendsChecksum() {
		return nil
	}
	return aws.String(sum.String())
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Put implements storage.Store.
func (s *Store) Put(ctx context.Context, key storage.Key, body []byte) error {
	if err := ready(ctx, key); err != nil {
		return s.fault(ctx, "put", key, err)
	}
	condition, err := s.condition(ctx, key)
	if err != nil {
		return err
	}
	return s.put(ctx, key, object{body: body, condition: condition})
}

type object struct {
	body      []byte
	condition *string // If-None-Match
	match     *string // If-Match
}

func (s *Store) put(ctx context.Context, key storage.Key, o object) error {
	lock, err := s.retention(ctx)
	if err != nil {
		return s.fault(ctx, "put", key, err)
	}
	sum := crcOf(o.body)
	out, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket:                    s.bucket(),
		Key:                       s.name(key),
		Body:                      bytes.NewReader(o.body),
		ContentLength:             aws.Int64(int64(len(o.body))),
		ContentMD5:                s.digest(o.body),
		IfNoneMatch:               o.condition,
		IfMatch:                   o.match,
		ChecksumCRC64NVME:         s.checksum(sum),
		ServerSideEncryption:      types.ServerSideEncryption(s.options.SSEType),
		SSEKMSKeyId:               optional(s.options.KMSKeyID),
		StorageClass:              s.options.classOf(key),
		ObjectLockMode:            lock.mode,
		ObjectLockRetainUntilDate: lock.until,
	}, s.withBody)
	if err == nil {
		err = verify(out.ETag, out.ChecksumCRC64NVME, sum)
	}
	if err != nil {
		return s.lockFault(ctx, "put", key, lock, err)
	}
	return nil
}

// verify checks what a store says of the object that it made. A store need not return the checksum.
func verify(etag, got *string, want crc) error {
	if aws.ToString(etag) == "" {
		return fmt.Errorf("%w: the answer has no ETag", storage.ErrUnavailable)
	}
	if got != nil && *got != want.String() {
		return fmt.Errorf("%w: the store has checksum %s, sent was %s", storage.ErrUnavailable, *got, want)
	}
	return nil
}

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	return s.get(ctx, key, "", span)
}

// get reads the current version if version is empty.
func (s *Store) get(ctx context.Context, key storage.Key, version string, span storage.Span) (io.ReadCloser, error) {
	if err := ready(ctx, key); err != nil {
		return nil, s.fault(ctx, "get", key, err)
	}
	if span.Offset < 0 || span.Length == 0 {
		return s.getNothing(ctx, key, version, span)
	}
	in := &s3.GetObjectInput{Bucket: s.bucket(), Key: s.name(key), VersionId: optional(version), Range: header(span)}
	if s.options.ResponseChecksum == whenSupported {
		in.ChecksumMode = types.ChecksumModeEnabled
	}
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		if version == "" && s.hidden(ctx, key, err) || version != "" && isNoVersion(err) {
			err = storage.ErrNotFound
		}
		return nil, s.fault(ctx, "get", key, err)
	}
	want, err := expected(span, out)
	if err != nil {
		return nil, s.fault(ctx, "get", key, errors.Join(err, out.Body.Close()))
	}
	r := &reader{body: out.Body, want: want}
	r.fault = func(err error) error { return s.fault(ctx, "get", key, err) }
	r.ended = ctx.Err
	return r, nil
}

// hidden tells whether an object was refused because there is none. S3 answers 403 to whoever may not list the bucket, and that is also who
// may list below a prefix alone, for a GET names none. A list of this one key proves the absence.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func (s *Store) hidden(ctx context.Context, key storage.Key, getErr error) bool {
	if statusOf(getErr) != http.StatusForbidden || codeOf(getErr) != "AccessDenied" {
		return false
	}
	infos, _, err := s.page(ctx, pageOf{prefix: *s.name(key), max: 1})
	return err == nil && (len(infos) == 0 || infos[0].Key != key)
}

// getNothing gives a span of no bytes, for which HTTP has no range.
func (s *Store) getNothing(ctx context.Context, key storage.Key, version string, span storage.Span) (io.ReadCloser, error) {
	info, err := s.sizeOf(ctx, "get", key, version)
	if err != nil {
		return nil, err
	}
	if _, err := span.Resolve(info.Size); err != nil {
		return nil, s.fault(ctx, "get", key, err)
	}
	return io.NopCloser(bytes.NewReader(nil)), nil
}

// sizeOf looks a version up in the list, which also proves that there is none.
func (s *Store) sizeOf(ctx context.Context, op string, key storage.Key, version string) (storage.Info, error) {
	if version == "" {
		return s.Stat(ctx, key)
	}
	for v, err := range s.Versions(ctx, key, "") {
		switch {
		case err != nil:
			return storage.Info{}, err
		case v.Key == key && v.Version == version && !v.Marker:
			return v.Info, nil
		case v.Key != key:
			return storage.Info{}, s.fault(ctx, op, key, storage.ErrNotFound)
		}
	}
	return storage.Info{}, s.fault(ctx, op, key, storage.ErrNotFound)
}

// header returns the Range header, nil for the whole object: an empty object has no range.
func header(span storage.Span) *string {
	switch {
	case span.Length < 0 && span.Offset == 0:
		return nil
	case span.Length < 0:
		return aws.String(fmt.Sprintf("bytes=%d-", span.Offset))
	default:
		return aws.String(fmt.Sprintf("bytes=%d-%d", span.Offset, span.Offset+span.Length-1))
	}
}

// expected returns how many bytes the body must have.
func expected(span storage.Span, out *s3.GetObjectOutput) (int64, error) {
	if out.ContentLength == nil {
		return 0, fmt.Errorf("%w: the answer has no length", storage.ErrUnavailable)
	}
	got := *out.ContentLength
	if header(span) == nil {
		return got, nil
	}
	var first, last, size int64
	n, err := fmt.Sscanf(aws.ToString(out.ContentRange), "bytes %d-%d/%d", &first, &last, &size)
	if err != nil || n != 3 || first != span.Offset || last-first+1 != got {
		return 0, fmt.Errorf("%w: the answer is not the range asked for: %q", storage.ErrUnavailable, aws.ToString(out.ContentRange))
	}
	want, err := span.Resolve(size)
	if err == nil && want != got {
		err = fmt.Errorf("%w: the answer has %d bytes, asked for %d", storage.ErrUnavailable, got, want)
	}
	return want, err
}

// reader is a body whose length is checked.
type reader struct {
	body  io.ReadCloser
	want  int64
	got   int64
	fault func(error) error
	ended func() error // the error of the context of the Get
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.got == r.want {
		return 0, io.EOF
	}
	if err := r.ended(); err != nil {
		// The transport notices by itself, but only after what is buffered: a small rest would still come.
		return 0, r.fault(err)
	}
	n, err := r.body.Read(p[:min(int64(len(p)), r.want-r.got)])
	r.got += int64(n)
	switch {
	case r.got == r.want:
		return n, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return n, r.fault(storage.ShortBody(r.got, r.want))
	case err != nil:
		return n, r.fault(err)
	default:
		return n, nil
	}
}

// Close implements io.Closer.
func (r *reader) Close() error { return r.body.Close() }

// Delete implements storage.Store.
func (s *Store) Delete(ctx context.Context, key storage.Key) error {
	if err := ready(ctx, key); err != nil {
		return s.fault(ctx, "delete", key, err)
	}
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: s.bucket(), Key: s.name(key)})
	if err != nil {
		if err = s.fault(ctx, "delete", key, err); !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	return nil
}
