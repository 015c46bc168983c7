package integration_test

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
)

// hardened says that all tests are to archive as behind a host that is not trusted: every bucket keeps versions and locks what is put into it, and who comes may do no
// more than `pgark repo policy` prints for a writer, which deletes nothing. What would lie in a folder lies in a bucket then.
func hardened() bool { return os.Getenv("PGARK_TEST_HARDENED") == "1" }

// hardLock is the environment of the lock that each repository has then.
func hardLock() []string { return []string{"PGARK_LOCK_MODE=governance", "PGARK_LOCK_FOR=1d"} }

// newBucket makes a bucket for a repository under prefix and returns its URL, and what the environment needs beside that of the server. Where the suite is hardened, all that
// reaches the server through any proxy, and the URL too, has the rights of a writer alone.
func newBucket(t testing.TB, s3 *storagetest.Server, bucket, prefix string) (url string, env []string) {
	t.Helper()
	s3.CreateBucket(t, bucket)
	if !hardened() {
		return s3.URL(bucket, prefix), nil
	}
	s3.LockBucket(t, bucket, "GOVERNANCE", 1)
	// As at Amazon's: the policy for a URL with an endpoint of its own asks for less.
	document := newTool(t, hardLock()...).must(t.Context(), t, "repo", "policy", "--quiet", "s3://"+bucket+"/"+prefix+"?region=us-east-1")
	s3.Guard(t, []byte(document))
	letIn(t, s3) // tests that open what would be a folder in this process
	return storagetest.StartProxy(t, s3).URL(bucket, prefix), hardLock()
}

// letIn gives this process, and the PostgreSQL servers that it starts from now on, whose restore_command opens a bucket, the keys of the S3 servers: they are the same for all of them.
func letIn(t testing.TB, s3 *storagetest.Server) {
	t.Helper()
	enterAWS.Do(func() {
		for _, v := range s3.Env() {
			name, value, _ := strings.Cut(v, "=")
			if err := os.Setenv(name, value); err != nil { //nolint:usetesting // of all tests, at once
				t.Error(err)
			}
		}
	})
}

var enterAWS sync.Once

// copyBehind makes the place of a copy of the site's repository, and returns its URL and its folder. It is asked for objects after the primary, so that what is damaged there is met:
// beside a bucket, which a busy machine may well make the farther one, it is a bucket too, and slow to open.
func (s *site) copyBehind(t testing.TB) (url, folder string) {
	t.Helper()
	if s.s3 == nil {
		folder = filepath.Join(postgrestest.TempDir(t), "behind")
		return "file://" + folder, folder
	}
	const bucket, prefix = "behind", "main"
	newBucket(t, s.s3, bucket, prefix)
	wire := storagetest.StartProxy(t, s.s3)
	wire.Add(storagetest.Rule{Op: storagetest.Get, Path: "*/pgark.json", Fault: storagetest.Delay(500 * time.Millisecond)})
	return wire.URL(bucket, prefix), filepath.Join(s.s3.Dir(), bucket, prefix)
}

// as is the URL by which a host with another role than the writer's comes to the repository, and may do exactly what `pgark repo policy` prints for it; where the suite is not hardened, one credential
// may do everything.
func (s *site) as(t testing.TB, role string) string {
	t.Helper()
	if !hardened() {
		return s.url
	}
	document := newTool(t, hardLock()...).must(t.Context(), t, "repo", "policy", "--quiet", "--role", role, "s3://pgark/main?region=us-east-1")
	wire := storagetest.StartProxy(t, s.s3)
	wire.Trust() // it has its own policy
	wire.Add(storagetest.Rule{Name: "policy", Fault: storagetest.Enforce(t, []byte(document))})
	return wire.URL("pgark", "main")
}

// way is a URL by which one host alone comes to the repository, and away what takes the store away from that host until back is called.
func (s *site) way(t testing.TB) (url string, away func() (back func())) {
	t.Helper()
	if s.s3 != nil {
		wire := storagetest.StartProxy(t, s.s3)
		return wire.URL("pgark", "main"), func() func() {
			return wire.Add(storagetest.Rule{Name: "away", Fault: storagetest.Answer(http.StatusNotFound, "NoSuchBucket")})
		}
	}
	link := filepath.Join(postgrestest.TempDir(t), "way")
	open := func() {
		if err := os.Symlink(s.folder, link); err != nil {
			t.Error(err)
		}
	}
	open()
	return "file://" + link, func() func() {
		if err := os.Remove(link); err != nil {
			t.Error(err)
		}
		return open
	}
}

// lockedUntil is the end of the lock of a version as the server has it; zero if it has none.
func lockedUntil(t *testing.T, s3 *storagetest.Server, v objectVersion) (until time.Time) {
	t.Helper()
	var lock struct{ RetainUntilDate time.Time }
	if err := xml.Unmarshal([]byte(s3.Query(t, "pgark/"+v.Key, "retention=&versionId="+v.ID)), &lock); err != nil {
		t.Fatal(err)
	}
	return lock.RetainUntilDate
}

type objectVersion struct {
	Key string
	ID  string `xml:"VersionId"`
}

// versions are all that the bucket holds.
func versions(t *testing.T, s3 *storagetest.Server) []objectVersion {
	t.Helper()
	var list struct{ Version []objectVersion }
	if err := xml.Unmarshal([]byte(s3.Query(t, "pgark", "versions=")), &list); err != nil {
		t.Fatal(err)
	}
	return list.Version
}

// TestHardened guards I36 and T2: encryption, Object Lock and least rights together. A writer that can delete nothing archives to public keys, is killed and goes on, and every object that it made
// was locked from then on; the janitor pins, makes the locks of what stays longer and removes what need not stay; and the reader, with the recovery key, restores every row. The long form: make hardened.
func TestHardened(t *testing.T) {
	t.Parallel()
	if hardened() {
		t.Skip("it is the short form")
	}
	const lock, span = 6 * time.Second, "6s"
	s := newSite(t, postgrestest.Need(t, 15), onS3, postgrestest.Options{SegmentSize: 1 << 20})
	s.s3.LockBucket(t, "pgark", "", 0)
	k := newKeyFiles(t)
	s.tool = s.tool.with("PGARK_LOCK_MODE=governance", "PGARK_LOCK_FOR="+span, "PGARK_RETAIN_WINDOW=1h", "PGARK_RETAIN_GRACE=0s")
	url := map[string]string{}
	for role, flags := range map[string][]string{"writer": {"--lock-headers"}, "reader": nil, "janitor": nil} {
		print := append([]string{"repo", "policy", "--quiet", "--role", role}, flags...)
		document := s.tool.must(t.Context(), t, append(print, "s3://pgark/main?region=us-east-1")...)
		wire := storagetest.StartProxy(t, s.s3)
		wire.Add(storagetest.Rule{Name: "policy", Fault: storagetest.Enforce(t, []byte(document))})
		url[role] = wire.URL("pgark", "main")
	}
	writer := s.tool.with("PGARK_ENCRYPTION_RECIPIENTS_FILE="+k.recipients, "PGARK_ENCRYPTION_PROOF_KEY_FILE="+k.proof)
	agent := writer.start(t, "run", url["writer"])
	s.waitBackup(t)
	s.server.Exec(t, "create table t as select g from generate_series(1, 1000) g; select pg_switch_wal()")
	s.waitArchived(t)
	agent.kill()
	agent = writer.start(t, "run", url["writer"])
	s.server.Exec(t, "insert into t values (1001)")
	s.waitArchived(t)
	backup := s.backups(t)[0].ID

	s.tool.must(t.Context(), t, "keep", "pin", "--repo", url["janitor"], backup)
	var report struct {
		Repositories []struct {
			Deleted int `json:"deleted_objects"`
			Locks   struct{ Asked, Extended, Failed int }
		}
	}
	deleted := 0
	eventually(t, time.Minute, "locks to be made longer", func() bool {
		if err := json.Unmarshal([]byte(s.tool.must(t.Context(), t, "prune", "--yes", "-o", "json", "--repo", url["janitor"])), &report); err != nil {
			t.Fatal(err)
		}
		deleted += report.Repositories[0].Deleted
		return report.Repositories[0].Locks.Extended > 5
	})
	if deleted == 0 { // a lock keeps nobody who may from hiding an object, here the pieces that whole segments replaced
		t.Error("the janitor let nothing go")
	}
	agent.stop(t)
	all := versions(t, s.s3)
	packs := 0
	for _, v := range all {
		until := lockedUntil(t, s.s3, v)
		if until.IsZero() {
			t.Errorf("%s was never locked", v.Key)
		}
		if strings.Contains(v.Key, "/backups/"+backup+"/") && until.Add(-lock/2).After(time.Now()) {
			packs++
			if status := s.s3.DeleteVersion(t, "/pgark/"+v.Key, v.ID); status != 403 {
				t.Errorf("%s was deleted for good: %d", v.Key, status)
			}
		}
	}
	if len(all) < 10 || packs == 0 {
		t.Errorf("%d versions, %d of the backup under a lock that is far from its end", len(all), packs)
	}

	rows := s.server.Text(t, "select count(*) from t")
	s.url, s.tool = url["reader"], s.tool.identity(k.recovery)
	r, o := s.restore(t.Context(), t)
	if o.code != 0 {
		t.Fatalf("restore: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if got := query(t, r.conn, "select count(*) from t"); got != rows {
		t.Errorf("restored %s rows, want %s", got, rows)
	}
}
