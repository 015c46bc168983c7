package restore_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage/file"
	"github.com/pgark/pgark/wal"
)

// fetchMark in the environment makes the test program a restore_command.
const fetchMark = "PGARK_TEST_FETCH"

func TestMain(m *testing.M) {
	if os.Getenv(fetchMark) != "" {
		code, err := fetchCommand(os.Args[1:])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// fetchCommand is the restore_command that command writes.
func fetchCommand(args []string) (int, error) {
	if len(args) != 6 {
		return 200, fmt.Errorf("got %d arguments, want repository, system, until, timeline, name and path", len(args))
	}
	id, err := wal.ParseSystemID(args[1])
	if err != nil {
		return 200, err
	}
	until, err := wal.ParseLSN(args[2])
	if err != nil {
		return 200, err
	}
	tli, err := strconv.ParseUint(args[3], 10, 32)
	if err != nil {
		return 200, err
	}
	open := func(ctx context.Context) (*repository.Cluster, error) {
		store, err := file.Open(args[0])
		if err != nil {
			return nil, err
		}
		r, err := repository.Open(ctx, store)
		if err != nil {
			return nil, err
		}
		return r.Cluster(id), nil
	}
	o := restore.FetchOptions{Until: until, Timeline: wal.TimelineID(tli), Ahead: 2, Timeout: time.Minute}
	result, err := restore.Fetch(context.Background(), open, args[4], args[5], o)
	return restore.ExitCode(result, err, false), err
}

// command returns the restore_command of a plan: this program, copied to where
// the server's user can run it.
func command(t testing.TB, repo string, plan *restore.Plan) string {
	t.Helper()
	bin := filepath.Join(postgrestest.TempDir(t), "fetch")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, self, bin)
	return fmt.Sprintf("%s=1 '%s' '%s' %s %s %d %%f %%p", fetchMark, bin, repo, plan.SystemID, plan.Until, uint32(plan.Timeline))
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
