package integration_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
	"github.com/pgark/pgark/wal"
)

// replicated is a site whose bucket copies itself to one in another region, as Amazon S3 does, and an agent that may only read there.
type replicated struct {
	*regions

	replication *storagetest.Replication
	// far stands before the second region.
	far *storagetest.Proxy
}

func newReplicated(t *testing.T, rule storagetest.ReplicationRule) *replicated {
	t.Helper()
	r := &replicated{regions: newRegions(t, postgrestest.Need(t, 15), "primary")}
	near := storagetest.StartProxy(t, r.s3)
	r.far = storagetest.StartProxy(t, r.second)
	r.replication = storagetest.StartReplication(t, r.s3, r.second, rule)
	near.Add(storagetest.Rule{Fault: r.replication.Fault()})
	r.tool.env = append(r.tool.env, "PGARK_REPO="+near.URL("pgark", "main"), "PGARK_COPIES=dr@bucket="+r.far.URL("pgark-dr", "main")+"&profile=dr")
	if hardened() { // who archives may see the rule
		document := r.tool.must(t.Context(), t, "repo", "policy", "--quiet", "s3://pgark/main?region=us-east-1")
		r.s3.Guard(t, []byte(document))
	}
	return r
}

// wrote is how many requests that change something came to the second region past the bucket's own.
func (r *replicated) wrote() int {
	n := 0
	for _, op := range []storagetest.Op{storagetest.Put, storagetest.Begin, storagetest.Part, storagetest.Commit, storagetest.Delete} {
		n += r.far.Count(op, "")
	}
	return n
}

// replicationFact is what `pgark status -o json` says of the copy that the bucket makes.
type replicationFact struct {
	By          string  `json:"by"`
	Behind      float64 `json:"behind_seconds"`
	Bytes       int64   `json:"behind_bytes"`
	Backups     int     `json:"restorable_backups"`
	Replication struct {
		Error   string   `json:"error"`
		Rule    string   `json:"rule"`
		Faults  []string `json:"faults"`
		Newest  int      `json:"newest"`
		Pending int      `json:"pending"`
		Failed  int      `json:"failed"`
		Lag     float64  `json:"lag_seconds"`
		Copied  struct {
			LSN string `json:"lsn"`
		} `json:"copied"`
	} `json:"replication"`
}

func (r *replicated) dr(t *testing.T) replicationFact {
	t.Helper()
	o := r.tool.run(t.Context(), "status", "-o", "json")
	var report struct {
		Copies []replicationFact `json:"copies"`
	}
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil || len(report.Copies) != 2 {
		t.Fatalf("status: exit %d: %v\n%s%s", o.code, err, o.stdout, o.stderr)
	}
	return report.Copies[1]
}

// copied reads an LSN, 0 where there is none.
func (f replicationFact) copied() wal.LSN {
	lsn, err := wal.ParseLSN(f.Replication.Copied.LSN)
	if err != nil {
		return 0
	}
	return lsn
}

// TestBucketMakesTheCopy: the agent writes one bucket, which copies itself to another region, later and in no order. status shows how far
// that is, check whether it can be restored from, and a restore from there alone gives every commit back.
func TestBucketMakesTheCopy(t *testing.T) {
	r := newReplicated(t, storagetest.ReplicationRule{ID: "to-dr", Prefix: "main/", Bucket: "pgark-dr"})
	agent := r.tool.start(t, "run")
	r.waitBackup(t)
	r.server.Exec(t, "create table kept as select g from generate_series(1, 1000) g")
	r.waitArchived(t)
	r.replication.Drain(t)
	if f := r.dr(t); f.By != "bucket" || f.Replication.Rule != "to-dr" || len(f.Replication.Faults) > 0 || f.Replication.Newest == 0 || f.Backups == 0 {
		t.Errorf("all there: got %+v", f)
	}
	if o := r.tool.run(t.Context(), "check"); o.code != 0 || !strings.Contains(o.stdout, "dr made by the bucket's rule to-dr: the newest") ||
		strings.Count(o.stdout, "has all it needs") != 2 {
		t.Errorf("check: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}

	// The other region is away: the archive goes on, the copy falls behind, and what it has stays restorable.
	r.replication.Hold()
	r.server.Exec(t, "insert into kept select g from generate_series(1001, 2000) g")
	end := r.waitArchived(t)
	if f := r.dr(t); f.Replication.Pending == 0 || f.copied() >= end || f.Bytes == 0 {
		t.Errorf("held, archived up to %s: got %+v", end, f)
	}
	if o := r.tool.run(t.Context(), "check", "--from", "dr"); o.code != 0 || !strings.Contains(o.stdout, "has all it needs") {
		t.Errorf("check --from dr: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	r.replication.Release()
	eventually(t, 2*time.Minute, "the copy to hold all", func() bool {
		f := r.dr(t)
		return f.Replication.Pending == 0 && f.copied() >= end && f.Bytes == 0
	})
	r.tool.must(t.Context(), t, "backup")
	r.waitArchived(t)
	r.replication.Drain(t)
	if n := r.wrote(); n > 0 {
		t.Errorf("the agent, status, check and backup sent %d writes to a bucket that another copies to", n)
	}
	agent.stop(t)
	r.replication.Drain(t)
	r.s3.Stop()
	got := r.restoredCount(t, "dr")
	if got != "2000" {
		t.Errorf("restored from the copy: got %s rows, want 2000", got)
	}
}

// TestBucketsCopyLacksAnObject: the bucket gives up on the packs, as it does where a permission is missing, and copies the record all the same.
func TestBucketsCopyLacksAnObject(t *testing.T) {
	r := newReplicated(t, storagetest.ReplicationRule{ID: "to-dr", Bucket: "pgark-dr"})
	r.replication.Fail(stored("*.tar.zst"))
	agent := r.tool.start(t, "run")
	r.waitBackup(t)
	r.waitArchived(t)
	r.replication.Drain(t)
	for _, args := range [][]string{{"check"}, {"check", "--from", "dr"}} {
		if o := r.tool.run(t.Context(), args...); o.code != 4 || !strings.Contains(o.stdout, stored(".tar.zst")+": is missing") {
			t.Errorf("%v: exit %d, want 4 and the pack\n%s%s", args, o.code, o.stdout, o.stderr)
		}
	}
	r.replication.Fail("*/wal/*")
	r.server.Exec(t, "create table more as select 1")
	r.waitArchived(t)
	o := r.tool.run(t.Context(), "status", "--exit-code")
	if o.code != 3 || !strings.Contains(o.stdout, "the bucket gave up on") || !strings.Contains(o.stdout, "repo copy --to dr") {
		t.Errorf("status: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	r.replication.Fail("")
	agent.stop(t)
	r.tool.must(t.Context(), t, "repo", "copy", "--to", "dr")
	if o := r.tool.run(t.Context(), "check", "--from", "dr"); o.code != 0 || !strings.Contains(o.stdout, "has all it needs") {
		t.Errorf("mended: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}

// TestBucketsRuleIsWrong: what is wrong with the rule is said before anything was lost by it.
func TestBucketsRuleIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		rule storagetest.ReplicationRule
		want string
	}{
		"disabled":      {storagetest.ReplicationRule{ID: "to-dr", Bucket: "pgark-dr", Disabled: true}, "rule to-dr is disabled"},
		"other bucket":  {storagetest.ReplicationRule{ID: "to-dr", Bucket: "elsewhere", Disabled: true}, "no rule of the bucket copies to pgark-dr"},
		"other prefix":  {storagetest.ReplicationRule{ID: "to-dr", Bucket: "pgark-dr", Prefix: "other/"}, "no rule of the bucket copies to pgark-dr"},
		"needs a tag":   {storagetest.ReplicationRule{ID: "to-dr", Bucket: "pgark-dr", Tag: "copy"}, "copies only objects with tags"},
		"deletes there": {storagetest.ReplicationRule{ID: "to-dr", Bucket: "pgark-dr", Deletes: true}, "is deleted here too"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReplicated(t, test.rule)
			r.tool.start(t, "run")
			r.waitBackup(t)
			o := r.tool.run(t.Context(), "check", "--only", "storage")
			if wrong := !test.rule.Deletes; !strings.Contains(o.stdout, test.want) || (o.code == 0) == wrong {
				t.Errorf("exit %d, want %q\n%s%s", o.code, test.want, o.stdout, o.stderr)
			}
		})
	}
}

// restoredCount restores from one repository alone and counts the rows.
func (r *replicated) restoredCount(t *testing.T, from string) string {
	t.Helper()
	dir := filepath.Join(postgrestest.TempDir(t), "restored")
	o := r.tool.run(t.Context(), "restore", "--from", from, "--into", dir, "--bin-dir", r.server.Version.BinDir, "--start", "--yes", "-o", "json")
	back := restored{dir: dir}
	t.Cleanup(func() { back.stop(t) })
	var report struct {
		Result struct {
			Socket string `json:"socket"`
			Port   int    `json:"port"`
		} `json:"result"`
	}
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil || o.code != 0 {
		t.Fatalf("restore from %s: exit %d, %v\n%s%s", from, o.code, err, o.stdout, o.stderr)
	}
	return query(t, fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", report.Result.Socket, report.Result.Port), "select count(*)::text from kept")
}
