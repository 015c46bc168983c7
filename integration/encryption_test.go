package integration_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/postgres/postgrestest"
)

// keyFiles are the files of an encrypted archive: two key pairs, of which the host holds the public keys alone, and a proof key.
type keyFiles struct {
	recipients, proof       string
	host, recovery, another string // private keys
}

func newKeyFiles(t testing.TB) keyFiles {
	t.Helper()
	return writeKeyFiles(t, postgrestest.TempDir(t))
}

// encrypting says that all tests are to archive encrypted.
func encrypting() bool { return os.Getenv("PGARK_TEST_ENCRYPT") == "1" }

var shared struct {
	sync.Mutex

	keys keyFiles
}

// sharedKeys are the keys of all tests where all archive encrypted.
func sharedKeys(t testing.TB) keyFiles {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.keys.recipients == "" {
		dir, err := os.MkdirTemp("", "pgark-keys-") //nolint:usetesting // longer than one test
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		built = append(built, dir)
		shared.keys = writeKeyFiles(t, dir)
	}
	return shared.keys
}

// stored is the name, or a pattern of names, by which an object lies in a repository: what has contents is encrypted where all tests archive encrypted.
func stored(name string) string {
	if encrypting() && strings.HasSuffix(name, ".zst") {
		return name + ".age"
	}
	return name
}

// opening are the keys that open what all tests archive, and put more of it; none where they archive in clear.
func opening(t testing.TB) encryption.Keys {
	t.Helper()
	if !encrypting() {
		return encryption.Keys{}
	}
	files := sharedKeys(t)
	read := func(path string) []byte {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	var k encryption.Keys
	var errs [3]error
	k.Recipients, errs[0] = encryption.ParseRecipients(read(files.recipients))
	k.Identities, errs[1] = encryption.ParseIdentities(read(files.recovery))
	k.Proofs, errs[2] = encryption.ParseProofKeys(read(files.proof))
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return k
}

func writeKeyFiles(t testing.TB, dir string) keyFiles {
	t.Helper()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var public, private [3]string
	for i := range private {
		key, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		public[i], private[i] = key.Recipient().String(), key.String()
	}
	k := keyFiles{
		recipients: write("age.pub", public[0]+"\n"+public[1]+"\n"), proof: write("proof.key", strings.Repeat("a7", 32)),
		host: write("host.key", private[0]), recovery: write("recovery.key", private[1]), another: write("another.key", private[2]),
	}
	postgrestest.Own(t, dir)
	return k
}

// identity returns the tool of a host that has one private key and nothing else.
func (p tool) identity(path string) tool { return p.with("PGARK_ENCRYPTION_IDENTITY_FILE=" + path) }

// TestEncrypted guards I38, D8, T12 and T13: a host with public keys alone archives, is killed and goes on; nothing it archived can be read without a private key, which is said
// before anything is written; a drill proves the recovery key, and it alone restores everything; without a key verify finds what is damaged in a backup; stock age opens all by hand.
func TestEncrypted(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Need(t, 15), onFile, postgrestest.Options{})
	k := newKeyFiles(t)
	archiving := s.tool.with("PGARK_ENCRYPTION_RECIPIENTS_FILE="+k.recipients, "PGARK_ENCRYPTION_PROOF_KEY_FILE="+k.proof)
	if o := archiving.run(t.Context(), "check", s.url); o.code != 0 || !strings.Contains(o.stdout, "encrypted to 2 public keys") {
		t.Errorf("check: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	agent := archiving.start(t, "run", s.url)
	s.waitBackup(t)
	l := newLedger(t.Context(), t, s.server.ConnString(), 2, seed(t))
	load := func(d time.Duration) {
		ctx, stop := context.WithTimeout(t.Context(), d)
		defer stop()
		if err := l.run(ctx); err != nil {
			t.Fatal(err)
		}
	}
	load(time.Second)
	if err := agent.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-agent.done
	agent = archiving.start(t, "run", s.url)
	load(time.Second)
	s.server.Exec(t, "select pg_switch_wal()")
	load(500 * time.Millisecond)
	s.waitArchived(t)
	if o := s.tool.run(t.Context(), "list", s.url); !strings.Contains(o.stdout, "KEYS age, to 2 public keys\n") {
		t.Errorf("list does not tell of the keys: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if o := archiving.run(t.Context(), "check", "--only", "storage", s.url); o.code != 0 || !strings.Contains(o.stdout, "whoever takes it cannot read the archive") || strings.Contains(o.stdout, "in clear") {
		t.Errorf("check of what is encrypted: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if o := archiving.run(t.Context(), "check", "--only", "e2e", s.url); o.code != 0 || !strings.Contains(o.stdout, "no private key to read it back") {
		t.Errorf("check beside the agent: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	agent.stop(t)
	want, err := readState(t.Context(), s.server.ConnString())
	if err != nil {
		t.Fatal(err)
	}

	into := filepath.Join(postgrestest.TempDir(t), "restored")
	restoreTo := []string{"restore", "--into", into, "--bin-dir", s.server.Version.BinDir, "--start", "--yes", "-o", "json", s.url}
	sandboxes := postgrestest.TempDir(t)
	for _, r := range []refusal{
		{"run, without public keys", nil, []string{"run", s.url}, 12, "no public keys"},
		{"restore, without a private key", nil, []string{"restore", "--into", into, "--yes", s.url}, 12, "is encrypted"},
		{"restore, with another's", []string{"PGARK_ENCRYPTION_IDENTITY_FILE=" + k.another}, []string{"restore", "--into", into, "--yes", s.url}, 12, "none of the private keys"},
		{"restore, with one that is lost", []string{"PGARK_ENCRYPTION_IDENTITY_FILE=" + k.another + ".lost"}, []string{"restore", "--into", into, "--yes", s.url}, 12, "no such file"},
		{"drill, without a private key", nil, []string{"drill", "run", "--to", "latest", "--dir", sandboxes, "--bin-dir", s.server.Version.BinDir, s.url}, 12, "is encrypted"},
		{"log, without a private key", nil, []string{"log", "--around", "10s ago", s.url}, 12, "is encrypted"},
	} {
		r.check(t, s.tool, filepath.Dir(into))
	}
	if reports, _ := filepath.Glob(filepath.Join(s.folder, "*", "drills", "*")); len(reports) > 0 {
		t.Errorf("a drill that a host without a key could not hold is on record: %v", reports)
	}
	for _, look := range [][]string{{"list", s.url}, {"status", s.url}, {"verify", s.url}} {
		if o := s.tool.run(t.Context(), look...); o.code != 0 {
			t.Errorf("%v without a key: exit %d\n%s%s", look, o.code, o.stdout, o.stderr)
		}
	}

	recovery := s.tool.identity(k.recovery)
	if o := recovery.run(t.Context(), "verify", s.url); o.code != 0 || strings.Contains(o.stdout, "private key") {
		t.Errorf("verify with the recovery key: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	drill := recovery.with("PGARK_ENCRYPTION_RECIPIENTS_FILE="+k.recipients, "PGARK_ENCRYPTION_PROOF_KEY_FILE="+k.proof)
	if o := drill.run(t.Context(), "drill", "run", "--to", "latest", "--dir", postgrestest.TempDir(t), "--bin-dir", s.server.Version.BinDir, s.url); o.code != 0 && o.code != 3 {
		t.Errorf("drill: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	back := restored{dir: into}
	t.Cleanup(func() { back.stop(t) })
	o := recovery.run(t.Context(), restoreTo...)
	got, err := readState(t.Context(), reached(t, o))
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got.rows, want.rows) || len(want.rows) == 0 {
		t.Errorf("restored: %d rows, the server had %d, or others", len(got.rows), len(want.rows))
	}
	s.openByHand(t, k)
}

// needAge skips the test where there is no stock age.
func needAge(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("age"); err != nil {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatal("age is missing: run integration/parts.sh age")
		}
		t.Skip("age is missing: run integration/parts.sh age")
	}
}

// openByHand runs the script of docs/RESTORE-BY-HAND.md that decrypts, with the host's private key, and looks whether zstd and tar read all that comes out; and that nothing else
// holds contents.
func (s *site) openByHand(t *testing.T, k keyFiles) {
	t.Helper()
	needAge(t)
	for _, path := range tree(t, s.folder) {
		for _, contents := range []string{".zst", ".s2"} {
			if strings.HasSuffix(path, contents) {
				t.Errorf("%s is not encrypted", path)
			}
		}
	}
	folder := s.brought(t)
	shell(t, scriptsOf(t)["decrypt"], map[string]string{"REPO": folder, "IDENTITY": k.host})
	out := shell(t, `
		find "$REPO" -name '*.zst' | while read -r object; do zstd -qdc "$object" > /dev/null || exit 1; echo "$object"; done
		for pack in "$REPO"/*/backups/*/*.tar.zst; do zstd -qdc "$pack" | tar -t > /dev/null || exit 1; done`,
		map[string]string{"REPO": folder})
	if !strings.Contains(out, "base-00001.tar.zst\n") || !strings.Contains(out, "/wal/") || !strings.Contains(out, "-names.zst\n") {
		t.Errorf("by hand:\n%s", out)
	}
}
