package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
	"github.com/pgark/pgark/wal"
)

// regions is a site with a primary in one S3 server, a copy in another, with a credential of its own, and one in a folder.
type regions struct {
	*site

	second *storagetest.Server
	near   string // the folder
}

func newRegions(t *testing.T, v postgrestest.Version, required string) *regions {
	t.Helper()
	r := &regions{site: newSite(t, v, onS3, postgrestest.Options{}), second: storagetest.StartServer(t)}
	far, _ := newBucket(t, r.second, "pgark-dr", "main")
	shared := postgrestest.TempDir(t)
	r.near = filepath.Join(shared, "near")
	access, secret := r.second.Keys()
	profile := filepath.Join(shared, "credentials")
	text := fmt.Sprintf("[dr]\naws_access_key_id = %s\naws_secret_access_key = %s\n", access, secret)
	if err := os.WriteFile(profile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r.tool.env = append(r.tool.env, "AWS_SHARED_CREDENTIALS_FILE="+profile, "PGARK_REQUIRED="+required,
		"PGARK_COPIES=dr="+far+"&profile=dr near=file://"+r.near, "PGARK_REPO="+r.url)
	return r
}

// copyFact is what `pgark status -o json` says of one repository.
type copyFact struct {
	Name    string `json:"name"`
	Error   string `json:"error"`
	Backups int    `json:"restorable_backups"`
	Durable struct {
		LSN string `json:"lsn"`
	} `json:"durable"`
}

func (r *regions) copies(t *testing.T) map[string]copyFact {
	t.Helper()
	o := r.tool.run(t.Context(), "status", "-o", "json", "--timeout", "6s")
	var report struct {
		Copies []copyFact `json:"copies"`
	}
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil {
		t.Fatalf("status: exit %d, no JSON: %v\n%s%s", o.code, err, o.stdout, o.stderr)
	}
	facts := map[string]copyFact{}
	for _, c := range report.Copies {
		facts[c.Name] = c
	}
	return facts
}

// waitCopy waits until a repository alone holds the WAL up to at, and this many base backups.
func (r *regions) waitCopy(t *testing.T, name string, at wal.LSN, backups int) {
	t.Helper()
	eventually(t, 2*time.Minute, fmt.Sprintf("%s to hold WAL up to %s and %d backups", name, at, backups), func() bool {
		c := r.copies(t)[name]
		end, err := wal.ParseLSN(c.Durable.LSN)
		return c.Error == "" && err == nil && end >= at && c.Backups >= backups
	})
}

// restoredRows restores from one repository alone, to its end.
func (r *regions) restoredRows(t *testing.T, from string) state {
	t.Helper()
	dir := filepath.Join(postgrestest.TempDir(t), "restored")
	o := r.tool.run(t.Context(), "restore", "--from", from, "--into", dir, "--bin-dir", r.server.Version.BinDir, "--start", "--yes", "-o", "json")
	back := restored{dir: dir}
	t.Cleanup(func() { back.stop(t) })
	if o.code != 0 {
		t.Fatalf("restore from %s: exit %d\n%s%s", from, o.code, o.stdout, o.stderr)
	}
	var report struct {
		Result struct {
			Socket string `json:"socket"`
			Port   int    `json:"port"`
		} `json:"result"`
	}
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil {
		t.Fatal(err)
	}
	got, err := readState(t.Context(), fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", report.Result.Socket, report.Result.Port))
	if err != nil {
		t.Fatal(err)
	}
	if err := got.sound(); err != nil {
		t.Errorf("restored from %s: %v", from, err)
	}
	return got
}

// TestCopies guards I37, S11 and S12: two of three repositories are required. One region goes down under load, and the archive goes on; it
// comes back and is brought up to date; a copy is emptied, noticed and filled again. Then server and primary are lost: each
// copy alone gives back every commit that was durable.
func TestCopies(t *testing.T) {
	t.Parallel()
	r := newRegions(t, postgrestest.Need(t, 15), "2")
	agent := r.tool.start(t, "run")
	r.waitBackup(t)
	l := newLedger(t.Context(), t, r.server.ConnString(), 2, seed(t))
	during := func(what func()) int {
		load, end := context.WithCancel(t.Context())
		var group errgroup.Group
		before := len(l.entries())
		group.Go(func() error { return l.run(load) })
		what()
		end()
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		return len(l.entries()) - before
	}
	for _, name := range []string{"dr", "near"} {
		r.waitCopy(t, name, 1, 1)
	}

	// A region goes down: the archive goes on, and status tells.
	r.second.Stop()
	if n := during(func() { r.waitArchived(t); wait(t.Context(), 2*time.Second); r.waitArchived(t) }); n == 0 {
		t.Error("no commit happened while the region was down")
	}
	if c := r.copies(t); c["dr"].Error == "" || c["near"].Error != "" {
		t.Errorf("while a region is down: got %+v", c)
	}
	text := r.tool.run(t.Context(), "status", "--exit-code", "--timeout", "6s")
	if text.code != 3 || !strings.Contains(text.stdout, "AT RISK") || !strings.Contains(text.stdout, "copy dr cannot be used") {
		t.Errorf("while a region is down: exit %d\n%s%s", text.code, text.stdout, text.stderr)
	}
	// A backup by hand meanwhile goes where it can.
	if o := r.tool.run(t.Context(), "backup"); o.code != 3 || !strings.Contains(o.stderr, "copy dr lacks it") {
		t.Errorf("backup while a region is down: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if err := r.second.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.waitCopy(t, "dr", r.waitArchived(t), 2)
	r.waitCopy(t, "near", 1, 2)

	// A copy is emptied: it is noticed, and filled again.
	inside, err := filepath.Glob(filepath.Join(r.near, "*"))
	if err != nil || len(inside) == 0 {
		t.Fatalf("in the copy: %v, %v", inside, err)
	}
	for _, path := range inside {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	if n := during(func() { r.waitCopy(t, "near", r.waitArchived(t), 2) }); n == 0 {
		t.Error("no commit happened while the copy was filled")
	}
	if !strings.Contains(agent.output(), "emptied or swapped") {
		t.Errorf("the agent did not tell that a copy was emptied:\n%s", agent.output())
	}

	end := r.waitArchived(t)
	for _, name := range []string{"primary", "dr", "near"} {
		r.waitCopy(t, name, end, 2)
	}
	agent.stop(t)
	r.server.Kill(t)
	if err := os.RemoveAll(r.folder); err != nil {
		t.Fatal(err)
	}
	r.s3.Stop()
	if o := r.tool.run(t.Context(), "restore", "--dry-run", "--timeout", "60s"); o.code != 0 || !strings.Contains(o.stdout, "primary IS LEFT OUT") {
		t.Errorf("restore without the lost primary: exit %d, want a plan that says so\n%s%s", o.code, o.stdout, o.stderr)
	}
	want := 0
	for _, tr := range l.entries() {
		if tr.class == acked {
			want++
		}
	}
	// And a copy of a copy, into another kind of store.
	third := filepath.Join(postgrestest.TempDir(t), "third")
	r.tool.must(t.Context(), t, "repo", "copy", "--from", "dr", "--to", "file://"+third)
	for _, from := range []string{"dr", "near", "file://" + third} {
		got := r.restoredRows(t, from)
		missing := 0
		for _, tr := range l.entries() {
			if _, ok := got.rows[rowKey{tr.worker, tr.seq}]; tr.class == acked && !ok {
				missing++
			}
		}
		if missing > 0 || want == 0 {
			t.Errorf("from %s: %d of %d durable commits are missing", from, missing, want)
		}
	}
}

// TestCopyOfAnother: a copy that holds another repository, and a primary that was emptied while a copy was not, stop the agent before
// it writes anything.
func TestCopyOfAnother(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	other := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	for _, one := range []*site{s, other} {
		agent := one.tool.start(t, "run", one.url)
		one.waitBackup(t)
		agent.stop(t)
	}
	s.tool.env = append(s.tool.env, "PGARK_COPIES=dr="+other.url)
	if o := s.tool.run(t.Context(), "run", s.url); o.code != 5 || !strings.Contains(o.stderr, "is no copy of it") {
		t.Errorf("a copy of another cluster: exit %d\n%s", o.code, o.stderr)
	}
	empty := "file://" + filepath.Join(postgrestest.TempDir(t), "empty")
	s.tool.env = append(s.tool.env, "PGARK_COPIES=dr="+s.url)
	if o := s.tool.run(t.Context(), "run", empty); o.code != 5 || !strings.Contains(o.stderr, "emptied or swapped") {
		t.Errorf("an emptied primary: exit %d\n%s", o.code, o.stderr)
	}
	if _, err := os.Stat(strings.TrimPrefix(empty, "file://") + "/pgark.json"); err == nil {
		t.Error("a new repository was made although a copy holds the old one")
	}
}
