package s3

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/pgark/pgark/storage"
)

// Conditions of this store alone. None of them passes by waiting.
var (
	// ErrRegion says that the URL names another region than the bucket's.
	ErrRegion = errors.New("bucket is in another region")
	// ErrCertificate says that no authority known here vouches for the server.
	ErrCertificate = errors.New("certificate not trusted")

	errRefused = errors.New("request refused")
)

// fault gives err its place and its meaning. Texts stay short: what the SDK prints is for its makers.
func (s *Store) fault(ctx context.Context, op string, key storage.Key, err error) error {
	var known *storage.Error
	if errors.As(err, &known) {
		return err
	}
	e := &storage.Error{Op: op, Key: key, Place: s.options.place()}
	if ctx.Err() != nil {
		e.Err = context.Cause(ctx)
		if errors.As(err, new(*credentialsError)) {
			e.Detail = "while looking for credentials" // it is not the store that does not answer
		}
		return e
	}
	e.Detail, e.Err = s.classify(ctx, err)
	return e
}

func (s *Store) classify(ctx context.Context, err error) (detail string, kind error) {
	var noCredentials *credentialsError
	if errors.As(err, &noCredentials) {
		return classifyCredentials(noCredentials)
	}
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) || statusOf(err) == 0 {
		return classifyTransport(err)
	}
	status, code := response.HTTPStatusCode(), codeOf(err)
	detail = strings.TrimSpace(fmt.Sprintf("%d %s", status, code))
	kind = classifyCode(status, code)
	if kind == storage.ErrDenied || kind == storage.ErrExpired { //nolint:errorlint // the very sentinels of classifyCode
		if s.credentials.renew(ctx, requestOf(response), kind) {
			kind = storage.ErrExpired
		}
	}
	if kind == ErrRegion { //nolint:errorlint // as above
		if region := response.Response.Header.Get("X-Amz-Bucket-Region"); region != "" {
			detail += ": " + region
		}
	}
	return detail, kind
}

func requestOf(response *smithyhttp.ResponseError) *http.Request {
	if response.Response == nil || response.Response.Response == nil {
		return nil
	}
	return response.Response.Request
}

// codeOf returns S3's error code, such as AccessDenied, or the HTTP status text where there is none.
func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) && isWord(api.ErrorCode()) {
		return api.ErrorCode()
	}
	return strings.ReplaceAll(http.StatusText(statusOf(err)), " ", "")
}

func isWord(s string) bool {
	const maxCode = 60
	if s == "" || len(s) > maxCode {
		return false
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

// statusOf returns the HTTP status of an answer, 0 if there was none.
func statusOf(err error) int {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.Response != nil && response.Response.Response != nil {
		return response.HTTPStatusCode()
	}
	return 0
}

// classifyCode turns an answer into a condition: by S3's code first, by the status where the code says
// nothing. A bare 404 is no proof of absence: it may be a proxy's.
func classifyCode(status int, code string) error {
	switch code {
	case "NoSuchKey":
		return storage.ErrNotFound
	case "NoSuchBucket":
		return storage.ErrNoStore
	case "InvalidObjectState":
		return storage.ErrArchived
	case "NoSuchUpload":
		return storage.ErrUploadLost
	case "PreconditionFailed":
		return storage.ErrExists
	case "InvalidRange":
		return storage.ErrSpan
	case "RequestTimeTooSkewed":
		return storage.ErrSkewed
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "RequestExpired":
		return storage.ErrExpired
	case "PermanentRedirect", "TemporaryRedirect", "Redirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return ErrRegion
	case "BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "IncompleteBody", "RequestTimeout",
		"InternalError", "SlowDown", "ConditionalRequestConflict", "OperationAborted", "ServiceUnavailable":
		return storage.ErrUnavailable
	}
	return classifyStatus(status)
}

func classifyStatus(status int) error {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return storage.ErrDenied
	case status == http.StatusPreconditionFailed:
		return storage.ErrExists
	case status == http.StatusRequestedRangeNotSatisfiable:
		return storage.ErrSpan
	case status == http.StatusNotImplemented:
		return errRefused
	case status >= 300 && status < 400:
		return ErrRegion
	case status == http.StatusConflict, status == http.StatusNotFound, status == http.StatusRequestTimeout,
		status == http.StatusTooManyRequests, status >= 500, status < 300:
		return storage.ErrUnavailable
	default:
		return errRefused
	}
}

func classifyCredentials(err *credentialsError) (detail string, kind error) {
	code := codeOf(err)
	none := strings.Contains(err.err.Error(), "no EC2 IMDS role found")
	var assumed *roleError
	switch {
	case errors.As(err, &assumed) && none && !err.once:
		return "assume role " + assumed.arn + ": " + errNoCredentials.Error(), storage.ErrDenied
	case errors.As(err, &assumed):
		return "assume role " + assumed.arn + ": " + cmp.Or(code, shorten(err.err)), classifyRole(err, code)
	case err.once:
		return "credentials: " + shorten(err.err), storage.ErrUnavailable
	case code != "" && classifyStatus(statusOf(err)) == storage.ErrDenied: //nolint:errorlint // the very sentinel
		return "credentials: " + code, storage.ErrDenied
	case none:
		return errNoCredentials.Error(), storage.ErrDenied
	default:
		return "credentials: " + shorten(err.err), storage.ErrDenied
	}
}

// classifyRole judges that a role could not be assumed. That it may not be is certain at once; all else may pass where it could be
// assumed before.
// https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
func classifyRole(err *credentialsError, code string) error {
	switch {
	case code == "AccessDenied":
		return storage.ErrDenied
	case err.once, strings.HasPrefix(code, "Throttling"):
		return storage.ErrUnavailable
	case statusOf(err) != 0:
		return classifyCode(statusOf(err), code)
	}
	return storage.ErrUnavailable
}

// classifyTransport judges an error without an answer of the store.
func classifyTransport(err error) (detail string, kind error) {
	for _, own := range []error{
		storage.ErrKey, storage.ErrNoVersion, storage.ErrSpan, storage.ErrNotFound, storage.ErrExists, storage.ErrClosed, storage.ErrUnavailable,
		storage.ErrNoVersions, storage.ErrArchived, storage.ErrNoLock, storage.ErrLocked, errParts, errOrder,
	} {
		if errors.Is(err, own) {
			return "", err
		}
	}
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &certificate):
		return shorten(certificate.Err), ErrCertificate
	case errors.As(err, &record):
		return "the endpoint does not speak TLS", errRefused
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "unknown authority", ErrCertificate
	}
	if isConfiguration(err) {
		return shorten(err), errRefused
	}
	return shorten(err), storage.ErrUnavailable
}

// isConfiguration tells whether the SDK failed before it sent anything: no endpoint could be made of
// the settings, for example. Waiting does not help then.
func isConfiguration(err error) bool {
	var operation *smithy.OperationError
	var sending *smithyhttp.RequestSendError
	var garbled *smithy.DeserializationError
	var network net.Error
	return errors.As(err, &operation) && !errors.As(err, &sending) && !errors.As(err, &garbled) && !errors.As(err, &network)
}

// shorten returns the innermost words of an error of the network, or the deepest error's text.
func shorten(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	var errno syscall.Errno
	switch {
	case errors.As(err, &dns):
		return dns.Name + ": " + dns.Err
	case errors.As(err, &op) && op.Addr != nil && errors.As(err, &errno):
		return op.Op + " " + op.Addr.String() + ": " + errno.Error()
	case errors.As(err, &errno):
		return errno.Error()
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		err = inner
	}
	const maxText = 120
	text := strings.ReplaceAll(err.Error(), "\n", " ")
	if len(text) > maxText {
		text = text[:maxText] + "…"
	}
	return text
}

// isNotImplemented tells whether the store answered 501 to an error that fault has made.
func isNotImplemented(err error) bool {
	var known *storage.Error
	return errors.As(err, &known) && strings.HasPrefix(known.Detail, "501 ")
}
