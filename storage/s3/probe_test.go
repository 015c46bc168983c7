package s3_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/storagetest"
)

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
