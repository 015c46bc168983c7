package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
)

// TestRefusedTarget: the instants that can be restored come as flags that can be pasted, once.
func TestRefusedTarget(t *testing.T) {
	r, out := planned(t)
	newest := time.Date(2026, 11, 20, 10, 41, 6, 0, time.UTC)
	err := &restore.TargetError{
		Target: restore.Target{Kind: restore.TargetTime, Time: wal.FromGo(newest.Add(time.Hour))}, Reason: restore.ReasonTooLate,
		NearestBefore: &restore.Instant{Time: wal.FromGo(newest), LSN: 0x1A3_8F2A1C40},
	}
	if code := r.program.report(err); code != exitNotRecoverable {
		t.Errorf("got code %d, want %d", code, exitNotRecoverable)
	}
	want := `error: target time 2026-11-20T11:41:06.000000Z cannot be restored: after the end of what the archive holds
  fix     nearest before: --to '2026-11-20 10:41:06Z'   (lsn 1A3/8F2A1C40)
          the end of the archive: --to latest
`
	if got, _, _ := strings.Cut(out.String(), "  docs"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	out.Reset()
	_ = r.program.report(&restore.TargetError{Reason: restore.ReasonGap, NearestBefore: &restore.Instant{LSN: 0x1A3_8F2A1C40}})
	if !strings.Contains(out.String(), "fix     nearest before: --to-lsn 1A3/8F2A1C40\n") {
		t.Errorf("got %s, want a flag for the place whose time is not known", out)
	}
	out.Reset()
	_ = r.program.report(&restore.TargetError{Reason: restore.ReasonNoBackup, Notes: []string{"a backup cannot be used: 7/backups/x/record.json is corrupt"}})
	if !strings.Contains(out.String(), "cause   a backup cannot be used: 7/backups/x/record.json is corrupt\n") {
		t.Errorf("got %s, want it said what cannot be read", out)
	}
	if _, err := restore.ParseTo("2026-11-20 10:41:06Z", newest); err != nil {
		t.Errorf("the instant that is named cannot be asked for: %v", err)
	}
}

func TestRefusedSpace(t *testing.T) {
	r, out := planned(t)
	code := r.program.report(&restore.SpaceError{Dir: "/var/lib", Needed: 431_000_000_000, Free: 1_200_000})
	if want := "error: no space in /var/lib: the restore needs 431 GB there, 1.2 MB are free\n"; code != exitRefused || !strings.HasPrefix(out.String(), want) {
		t.Errorf("got code %d, %s, want %d, %s", code, out, exitRefused, want)
	}
}

// cancelled is a restore that Ctrl-C has ended.
func cancelled(t *testing.T) (*restoring, func(error) string) {
	t.Helper()
	r, out := planned(t, "--start")
	r.into = filepath.Join(t.TempDir(), "new data")
	r.site = &restore.Site{Dir: r.into, Tablespaces: []restore.SiteTablespace{{OID: 16400, From: "/srv/fast", To: r.into + "-fast"}}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.ctx = ctx
	r.program.interrupted = func() os.Signal { return syscall.SIGINT }
	return r, func(err error) string {
		if code := r.program.report(err); code != exitCancelled {
			t.Errorf("got code %d, want %d", code, exitCancelled)
		}
		return strings.ReplaceAll(out.String(), filepath.Dir(r.into), "")
	}
}

// TestCancelledFetch: what was written is named, as is what to do with it.
func TestCancelledFetch(t *testing.T) {
	r, said := cancelled(t)
	if err := errors.New("nothing written yet"); r.unfetched(err) != err { //nolint:errorlint // the very same
		t.Error("an error from before the first byte was changed")
	}
	for _, dir := range []string{r.into, r.into + "-fast"} {
		if err := os.Mkdir(restore.Partial(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	other, err := os.Open(restore.Partial(r.into))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(other.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := r.unfetched(context.Canceled); strings.Contains(r.program.explain(err).Fix, restore.Partial(r.into)) {
		t.Error("what another restore writes to is to be removed")
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	want := `error: cancelled
  cause   no server can start: /new data is not there; what was written lies in '/new data.pgark-partial' '/new data-fast.pgark-partial'
  fix     the same command goes on from the files that are right; to give the space back: rm -r '/new data.pgark-partial' '/new data-fast.pgark-partial'
`
	if got := said(r.unfetched(context.Canceled)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestCancelledReplay: the folder has all files; it is said that they are not yet the target.
func TestCancelledReplay(t *testing.T) {
	r, said := cancelled(t)
	want := `error: cancelled
  cause   the files are complete in /new data; recovery did not get to its end, and no server runs
  fix     to recover to the same target: /usr/lib/postgresql/17/bin/pg_ctl -D '/new data' start
          or begin anew: rm -r '/new data' '/new data-fast', and the same command
`
	if got := said(r.unrecovered(context.Canceled, r.into)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestFailedFetch keeps the cause and the code of what failed.
func TestFailedFetch(t *testing.T) {
	r, out := planned(t)
	r.into = filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(restore.Partial(r.into), 0o700); err != nil {
		t.Fatal(err)
	}
	code := r.program.report(r.unfetched(&restore.SpaceError{Dir: r.into, Needed: 431_000_000_000, Free: 1_200_000}))
	for _, want := range []string{"error: no space in " + r.into, "what was written lies in", "fix     free space there", "rm -r " + restore.Partial(r.into)} {
		if !strings.Contains(out.String(), want) || code != exitRefused {
			t.Errorf("got code %d, %s, want %d and %q", code, out, exitRefused, want)
		}
	}
}

// TestFailedReplay: the server's own end leads to its log and on; a server that is not where the plan
// says is not to be started again.
func TestFailedReplay(t *testing.T) {
	const again = "to recover to the same target: "
	r, out := planned(t, "--start")
	err := &restore.ServerError{Words: "could not restore file: child process exited with exit code 200", Log: "/srv/data/pgark-recovery.log"}
	code := r.program.report(r.unrecovered(err, "/srv/data"))
	for _, want := range []string{err.Words, "no server runs", "pgark wal fetch where that did not get a file: /srv/data/pgark-recovery.log\n", again} {
		if !strings.Contains(out.String(), want) || code != exitFailed {
			t.Errorf("got code %d, %s, want %d and %q", code, out, exitFailed, want)
		}
	}
	r, out = planned(t, "--start")
	err = &restore.ServerError{Words: "could not write to file \"pg_wal/xlogtemp.7\": No space left on device", Err: syscall.ENOSPC}
	code = r.program.report(r.unrecovered(err, "/srv/data"))
	for _, want := range []string{err.Words, "the file system is full", "free space there first\n", again} {
		if !strings.Contains(out.String(), want) || code != exitRefused {
			t.Errorf("got code %d, %s, want %d and %q", code, out, exitRefused, want)
		}
	}
	r, out = planned(t, "--start")
	_ = r.program.report(r.unrecovered(&restore.ProofError{What: "last replayed LSN", Got: "0/2", Want: "0/1"}, "/srv/data"))
	if strings.Contains(out.String(), again) || !strings.Contains(out.String(), "keep the folder") {
		t.Errorf("got %s, want the folder kept and the server not started", out)
	}
}

// TestConfirmInPlace: who replaces a cluster types its name, or gives --yes; nothing else does.
func TestConfirmInPlace(t *testing.T) {
	for _, test := range []struct {
		name, typed string
		environment []string
		yes, json   bool
		want        bool
		code        int // of the error; 0: none
	}{
		{"the name", "main\n", []string{"PGARK_FORCE_TTY=1"}, false, false, true, 0},
		{"yes is no name", "yes\n", []string{"PGARK_FORCE_TTY=1"}, false, false, false, 0},
		{"nothing", "\n", []string{"PGARK_FORCE_TTY=1"}, false, false, false, 0},
		{"--yes", "", nil, true, false, true, 0},
		{"--yes, JSON", "", nil, true, true, true, 0},
		{"nobody to ask", "main\n", nil, false, false, false, exitRefused},
		{"JSON", "main\n", []string{"PGARK_FORCE_TTY=1"}, false, true, false, exitRefused},
		{"no input", "main\n", []string{"PGARK_FORCE_TTY=1", "PGARK_NO_INPUT=1"}, false, false, false, exitRefused},
	} {
		r, out := planned(t)
		r.inPlace, r.yes, r.json = true, test.yes, test.json
		r.site.Held = 412_000_000_000
		r.program.environment, r.program.stdin = test.environment, strings.NewReader(test.typed)
		got, err := r.confirm()
		if got != test.want || (err != nil) != (test.code != 0) {
			t.Errorf("%s: got %t, %v", test.name, got, err)
		}
		if err != nil && r.program.report(err) != test.code {
			t.Errorf("%s: got %v, want code %d", test.name, err, test.code)
		}
		if asked := strings.Contains(out.String(), "This replaces /var/lib/postgresql/17/restored (412 GB). Type the cluster name to continue: "); asked == (test.yes || test.code != 0) {
			t.Errorf("%s: printed %q", test.name, out)
		}
	}
}

// TestUnfinishedInPlace: what is left says that no server starts, and that the same command goes on.
func TestUnfinishedInPlace(t *testing.T) {
	r, out := planned(t)
	r.into, r.inPlace = t.TempDir(), true
	failed := &restore.SpaceError{Dir: "/srv", Needed: 2_000_000, Free: 1_000_000}
	if err := r.unfetched(failed); err != error(failed) { //nolint:errorlint // the very same
		t.Error("an error from before the first byte was changed")
	}
	if err := os.WriteFile(filepath.Join(r.into, "pgark-restore"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	code := r.program.report(r.unfetched(failed))
	for _, words := range []string{"it has no pg_control until all of it is restored", "the same command goes on from the files that are right"} {
		if !strings.Contains(out.String(), words) || code != exitRefused {
			t.Errorf("code %d, %s lacks %q", code, out, words)
		}
	}
}

// TestURLStandsAlone: the copies in the configuration are those of the repository in it, not of another that is named on the command line.
func TestURLStandsAlone(t *testing.T) {
	dir := t.TempDir()
	store, err := agent.OpenStore(t.Context(), "file://"+dir+"/dr", agent.StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repository.Create(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	environment := []string{"PGARK_REPO=file://" + dir + "/primary", "PGARK_COPIES=dr=file://" + dir + "/dr"}
	const fromCopy = "nothing is archived in the repository yet"
	for want, words := range map[string][]string{
		fromCopy + ".":             {"restore", "--dry-run"},
		fromCopy:                   {"restore", "--dry-run", "file://" + dir + "/primary"},
		dir + "/other: no":         {"restore", "--dry-run", "file://" + dir + "/other"},
		dir + "/other: no reposit": {"restore", "--dry-run", "--from", "file://" + dir + "/other"},
		dir + "/primary: no":       {"restore", "--dry-run", "--from", "primary"},
	} {
		_, said, code := call(t, environment, words...)
		if code != exitNoRepository || !strings.Contains(said, strings.TrimSuffix(want, ".")) {
			t.Errorf("%v: exit %d, %s, want %q", words, code, said, want)
		}
	}
}
