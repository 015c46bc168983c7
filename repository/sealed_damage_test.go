package repository_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// TestSealedDamage: every class of encrypted object, damaged in its header, in a chunk, cut and swapped: found with the key, and what can be found without it.
func TestSealedDamage(t *testing.T) {
	k := newTestKeys(t)
	store := sealedArchive(t, k)
	full := encryption.Keys{Identities: withKeys(t, k.first)}
	for _, key := range store.Keys() {
		if !strings.HasSuffix(string(key), ".age") {
			continue
		}
		body := store.Bytes(key)
		header := bytes.Index(body, []byte("\n---")) + 1 + 48
		border := header + 16 + 64<<10 + 16
		ways := map[string]struct {
			body    []byte
			keyless bool // found without a key
		}{
			"version":          {flip(body, 3), true},
			"note":             {flip(body, 100), true},
			"recipient":        {flip(body, 400), true},
			"MAC":              {flip(body, header-10), false},
			"nonce":            {flip(body, header+3), false},
			"first chunk":      {flip(body, header+16+20), false},
			"last byte":        {flip(body, len(body)-1), false},
			"empty":            {[]byte{}, true},
			"cut in the note":  {body[:200], true},
			"cut behind it":    {body[:header+5], true},
			"last byte cut":    {body[:len(body)-1], true},
			"one byte more":    {append(bytes.Clone(body), 0), true},
			"cut at the chunk": {body[:min(border, len(body)-1)], true},
		}
		for way, damage := range ways {
			store.Replace(key, damage.body)
			if err := examine(t, openCluster(t, store).With(full), key); !isDamage(err) {
				t.Errorf("%s: %s: with the key: %v", key, way, err)
			}
			// What the records hash, backups and names, is found without a key whatever it is.
			hashed := !strings.Contains(string(key), "/wal/")
			err := examine(t, openCluster(t, store), key)
			var locked *repository.KeyError
			switch {
			case (damage.keyless || hashed) && !isDamage(err):
				t.Errorf("%s: %s: without a key: %v", key, way, err)
			case !damage.keyless && !hashed && !errors.As(err, &locked):
				t.Errorf("%s: %s: without a key: %v, want a *KeyError", key, way, err)
			}
		}
		store.Replace(key, body)
	}
	// One object in the place of another.
	wals := entries(t, openCluster(t, store), 1, 0)
	one, two := store.Bytes(wals[0].Key), store.Bytes(wals[1].Key)
	store.Replace(wals[0].Key, two)
	for name, keys := range map[string]encryption.Keys{"with": full, "without": {}} {
		if err := examine(t, openCluster(t, store).With(keys), wals[0].Key); !isDamage(err) {
			t.Errorf("swapped, %s a key: %v", name, err)
		}
	}
	store.Replace(wals[0].Key, one)
	if err := examine(t, openCluster(t, store).With(full), wals[0].Key); err != nil {
		t.Errorf("put right: %v", err)
	}
}

func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 4
	return b
}

func isDamage(err error) bool {
	var corrupt *repository.CorruptError
	return errors.As(err, &corrupt)
}

// examine reads one object back as verify does.
func examine(t testing.TB, c *repository.Cluster, key storage.Key) error {
	t.Helper()
	if strings.Contains(string(key), "/wal/") {
		c.AssumeSegmentSize(segSize)
		for _, e := range entries(t, c, 1, 0) {
			if e.Key == key {
				return second(c.CheckWAL(t.Context(), e))
			}
		}
		t.Fatalf("%s is not listed", key)
	}
	if strings.Contains(string(key), "/drills/") {
		return second(c.CheckRecord(t.Context(), repository.Object{Key: key, Class: repository.ClassNames, Drill: frozenDrill().ID}))
	}
	backups, err := c.Backups(t.Context())
	if err != nil {
		return err
	}
	b := backups[0]
	for _, o := range c.Parts(b) {
		if o.Key == key {
			return c.CheckPart(t.Context(), b, o)
		}
	}
	for _, table := range c.SealedTables(b) {
		if c.PackObject(b, table.Pack).Key == key {
			return c.CheckPack(t.Context(), b, table)
		}
	}
	t.Fatalf("%s is nothing of the backup", key)
	return nil
}

// TestSealedCatchUp: a copy is made and mended without any key, byte for byte.
func TestSealedCatchUp(t *testing.T) {
	k := newTestKeys(t)
	from, to := sealedArchive(t, k), memory.New()
	c := openCluster(t, from).With(publicHost(t, k))
	span := r(32*mib, 32*mib+1000) // what makes the backup consistent
	if err := c.PutWAL(t.Context(), encodeFor(t, c, object(repository.KindPiece, 1, segSize, span), walBytes(span))); err != nil {
		t.Fatal(err)
	}
	if err := repository.CatchUp(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	equalStores(t, from, to)
	for _, key := range from.Keys() {
		if !strings.HasSuffix(string(key), ".age") || strings.Contains(string(key), "/drills/") {
			continue
		}
		missing := memory.New()
		for _, other := range from.Keys() {
			if other != key {
				missing.Replace(other, from.Bytes(other))
			}
		}
		if err := repository.CatchUp(t.Context(), from, missing); err != nil {
			t.Errorf("without %s: %v", key, err)
		}
		equalStores(t, from, missing)
		// What is damaged where it is hashed is not spread.
		if strings.Contains(string(key), "/backups/") {
			good := from.Bytes(key)
			from.Replace(key, flip(good, len(good)/2))
			fresh := memory.New()
			if err := repository.CatchUp(t.Context(), from, fresh); !isDamage(err) {
				t.Errorf("%s damaged: %v", key, err)
			}
			if fresh.Bytes(key) != nil {
				t.Errorf("%s: the damage was spread", key)
			}
			from.Replace(key, good)
		}
	}
}

func TestSealedSameContent(t *testing.T) {
	k := newTestKeys(t)
	span := segSize.Range(3)
	o := object(repository.KindSegment, 1, segSize, span)
	sealedAs := func(plain []byte, keys encryption.Keys) (storage.Key, []byte) {
		c, _ := cluster(t)
		c = c.With(keys)
		e := encodeFor(t, c, o, plain)
		if err := c.PutWAL(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		return e.Key, e.Body
	}
	other := walBytes(span)
	other[5]++
	host := publicHost(t, k)
	key, a := sealedAs(walBytes(span), host)
	_, b := sealedAs(walBytes(span), host)
	_, unlike := sealedAs(other, host)
	_, rotated := sealedAs(walBytes(span), encryption.Keys{Recipients: host.Recipients, Proofs: proofKeys(t, "0b")})
	for name, keys := range map[string]encryption.Keys{"none": {}, "with a key": {Identities: withKeys(t, k.first)}} {
		same := repository.SameContent(keys)
		if bytes.Equal(a, b) || !same(key, a, b) || same(key, a, unlike) || same(key, a, b[:len(b)-1]) {
			t.Errorf("%s: does not tell", name)
		}
		if got := same(key, a, rotated); got != (name == "with a key") {
			t.Errorf("%s: another proof key: %t", name, got)
		}
	}
}

// TestSealedByHand opens what was put with stock age, and reads it with zstd and tar.
func TestSealedByHand(t *testing.T) {
	zstd, tarProgram := program(t, "zstd"), program(t, "tar")
	k := newTestKeys(t)
	store := sealedArchive(t, k)
	byHand := func(name string) []byte {
		key := storage.Key(system.String() + "/" + name)
		plain, err := age.Decrypt(bytes.NewReader(store.Bytes(key)), k.second)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b, err := io.ReadAll(plain)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return run(t, b, zstd, "-dc")
	}
	if got := byHand("wal/00000001/" + segSize.FileName(wal.SegmentID{Timeline: 1, Number: 2}) + ".zst.age"); !bytes.Equal(got, walBytes(segSize.Range(2))) {
		t.Error("a segment differs")
	}
	folder := "backups/" + backupID + "/"
	if got := byHand(folder + "backup_manifest.zst.age"); !bytes.Equal(got, manifest()) {
		t.Error("the manifest differs")
	}
	if list := run(t, byHand(folder+"base-00001.tar.zst.age"), tarProgram, "t"); !bytes.Contains(list, []byte("PG_VERSION\n")) {
		t.Errorf("tar t lists %q", list)
	}
	if got := byHand("drills/" + frozenDrill().ID + "-names.zst.age"); !bytes.Contains(got, []byte(`"orders_pkey"`)) {
		t.Error("the names differ")
	}
}

// FuzzOutline: a note that can be read says what it said when it was written.
func FuzzOutline(f *testing.F) {
	k := newTestKeys(f)
	store := sealedArchive(f, k)
	for _, key := range store.Keys() {
		if strings.HasSuffix(string(key), ".age") {
			f.Add(store.Bytes(key)[:min(1000, len(store.Bytes(key)))])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		again, err := repository.ReencodeOutline("x/wal/00000001/000000010000000000000001.zst.age", b)
		if err == nil && !bytes.Equal(again, b[:len(again)]) {
			t.Error("another note comes out")
		}
		if err != nil && !isDamage(err) {
			t.Errorf("got %v", err)
		}
	})
}
