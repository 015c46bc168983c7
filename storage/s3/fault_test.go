package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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

func TestBodyIsCut(t *testing.T) {
	s, proxy, _ := behind(t)
	body := storagetest.Random(1<<20, 7)
	if err := s.Put(t.Context(), "x", body); err != nil {
		t.Fatal(err)
	}
	remove := proxy.Add(storagetest.Rule{Op: storagetest.Get, Fault: storagetest.Truncate(1000)})
	r, err := s.Get(t.Context(), "x", storage.All())
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if !errors.Is(err, io.ErrUnexpectedEOF) && !storage.Retryable(err) {
		t.Errorf("got %d bytes, %v, want an unexpected end", len(got), err)
	}
	_ = r.Close()
	remove()
	for _, n := range []int64{0, 1, 100000} {
		remove := proxy.Add(storagetest.Rule{Op: storagetest.Get, Percent: 50, Fault: storagetest.Truncate(n)})
		got, err := storage.ReadAll(t.Context(), fast(s), "x", 1<<30)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("cut after %d: got %d bytes, %v", n, len(got), err)
		}
		remove()
	}
}

func TestHang(t *testing.T) {
	s, proxy, _ := behind(t)
	remove := proxy.Add(storagetest.Rule{Op: storagetest.Put, Nth: 1, Fault: storagetest.Hang()})
	defer remove()
	r := retry.New(s, retry.Options{MinWait: time.Millisecond, AttemptTimeout: 300 * time.Millisecond})
	if err := r.Put(t.Context(), "x", []byte("body")); err != nil {
		t.Errorf("got %v, want nil", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	defer proxy.Add(storagetest.Rule{Op: storagetest.Put, Fault: storagetest.Hang()})()
	if err := r.Put(ctx, "y", []byte("body")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want DeadlineExceeded", err)
	}
}

func TestPausedServer(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	s := open(t, server.URL("bucket", ""))
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, "x", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("paused: got %v, want DeadlineExceeded", err)
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "y", nil); err != nil {
		t.Errorf("resumed: got %v, want nil", err)
	}
	server.Stop()
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(t.Context(), "y"); err != nil {
		t.Errorf("restarted: got %v, want nil", err)
	}
}

func TestSlowDown(t *testing.T) {
	s, proxy, _ := behind(t)
	proxy.Add(storagetest.Rule{Percent: 30, Fault: storagetest.Answer(503, "SlowDown")})
	r := fast(s)
	for _, key := range []storage.Key{"a", "b", "c", "d", "e", "f"} {
		if err := r.Put(t.Context(), key, []byte(key)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Stat(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for _, err := range r.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 6 {
		t.Errorf("got %d keys, want 6", n)
	}
}

func TestProbe(t *testing.T) {
	s, proxy, _ := behind(t)
	for range 2 {
		if got, err := storage.Probe(t.Context(), fast(s)); err != nil || got != storage.ConditionalHonoured {
			t.Errorf("got %v, %v, want honoured", got, err)
		}
	}
	if got := proxy.Count(storagetest.Put, ""); got != 3 {
		t.Errorf("got %d requests, want 2 and then 1", got)
	}
}

func TestProbeOfStoreThatOverwrites(t *testing.T) {
	faults := map[string]storagetest.Fault{"ignores": storagetest.Overwrite(), "refuses": storagetest.RefuseCondition()}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			s, proxy, _ := behind(t)
			defer proxy.Add(storagetest.Rule{Fault: fault})()
			if got, err := s.Probe(t.Context()); err != nil || got != storage.ConditionalIgnored || s.Conditional() != got {
				t.Fatalf("got %v, %v, want ignored", got, err)
			}
			if err := s.Put(t.Context(), "x", []byte("first")); err != nil {
				t.Fatal(err)
			}
			if err := s.Put(t.Context(), "x", []byte("second")); !errors.Is(err, storage.ErrExists) {
				t.Errorf("got %v, want ErrExists", err)
			}
			u, err := s.Begin(t.Context(), "x")
			if err != nil {
				t.Fatal(err)
			}
			if err := u.Part(t.Context(), 1, []byte("second")); err != nil {
				t.Fatal(err)
			}
			if err := u.Commit(t.Context()); !errors.Is(err, storage.ErrExists) {
				t.Errorf("commit: got %v, want ErrExists", err)
			}
			if err := u.Abort(t.Context()); err != nil {
				t.Error(err)
			}
			if got, err := storage.ReadAll(t.Context(), s, "x", 100); err != nil || string(got) != "first" {
				t.Errorf("got %q, %v, want first", got, err)
			}
		})
	}
}

func TestStaleList(t *testing.T) {
	s, proxy, _ := behind(t)
	for _, key := range []storage.Key{"a", "b", "c"} {
		if err := s.Put(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
	defer proxy.Add(storagetest.Rule{Op: storagetest.List, Fault: storagetest.HideKeys("*/b")})()
	var got []string
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(info.Key))
	}
	if strings.Join(got, " ") != "a c" {
		t.Errorf("got %v, want a c", got)
	}
}

func TestWrongCA(t *testing.T) {
	server := storagetest.StartTLSServer(t)
	other := storagetest.StartTLSServer(t)
	server.Setenv(t)
	t.Setenv("AWS_CA_BUNDLE", other.CAFile())
	s := open(t, server.URL("bucket", ""))
	err := s.Put(t.Context(), "x", nil)
	if err == nil || storage.Retryable(err) || !strings.Contains(err.Error(), "certificate not trusted") {
		t.Errorf("got %v, want certificate not trusted, for good", err)
	}
	plain := open(t, strings.Replace(server.URL("bucket", ""), "https://", "http://", 1))
	if err := plain.Put(t.Context(), "x", nil); err == nil {
		t.Error("plain to a TLS port: got nil, want an error")
	}
}

func TestWithoutChecksums(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	s := open(t, server.URL("bucket", "")+"&request_checksum_calculation=when_required&response_checksum_validation=when_supported")
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
	if err := u.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, key := range []storage.Key{"x", "y"} {
		if got, err := storage.ReadAll(t.Context(), s, key, 100); err != nil || string(got) != "body" {
			t.Errorf("%s: got %q, %v, want body", key, got, err)
		}
	}
}

// TestClockSkew proves that one refusal teaches the store's time, and that a short list of retries is
// enough then.
func TestClockSkew(t *testing.T) {
	for _, skew := range []time.Duration{-20 * time.Minute, 20 * time.Minute, 48 * time.Hour} {
		s, proxy, _ := behind(t)
		proxy.Add(storagetest.Rule{Fault: storagetest.Skew(skew)})
		if err := s.Put(t.Context(), "a", nil); !errors.Is(err, storage.ErrSkewed) {
			t.Errorf("%s: got %v, want ErrSkewed", skew, err)
		}
		for _, key := range []storage.Key{"b", "c"} {
			if err := s.Put(t.Context(), key, nil); err != nil {
				t.Errorf("%s: got %v, want nil", skew, err)
			}
		}
	}
}

func TestRate(t *testing.T) {
	s, proxy, _ := behind(t)
	defer proxy.Add(storagetest.Rule{Fault: storagetest.Rate(200000)})()
	body := storagetest.Random(60000, 1)
	began := time.Now()
	if err := s.Put(t.Context(), "a", body); err != nil {
		t.Fatal(err)
	}
	if got, err := storage.ReadAll(t.Context(), s, "a", 1<<20); err != nil || !bytes.Equal(got, body) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("took %s, want 400ms or more", took)
	}
}

func TestFlippedBit(t *testing.T) {
	s, proxy, _ := behind(t)
	if err := s.Put(t.Context(), "a", []byte("0000")); err != nil {
		t.Fatal(err)
	}
	defer proxy.Add(storagetest.Rule{Op: storagetest.Get, Fault: storagetest.FlipBit(2)})()
	if got, err := storage.ReadAll(t.Context(), s, "a", 100); err != nil || string(got) != "0010" {
		t.Errorf("got %q, %v, want 0010: finding it is the repository's work", got, err)
	}
}

// TestDeleteKeepsVersions proves that the bucket is versioned and that Delete makes a delete marker.
func TestDeleteKeepsVersions(t *testing.T) {
	s, _, server := behind(t)
	if err := s.Put(t.Context(), "a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	versions := server.Query(t, "bucket", "versions=")
	if !strings.Contains(versions, "<DeleteMarker>") || !strings.Contains(versions, "<Version>") {
		t.Errorf("got %s, want a version and a delete marker", versions)
	}
}

func BenchmarkPut(b *testing.B) {
	for name, start := range map[string]func(testing.TB) *storagetest.Server{
		"http": storagetest.StartServer, "https": storagetest.StartTLSServer,
	} {
		for _, size := range []int{8 << 10, 1 << 20, 16 << 20} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				server := start(b)
				for _, e := range server.Env() {
					key, value, _ := strings.Cut(e, "=")
					b.Setenv(key, value)
				}
				server.CreateBucket(b, "bucket")
				options, err := s3.ParseURL(server.URL("bucket", ""))
				if err != nil {
					b.Fatal(err)
				}
				s, err := s3.Open(b.Context(), options)
				if err != nil {
					b.Fatal(err)
				}
				body := storagetest.Random(size, 1)
				b.SetBytes(int64(size))
				for i := 0; b.Loop(); i++ {
					if err := s.Put(b.Context(), storage.Key(fmt.Sprintf("k/%d", i)), body); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
