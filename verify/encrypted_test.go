package verify_test

import (
	"bytes"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/verify"
)

// TestVerifyEncrypted guards D1 for what is encrypted: with a private key all damage is found, without one all in base backups and what the notes of WAL tell; both ways
// it is put right from the copy, byte for byte.
func TestVerifyEncrypted(t *testing.T) {
	pair, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var with encryption.Keys
	if with.Recipients, err = encryption.ParseRecipients([]byte(pair.Recipient().String())); err != nil {
		t.Fatal(err)
	}
	if with.Identities, err = encryption.ParseIdentities([]byte(pair.String())); err != nil {
		t.Fatal(err)
	}
	sound := makeArchiveWith(t, with)
	opened, closed := deep(), deep()
	opened.Keys = with
	if r := run(t, two(sound, sound.Clone()), opened); r.Verdict != verify.Sound || len(r.Notes) > 0 {
		t.Errorf("with a key: %+v", r)
	}
	if r := run(t, two(sound, sound.Clone()), closed); r.Verdict != verify.Sound || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "was not read") {
		t.Errorf("without a key: %+v", r)
	}
	wrong := deep()
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if wrong.Keys.Identities, err = encryption.ParseIdentities([]byte(other.String())); err != nil {
		t.Fatal(err)
	}
	if r := run(t, two(sound, sound.Clone()), wrong); r.Verdict != verify.Lost || r.Damage[0].Kind != verify.Unreadable {
		t.Errorf("with another's key: %+v", r)
	}

	walKey := storage.Key(system.String() + "/wal/00000001/000000010000000000000003.zst.age")
	packKey := storage.Key(system.String() + "/backups/" + second + "/base-00002.tar.zst.age")
	for name, test := range map[string]struct {
		key    storage.Key
		change func(b []byte) []byte
		closed bool // found without a key
	}{
		"WAL, a chunk":       {walKey, func(b []byte) []byte { b[len(b)-20] ^= 1; return b }, false},
		"WAL, the note":      {walKey, func(b []byte) []byte { b[99] ^= 1; return b }, true},
		"WAL, a recipient":   {walKey, func(b []byte) []byte { b[400] ^= 1; return b }, true},
		"WAL, cut":           {walKey, func(b []byte) []byte { return b[:len(b)-1] }, true},
		"WAL, gone":          {walKey, func([]byte) []byte { return nil }, true},
		"a pack, a chunk":    {packKey, func(b []byte) []byte { b[len(b)-20] ^= 1; return b }, true},
		"a pack, gone":       {packKey, func([]byte) []byte { return nil }, true},
		"an index, its note": {storage.Key(strings.Replace(string(packKey), "base-00002.tar", "index", 1)), func(b []byte) []byte { b[99] ^= 1; return b }, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, o := range []verify.Options{opened, closed} {
				primary := sound.Clone()
				primary.Replace(test.key, test.change(primary.Bytes(test.key)))
				r := run(t, two(primary, sound), o)
				if o.Keys.Identities.Empty() && !test.closed {
					if r.Verdict != verify.Sound || len(r.Notes) == 0 {
						t.Errorf("without a key: %+v", r)
					}
					continue
				}
				checkNamed(t, r, []storage.Key{test.key})
				o.Repair = true
				if healed := run(t, two(primary, sound), o); healed.Verdict != verify.Healed || !bytes.Equal(primary.Bytes(test.key), sound.Bytes(test.key)) {
					t.Errorf("not healed: %+v", healed)
				}
			}
		})
	}
}
