package agent_test

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/storage/storagetest"
)

// least is a document that pgark repo policy prints.
func least(t *testing.T, url string, role agent.Role) (identity, bucket []byte) {
	t.Helper()
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	g, err := agent.Least(t.Context(), url, role, agent.Need{})
	if err != nil {
		t.Fatal(err)
	}
	text := func(p s3.Policy) []byte {
		raw, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	return text(g.Identity), text(g.Bucket)
}

// TestLeastPowers guards I36: what a stolen credential could do, by its policy alone, whatever else is attached to it.
func TestLeastPowers(t *testing.T) {
	const bucket, object = "arn:aws:s3:::acme-pg", "arn:aws:s3:::acme-pg/main/7/wal/00000001/x.seg"
	none := map[string]string{}
	create := map[string]string{"s3:ObjectCreationOperation": "true", "s3:if-none-match": "*"}
	over := map[string]string{"s3:ObjectCreationOperation": "true"}
	ours, others := map[string]string{"s3:prefix": "main/7/wal/"}, map[string]string{"s3:prefix": "mainly/"}
	w, r, j, h := agent.Writer, agent.Reader, agent.Janitor, agent.Repairer
	policies := map[agent.Role]storagetest.Policies{}
	everything := []byte(`{"Version":"2012-10-17","Statement":[{"Sid":"All","Effect":"Allow","Action":["s3:*"],"Resource":["*"]}]}`)
	careless := map[agent.Role]storagetest.Policies{}
	for _, role := range agent.Roles() {
		identity, _ := least(t, "s3://acme-pg/main?region=eu-west-1", role)
		for _, p := range []struct {
			into      map[agent.Role]storagetest.Policies
			documents [][]byte
		}{{policies, [][]byte{identity}}, {careless, [][]byte{identity, everything}}} {
			var err error
			if p.into[role], err = storagetest.ParsePolicies(p.documents...); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name     string
		request  storagetest.Request
		may      []agent.Role
		whatever bool // refused also to a role with s3:* besides
	}{
		{"read", storagetest.Request{Action: "s3:GetObject", Resource: object, Keys: none}, []agent.Role{w, r, j, h}, false},
		{"read beside the prefix", storagetest.Request{Action: "s3:GetObject", Resource: bucket + "/mainly/x", Keys: none}, nil, false},
		{"read an older version", storagetest.Request{Action: "s3:GetObjectVersion", Resource: object, Keys: none}, []agent.Role{r, h}, false},
		{"read an older version beside the prefix", storagetest.Request{Action: "s3:GetObjectVersion", Resource: bucket + "/mainly/x", Keys: none}, nil, false},
		{"list versions", storagetest.Request{Action: "s3:ListBucketVersions", Resource: bucket, Keys: ours}, []agent.Role{r, h}, false},
		{"list versions beside the prefix", storagetest.Request{Action: "s3:ListBucketVersions", Resource: bucket, Keys: others}, nil, false},
		{"list", storagetest.Request{Action: "s3:ListBucket", Resource: bucket, Keys: ours}, []agent.Role{w, r, j, h}, false},
		{"list beside the prefix", storagetest.Request{Action: "s3:ListBucket", Resource: bucket, Keys: others}, nil, false},
		{"list all", storagetest.Request{Action: "s3:ListBucket", Resource: bucket, Keys: none}, nil, false},
		{"create", storagetest.Request{Action: "s3:PutObject", Resource: object, Keys: create}, []agent.Role{w, h}, false},
		{"create a pin", storagetest.Request{Action: "s3:PutObject", Resource: bucket + "/main/7/pins/x", Keys: create}, []agent.Role{w, j, h}, false},
		{"create beside the prefix", storagetest.Request{Action: "s3:PutObject", Resource: bucket + "/mainly/x", Keys: create}, nil, false},
		{"overwrite", storagetest.Request{Action: "s3:PutObject", Resource: object, Keys: over}, []agent.Role{h}, false},
		{"delete", storagetest.Request{Action: "s3:DeleteObject", Resource: object, Keys: none}, []agent.Role{j}, true},
		{"delete the repository's record", storagetest.Request{Action: "s3:DeleteObject", Resource: bucket + "/main/pgark.json", Keys: none}, nil, false},
		{"delete a version", storagetest.Request{Action: "s3:DeleteObjectVersion", Resource: object, Keys: none}, nil, true},
		{"shorten a lock", storagetest.Request{Action: "s3:PutObjectRetention", Resource: object, Keys: none}, nil, true},
		{"pass a lock", storagetest.Request{Action: "s3:BypassGovernanceRetention", Resource: object, Keys: none}, nil, true},
		{"let a lifecycle delete", storagetest.Request{Action: "s3:PutLifecycleConfiguration", Resource: bucket, Keys: none}, nil, true},
		{"suspend versioning", storagetest.Request{Action: "s3:PutBucketVersioning", Resource: bucket, Keys: none}, nil, true},
		{"change the bucket's policy", storagetest.Request{Action: "s3:PutBucketPolicy", Resource: bucket, Keys: none}, nil, true},
		{"delete the bucket's policy", storagetest.Request{Action: "s3:DeleteBucketPolicy", Resource: bucket, Keys: none}, nil, true},
		{"see the versioning", storagetest.Request{Action: "s3:GetBucketVersioning", Resource: bucket, Keys: none}, []agent.Role{w, r, h}, false},
	} {
		for _, role := range agent.Roles() {
			want := slices.Contains(test.may, role)
			if got := policies[role].Allow(test.request); got != want {
				t.Errorf("%s: %s may: %v, want %v", role, test.name, got, want)
			}
			if !want && test.whatever && careless[role].Allow(test.request) {
				t.Errorf("%s with s3:* besides may %s", role, test.name)
			}
		}
	}
	if over := (storagetest.Request{Action: "s3:PutObject", Resource: object, Keys: over}); careless[w].Allow(over) {
		t.Error("a writer with s3:* besides may overwrite")
	}
}

// TestLeastThatRemoves guards I36: the janitor may remove versions for good where that is chosen, below the prefix and of what belongs to a cluster alone; nobody else may, and it may pass no lock.
func TestLeastThatRemoves(t *testing.T) {
	const bucket, object = "arn:aws:s3:::acme-pg", "arn:aws:s3:::acme-pg/main/7/wal/00000001/x.seg"
	none, ours := map[string]string{}, map[string]string{"s3:prefix": "main/7/wal/"}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	for _, test := range []struct {
		name    string
		request storagetest.Request
		may     []agent.Role
	}{
		{"delete a version", storagetest.Request{Action: "s3:DeleteObjectVersion", Resource: object, Keys: none}, []agent.Role{agent.Janitor}},
		{"delete a version of the repository's record", storagetest.Request{Action: "s3:DeleteObjectVersion", Resource: bucket + "/main/pgark.json", Keys: none}, nil},
		{"delete a version beside the prefix", storagetest.Request{Action: "s3:DeleteObjectVersion", Resource: bucket + "/mainly/7/x", Keys: none}, nil},
		{"list versions", storagetest.Request{Action: "s3:ListBucketVersions", Resource: bucket, Keys: ours}, []agent.Role{agent.Reader, agent.Janitor, agent.Repairer}},
		{"read an older version", storagetest.Request{Action: "s3:GetObjectVersion", Resource: object, Keys: none}, []agent.Role{agent.Reader, agent.Janitor, agent.Repairer}},
		{"pass a lock", storagetest.Request{Action: "s3:BypassGovernanceRetention", Resource: object, Keys: none}, nil},
	} {
		for _, role := range agent.Roles() {
			g, err := agent.Least(t.Context(), "s3://acme-pg/main?region=eu-west-1", role, agent.Need{RemoveVersions: true})
			if err != nil {
				t.Fatal(err)
			}
			identity, err := json.Marshal(g.Identity)
			if err != nil {
				t.Fatal(err)
			}
			policy, err := storagetest.ParsePolicies(identity)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := policy.Allow(test.request), slices.Contains(test.may, role); got != want {
				t.Errorf("%s: %s may: %v, want %v", role, test.name, got, want)
			}
		}
	}
}

// TestLeastWithLock guards I36: who writes under a bucket that locks by itself may lock nothing; who must send locks, or makes them longer, may not lock for longer than
// is configured, nor in the mode that nobody can end; and nobody may pass a lock, or change the bucket's, whatever else is attached.
func TestLeastWithLock(t *testing.T) {
	const bucket, object = "arn:aws:s3:::acme-pg", "arn:aws:s3:::acme-pg/main/7/wal/00000001/x.seg"
	keys := func(mode, days string) map[string]string {
		return map[string]string{"s3:object-lock-mode": mode, "s3:object-lock-remaining-retention-days": days}
	}
	lock := storage.Lock{Mode: storage.Governance, For: 14 * 24 * time.Hour}
	everything := []byte(`{"Version":"2012-10-17","Statement":[{"Sid":"All","Effect":"Allow","Action":["s3:*"],"Resource":["*"]}]}`)
	w, j, h := agent.Writer, agent.Janitor, agent.Repairer
	type asked struct {
		role  agent.Role
		sends bool
	}
	identities := map[asked][]byte{}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	for _, role := range agent.Roles() {
		for _, sends := range []bool{false, true} {
			g, err := agent.Least(t.Context(), "s3://acme-pg/main?region=eu-west-1", role, agent.Need{Lock: lock, SendLock: sends})
			if err != nil {
				t.Fatal(err)
			}
			if identities[asked{role, sends}], err = json.Marshal(g.Identity); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name     string
		request  storagetest.Request
		byBucket []agent.Role // that may where the bucket locks by itself
		sends    []agent.Role // and where locks are sent
		whatever bool         // refused also to a role with s3:* besides
	}{
		{"see how the bucket locks", storagetest.Request{Action: "s3:GetBucketObjectLockConfiguration", Resource: bucket}, agent.Roles(), agent.Roles(), false},
		{"lock", storagetest.Request{Action: "s3:PutObjectRetention", Resource: object, Keys: keys("GOVERNANCE", "15")}, []agent.Role{j}, []agent.Role{w, j, h}, false},
		{"lock for longer", storagetest.Request{Action: "s3:PutObjectRetention", Resource: object, Keys: keys("GOVERNANCE", "16")}, nil, nil, true},
		{"lock for ever", storagetest.Request{Action: "s3:PutObjectRetention", Resource: object, Keys: keys("GOVERNANCE", "36500")}, nil, nil, true},
		{"lock for good", storagetest.Request{Action: "s3:PutObjectRetention", Resource: object, Keys: keys("COMPLIANCE", "14")}, nil, nil, false},
		{"lock beside the prefix", storagetest.Request{Action: "s3:PutObjectRetention", Resource: bucket + "/mainly/x", Keys: keys("GOVERNANCE", "14")}, nil, nil, false},
		{"list the versions that are locked", storagetest.Request{Action: "s3:ListBucketVersions", Resource: bucket, Keys: map[string]string{"s3:prefix": "main/"}}, []agent.Role{agent.Reader, j, h}, []agent.Role{agent.Reader, j, h}, false},
		{"see a lock", storagetest.Request{Action: "s3:GetObjectRetention", Resource: object}, []agent.Role{j}, []agent.Role{w, j, h}, false},
		{"pass a lock", storagetest.Request{Action: "s3:BypassGovernanceRetention", Resource: object}, nil, nil, true},
		{"hold for ever", storagetest.Request{Action: "s3:PutObjectLegalHold", Resource: object}, nil, nil, true},
		{"change how the bucket locks", storagetest.Request{Action: "s3:PutBucketObjectLockConfiguration", Resource: bucket}, nil, nil, true},
	} {
		for _, role := range agent.Roles() {
			for sends, may := range map[bool][]agent.Role{false: test.byBucket, true: test.sends} {
				identity := identities[asked{role, sends}]
				policy, err := storagetest.ParsePolicies(identity)
				if err != nil {
					t.Fatal(err)
				}
				careless, err := storagetest.ParsePolicies(identity, everything)
				if err != nil {
					t.Fatal(err)
				}
				want := slices.Contains(may, role)
				if got := policy.Allow(test.request); got != want {
					t.Errorf("%s: %s may: %v, want %v (locks are sent: %v)", test.name, role, got, want, sends)
				}
				if test.whatever && careless.Allow(test.request) {
					t.Errorf("%s with s3:* besides may %s (locks are sent: %v)", role, test.name, sends)
				}
			}
		}
	}
}

// TestLeastAtOtherPlaces: names of resources, keys and conditions by what the URL says.
func TestLeastAtOtherPlaces(t *testing.T) {
	for _, test := range []struct {
		url        string
		has, lacks []string
	}{
		{"s3://acme-pg/main?region=eu-west-1", []string{`"arn:aws:s3:::acme-pg/main/*"`, `"s3:prefix":"main/*"`, `"s3:if-none-match"`}, []string{"kms:"}},
		{"s3://acme-pg?region=eu-west-1", []string{`"arn:aws:s3:::acme-pg/*"`}, []string{"s3:prefix"}},
		{"s3://acme-pg/main?region=cn-north-1", []string{`"arn:aws-cn:s3:::acme-pg"`}, []string{"arn:aws:"}},
		{"s3://acme-pg/main?region=us-gov-west-1", []string{`"arn:aws-us-gov:s3:::acme-pg"`}, []string{"arn:aws:"}},
		{"s3://acme-pg/a*b?region=eu-west-1", []string{`acme-pg/a${*}b/*"`}, []string{"a*b"}},
		{"s3://acme-pg/main?endpoint=https://minio:9000", []string{`"arn:aws:s3:::acme-pg/main/*"`}, []string{"if-none-match"}},
		{
			"s3://acme-pg/main?region=eu-west-1&ssetype=aws:kms&kmskeyid=arn:aws:kms:eu-west-1:1:key/k",
			[]string{`"Resource":["arn:aws:kms:eu-west-1:1:key/k"]`, `"kms:Decrypt","kms:GenerateDataKey"`, `"kms:ViaService":"s3.eu-west-1.amazonaws.com"`},
			nil,
		},
		{
			"s3://acme-pg/main?region=cn-north-1&ssetype=aws:kms&kmskeyid=k&role=arn:aws-cn:iam::222222222222:role/pgark",
			[]string{`"arn:aws-cn:kms:cn-north-1:222222222222:key/k"`, `"s3.cn-north-1.amazonaws.com.cn"`},
			nil,
		},
		{
			"s3://acme-pg/main?region=eu-west-1&ssetype=aws:kms&kmskeyid=alias/pg",
			[]string{`"arn:aws:kms:eu-west-1:*:key/*"`, `"ForAnyValue:StringEquals":{"kms:ResourceAliases":"alias/pg"}`},
			nil,
		},
	} {
		identity, bucket := least(t, test.url, agent.Writer)
		for _, want := range test.has {
			if !strings.Contains(string(identity), want) {
				t.Errorf("%s: no %s in\n%s", test.url, want, identity)
			}
		}
		for _, not := range test.lacks {
			if strings.Contains(string(identity), not) {
				t.Errorf("%s: %s in\n%s", test.url, not, identity)
			}
		}
		if _, err := storagetest.ParsePolicies(identity, bucket); err != nil {
			t.Errorf("%s: %v", test.url, err)
		}
	}
	if _, err := agent.Least(t.Context(), "file:///srv/archive", agent.Writer, agent.Need{}); !errors.Is(err, agent.ErrNoPolicy) {
		t.Errorf("a folder: %v, want ErrNoPolicy", err)
	}
}

// TestBucketPolicy: the bucket's policy refuses what would harm, to whoever has every right, and nothing else.
func TestBucketPolicy(t *testing.T) {
	const object = "arn:aws:s3:::acme-pg/main/x"
	everything := []byte(`{"Version":"2012-10-17","Statement":[{"Sid":"All","Effect":"Allow","Action":["s3:*"],"Resource":["*"]}]}`)
	_, bucket := least(t, "s3://acme-pg/main?region=eu-west-1", agent.Writer)
	p, err := storagetest.ParsePolicies(everything, bucket)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		request storagetest.Request
		want    bool
	}{
		"over TLS":    {storagetest.Request{Action: "s3:PutObject", Resource: object, Keys: map[string]string{"aws:SecureTransport": "true"}}, true},
		"in clear":    {storagetest.Request{Action: "s3:GetObject", Resource: object, Keys: map[string]string{"aws:SecureTransport": "false"}}, false},
		"beside, too": {storagetest.Request{Action: "s3:ListBucket", Resource: "arn:aws:s3:::acme-pg", Keys: map[string]string{"aws:SecureTransport": "false"}}, false},
		"with a key of the caller": {storagetest.Request{Action: "s3:PutObject", Resource: object, Keys: map[string]string{
			"aws:SecureTransport": "true", "s3:x-amz-server-side-encryption-customer-algorithm": "AES256",
		}}, false},
	} {
		if got := p.Allow(test.request); got != test.want {
			t.Errorf("%s: allowed: %v, want %v", name, got, test.want)
		}
	}
	_, plain := least(t, "s3://acme-pg/main?endpoint=http://minio:9000", agent.Writer)
	if strings.Contains(string(plain), "SecureTransport") {
		t.Errorf("it locks out who must come without TLS:\n%s", plain)
	}
}

// TestLeastAtTheStore: each role does its work at an S3 server behind a proxy that enforces the very policy, absent objects hidden as S3 hides
// them; what the role may not is refused; and every action that a policy allows is one that the work needed.
func TestLeastAtTheStore(t *testing.T) {
	server := storagetest.StartServer(t)
	server.CreateBucket(t, "bucket")
	server.Setenv(t)
	asWith := func(role agent.Role, n agent.Need) (*agent.Store, *storagetest.Proxy) {
		proxy := storagetest.StartProxy(t, server)
		t.Setenv("AWS_CONFIG_FILE", os.DevNull)
		g, err := agent.Least(t.Context(), "s3://bucket/main?region=us-east-1", role, n) // as at Amazon's
		if err != nil {
			t.Fatal(err)
		}
		identity, err := json.Marshal(g.Identity)
		if err != nil {
			t.Fatal(err)
		}
		proxy.Add(storagetest.Rule{Name: "policy", Fault: storagetest.Enforce(t, identity)})
		store, err := agent.OpenStore(t.Context(), proxy.URL("bucket", "main"), agent.StoreOptions{Patience: agent.Brief})
		if err != nil {
			t.Fatal(err)
		}
		return store, proxy
	}
	as := func(role agent.Role) (*agent.Store, *storagetest.Proxy) { return asWith(role, agent.Need{}) }
	ctx := t.Context()
	want := func(what string, err, kind error) {
		t.Helper()
		if !errors.Is(err, kind) || kind == nil && err != nil {
			t.Errorf("%s: %v, want %v", what, err, kind)
		}
	}
	object := func(begin func() (storage.Upload, error)) error {
		u, err := begin()
		if err == nil {
			err = u.Part(ctx, 1, []byte("part"))
		}
		if err == nil {
			err = u.Commit(ctx)
		}
		return err
	}
	reads := func(store storage.Store) {
		t.Helper()
		_, err := storage.ReadAll(ctx, store, "7/wal/a", 100)
		want("get", err, nil)
		_, err = storage.ReadAll(ctx, store, "7/wal/absent", 100)
		want("get what is absent", err, storage.ErrNotFound)
		_, err = store.Stat(ctx, "7/wal/a")
		want("stat", err, nil)
		_, err = store.Stat(ctx, "7/wal/absent")
		want("stat what is absent", err, storage.ErrNotFound)
		for _, err := range store.List(ctx, "7/", "") {
			want("list", err, nil)
		}
	}

	var first storage.Info // the first version of an object that is put over later
	older := func(store storage.Store, may bool) {
		t.Helper()
		kind := storage.ErrDenied
		if may {
			kind = nil
		}
		for v, err := range storage.Versions(ctx, store, "7/backups/b", "") {
			want("list versions", err, kind)
			if err == nil {
				first = v.Info
			}
		}
		body, err := storage.GetVersion(ctx, store, first, storage.All())
		want("get a version", err, kind)
		if err == nil {
			want("close", body.Close(), nil)
		}
	}

	writer, wire := as(agent.Writer)
	_, err := storage.Probe(ctx, writer)
	want("probe", err, nil)
	want("put", writer.Put(ctx, "7/wal/a", []byte("a")), nil)
	want("put again", writer.Put(ctx, "7/wal/a", []byte("b")), storage.ErrExists)
	want("upload", object(func() (storage.Upload, error) { return writer.Begin(ctx, "7/backups/b") }), nil)
	u, err := writer.Begin(ctx, "7/backups/c")
	want("begin", err, nil)
	want("abort", u.Abort(ctx), nil)
	reads(writer)
	want("delete", writer.Delete(ctx, "7/wal/a"), storage.ErrDenied)
	want("supersede", object(func() (storage.Upload, error) { return storage.Supersede(ctx, writer, "7/wal/a") }), storage.ErrDenied)
	_, err = storage.BucketVersioning(ctx, writer)
	want("versioning", err, nil)
	_, err = storage.BucketLifecycle(ctx, writer)
	want("lifecycle", err, errors.ErrUnsupported) // versitygw has none
	needed(t, agent.Writer, wire)

	reader, wire := as(agent.Reader)
	reads(reader)
	older(reader, true)
	older(writer, false)
	want("renew", storage.RenewVersion(ctx, writer, first), storage.ErrDenied)
	want("renew", storage.RenewVersion(ctx, reader, first), storage.ErrDenied)
	want("put", reader.Put(ctx, "7/holds/x", []byte("x")), storage.ErrDenied)
	was, err := agent.OpenStore(ctx, wire.URL("bucket", "main"), agent.StoreOptions{Patience: agent.Brief, AsOf: time.Now()})
	want("open as of now", err, nil)
	_, err = was.Stat(ctx, "7/wal/a")
	want("stat as of now", err, nil)
	needed(t, agent.Reader, wire)

	repairer, wire := as(agent.Repairer)
	reads(repairer)
	want("repair", object(func() (storage.Upload, error) { return storage.Supersede(ctx, repairer, "7/backups/b") }), nil)
	u, err = storage.Supersede(ctx, repairer, "7/backups/b")
	want("repair", err, nil)
	want("abort", u.Abort(ctx), nil)
	older(repairer, true)
	want("renew", storage.RenewVersion(ctx, repairer, first), nil)
	want("remove", storage.RemoveVersion(ctx, repairer, first.Key, first.Version), storage.ErrDenied)
	want("delete", repairer.Delete(ctx, "7/wal/a"), storage.ErrDenied)
	needed(t, agent.Repairer, wire)

	janitor, wire := as(agent.Janitor)
	reads(janitor)
	want("record", janitor.Put(ctx, "7/expired/x", []byte("x")), nil)
	u, err = janitor.Begin(ctx, "7/expired/y") // of many objects it is large
	want("begin", err, nil)
	want("abort", u.Abort(ctx), nil)
	_, err = janitor.StaleUploads(ctx, time.Now())
	want("uploads", err, nil)
	want("put", janitor.Put(ctx, "7/wal/x", []byte("x")), storage.ErrDenied)
	want("delete what is the repository's", janitor.Delete(ctx, "pgark.json"), storage.ErrDenied)
	want("delete", janitor.Delete(ctx, "7/wal/a"), nil)
	_, err = janitor.Stat(ctx, "7/wal/a")
	want("stat what is deleted", err, storage.ErrNotFound)
	needed(t, agent.Janitor, wire)

	removing, _ := asWith(agent.Janitor, agent.Need{RemoveVersions: true})
	older(removing, true)
	for v, err := range storage.Versions(ctx, removing, "7/wal/a", "") { // it was deleted above
		if err == nil {
			err = storage.RemoveVersion(ctx, removing, v.Key, v.Version)
		}
		want("remove", err, nil)
	}
	for v, err := range storage.Versions(ctx, removing, "7/wal/a", "") {
		t.Errorf("%s is left, %v", v.Key, err)
	}
	want("remove what is the repository's", storage.RemoveVersion(ctx, removing, "pgark.json", "null"), storage.ErrDenied)
	if _, err := storage.GetVersion(ctx, janitor, first, storage.All()); !errors.Is(err, storage.ErrDenied) {
		t.Errorf("a janitor that keeps versions reads them: %v", err)
	}

	_, wire = as(agent.Writer)
	beside, err := agent.OpenStore(ctx, wire.URL("bucket", "mainly"), agent.StoreOptions{Patience: agent.Brief})
	if err != nil {
		t.Fatal(err)
	}
	want("put beside", beside.Put(ctx, "7/wal/a", []byte("a")), storage.ErrDenied)
	for _, err := range beside.List(ctx, "", "") {
		want("list beside", err, storage.ErrDenied)
	}
}

// needed says which actions a role's policy allows that were not used.
func needed(t *testing.T, role agent.Role, wire *storagetest.Proxy) {
	t.Helper()
	used := map[string]bool{}
	for _, c := range wire.Calls() {
		if c.Fault != "policy" {
			used[c.Action] = true
		}
	}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	g, err := agent.Least(t.Context(), "s3://bucket/main?region=us-east-1", role, agent.Need{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range g.Identity.Statement {
		for _, action := range s.Action {
			if s.Effect == "Allow" && !used[action] {
				t.Errorf("%s is given %s, and needs it for nothing", role, action)
			}
		}
	}
}
