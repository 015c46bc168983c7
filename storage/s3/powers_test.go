package s3_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestPowers: what a credential may do to objects that exist is found out behind a proxy that enforces its policy, on one object of the
// caller's own, of which nothing stays where it may delete. Under the policy that is printed for a writer it may do nothing.
func TestPowers(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "kept")
	server.CreateBucket(t, "plain")
	server.SuspendVersioning(t, "plain")
	policy := func(actions string, denied string) []byte {
		return []byte(`{"Version":"2012-10-17","Statement":[{"Sid":"May","Effect":"Allow","Action":` + actions + `,"Resource":["arn:aws:s3:::*"]},` +
			`{"Sid":"MayNot","Effect":"Deny","Action":` + denied + `,"Resource":["arn:aws:s3:::*"]}]}`)
	}
	for _, test := range []struct {
		name, bucket string
		policy       func() []byte
		want         storage.Powers
		left         bool
	}{
		{
			"anything", "kept", func() []byte { return policy(`["s3:*"]`, `["s3:DeleteBucket"]`) },
			storage.Powers{Overwrite: true, Delete: true, DeleteVersions: true, Versioned: true},
			false,
		},
		{
			"all but deleting versions", "kept", func() []byte { return policy(`["s3:*"]`, `["s3:DeleteObjectVersion"]`) },
			storage.Powers{Overwrite: true, Delete: true, Versioned: true},
			true,
		},
		{"a writer", "kept", func() []byte { return writerPolicy(t, "kept") }, storage.Powers{Versioned: true}, true},
		{"anything, no versions", "plain", func() []byte { return policy(`["s3:*"]`, `["s3:DeleteBucket"]`) }, storage.Powers{Overwrite: true, Delete: true}, false},
		{"a writer, no versions", "plain", func() []byte { return writerPolicy(t, "plain") }, storage.Powers{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			proxy := storagetest.StartProxy(t, server)
			proxy.Add(storagetest.Rule{Name: "policy", Fault: storagetest.Enforce(t, test.policy())})
			s := open(t, proxy.URL(test.bucket, "main"))
			key, other := storage.Key("own-"+strings.ReplaceAll(test.name, " ", "-")), storage.Key("archived-"+strings.ReplaceAll(test.name, " ", "-"))
			for _, k := range []storage.Key{key, other} {
				if err := s.Put(t.Context(), k, []byte("as it was")); err != nil {
					t.Fatal(err)
				}
			}
			got, err := storage.ProbePowers(t.Context(), fast(s), key)
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
			if b, err := storage.ReadAll(t.Context(), s, other, 100); err != nil || string(b) != "as it was" {
				t.Errorf("an object that was not its own: %q, %v", b, err)
			}
			versions := 0
			for v, err := range open(t, server.URL(test.bucket, "main")).Versions(t.Context(), key, "") {
				if err != nil {
					t.Fatal(err)
				}
				if !v.Marker {
					versions++
				}
			}
			if (versions > 0) != test.left {
				t.Errorf("%d versions stayed, want any: %t", versions, test.left)
			}
		})
	}
	if _, err := storage.ProbePowers(t.Context(), open(t, server.URL("absent", "main")), "own"); !errors.Is(err, storage.ErrNoStore) {
		t.Errorf("no bucket: got %v", err)
	}
}

// writerPolicy is what is printed for a writer at Amazon's.
func writerPolicy(t *testing.T, bucket string) []byte {
	t.Helper()
	options, err := s3.ParseURL("s3://" + bucket + "/main?region=us-east-1")
	if err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal(options.IdentityPolicy(s3.Access{Create: []string{"*"}}))
	if err != nil {
		t.Fatal(err)
	}
	return document
}
