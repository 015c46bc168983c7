package config

import (
	"errors"
	"path/filepath"
)

// Encryption says where the keys are. None is in the configuration itself. The zero value encrypts nothing.
type Encryption struct {
	// RecipientsFile has the public keys that contents are encrypted to, as age takes them.
	RecipientsFile string
	// IdentityFile has the private keys that open contents.
	IdentityFile string
	// ProofKeyFile has the keys by which a host without private keys compares WAL with what is archived.
	ProofKeyFile string
}

func encryptionKeys() []Key {
	return []Key{
		{
			Path: "repo.encryption.recipients_file", Env: "PGARK_ENCRYPTION_RECIPIENTS_FILE",
			Doc: "age public keys, one a line: contents are encrypted to all of them; empty, the default, encrypts nothing",
			set: func(_ *Config, c *Cluster, v string) error { return setPath(&c.Repo.Encryption.RecipientsFile, v) },
			get: func(_ Config, c Cluster) string { return c.Repo.Encryption.RecipientsFile },
		},
		{
			Path: "repo.encryption.identity_file", Env: "PGARK_ENCRYPTION_IDENTITY_FILE",
			Doc: "age private keys, mode 0600: what restores, verifies and drills needs one; the archiving host need not have any",
			set: func(_ *Config, c *Cluster, v string) error { return setPath(&c.Repo.Encryption.IdentityFile, v) },
			get: func(_ Config, c Cluster) string { return c.Repo.Encryption.IdentityFile },
		},
		{
			Path: "repo.encryption.proof_key_file", Env: "PGARK_ENCRYPTION_PROOF_KEY_FILE",
			Doc: "64 hex digits a line, mode 0600, that open nothing: by them a host without private keys compares the server's WAL with what is archived",
			set: func(_ *Config, c *Cluster, v string) error { return setPath(&c.Repo.Encryption.ProofKeyFile, v) },
			get: func(_ Config, c Cluster) string { return c.Repo.Encryption.ProofKeyFile },
		},
	}
}

var errPath = errors.New("want an absolute path: a restored server runs pgark in another folder")

func setPath(to *string, v string) error {
	if v != "" && !filepath.IsAbs(v) {
		return errPath
	}
	*to = v
	return nil
}

// completeEncryption returns what is wrong with the keys of a cluster once all is read.
func completeEncryption(file string, c Cluster) faults {
	e := c.Repo.Encryption
	if e.RecipientsFile == "" || e.IdentityFile != "" || e.ProofKeyFile != "" {
		return nil
	}
	return faults{{
		File: file, Key: "clusters." + c.Name + ".repo.encryption.recipients_file",
		Message: "needs proof_key_file beside it (`openssl rand -hex 32` makes one), or identity_file: " +
			"without either this host cannot tell whether the server has the WAL that is archived",
	}}
}
