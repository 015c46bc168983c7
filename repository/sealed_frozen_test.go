package repository_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// frozenSealed is a whole encrypted repository of version 1 with two private keys, each of which opens all of it, and its proof key, written once. Its bytes never change.
const frozenSealed = "testdata/v1/encrypted"

// TestFrozenEncrypted: what the first release that encrypts wrote is read by every later one, with each of its keys.
func TestFrozenEncrypted(t *testing.T) {
	if os.Getenv("PGARK_WRITE_VECTORS") == "1" {
		writeSealedVectors(t)
	}
	store := memory.New()
	root := os.DirFS(frozenSealed + "/repository")
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(root, path)
		store.Replace(storage.Key(path), b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(frozenSealed, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	proofs, err := encryption.ParseProofKeys(read("proof.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first.key", "second.key"} {
		keys, err := encryption.ParseIdentities(read(name))
		if err != nil {
			t.Fatal(err)
		}
		r1, err := repository.Open(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		c := r1.With(encryption.Keys{Identities: keys, Proofs: proofs}).Cluster(system)
		for n, want := range map[wal.SegmentNumber]wal.Range{38: segSize.Range(38), 39: r(39*mib, 39*mib+8192)} {
			got, err := c.ReadSegment(t.Context(), segSize, wal.SegmentID{Timeline: 1, Number: n})
			if err != nil || !bytes.Equal(got, walBytes(want)) {
				t.Errorf("%s: segment %d: %d bytes, %v", name, n, len(got), err)
			}
			p, err := c.NewProof(t.Context(), entries(t, c, 1, want.Start)[0])
			if err != nil {
				t.Fatal(err)
			}
			_, _ = p.Write(walBytes(want))
			if err := p.Check(); err != nil {
				t.Errorf("%s: proof of segment %d: %v", name, n, err)
			}
		}
		checkFrozenBackup(t, c)
		d, err := c.Drill(t.Context(), frozenDrill().ID)
		if err != nil {
			t.Fatal(err)
		}
		if names, err := c.DrillNames(t.Context(), d); err != nil || names.Count() != frozenNames().Count() {
			t.Errorf("%s: names: %v", name, err)
		}
	}
}

// writeSealedVectors writes the frozen repository and its keys. It never overwrites.
func writeSealedVectors(t *testing.T) {
	t.Helper()
	files := map[string][]byte{}
	store := memory.New()
	var pairs []*age.X25519Identity
	for _, name := range []string{"first.key", "second.key"} {
		pair, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, pair)
		files[name] = []byte("# protects nothing: for tests\n" + pair.String() + "\n")
	}
	files["proof.key"] = bytes.Repeat([]byte("3b"), encryption.ProofSize)
	proofs, err := encryption.ParseProofKeys(files["proof.key"])
	if err != nil {
		t.Fatal(err)
	}
	c := openCluster(t, store).With(encryption.Keys{Recipients: toKeys(t, pairs...), Proofs: proofs})
	for kind, span := range map[repository.Kind]wal.Range{repository.KindSegment: segSize.Range(38), repository.KindPiece: r(39*mib, 39*mib+8192)} {
		if err := c.PutWAL(t.Context(), encodeFor(t, c, object(kind, 1, segSize, span), walBytes(span))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.PutDrill(t.Context(), frozenDrill(), frozenNames()); err != nil {
		t.Fatal(err)
	}
	start := startBackup(nil)
	start.SegmentSize = segSize
	w, err := c.NewBackup(t.Context(), start)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writePack(t, w, "base", compression.Zstd(), frozenMembers()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context(), record(), []byte(frozenManifest)); err != nil {
		t.Fatal(err)
	}
	for _, key := range store.Keys() {
		files["repository/"+string(key)] = store.Bytes(key)
	}
	for name, body := range files {
		path := filepath.Join(frozenSealed, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(body); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
