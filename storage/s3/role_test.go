package s3_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/storage/storagetest"
)

const (
	copyRole  = "arn:aws:iam::222222222222:role/pgark-copy"
	otherRole = "arn:aws:iam::333333333333:role/pgark-other"
)

// roles is a bucket that only sessions of copyRole may use, and the STS that gives them to who has the source's keys.
type roles struct {
	*storagetest.STS

	proxy  *storagetest.Proxy
	server *storagetest.Server
	// leave makes the bucket forget this STS.
	leave func()
}

func newRoles(t *testing.T) roles {
	t.Helper()
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	sts := storagetest.StartSTS(t, "SOURCE", "source-secret")
	sts.Allow(copyRole, "")
	t.Setenv("AWS_ENDPOINT_URL_STS", sts.Endpoint())
	t.Setenv("AWS_ACCESS_KEY_ID", "SOURCE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "source-secret")
	r := roles{STS: sts, proxy: storagetest.StartProxy(t, server), server: server}
	r.leave = r.proxy.Add(storagetest.Rule{Fault: sts.Sessions(copyRole)})
	return r
}

func (r roles) open(t *testing.T, query string) *s3.Store {
	t.Helper()
	return open(t, r.proxy.URL("bucket", "")+query)
}

// TestRole: what the source's own keys may not do, the role may; the session has our name and the external id.
func TestRole(t *testing.T) {
	r := newRoles(t)
	if err := r.open(t, "").Put(t.Context(), "x", nil); !errors.Is(err, storage.ErrDenied) {
		t.Fatalf("without the role: got %v, want ErrDenied: nothing is tested", err)
	}
	r.Allow(copyRole, "acme+1")
	s := r.open(t, "&role="+copyRole+"&role_external_id=acme%2B1")
	if err := s.Put(t.Context(), "x", []byte("body")); err != nil {
		t.Fatal(err)
	}
	if got, err := storage.ReadAll(t.Context(), s, "x", 10); err != nil || string(got) != "body" {
		t.Errorf("got %q, %v", got, err)
	}
	calls := r.Calls()
	if len(calls) != 1 {
		t.Fatalf("got %d calls of STS for two requests, want 1", len(calls))
	}
	for name, want := range map[string]string{
		"RoleArn": copyRole, "RoleSessionName": "pgark", "ExternalId": "acme+1", "DurationSeconds": "3600",
	} {
		if got := calls[0].Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// TestRoleOfEachRepository: a primary and its copy have their own roles in one process.
func TestRoleOfEachRepository(t *testing.T) {
	r := newRoles(t)
	r.Allow(otherRole, "")
	second := storagetest.StartProxy(t, r.server)
	second.Add(storagetest.Rule{Fault: r.Sessions(otherRole)})
	for name, s := range map[storage.Key]*s3.Store{
		"one": r.open(t, "&role="+copyRole), "two": open(t, second.URL("bucket", "")+"&role="+otherRole),
	} {
		if err := s.Put(t.Context(), name, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRoleThatMayNotBeAssumed(t *testing.T) {
	r := newRoles(t)
	want := "put x: s3://bucket: access denied (assume role " + otherRole + ": AccessDenied)"
	s := r.open(t, "&role="+otherRole)
	err := s.Put(t.Context(), "x", nil)
	if !errors.Is(err, storage.ErrDenied) || storage.Retryable(err) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	// A role that worked, and is taken away: it is no outage, and the retries do not go on for ever.
	s = r.open(t, "&role="+copyRole)
	if err := s.Put(t.Context(), "x", nil); err != nil {
		t.Fatal(err)
	}
	r.Refuse(copyRole)
	r.Expire()
	if err := fast(s).Put(t.Context(), "y", nil); !errors.Is(err, storage.ErrDenied) || !strings.Contains(err.Error(), copyRole) {
		t.Errorf("taken away: got %v, want ErrDenied and the role", err)
	}
	r.Allow(copyRole, "")
	if err := s.Put(t.Context(), "y", nil); err != nil {
		t.Errorf("given back: got %v", err)
	}
}

// TestRoleWithoutSource: the error says that it is the keys that are missing, not the role's trust.
func TestRoleWithoutSource(t *testing.T) {
	r := newRoles(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "WRONG")
	err := r.open(t, "&role="+copyRole).Put(t.Context(), "x", nil)
	if !errors.Is(err, storage.ErrDenied) || !strings.Contains(err.Error(), copyRole+": InvalidClientTokenId") {
		t.Errorf("wrong keys: got %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	err = r.open(t, "&role="+copyRole).Put(t.Context(), "x", nil)
	if !errors.Is(err, storage.ErrDenied) || !strings.Contains(err.Error(), copyRole+": no credentials found") {
		t.Errorf("no keys: got %v", err)
	}
}

func TestSTSAway(t *testing.T) {
	r := newRoles(t)
	t.Setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
	err := r.open(t, "&role="+copyRole).Put(t.Context(), "x", nil)
	if !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), copyRole) {
		t.Errorf("got %v, want ErrUnavailable and the role", err)
	}
}

// TestRoleRefusedByTheBucket: each look at a role gives another session. That must not be taken for new credentials that may do more.
func TestRoleRefusedByTheBucket(t *testing.T) {
	r := newRoles(t)
	r.Allow(otherRole, "")
	s := r.open(t, "&role="+otherRole)
	if err := fast(s).Put(t.Context(), "x", nil); !errors.Is(err, storage.ErrDenied) {
		t.Errorf("got %v, want ErrDenied", err)
	}
	before := len(r.Calls())
	for range 5 {
		if err := fast(s).Put(t.Context(), "x", nil); !errors.Is(err, storage.ErrDenied) {
			t.Errorf("again: got %v, want ErrDenied", err)
		}
	}
	if after := len(r.Calls()); after != before {
		t.Errorf("got %d more calls of STS, want none", after-before)
	}
}

func TestRoleIsRenewed(t *testing.T) {
	r := newRoles(t)
	s := r.open(t, "&role="+copyRole)
	if err := s.Put(t.Context(), "a", nil); err != nil {
		t.Fatal(err)
	}
	r.Expire() // before its time, as when a session is revoked
	if err := fast(s).Put(t.Context(), "b", nil); err != nil {
		t.Errorf("revoked: got %v, want nil from the retry", err)
	}
	r.Live(time.Minute) // less than the margin: each request finds it about to end
	r.Expire()
	for _, key := range []storage.Key{"c", "d", "e"} {
		before := len(r.Calls())
		if err := fast(s).Put(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
		if key != "c" && len(r.Calls()) == before {
			t.Errorf("%s: a session that is about to end was used", key)
		}
	}
}

// TestNewSourceOfRole: the keys with which the role is assumed are replaced in their file while its session lasts.
func TestNewSourceOfRole(t *testing.T) {
	r := newRoles(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	file := filepath.Join(t.TempDir(), "credentials")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	write := func(access string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("[dr]\naws_access_key_id="+access+"\naws_secret_access_key=source-secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("SOURCE")
	s := r.open(t, "&profile=dr&role="+copyRole)
	if err := s.Put(t.Context(), "a", nil); err != nil {
		t.Fatal(err)
	}
	next := storagetest.StartSTS(t, "SECOND", "source-secret")
	next.Allow(copyRole, "")
	write("SECOND")
	t.Setenv("AWS_ENDPOINT_URL_STS", next.Endpoint())
	r.leave()
	r.proxy.Add(storagetest.Rule{Fault: next.Sessions(copyRole)})
	if err := fast(s).Put(t.Context(), "b", nil); err != nil || len(next.Calls()) == 0 {
		t.Errorf("new keys: got %v, %d calls of the second STS", err, len(next.Calls()))
	}
}
