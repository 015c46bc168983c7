// Package s3 keeps objects in a bucket of Amazon S3 or a store that speaks its protocol. Creates are
// conditional (If-None-Match: *), every body travels with its CRC64NVME, and nothing is tried twice:
// storage/retry does that. Credentials, region, endpoint and certificates come from where the AWS SDKs
// take them: the environment, the shared files, the instance or container.
package s3

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/pgark/pgark/storage"
)

// Options say which bucket and how to reach it. Bucket is required; a zero value of any other field
// leaves the choice to the AWS environment or to the default named here.
type Options struct {
	// Bucket is the name of the bucket.
	Bucket string
	// Prefix is put before each key, with a slash between them.
	Prefix string
	// Region of the bucket. With an endpoint of its own the default is us-east-1.
	Region string
	// Endpoint is the URL of the store, such as http://127.0.0.1:9000.
	Endpoint string
	// Profile of the shared configuration files.
	Profile string
	// Role is the ARN of a role to assume with the credentials that are found: a copy in another account, for example.
	Role string
	// RoleExternalID is what the role's trust policy may ask for. It is no secret.
	RoleExternalID string
	// PathStyle says whether the bucket is part of the path. The default is PathStyleAuto.
	PathStyle PathStyle
	// Dualstack uses the endpoints that have IPv6 addresses too.
	Dualstack bool
	// FIPS uses the endpoints validated for FIPS 140.
	FIPS bool
	// RequestChecksum says when the CRC64NVME is sent: when_supported, the default, or when_required,
	// which means never, for stores that refuse it.
	RequestChecksum string
	// ResponseChecksum says when the SDK checks the store's checksums of what is read: when_required,
	// the default, or when_supported. The repository verifies all it reads by SHA-256 anyway.
	ResponseChecksum string
	// SSEType is the server-side encryption: AES256, aws:kms or aws:kms:dsse.
	SSEType string
	// KMSKeyID is the key of the last two.
	KMSKeyID string
	// StorageClass of new objects, such as STANDARD_IA.
	StorageClass string
	// Classes are those of some new objects, which have none of StorageClass; nil has none.
	Classes Classes
	// Lock is that of every new object; the zero value leaves them to the bucket's default. It is no part of the URL.
	Lock storage.Lock
}

// Classes tells which storage class a new object is to have.
type Classes interface {
	// ClassOf returns "" for the class that is for all objects.
	ClassOf(key storage.Key) string
}

// classOf is the storage class of a new object; empty for the bucket's own.
func (o Options) classOf(key storage.Key) types.StorageClass {
	if o.Classes != nil {
		if class := o.Classes.ClassOf(key); class != "" {
			return types.StorageClass(class)
		}
	}
	return types.StorageClass(o.StorageClass)
}

// PathStyle is how a request names its bucket.
type PathStyle string

const (
	// PathStyleAuto means path style at an endpoint outside amazonaws.com.
	PathStyleAuto PathStyle = ""
	// PathStyleOn means https://endpoint/bucket/key.
	PathStyleOn PathStyle = "true"
	// PathStyleOff means https://bucket.endpoint/key.
	PathStyleOff PathStyle = "false"
)

const (
	whenSupported = "when_supported"
	whenRequired  = "when_required"
	maxPrefix     = 100
)

// ErrURL means that a URL is no s3 URL that this package understands.
var ErrURL = errors.New("invalid s3 URL")

func urlError(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrURL, fmt.Errorf(format, args...))
}

// ParseURL reads s3://bucket/prefix?name=value&…. The names are those of Go CDK's s3blob: region,
// endpoint, profile, role, use_path_style (also force-path-style, forcePathStyle), dualstack, fips,
// request_checksum_calculation, response_checksum_validation, ssetype, kmskeyid; and role_external_id and storage_class. An
// unknown name, a name given twice, and credentials in the URL are errors, which wrap ErrURL and never
// repeat the URL.
func ParseURL(rawURL string) (Options, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return Options{}, urlError("it cannot be parsed")
	}
	switch {
	case u.Scheme != "s3":
		return Options{}, urlError("it must begin with s3://")
	case u.User != nil:
		return Options{}, urlError("credentials do not belong in a URL; use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile")
	case u.Fragment != "" || strings.HasSuffix(rawURL, "#"):
		return Options{}, urlError("it has a fragment")
	case u.Opaque != "" || u.Host == "":
		return Options{}, urlError("it names no bucket")
	}
	o := Options{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	if err := o.setQuery(u.RawQuery); err != nil {
		return Options{}, err
	}
	if err := o.Validate(); err != nil {
		return Options{}, err
	}
	return o, nil
}

// field returns where the value of a query name goes.
func (o *Options) field(name string) *string {
	switch name {
	case "region":
		return &o.Region
	case "endpoint":
		return &o.Endpoint
	case "profile":
		return &o.Profile
	case "role":
		return &o.Role
	case "role_external_id":
		return &o.RoleExternalID
	case "request_checksum_calculation":
		return &o.RequestChecksum
	case "response_checksum_validation":
		return &o.ResponseChecksum
	case "ssetype":
		return &o.SSEType
	case "kmskeyid":
		return &o.KMSKeyID
	case "storage_class":
		return &o.StorageClass
	default:
		return nil
	}
}

func (o *Options) setQuery(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return urlError("its query cannot be parsed")
	}
	seen := make(map[string]struct{})
	for name, all := range values {
		switch name {
		case "force-path-style", "forcePathStyle":
			name = "use_path_style"
		}
		if _, twice := seen[name]; twice || len(all) > 1 {
			return urlError("%s is given twice", name)
		}
		seen[name] = struct{}{}
		if all[0] == "" {
			return urlError("%s has no value", name)
		}
		if err := o.set(name, all[0]); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) set(name, value string) error {
	if field := o.field(name); field != nil {
		*field = value
		return nil
	}
	on, isBool := map[string]bool{"true": true, "1": true, "false": false, "0": false}[value]
	switch name {
	case "use_path_style":
		o.PathStyle = PathStyleOff
		if on {
			o.PathStyle = PathStyleOn
		}
	case "dualstack":
		o.Dualstack = on
	case "fips":
		o.FIPS = on
	default:
		return urlError("unknown query name %q", name)
	}
	if !isBool {
		return urlError("%s must be true or false", name)
	}
	return nil
}

// Validate returns an error that wraps ErrURL if a field has no valid value.
func (o Options) Validate() error {
	bucket := regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	switch {
	case !bucket.MatchString(o.Bucket):
		return urlError("%q is no bucket name: 3 to 63 lower-case letters, digits, dots and hyphens", o.Bucket)
	case strings.HasSuffix(o.Bucket, "--x-s3"):
		return urlError("%s is a directory bucket, which does not list in order", o.Bucket)
	case len(o.Prefix) > maxPrefix:
		return urlError("the prefix has %d bytes, at most %d", len(o.Prefix), maxPrefix)
	case o.Prefix != "" && storage.Key(o.Prefix).Validate() != nil:
		return urlError("%q is no prefix: names of printable ASCII without space, none beginning with a dot", o.Prefix)
	}
	for _, check := range []struct {
		name, value string
		allowed     []string
	}{
		{"use_path_style", string(o.PathStyle), []string{"true", "false"}},
		{"request_checksum_calculation", o.RequestChecksum, []string{whenSupported, whenRequired}},
		{"response_checksum_validation", o.ResponseChecksum, []string{whenSupported, whenRequired}},
		{"ssetype", o.SSEType, []string{"AES256", "aws:kms", "aws:kms:dsse"}},
	} {
		if check.value != "" && !contains(check.allowed, check.value) {
			return urlError("%s is %q, not one of %s", check.name, check.value, strings.Join(check.allowed, ", "))
		}
	}
	if err := o.validateRole(); err != nil {
		return err
	}
	if err := o.validateLock(); err != nil {
		return err
	}
	return o.validateEndpoint()
}

// validateRole keeps to what AssumeRole takes; stores of others have roles whose ARN has other parts than Amazon's.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func (o Options) validateRole() error {
	const least, most, mostID = 20, 2048, 1224
	switch {
	case o.Role == "" && o.RoleExternalID != "":
		return urlError("role_external_id is given without role")
	case o.Role != "" && (!strings.HasPrefix(o.Role, "arn:") || len(o.Role) < least || len(o.Role) > most):
		return urlError("role is %q, not an ARN like arn:aws:iam::123456789012:role/pgark", o.Role)
	case o.RoleExternalID != "" && (len(o.RoleExternalID) > mostID || !regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`).MatchString(o.RoleExternalID)):
		return urlError("role_external_id is none: 2 to 1224 letters, digits and +=,.@:/-_ (write + as %%2B)")
	case o.KMSKeyID != "" && !strings.HasPrefix(o.SSEType, "aws:kms"):
		return urlError("kmskeyid is given without ssetype=aws:kms")
	}
	return nil
}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}

func (o Options) validateEndpoint() error {
	if o.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(o.Endpoint)
	switch {
	case err != nil:
		return urlError("the endpoint cannot be parsed")
	case u.Scheme != "http" && u.Scheme != "https":
		return urlError("the endpoint must begin with https:// or http://")
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return urlError("the endpoint must be a scheme, a host and a port alone")
	}
	return nil
}

// place names the store in errors: "s3://bucket/prefix".
func (o Options) place() string {
	if o.Prefix == "" {
		return "s3://" + o.Bucket
	}
	return "s3://" + o.Bucket + "/" + o.Prefix
}
