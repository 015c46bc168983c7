package agent

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/encryption"
)

// KeyFileError says that a file with keys cannot be used. It never holds any of a key.
type KeyFileError struct {
	// Setting is the key of the configuration that names the file.
	Setting, Path string
	Err           error
}

// Error names the file.
func (e *KeyFileError) Error() string { return fmt.Sprintf("%s %s: %v", e.Setting, e.Path, e.Err) }

// Unwrap returns the cause.
func (e *KeyFileError) Unwrap() error { return e.Err }

// ErrKeyMode says that others than its owner may read a file with a secret key.
var ErrKeyMode = errors.New("others may read it")

// keyLimit bounds a file with keys in bytes.
const keyLimit = 1 << 20

// loadKeys reads the keys that a cluster's configuration names. The error is a *KeyFileError.
func loadKeys(c config.Cluster) (encryption.Keys, error) {
	var k encryption.Keys
	e := c.Repo.Encryption
	for _, one := range []struct {
		setting, path string
		read          func(path string) ([]byte, error)
		parse         func([]byte) error
	}{
		{"repo.encryption.recipients_file", e.RecipientsFile, readKeyFile, func(b []byte) (err error) { k.Recipients, err = encryption.ParseRecipients(b); return err }},
		{"repo.encryption.identity_file", e.IdentityFile, readSecretFile, func(b []byte) (err error) { k.Identities, err = encryption.ParseIdentities(b); return err }},
		{"repo.encryption.proof_key_file", e.ProofKeyFile, readSecretFile, func(b []byte) (err error) { k.Proofs, err = encryption.ParseProofKeys(b); return err }},
	} {
		if one.path == "" {
			continue
		}
		text, err := one.read(one.path)
		if err == nil {
			err = one.parse(text)
		}
		if err != nil {
			return encryption.Keys{}, &KeyFileError{one.setting, one.path, err}
		}
	}
	return k, nil
}

// readSecretFile reads a file with secret keys. Who may read it is judged as PostgreSQL does that for its server key: its owner alone, or, where that is root,
// its group too (check_ssl_key_file_permissions, src/backend/libpq/be-secure-common.c).
func readSecretFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, cause(err)
	}
	forbidden := os.FileMode(0o077)
	if sys, ok := info.Sys().(*syscall.Stat_t); ok && sys.Uid == 0 {
		forbidden = 0o027
	}
	if info.Mode().Perm()&forbidden != 0 {
		return nil, fmt.Errorf("%w: mode %#o", ErrKeyMode, info.Mode().Perm())
	}
	return readKeyFile(path)
}

// readKeyFile reads a file with keys.
func readKeyFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, cause(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	if info.Size() > keyLimit {
		return nil, fmt.Errorf("%d bytes are too many for keys", info.Size())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, cause(err)
	}
	return text, nil
}

// cause drops the path, which stands beside it already.
func cause(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
