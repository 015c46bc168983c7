package restore_test

import (
	"errors"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage/memory"
)

// keyPair returns what a host encrypts with, and what opens it.
func keyPair(t testing.TB) (to encryption.Recipients, secret string) {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if to, err = encryption.ParseRecipients([]byte(key.Recipient().String())); err != nil {
		t.Fatal(err)
	}
	return to, key.String()
}

// TestOpenable guards D8: what a plan needs is tried with the keys there are before any of it is fetched, also where the public keys were changed on the way.
func TestOpenable(t *testing.T) {
	toBackup, backupKey := keyPair(t)
	toWAL, walKey := keyPair(t)
	_, otherKey := keyPair(t)
	store, _ := fakeBackupWith(t, encryption.Keys{Recipients: toBackup}, nil, pack{"base", smallDirectory()})
	m := newWALMaker(lsn(2))
	for m.pos() < lsn(4)+5000 {
		m.end(0x00, 1000, at(90))
		m.filler(1001, 100_000)
	}
	m.archive(t, clusterIn(t, store).With(encryption.Keys{Recipients: toBackup}), nil, nil)
	later := memory.New()
	if _, err := repository.Create(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	m.archive(t, clusterIn(t, later).With(encryption.Keys{Recipients: toWAL}), nil, nil)
	for _, key := range later.Keys() { // all but the first segment is encrypted to the new key
		if strings.Contains(string(key), "/wal/") && !strings.HasSuffix(string(key), "000000010000000000000002.zst.age") {
			store.Replace(key, later.Bytes(key))
		}
	}
	for name, test := range map[string]struct {
		keys []string
		want error
	}{
		"both": {[]string{walKey, backupKey}, nil}, "only the old one": {[]string{backupKey}, encryption.ErrWrongKey}, "only the new one": {[]string{walKey}, encryption.ErrWrongKey},
		"another": {[]string{otherKey}, encryption.ErrWrongKey}, "none": {nil, encryption.ErrNoKey},
	} {
		var keys encryption.Keys
		if len(test.keys) > 0 {
			var err error
			if keys.Identities, err = encryption.ParseIdentities([]byte(strings.Join(test.keys, "\n"))); err != nil {
				t.Fatal(err)
			}
		}
		c := clusterIn(t, store).With(keys)
		inv, err := restore.Survey(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		store.Reset()
		plan, err := restore.Choose(t.Context(), c, inv, restore.Target{Kind: restore.TargetLSN, LSN: lsn(4)})
		var key *repository.KeyError
		if !errors.Is(err, test.want) || test.want != nil && !errors.As(err, &key) || (err == nil) != (plan != nil) {
			t.Errorf("%s: %v", name, err)
		}
		if n := store.Count(memory.Get, "*.tar.zst.age"); n > 0 {
			t.Errorf("%s: %d readings of packs", name, n)
		}
	}
}
