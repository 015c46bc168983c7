package s3_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/storage/storagetest"
)

// behind returns a store behind a proxy, with an empty bucket of the server.
func behind(t *testing.T) (*s3.Store, *storagetest.Proxy, *storagetest.Server) {
	t.Helper()
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	proxy := storagetest.StartProxy(t, server)
	return open(t, proxy.URL("bucket", "main")), proxy, server
}

// fast retries without much waiting.
func fast(s storage.Store) *retry.Store {
	return retry.New(s, retry.Options{MinWait: time.Millisecond, MaxWait: 10 * time.Millisecond, MaxElapsed: 20 * time.Second})
}

func TestErrors(t *testing.T) {
	s, proxy, _ := behind(t)
	tests := []struct {
		status    int
		code      string
		want      error
		retryable bool
		text      string
	}{
		{503, "SlowDown", storage.ErrUnavailable, true, "unavailable (503 SlowDown)"},
		{500, "InternalError", storage.ErrUnavailable, true, "unavailable (500 InternalError)"},
		{429, "TooManyRequests", storage.ErrUnavailable, true, "unavailable (429 TooManyRequests)"},
		{409, "ConditionalRequestConflict", storage.ErrUnavailable, true, "unavailable (409 ConditionalRequestConflict)"},
		{412, "PreconditionFailed", storage.ErrExists, false, "already exists (412 PreconditionFailed)"},
		{403, "AccessDenied", storage.ErrDenied, false, "access denied (403 AccessDenied)"},
		{403, "SignatureDoesNotMatch", storage.ErrDenied, false, "access denied (403 SignatureDoesNotMatch)"},
		{403, "RequestTimeTooSkewed", storage.ErrSkewed, true, "clock differs from the store's (403 RequestTimeTooSkewed)"},
		{400, "ExpiredToken", storage.ErrExpired, true, "credentials expired (400 ExpiredToken)"},
		{400, "BadDigest", storage.ErrUnavailable, true, "unavailable (400 BadDigest)"},
		{400, "InvalidArgument", nil, false, "request refused (400 InvalidArgument)"},
		{301, "PermanentRedirect", nil, false, "bucket is in another region (301 PermanentRedirect)"},
		{404, "NoSuchBucket", storage.ErrNoStore, false, "no such bucket (404 NoSuchBucket)"},
		{404, "SomethingElse", storage.ErrUnavailable, true, "unavailable (404 SomethingElse)"},
		{200, "InternalError", storage.ErrUnavailable, true, "unavailable (500 InternalError)"},
	}
	for _, tt := range tests {
		t.Run(tt.code, func(t *testing.T) {
			defer proxy.Add(storagetest.Rule{Op: storagetest.Put, Fault: storagetest.Answer(tt.status, tt.code)})()
			err := s.Put(t.Context(), "wal/x", []byte("body"))
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if got := storage.Retryable(err); got != tt.retryable {
				t.Errorf("retryable: got %v, want %v", got, tt.retryable)
			}
			if got, want := err.Error(), "put wal/x: s3://bucket/main: "+tt.text; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// TestHeadIsExplained proves that a HEAD, whose answer has no code, is never taken for more than it says.
func TestHeadIsExplained(t *testing.T) {
	s, proxy, server := behind(t)
	if err := s.Put(t.Context(), "there", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	remove := proxy.Add(storagetest.Rule{Op: storagetest.Head, Fault: storagetest.Answer(404, "")})
	if info, err := s.Stat(t.Context(), "there"); err != nil || info.Size != 5 {
		t.Errorf("a stale 404: got %+v, %v, want 5 bytes", info, err)
	}
	if _, err := s.Stat(t.Context(), "none"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	removeList := proxy.Add(storagetest.Rule{Op: storagetest.List, Fault: storagetest.Answer(503, "SlowDown")})
	if _, err := s.Stat(t.Context(), "none"); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("list down: got %v, want ErrUnavailable", err)
	}
	removeList()
	remove()
	defer proxy.Add(storagetest.Rule{Op: storagetest.Head, Fault: storagetest.Answer(400, "")})()
	defer proxy.Add(storagetest.Rule{Op: storagetest.List, Fault: storagetest.Answer(400, "ExpiredToken")})()
	if _, err := s.Stat(t.Context(), "there"); !errors.Is(err, storage.ErrExpired) {
		t.Errorf("expired: got %v, want ErrExpired", err)
	}
	gone := open(t, server.URL("no-such-bucket", ""))
	if _, err := gone.Stat(t.Context(), "x"); !errors.Is(err, storage.ErrNoStore) {
		t.Errorf("stat without bucket: got %v, want ErrNoStore", err)
	}
	if _, err := gone.Get(t.Context(), "x", storage.All()); !errors.Is(err, storage.ErrNoStore) {
		t.Errorf("get without bucket: got %v, want ErrNoStore", err)
	}
}

func TestUnreachable(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	s := open(t, server.URL("bucket", ""))
	server.Stop()
	err := s.Put(t.Context(), "x", nil)
	if !errors.Is(err, storage.ErrUnavailable) || !strings.HasSuffix(err.Error(), ": connection refused)") {
		t.Errorf("got %v, want a short connection refused", err)
	}
}

func TestNoCredentials(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	s := open(t, server.URL("bucket", ""))
	err := s.Put(t.Context(), "x", nil)
	if want := "put x: s3://bucket: access denied (no credentials found)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestNewCredentialsFile proves that keys replaced in the credentials file are found without a restart.
func TestNewCredentialsFile(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	access, secret := server.Keys()
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	file := filepath.Join(t.TempDir(), "credentials")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	write := func(access, secret string) {
		t.Helper()
		text := "[default]\naws_access_key_id=" + access + "\naws_secret_access_key=" + secret + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	proxy := storagetest.StartProxy(t, server)
	write("OLDKEY", "CANARYSECRET")
	s := open(t, proxy.URL("bucket", ""))
	remove := proxy.Add(storagetest.Rule{Fault: storagetest.Answer(403, "InvalidAccessKeyId")})
	err := s.Put(t.Context(), "x", nil)
	if !errors.Is(err, storage.ErrDenied) || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("old keys: got %v, want ErrDenied without secrets", err)
	}
	write(access, secret)
	err = s.Put(t.Context(), "x", nil)
	if !errors.Is(err, storage.ErrExpired) {
		t.Errorf("new keys are there: got %v, want ErrExpired", err)
	}
	remove()
	if err := s.Put(t.Context(), "x", nil); err != nil {
		t.Errorf("new keys: got %v, want nil", err)
	}
	// Expired in the middle of the work: the retry alone gets over it.
	proxy.Add(storagetest.Rule{Nth: 1, Fault: storagetest.Answer(403, "ExpiredToken")})
	if err := fast(s).Put(t.Context(), "y", nil); err != nil {
		t.Errorf("expired once: got %v, want nil", err)
	}
}

func TestLostPut(t *testing.T) {
	s, proxy, _ := behind(t)
	proxy.Add(storagetest.Rule{Op: storagetest.Put, Nth: 1, Fault: storagetest.Lose()})
	err := fast(s).Put(t.Context(), "x", []byte("body"))
	if !errors.Is(err, storage.ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	if got, err := storage.ReadAll(t.Context(), s, "x", 100); err != nil || string(got) != "body" {
		t.Errorf("got %q, %v, want body", got, err)
	}
	if got := proxy.Count(storagetest.Put, ""); got != 2 {
		t.Errorf("got %d requests, want 2: the SDK must not try again by itself", got)
	}
}

func TestLostCommit(t *testing.T) {
	for _, fault := range []struct {
		name  string
		fault storagetest.Fault
	}{
		{"lost", storagetest.Lose()},
		{"error in a 200", storagetest.Answer(200, "InternalError")},
		{"503", storagetest.Answer(503, "SlowDown")},
		{"no ETag", storagetest.Cut()},
	} {
		t.Run(fault.name, func(t *testing.T) {
			s, proxy, server := behind(t)
			proxy.Add(storagetest.Rule{Op: storagetest.Commit, Nth: 1, Fault: fault.fault})
			u, err := fast(s).Begin(t.Context(), "x")
			if err != nil {
				t.Fatal(err)
			}
			parts := [][]byte{storagetest.Random(storage.MinPart, 1), storagetest.Random(1000, 2)}
			for i, body := range parts {
				if err := u.Part(t.Context(), i+1, body); err != nil {
					t.Fatal(err)
				}
			}
			if err := u.Commit(t.Context()); err != nil {
				t.Errorf("got %v, want nil", err)
			}
			if err := u.Commit(t.Context()); err != nil {
				t.Errorf("again: got %v, want nil", err)
			}
			got, err := storage.ReadAll(t.Context(), s, "x", 1<<30)
			if err != nil || !bytes.Equal(got, bytes.Join(parts, nil)) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if left := server.Query(t, "bucket", "uploads="); strings.Contains(left, "<UploadId>") {
				t.Errorf("an upload is left: %s", left)
			}
		})
	}
}

// TestLostCommitOfAnother proves that another's object is not taken for our own.
func TestLostCommitOfAnother(t *testing.T) {
	s, proxy, server := behind(t)
	proxy.Add(storagetest.Rule{Op: storagetest.Commit, Nth: 1, Fault: storagetest.Cut()})
	u, err := s.Begin(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Part(t.Context(), 1, []byte("mine")); err != nil {
		t.Fatal(err)
	}
	if err := u.Commit(t.Context()); !storage.Retryable(err) {
		t.Errorf("cut: got %v, want one to retry", err)
	}
	if err := s.Put(t.Context(), "x", []byte("your")); err != nil {
		t.Fatal(err)
	}
	if err := u.Commit(t.Context()); !errors.Is(err, storage.ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	if err := u.Abort(t.Context()); err != nil {
		t.Error(err)
	}
	if left := server.Query(t, "bucket", "uploads="); strings.Contains(left, "<UploadId>") {
		t.Errorf("an upload is left: %s", left)
	}
}

func TestAnswersThatLie(t *testing.T) {
	s, proxy, _ := behind(t)
	remove := proxy.Add(storagetest.Rule{Op: storagetest.Put, Fault: storagetest.SetHeader("X-Amz-Checksum-Crc64nvme", "AAAAAAAAAAA=")})
	if err := s.Put(t.Context(), "x", []byte("body")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("other checksum: got %v, want ErrUnavailable", err)
	}
	remove()
	defer proxy.Add(storagetest.Rule{Op: storagetest.Put, Fault: storagetest.SetHeader("ETag", "")})()
	if err := s.Put(t.Context(), "y", []byte("body")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("no ETag: got %v, want ErrUnavailable", err)
	}
}

// TestSpoiltBody proves that the store refuses a body that changed on its way: the CRC went with it.
func TestSpoiltBody(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	proxy := storagetest.StartProxy(t, server)
	s := open(t, proxy.URL("bucket", ""))
	defer proxy.Add(storagetest.Rule{Op: storagetest.Put, Fault: storagetest.SpoilRequest(3)})()
	if err := s.Put(t.Context(), "x", []byte("body of it")); err == nil {
		t.Error("got nil, want an error")
	}
	if _, err := s.Stat(t.Context(), "x"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

// TestStaleStore proves the proxy's fault: a store that does not show yet what was just put, neither by name nor in a list.
func TestStaleStore(t *testing.T) {
	s, proxy, _ := behind(t)
	remove := proxy.Add(storagetest.Rule{Name: "stale", Fault: storagetest.Stale(time.Hour)})
	if err := s.Put(t.Context(), "x", []byte("body")); err != nil {
		t.Fatal(err)
	}
	listed := func() (keys []storage.Key) {
		for o, err := range s.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, o.Key)
		}
		return keys
	}
	if _, err := s.Stat(t.Context(), "x"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("fresh object: got %v, want ErrNotFound", err)
	}
	if keys := listed(); len(keys) != 0 {
		t.Errorf("list with a fresh object: got %v, want nothing", keys)
	}
	remove()
	if _, err := s.Stat(t.Context(), "x"); err != nil {
		t.Errorf("later: %v", err)
	}
	if keys := listed(); !slices.Equal(keys, []storage.Key{"x"}) {
		t.Errorf("list later: got %v, want x", keys)
	}
	var met []storagetest.Op
	var keys []string
	for _, c := range proxy.Calls() {
		if c.Fault == "stale" {
			met = append(met, c.Op)
		}
		keys = append(keys, c.Keys...)
	}
	if !slices.Contains(met, storagetest.Head) || !slices.Contains(met, storagetest.List) || !slices.Equal(keys, []string{"main/x"}) {
		t.Errorf("calls that met the fault: %v, keys that lists named: %v", met, keys)
	}
}
