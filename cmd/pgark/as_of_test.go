package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/storage/storagetest"
)

// TestAsOf guards T2 for the commands of docs/runbooks/bucket-lost.md, at a real server: everything in the bucket is deleted. What fails says which --as-of to give, and with
// it works, wal fetch among it, which a restored server calls; and repo undelete says what it does.
func TestAsOf(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for the seconds of a real server")
	}
	server := storagetest.StartServer(t)
	server.CreateBucket(t, "bucket")
	server.Setenv(t)
	root := os.DirFS("../../repository/testdata/v1/repository")
	var names []string
	if err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(root, path)
		server.PutObject(t, "bucket", "main/"+path, body)
		names = append(names, path)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Truncate(time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for time.Since(before) < time.Second {
		<-tick.C
	}
	for _, name := range names {
		server.DeleteObject(t, "bucket", "main/"+name)
	}
	url, asOf := server.URL("bucket", "main"), before.UTC().Format(time.RFC3339)
	run := func(want int, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		p := &program{
			stdin: strings.NewReader(""), stdout: &out, stderr: &out, environment: append(os.Environ(), "LC_ALL=C.UTF-8"),
			now: time.Now, interrupted: func() os.Signal { return nil },
		}
		words := append([]string{"pgark"}, args...)
		saved := os.Args
		os.Args = words // urfave/cli completes by the process's own words
		defer func() { os.Args = saved }()
		if code := p.main(t.Context(), words); code != want {
			t.Errorf("%q: exit %d, want %d\n%s", args, code, want, out.String())
		}
		return out.String()
	}
	has := func(out string, all ...string) {
		t.Helper()
		for _, one := range all {
			if !strings.Contains(strings.Join(strings.Fields(out), " "), one) {
				t.Errorf("no %q in\n%s", one, out)
			}
		}
	}

	has(run(exitNoRepository, "restore", "--dry-run", url), "pgark.json was deleted", "keeps 1 earlier version", "--as-of '", "runbooks/bucket-lost.md")
	for _, command := range [][]string{{"list"}, {"status"}, {"verify"}, {"log", "--around", "latest"}, {"wal", "ls"}, {"drill", "list"}} {
		out := run(exitNoRepository, append(command, url)...)
		has(out, "it was deleted", "pgark.json was deleted", "pgark repo undelete --as-of '")
		if strings.Contains(out, "pgark run") {
			t.Errorf("%q leads to a new repository over the old one\n%s", command, out)
		}
	}
	has(run(exitOK, "list", "--as-of", asOf, url), "AS OF ", "20261121T024000Z")
	has(run(exitOK, "log", "--as-of", asOf, "--around", "latest", url), "AS OF ")
	file := filepath.Join(t.TempDir(), "segment")
	run(exitOK, "wal", "fetch", "--as-of", asOf, "--ahead", "0", "--repo", url, "000000010000000000000026", file)
	if info, err := os.Stat(file); err != nil || info.Size() != 1<<20 {
		t.Errorf("wal fetch: %v, %v", info, err)
	}
	run(exitFetchUnknown, "wal", "fetch", "--ahead", "0", "--repo", url, "000000010000000000000026", file+"-now")
	has(run(exitOK, "repo", "undelete", "--as-of", asOf, url), "deleted WAL segment 1 object", "15 objects to bring back", "--yes")
	has(run(exitOK, "repo", "undelete", "--as-of", asOf, "--yes", url), "15 objects back", "pgark verify --deep")
	has(run(exitOK, "list", url), "20261121T024000Z")
	has(run(exitUsage, "repo", "undelete", url), "--as-of TIME is missing", "pgark repo policy --role repairer")
	server.SuspendVersioning(t, "bucket")
	has(run(exitOK, "log", "--as-of", asOf, "--around", "latest", url), "primary: versioning is or was suspended since then")
	has(run(exitOK, "list", "--as-of", asOf, url), "note versioning is or was suspended since then")
	has(run(exitOK, "repo", "undelete", "--as-of", asOf, url), "versioning is or was suspended since then")
}
