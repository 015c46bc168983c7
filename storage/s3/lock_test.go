package s3_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/storage/storagetest"
)

func openLocking(t *testing.T, url string, lock storage.Lock) *s3.Store {
	t.Helper()
	options, err := s3.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	options.Lock = lock
	s, err := s3.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// held is the lock of an object as the server has it.
func held(t *testing.T, server *storagetest.Server, path string) (mode string, until time.Time) {
	t.Helper()
	var r struct {
		Mode            string
		RetainUntilDate time.Time
	}
	if err := xml.Unmarshal([]byte(server.Query(t, path, "retention=")), &r); err != nil {
		t.Fatal(err)
	}
	return r.Mode, r.RetainUntilDate
}

// create makes an object in each way that the store has.
func create(t *testing.T, s *s3.Store) map[string]error {
	t.Helper()
	upload := func(u storage.Upload, err error) error {
		if err == nil {
			err = u.Part(t.Context(), 1, []byte("part"))
		}
		if err == nil {
			err = u.Commit(t.Context())
		}
		return err
	}
	errs := map[string]error{"put": s.Put(t.Context(), "put", []byte("put"))}
	_, errs[string(storage.ProbeKey)] = s.Probe(t.Context())
	errs["upload"] = upload(s.Begin(t.Context(), "upload"))
	errs["put again"] = upload(s.Supersede(t.Context(), "put"))
	for v, err := range s.Versions(t.Context(), "put", "") {
		if err == nil && !v.Current {
			err = s.RenewVersion(t.Context(), v.Info)
		}
		errs["put back"] = errors.Join(errs["put back"], err)
	}
	return errs
}

// TestLock guards I36 and T2: each object is locked from its creation, for as long as was asked by the store's clock, and whoever has all rights but one cannot delete it.
func TestLock(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	server.LockBucket(t, "bucket", "", 0)
	proxy := storagetest.StartProxy(t, server)
	const ahead = 10 * time.Minute // of the store's clock
	proxy.Add(storagetest.Rule{Fault: storagetest.Skew(ahead)})
	for _, test := range []struct {
		prefix, query string
		lock          storage.Lock
	}{
		{"governed", "", storage.Lock{Mode: storage.Governance, For: time.Hour}},
		{"complied", "", storage.Lock{Mode: storage.Compliance, For: 21 * 24 * time.Hour}},
		{"summed", "&request_checksum_calculation=when_required", storage.Lock{Mode: storage.Governance, For: time.Hour}},
	} {
		s := openLocking(t, proxy.URL("bucket", test.prefix)+test.query, test.lock)
		began := time.Now()
		for what, err := range create(t, s) {
			if err != nil {
				t.Errorf("%s: %s: %v", test.prefix, what, err)
			}
		}
		most := time.Since(began) + 3*time.Second
		for _, name := range []string{"put", "upload", string(storage.ProbeKey)} {
			mode, until := held(t, server, "bucket/"+test.prefix+"/"+name)
			if late := until.Sub(began.Add(ahead + test.lock.For)); mode != strings.ToUpper(string(test.lock.Mode)) || late < -time.Second || late > most {
				t.Errorf("%s: %s is locked by %s until %s, want %s from %s on", test.prefix, name, mode, until, test.lock, began.Add(ahead))
			}
		}
		var versions struct {
			Version []struct{ Key, VersionId string }
		}
		if err := xml.Unmarshal([]byte(server.Query(t, "bucket", "prefix="+test.prefix+"%2F&versions=")), &versions); err != nil {
			t.Fatal(err)
		}
		if len(versions.Version) != 5 {
			t.Errorf("%s: %d versions, want 5", test.prefix, len(versions.Version))
		}
		for _, v := range versions.Version {
			var locked *storage.LockedError
			err := s.RemoveVersion(t.Context(), storage.Key(strings.TrimPrefix(v.Key, test.prefix+"/")), v.VersionId)
			if !errors.Is(err, storage.ErrLocked) || !errors.As(err, &locked) || locked.Until.Before(began.Add(test.lock.For)) {
				t.Errorf("%s: %s was not said to be locked: %v", test.prefix, v.Key, err)
			}
			if status := server.DeleteVersion(t, "/bucket/"+v.Key, v.VersionId); status != 403 {
				t.Errorf("%s was deleted for good: %d", v.Key, status)
			}
		}
		if err := s.Delete(t.Context(), "upload"); err != nil { // which hides it
			t.Errorf("%s: delete: %v", test.prefix, err)
		}
	}
}

// TestLockOfTheBucket: where the bucket locks by itself no less than is asked, a writer needs no right to lock; where it locks less, or does not tell, the lock is sent; and where
// there is no Object Lock nothing is made.
func TestLockOfTheBucket(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	const day = 24 * time.Hour
	for _, name := range []string{"none", "off", "weak", "short", "same", "more"} {
		server.CreateBucket(t, name)
	}
	server.LockBucket(t, "off", "", 0)
	server.LockBucket(t, "weak", "GOVERNANCE", 30)
	server.LockBucket(t, "short", "COMPLIANCE", 13)
	server.LockBucket(t, "same", "COMPLIANCE", 14)
	server.LockBucket(t, "more", "COMPLIANCE", 15)
	sees := openLocking(t, server.URL("same", "seen"), storage.Lock{})
	if err := sees.Put(t.Context(), "a", nil); err != nil {
		t.Fatal(err)
	}
	for v, err := range sees.Versions(t.Context(), "", "") {
		if err == nil {
			err = sees.RemoveVersion(t.Context(), v.Key, v.Version)
		}
		if !errors.Is(err, storage.ErrLocked) {
			t.Errorf("a version under the bucket's lock: %v, want ErrLocked", err)
		}
	}
	asked := storage.Lock{Mode: storage.Compliance, For: 14 * day}
	policy := func(more string) []byte {
		return []byte(`{"Version":"2012-10-17","Statement":[{"Sid":"Write","Effect":"Allow","Resource":["*"],"Action":["s3:PutObject","s3:GetObject","s3:ListBucket","s3:GetBucketVersioning","s3:ListBucketVersions","s3:GetObjectVersion"` + more + `]}]}`)
	}
	const see, lock = `,"s3:GetBucketObjectLockConfiguration"`, `,"s3:PutObjectRetention"`
	for _, test := range []struct {
		bucket, may string
		want        error
		found       storage.Lock
	}{
		{"none", see + lock, storage.ErrNoLock, storage.Lock{}},
		{"off", see, storage.ErrDenied, storage.Lock{}},
		{"off", see + lock, nil, storage.Lock{}},
		{"weak", see, storage.ErrDenied, storage.Lock{Mode: storage.Governance, For: 30 * day}},
		{"weak", see + lock, nil, storage.Lock{Mode: storage.Governance, For: 30 * day}},
		{"short", see, storage.ErrDenied, storage.Lock{Mode: storage.Compliance, For: 13 * day}},
		{"same", see, nil, storage.Lock{Mode: storage.Compliance, For: 14 * day}},
		{"same", "", storage.ErrDenied, storage.Lock{}},
		{"same", lock, nil, storage.Lock{}},
		{"more", see, nil, storage.Lock{Mode: storage.Compliance, For: 15 * day}},
	} {
		proxy := storagetest.StartProxy(t, server)
		proxy.Add(storagetest.Rule{Fault: storagetest.Enforce(t, policy(test.may))})
		prefix := fmt.Sprintf("p%d", len(test.may))
		s := openLocking(t, proxy.URL(test.bucket, prefix), asked)
		for what, err := range create(t, s) {
			if what != "put back" && !errors.Is(err, test.want) || test.want == nil && err != nil {
				t.Errorf("%s with %q: %s: %v, want %v", test.bucket, test.may, what, err, test.want)
			}
		}
		objects := strings.Count(server.Query(t, test.bucket, "prefix="+prefix+"%2F&versions="), "<Version>")
		if want := map[bool]int{true: 5}[test.want == nil]; objects != want {
			t.Errorf("%s with %q: %d versions, want %d", test.bucket, test.may, objects, want)
		}
		found, err := s.BucketLock(t.Context())
		if found != test.found || (err == nil) != (test.bucket != "none" && strings.Contains(test.may, see)) {
			t.Errorf("%s with %q: the bucket locks %s, %v, want %s", test.bucket, test.may, found, err, test.found)
		}
	}
}

// TestLockOfTheBucketChanges: an owner who takes the bucket's default away is noticed by those who write for long; and who cannot ask again goes by the last answer.
func TestLockOfTheBucketChanges(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	server.LockBucket(t, "bucket", "GOVERNANCE", 14)
	// What is sent with a lock is refused.
	server.Guard(t, []byte(`{"Version":"2012-10-17","Statement":[{"Sid":"Write","Effect":"Allow","Resource":["*"],"Action":["s3:PutObject","s3:GetBucketObjectLockConfiguration"]}]}`))
	proxy := storagetest.StartProxy(t, server)
	s := openLocking(t, proxy.URL("bucket", ""), storage.Lock{Mode: storage.Governance, For: time.Hour})
	sent := func(key storage.Key) bool {
		t.Helper()
		err := s.Put(t.Context(), key, nil)
		if err != nil && !errors.Is(err, storage.ErrDenied) {
			t.Fatal(err)
		}
		return err != nil
	}
	if sent("a") {
		t.Error("a lock was sent although the bucket gives one")
	}
	server.LockBucket(t, "bucket", "GOVERNANCE", 0)
	away := proxy.Add(storagetest.Rule{Op: storagetest.Other, Fault: storagetest.Answer(503, "SlowDown")})
	s.AgeLock()
	if sent("b") {
		t.Error("a lock was sent although the last answer was that the bucket gives one")
	}
	away()
	s.AgeLock()
	if !sent("c") {
		t.Error("no lock was sent although the bucket gives none any more")
	}
}

// TestExtend: a lock that ends too soon is made longer, and none is made shorter or another's.
func TestExtend(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	server.LockBucket(t, "bucket", "", 0)
	const url = "bucket/main/"
	lock := func(mode storage.LockMode, d time.Duration) storage.Lock { return storage.Lock{Mode: mode, For: d} }
	for _, test := range []struct {
		name     string
		was, now storage.Lock
		least    time.Duration
		extended bool
		want     storage.Lock
	}{
		{"unlocked", storage.Lock{}, lock(storage.Governance, time.Hour), time.Minute, true, lock(storage.Governance, time.Hour)},
		{"short", lock(storage.Governance, time.Minute), lock(storage.Governance, time.Hour), 30 * time.Minute, true, lock(storage.Governance, time.Hour)},
		{"long-enough", lock(storage.Governance, 40*time.Minute), lock(storage.Governance, time.Hour), 30 * time.Minute, false, lock(storage.Governance, 40*time.Minute)},
		{"longer", lock(storage.Governance, 3*time.Hour), lock(storage.Governance, time.Hour), time.Hour, false, lock(storage.Governance, 3*time.Hour)},
		{"stricter", lock(storage.Compliance, time.Minute), lock(storage.Governance, time.Hour), 30 * time.Minute, true, lock(storage.Compliance, time.Hour)},
		{"laxer", lock(storage.Governance, time.Minute), lock(storage.Compliance, time.Hour), 30 * time.Minute, true, lock(storage.Governance, time.Hour)},
	} {
		s := openLocking(t, server.URL("bucket", "main"), test.was)
		key := storage.Key(test.name)
		if err := s.Put(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		extended, err := s.Extend(t.Context(), key, "", test.now, test.least)
		if err != nil || extended != test.extended {
			t.Errorf("%s: extended %v, %v, want %v", test.name, extended, err, test.extended)
		}
		mode, until := held(t, server, url+test.name)
		if late := until.Sub(began.Add(test.want.For)); mode != strings.ToUpper(string(test.want.Mode)) || late.Abs() > 5*time.Second {
			t.Errorf("%s: locked by %s until %s, want %s from %s on", test.name, mode, until, test.want, began)
		}
		if again, err := s.Extend(t.Context(), key, "", test.now, test.least); err != nil || again {
			t.Errorf("%s: extended twice: %v", test.name, err)
		}
	}
	s := openLocking(t, server.URL("bucket", "main"), storage.Lock{})
	extendFirst(t, server, s)
	if _, err := s.Extend(t.Context(), "absent", "", lock(storage.Governance, time.Hour), time.Minute); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("an object that is not there: %v", err)
	}
	server.CreateBucket(t, "plain")
	s = openLocking(t, server.URL("plain", "main"), storage.Lock{})
	if err := s.Put(t.Context(), "a", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Extend(t.Context(), "a", "", lock(storage.Governance, time.Hour), time.Minute); !errors.Is(err, storage.ErrNoLock) {
		t.Errorf("a bucket without Object Lock: %v", err)
	}
}

// extendFirst makes the lock of a version longer over which another was put, and leaves that as it is.
func extendFirst(t *testing.T, server *storagetest.Server, s *s3.Store) {
	t.Helper()
	if err := s.Put(t.Context(), "over", []byte("first")); err != nil {
		t.Fatal(err)
	}
	server.PutObject(t, "bucket", "main/over", []byte("noise"))
	var ids []string
	for v, err := range s.Versions(t.Context(), "over", "") {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, v.Version)
	}
	hour := storage.Lock{Mode: storage.Governance, For: time.Hour}
	if extended, err := s.Extend(t.Context(), "over", ids[1], hour, time.Minute); err != nil || !extended {
		t.Errorf("the first version: %v, %v", extended, err)
	}
	for version, want := range map[string]storage.LockMode{"": storage.Unlocked, ids[0]: storage.Unlocked, ids[1]: storage.Governance} {
		if mode, until, err := s.Locked(t.Context(), "over", version); err != nil || mode != want || want != storage.Unlocked && time.Until(until) < 59*time.Minute {
			t.Errorf("version %q: locked by %q until %s, %v", version, mode, until, err)
		}
	}
	if err := s.RemoveVersion(t.Context(), "over", ids[1]); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("remove the first version: %v", err)
	}
	if err := s.Delete(t.Context(), "over"); err != nil {
		t.Fatal(err)
	}
	for v, err := range s.Versions(t.Context(), "over", "") {
		if err == nil && v.Marker {
			_, err = s.Extend(t.Context(), "over", v.Version, hour, time.Minute)
			if !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("a marker: %v", err)
			}
		}
	}
	if _, err := s.Extend(t.Context(), "over", "01KABCDEFGHJKMNPQRSTVWXYZ0", hour, time.Minute); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a version that is not there: %v", err)
	}
}
