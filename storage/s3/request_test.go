package s3_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/s3"
)

// TestHostOfAmazon: where the requests of a bucket at Amazon would go. No connection is made.
func TestHostOfAmazon(t *testing.T) {
	for _, name := range []string{
		"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE", "AWS_PROFILE", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_ACCESS_KEY_ID", "A")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "S")
	for query, want := range map[string]string{
		"region=eu-west-1":                                             "acme-pg.s3.eu-west-1.amazonaws.com:443",
		"region=eu-west-1&dualstack=true":                              "acme-pg.s3.dualstack.eu-west-1.amazonaws.com:443",
		"region=us-east-2&fips=true":                                   "acme-pg.s3-fips.us-east-2.amazonaws.com:443",
		"region=us-east-2&fips=true&dualstack=true":                    "acme-pg.s3-fips.dualstack.us-east-2.amazonaws.com:443",
		"region=eu-west-1&use_path_style=true":                         "s3.eu-west-1.amazonaws.com:443",
		"region=us-gov-west-1":                                         "acme-pg.s3.us-gov-west-1.amazonaws.com:443",
		"region=eu-west-1&endpoint=https://s3.example":                 "s3.example:443",
		"endpoint=https://s3.example:9000&use_path_style=false":        "acme-pg.s3.example:9000",
		"endpoint=https://s3.eu-west-1.amazonaws.com&region=eu-west-1": "acme-pg.s3.eu-west-1.amazonaws.com:443",
	} {
		s := open(t, "s3://acme-pg/main?"+query)
		var dialled string
		stop := errors.New("no connection in this test")
		s.DialTLS(func(_ context.Context, _, address string) (net.Conn, error) {
			dialled = address
			return nil, stop
		})
		if err := s.Put(t.Context(), "x", nil); err == nil {
			t.Errorf("%s: got nil", query)
		}
		if dialled != want {
			t.Errorf("%s: got %s, want %s", query, dialled, want)
		}
	}
}

// recordingServer is a store that says yes to everything and keeps the headers of what creates objects.
func recordingServer(t *testing.T) (endpoint string, created func() []http.Header) {
	t.Helper()
	var mu sync.Mutex
	var all []http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if r.Method == http.MethodPut && !query.Has("partNumber") || query.Has("uploads") {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, r.Header.Clone())
		}
		w.Header().Set("ETag", `"1"`)
		if query.Has("uploads") {
			_, _ = w.Write([]byte(`<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>`))
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []http.Header {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// TestHeadersOfNewObjects: encryption and storage class go with each new object, be it put at once or in parts.
func TestHeadersOfNewObjects(t *testing.T) {
	endpoint, created := recordingServer(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "A")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "S")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	const encryption, key, class = "X-Amz-Server-Side-Encryption", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "X-Amz-Storage-Class"
	for query, want := range map[string]map[string]string{
		"":                          {encryption: "", key: "", class: ""},
		"&ssetype=AES256":           {encryption: "AES256"},
		"&storage_class=GLACIER_IR": {class: "GLACIER_IR"},
		"&ssetype=aws:kms&kmskeyid=arn:aws:kms:eu-west-1:222:key/k": {encryption: "aws:kms", key: "arn:aws:kms:eu-west-1:222:key/k"},
		"&ssetype=aws:kms:dsse": {encryption: "aws:kms:dsse", key: ""},
	} {
		before := len(created())
		put(t, open(t, "s3://bucket?endpoint="+endpoint+query))
		all := created()[before:]
		if len(all) != 2 {
			t.Fatalf("%s: got %d creates, want 2", query, len(all))
		}
		for _, h := range all {
			for name, value := range want {
				if got := h.Get(name); got != value {
					t.Errorf("%s: %s: got %q, want %q", query, name, got, value)
				}
			}
		}
	}
}

// put makes one object at once and begins another in parts.
func put(t *testing.T, s *s3.Store) {
	t.Helper()
	if err := s.Put(t.Context(), "x", []byte("body")); err != nil {
		t.Fatal(err)
	}
	u, err := s.Begin(t.Context(), "y")
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Part(t.Context(), 1, []byte("body")); err != nil {
		t.Fatal(err)
	}
	if err := u.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// suffixed gives keys that end alike a class of their own.
type suffixed map[string]string

func (s suffixed) ClassOf(key storage.Key) string { return s[string(key[len(key)-1:])] }

func TestStorageClassOfEachObject(t *testing.T) {
	endpoint, created := recordingServer(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "A")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "S")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	for _, of := range []struct{ key, want string }{{"x", "STANDARD_IA"}, {"y", "GLACIER_IR"}} { // put at once and in parts; the class of the URL is for the others
		options, err := s3.ParseURL("s3://bucket?storage_class=ONEZONE_IA&endpoint=" + endpoint)
		if err != nil {
			t.Fatal(err)
		}
		options.Classes = suffixed{of.key: of.want}
		s, err := s3.Open(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		before := len(created())
		put(t, s)
		got := []string{}
		for _, h := range created()[before:] {
			got = append(got, h.Get("X-Amz-Storage-Class"))
		}
		want := []string{"ONEZONE_IA", "ONEZONE_IA"}
		want[of.key[0]-'x'] = of.want
		if !slices.Equal(got, want) {
			t.Errorf("class of %s: got %v, want %v", of.key, got, want)
		}
	}
}
