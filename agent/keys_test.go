package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/pgark/pgark/config"
)

// TestKeyFiles guards I40 and D8: a file that cannot be used is named before anything is done, and no error holds a key.
func TestKeyFiles(t *testing.T) {
	pair, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	public := file("age.pub", pair.Recipient().String()+"\n", 0o644)
	secret := file("repo.key", "# a key\n"+pair.String()+"\n", 0o600)
	proof := file("proof.key", strings.Repeat("0f", 32)+"\n", 0o400)
	load := func(e config.Encryption) (err error) {
		_, err = loadKeys(config.Cluster{Repo: config.Repo{Encryption: e}})
		return err
	}
	all := config.Encryption{RecipientsFile: public, IdentityFile: secret, ProofKeyFile: proof}
	k, err := loadKeys(config.Cluster{Repo: config.Repo{Encryption: all}})
	if err != nil || k.Recipients.Count() != 1 || k.Identities.Empty() || len(k.Proofs) != 1 {
		t.Fatal(k.Recipients.Count(), err)
	}
	for name, test := range map[string]struct {
		e    config.Encryption
		want error
	}{
		"readable by others":       {config.Encryption{IdentityFile: file("open.key", pair.String(), 0o644)}, ErrKeyMode},
		"writable by the group":    {config.Encryption{ProofKeyFile: file("group.key", strings.Repeat("0f", 32), 0o620)}, ErrKeyMode},
		"gone":                     {config.Encryption{IdentityFile: filepath.Join(dir, "none")}, os.ErrNotExist},
		"a folder":                 {config.Encryption{RecipientsFile: dir}, nil},
		"a public key as private":  {config.Encryption{IdentityFile: file("swapped.key", pair.Recipient().String(), 0o600)}, nil},
		"a private key as public":  {config.Encryption{RecipientsFile: secret}, nil},
		"a broken private key":     {config.Encryption{IdentityFile: file("cut.key", pair.String()[:50], 0o600)}, nil},
		"a private key for proofs": {config.Encryption{ProofKeyFile: secret}, nil},
	} {
		err := load(test.e)
		var e *KeyFileError
		if !errors.As(err, &e) || e.Path == "" || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), pair.String()[20:40]) {
			t.Errorf("%s: the error holds the key: %v", name, err)
		}
	}
}
