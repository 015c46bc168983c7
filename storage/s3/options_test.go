package s3_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/s3"
)

func TestParseURL(t *testing.T) {
	tests := []struct {
		url  string
		want s3.Options
	}{
		{"s3://bucket", s3.Options{Bucket: "bucket"}},
		{"s3://bucket/", s3.Options{Bucket: "bucket"}},
		{"s3://bucket/a/b/", s3.Options{Bucket: "bucket", Prefix: "a/b"}},
		{"s3://acme-pg/main?region=eu-west-1", s3.Options{Bucket: "acme-pg", Prefix: "main", Region: "eu-west-1"}},
		{
			"s3://bucket?endpoint=http://127.0.0.1:9000&use_path_style=true",
			s3.Options{Bucket: "bucket", Endpoint: "http://127.0.0.1:9000", PathStyle: s3.PathStyleOn},
		},
		{"s3://bucket?force-path-style=1", s3.Options{Bucket: "bucket", PathStyle: s3.PathStyleOn}},
		{"s3://bucket?forcePathStyle=false", s3.Options{Bucket: "bucket", PathStyle: s3.PathStyleOff}},
		{"s3://bucket?dualstack=true&fips=0", s3.Options{Bucket: "bucket", Dualstack: true}},
		{
			"s3://bucket?profile=p&role=arn:aws:iam::222:role/r&ssetype=aws:kms&kmskeyid=k&storage_class=STANDARD_IA",
			s3.Options{
				Bucket: "bucket", Profile: "p", Role: "arn:aws:iam::222:role/r", SSEType: "aws:kms", KMSKeyID: "k",
				StorageClass: "STANDARD_IA",
			},
		},
		{
			"s3://bucket?role=arn:aws:iam::222:role/r&role_external_id=acme%2B1",
			s3.Options{Bucket: "bucket", Role: "arn:aws:iam::222:role/r", RoleExternalID: "acme+1"},
		},
		{
			"s3://bucket?request_checksum_calculation=when_required&response_checksum_validation=when_supported",
			s3.Options{Bucket: "bucket", RequestChecksum: "when_required", ResponseChecksum: "when_supported"},
		},
	}
	for _, tt := range tests {
		got, err := s3.ParseURL(tt.url)
		if err != nil || got != tt.want {
			t.Errorf("%s: got %+v, %v, want %+v", tt.url, got, err, tt.want)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	tests := []struct{ url, want string }{
		{"", "must begin with s3://"},
		{"http://bucket", "must begin with s3://"},
		{"s3:bucket", "names no bucket"},
		{"s3://", "names no bucket"},
		{"s3:///prefix", "names no bucket"},
		{"s3://b", "no bucket name"},
		{"s3://Bucket", "no bucket name"},
		{"s3://bucket:80", "no bucket name"},
		{"s3://bucket--x-s3", "directory bucket"},
		{"s3://KEY:CANARY@bucket", "credentials do not belong"},
		{"s3://bucket/a#b", "fragment"},
		{"s3://bucket/a#", "fragment"},
		{"s3://bucket/../up", "no prefix"},
		{"s3://bucket/a//b", "no prefix"},
		{"s3://bucket/a%20b", "no prefix"},
		{"s3://bucket/" + strings.Repeat("x", 101), "101 bytes"},
		{"s3://bucket?regoin=x", `unknown query name "regoin"`},
		{"s3://bucket?region=a&region=b", "region is given twice"},
		{"s3://bucket?use_path_style=true&forcePathStyle=true", "use_path_style is given twice"},
		{"s3://bucket?region=", "region has no value"},
		{"s3://bucket?fips=yes", "fips must be true or false"},
		{"s3://bucket?a;b", "query cannot be parsed"},
		{"s3://bucket?ssetype=none", "ssetype is"},
		{"s3://bucket?role=pgark-copy", "not an ARN like"},
		{"s3://bucket?role_external_id=acme", "without role"},
		{"s3://bucket?role=arn:aws:iam::222:role/r&role_external_id=a+b", "write + as %2B"},
		{"s3://bucket?kmskeyid=k", "without ssetype=aws:kms"},
		{"s3://bucket?kmskeyid=k&ssetype=AES256", "without ssetype=aws:kms"},
		{"s3://bucket?endpoint=127.0.0.1:9000", "endpoint"},
		{"s3://bucket?endpoint=ftp://x", "must begin with https://"},
		{"s3://bucket?endpoint=http://u:CANARY@x", "a scheme, a host and a port alone"},
		{"s3://bucket?endpoint=http://x/path", "a scheme, a host and a port alone"},
		{"s3://bucket/%zzCANARY", "cannot be parsed"},
	}
	for _, tt := range tests {
		_, err := s3.ParseURL(tt.url)
		if !errors.Is(err, s3.ErrURL) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: got %v, want %s", tt.url, err, tt.want)
		}
	}
}

func TestOpenWithoutRegion(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	_, err := s3.Open(t.Context(), s3.Options{Bucket: "bucket"})
	if err == nil || !strings.Contains(err.Error(), "no region") {
		t.Errorf("got %v, want no region", err)
	}
	if _, err := s3.Open(t.Context(), s3.Options{Bucket: "bucket", Profile: "none"}); err == nil {
		t.Error("a profile that does not exist: got nil, want an error")
	}
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
	if _, err := s3.Open(t.Context(), s3.Options{Bucket: "bucket"}); err != nil {
		t.Errorf("an endpoint in the environment: got %v, want nil", err)
	}
	t.Setenv("AWS_CA_BUNDLE", "/nonexistent")
	if _, err := s3.Open(t.Context(), s3.Options{Bucket: "bucket"}); err == nil {
		t.Error("a CA bundle that does not exist: got nil, want an error")
	}
}

// FuzzParseURL proves that what is accepted is valid and that no input makes it panic.
func FuzzParseURL(f *testing.F) {
	f.Add("s3://bucket/prefix?region=r&endpoint=https://host:1&use_path_style=1")
	f.Add("s3://a:b@c/d#e")
	f.Add("s3://bucket/..?x")
	f.Fuzz(func(t *testing.T, url string) {
		o, err := s3.ParseURL(url)
		if err != nil {
			if !errors.Is(err, s3.ErrURL) {
				t.Errorf("%q: got %v, want ErrURL", url, err)
			}
			return
		}
		if err := o.Validate(); err != nil {
			t.Errorf("%q: %+v is not valid: %v", url, o, err)
		}
		if o.Prefix != "" && storage.Key(o.Prefix).Validate() != nil {
			t.Errorf("%q: prefix %q", url, o.Prefix)
		}
	})
}
