package integration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// TestKeyLost guards D8 and T12: the host's private key is lost and replaced while a base backup is under way, by the commands of docs/runbooks/key-lost.md. The recovery key opens all;
// the old and the new key open what was encrypted to them, and both in one file the base backup of the one with the WAL of the other. Lost, wrong and readable files are told of
// before anything is written.
func TestKeyLost(t *testing.T) {
	t.Parallel()
	needAge(t)
	runsRunbooks(t)
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	k := newKeyFiles(t)
	dir := filepath.Dir(k.recipients)
	s.tool = s.tool.with("PGARK_REPO="+s.url, "PGARK_ENCRYPTION_IDENTITY_FILE=")
	archiving := s.tool.with("PGARK_ENCRYPTION_RECIPIENTS_FILE="+k.recipients, "PGARK_ENCRYPTION_PROOF_KEY_FILE="+k.proof)
	newKey, both, into := filepath.Join(dir, "new.key"), filepath.Join(dir, "both.key"), filepath.Join(postgrestest.TempDir(t), "restored")
	files := []string{"RECIPIENTS=" + k.recipients, "RECOVERY=" + k.recovery, "NEW=" + newKey, "DIR=" + into}
	opens := func(identity string, want int, says string) {
		t.Helper()
		o := s.tool.page(t, "key-lost", "opens", "", append(files, "IDENTITY="+identity)...)
		if o.code != want || !strings.Contains(o.stdout+o.stderr, says) {
			t.Errorf("%s: exit %d, want %d and %q\n%s%s", filepath.Base(identity), o.code, want, says, o.stdout, o.stderr)
		}
		if _, err := os.Stat(into); err == nil {
			t.Fatalf("%s: %s was made", filepath.Base(identity), into)
		}
	}

	s.server.Exec(t, "create table t as select g from generate_series(1, 100) g")
	agent := archiving.start(t, "run")
	s.waitBackup(t)
	s.waitArchived(t)
	opens(k.host, 0, "KEYS age, to 2 public keys")
	agent.stop(t)

	// The keys change while a base backup is under way: it has read the old ones, the agent that starts again reads the new ones.
	backup := archiving.start(t, "backup")
	eventually(t, time.Minute, "the base backup to begin", func() bool {
		return strings.Contains(backup.output(), "wait") || strings.Contains(backup.output(), "begin")
	})
	if o := archiving.page(t, "key-lost", "replace", "", files...); o.code != 0 {
		t.Fatalf("replace: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	agent = archiving.start(t, "run")
	<-backup.done
	if backup.err != nil {
		t.Fatalf("backup: %v\n%s", backup.err, backup.output())
	}
	s.server.Exec(t, "insert into t select g from generate_series(101, 200) g")
	s.waitArchived(t)
	if o := archiving.page(t, "key-lost", "both", "", "NEW="+newKey, "RECOVERY="+k.host, "IDENTITY="+both); o.code != 0 {
		t.Fatalf("both: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	opens(k.host, 12, "none of the private keys")
	opens(newKey, 12, "none of the private keys")
	opens(k.another, 12, "none of the private keys")
	opens(k.host+".lost", 12, "no such file")
	opens(both, 0, "KEYS age, to 2 public keys")
	opens(k.recovery, 0, "KEYS age, to 2 public keys")
	if err := os.Chmod(both, 0o644); err != nil {
		t.Fatal(err)
	}
	opens(both, 12, "chmod 600 "+both)
	if err := os.Chmod(both, 0o600); err != nil {
		t.Fatal(err)
	}

	if o := archiving.page(t, "key-lost", "rotate", "", files...); o.code != 0 {
		t.Fatalf("rotate: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	s.waitArchived(t)
	agent.stop(t)
	opens(newKey, 0, "KEYS age, to 2 public keys")
	for _, identity := range []string{newKey, k.recovery} {
		s.tool = s.tool.identity(identity)
		r, o := s.restore(t.Context(), t)
		if o.code != 0 {
			t.Fatalf("restore with %s: exit %d\n%s%s", filepath.Base(identity), o.code, o.stdout, o.stderr)
		}
		if got := query(t, r.conn, "select count(*) || ' ' || max(g) from t"); got != "200 200" {
			t.Errorf("restored with %s: %s", filepath.Base(identity), got)
		}
		r.stop(t)
	}
}
