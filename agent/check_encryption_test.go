package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/file"
	"github.com/pgark/pgark/wal"
)

// TestCheckEncryption guards I38: check says what this host could read, and what lies in clear: all, what is older than encryption, and, as an error, what came after it.
func TestCheckEncryption(t *testing.T) {
	const size = wal.SegmentSize(1 << 20)
	dir := t.TempDir()
	var public, private string
	for range 2 {
		key, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		public, private = public+key.Recipient().String()+"\n", key.String()+"\n"
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	recipients, identity, proof := write("age.pub", public), write("host.key", private), write("proof.key", strings.Repeat("0f", 32))
	store, err := file.Open(filepath.Join(dir, "repo"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	r, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	var keys encryption.Keys
	if keys.Recipients, err = encryption.ParseRecipients([]byte(public)); err != nil {
		t.Fatal(err)
	}
	encode := func(n wal.SegmentNumber) *repository.EncodedWAL {
		span := size.Range(n)
		o := repository.WALObject{SystemID: 7, Timeline: 1, SegmentSize: size, Kind: repository.KindSegment, Range: span}
		e, err := repository.NewWALEncoder(compression.Zstd()).Encode(o, make([]byte, span.Len()))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	put := func(n wal.SegmentNumber, k encryption.Keys) {
		if err := r.With(k).Cluster(7).PutWAL(t.Context(), encode(n)); err != nil {
			t.Fatal(err)
		}
	}
	found := func(environment ...string) map[agent.Verdict]string {
		loaded, err := config.Load(config.Sources{Repo: "file://" + filepath.Join(dir, "repo"), Environment: environment})
		if err != nil {
			t.Fatal(err)
		}
		texts := map[agent.Verdict]string{}
		if err := agent.Check(t.Context(), loaded.Clusters[0], agent.CheckOptions{Only: []string{"storage"}}, func(f agent.Finding) { texts[f.Verdict] += f.Text + "\n" }); err != nil {
			t.Fatal(err)
		}
		return texts
	}
	expect := func(texts map[agent.Verdict]string, verdict agent.Verdict, want string) {
		t.Helper()
		if !strings.Contains(texts[verdict], want) {
			t.Errorf("no %s %q in %v", verdict, want, texts)
		}
	}
	publicHost := []string{"PGARK_ENCRYPTION_RECIPIENTS_FILE=" + recipients, "PGARK_ENCRYPTION_PROOF_KEY_FILE=" + proof}
	privateHost := []string{"PGARK_ENCRYPTION_RECIPIENTS_FILE=" + recipients, "PGARK_ENCRYPTION_IDENTITY_FILE=" + identity}

	put(1, encryption.Keys{})
	expect(found(publicHost...), agent.Warning, "nothing that is archived here is encrypted yet")
	put(2, keys)
	texts := found(publicHost...)
	expect(texts, agent.Good, "contents are encrypted to 2 public keys ("+recipients+")")
	expect(texts, agent.Good, "whoever takes it cannot read the archive")
	expect(texts, agent.Warning, "in clear, from before encryption began: 0 base backups and 1 WAL objects")
	if texts[agent.Bad] != "" {
		t.Errorf("errors: %s", texts[agent.Bad])
	}
	expect(found(privateHost...), agent.Warning, "this host holds a private key: whoever takes it can read the archive")
	expect(found(append(privateHost, "PGARK_DRILL_DIR="+dir)...), agent.Good, "its drills need one")
	expect(found(), agent.Bad, repository.ErrPlain.Error())

	late := encode(3) // as no pgark puts it
	if err := store.Put(t.Context(), late.Key, late.Body); err != nil {
		t.Fatal(err)
	}
	expect(found(publicHost...), agent.Bad, "1 objects were put in clear after encryption had begun, the first: "+string(late.Key))
}
