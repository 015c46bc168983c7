package encryption_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/pgark/pgark/encryption"
)

const chunk = 64 << 10

// pair returns a new key pair in the forms of key files.
func pair(t testing.TB) (encryption.Recipients, encryption.Identities, *age.X25519Identity) {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return recipients(t, key.Recipient().String()), identities(t, key.String()), key
}

func recipients(t testing.TB, lines ...string) encryption.Recipients {
	t.Helper()
	r, err := encryption.ParseRecipients([]byte("# comment\n\n" + strings.Join(lines, "\n") + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func identities(t testing.TB, lines ...string) encryption.Identities {
	t.Helper()
	i, err := encryption.ParseIdentities([]byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func content(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// sealedBytes seals plain under a note that says what it is told.
func sealedBytes(t testing.TB, r encryption.Recipients, plain []byte) (stored []byte, said encryption.Envelope) {
	t.Helper()
	stored, err := r.SealBytes(nil, plain, func(e encryption.Envelope) (n [encryption.NoteSize]byte) {
		said = e
		copy(n[:], "a note")
		return n
	})
	if err != nil {
		t.Fatal(err)
	}
	return stored, said
}

// open opens what is in memory, as far as it can be.
func open(stored []byte, e encryption.Envelope, keys encryption.Identities) ([]byte, error) {
	if _, err := encryption.ReadNote(stored); err != nil {
		return nil, err
	}
	header := stored[:max(0, min(e.Size, len(stored)))]
	if err := encryption.CheckHeader(header, e); err != nil {
		return nil, err
	}
	key, err := keys.Open(header)
	if err != nil {
		return nil, err
	}
	r, err := key.Reader(bytes.NewReader(stored))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// sizes are those around the borders of chunks.
func sizes() []int {
	return []int{0, 1, 1000, chunk - 1, chunk, chunk + 1, 2*chunk + 500, 3 * chunk}
}

func TestRoundTrip(t *testing.T) {
	to, keys, key := pair(t)
	for _, n := range sizes() {
		plain := content(n)
		stored, e := sealedBytes(t, to, plain)
		if got := encryption.SealedSize(int64(e.Size), int64(n)); got != int64(len(stored)) {
			t.Errorf("%d bytes: SealedSize says %d, it has %d", n, got, len(stored))
		}
		if got, ok := encryption.PlainSize(int64(e.Size), int64(len(stored))); !ok || got != int64(n) {
			t.Errorf("%d bytes: PlainSize says %d, %t", n, got, ok)
		}
		if got, err := open(stored, e, keys); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: got %d, %v", n, len(got), err)
		}
		note, err := encryption.ReadNote(stored)
		if err != nil || !bytes.HasPrefix(note[:], []byte("a note\x00")) {
			t.Errorf("%d bytes: note %q, %v", n, note[:10], err)
		}
		// Stock age passes over the note.
		r, err := age.Decrypt(bytes.NewReader(stored), key)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: age gives %d, %v", n, len(got), err)
		}
	}
}

// known is an object of which only some bytes were read.
type known map[int64][]byte

func (k known) ReadAt(p []byte, at int64) (int, error) {
	for from, b := range k {
		if at >= from && at < from+int64(len(b)) {
			n := copy(p, b[at-from:])
			if n < len(p) {
				return n, errors.New("not read")
			}
			return n, nil
		}
	}
	return 0, errors.New("not read")
}

// TestParts: any part is read with the header, the last chunk and the chunks that hold it.
func TestParts(t *testing.T) {
	to, keys, _ := pair(t)
	for _, n := range sizes()[1:] {
		plain := content(n)
		stored, e := sealedBytes(t, to, plain)
		key, err := keys.Open(stored[:e.Size])
		if err != nil {
			t.Fatal(err)
		}
		size, header := int64(len(stored)), int64(e.Size)
		for range 30 {
			start := rand.IntN(n)
			end := start + 1 + rand.IntN(n-start)
			from, until := encryption.Chunks(header, size, int64(start), int64(end))
			if until-from > int64(end-start+2*(chunk+16)) {
				t.Fatalf("[%d, %d) of %d bytes costs %d", start, end, n, until-from)
			}
			last := encryption.LastChunk(header, size)
			r, whole, err := key.ReaderAt(known{0: stored[:encryption.Lead(header)], last: stored[last:], from: stored[from:until]}, size)
			if err != nil || whole != int64(n) {
				t.Fatal(whole, err)
			}
			got := make([]byte, end-start)
			if _, err := r.ReadAt(got, int64(start)); err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(got, plain[start:end]) {
				t.Fatalf("[%d, %d) of %d bytes: %v", start, end, n, err)
			}
		}
	}
}

func TestKeys(t *testing.T) {
	_, first, keyA := pair(t)
	_, second, keyB := pair(t)
	_, other, keyC := pair(t)
	both := recipients(t, keyA.Recipient().String(), keyB.Recipient().String())
	if both.Count() != 2 || both.Empty() {
		t.Error("two recipients are not two")
	}
	stored, e := sealedBytes(t, both, []byte("secret"))
	for name, keys := range map[string]encryption.Identities{"first": first, "second": second, "among others": identities(t, keyC.String(), keyB.String())} {
		if got, err := open(stored, e, keys); err != nil || string(got) != "secret" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := open(stored, e, other); !errors.Is(err, encryption.ErrWrongKey) {
		t.Errorf("another key: %v", err)
	}
	if _, err := open(stored, e, encryption.Identities{}); !errors.Is(err, encryption.ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
	again, _ := sealedBytes(t, both, []byte("secret"))
	if bytes.Equal(again, stored) {
		t.Error("the same bytes are sealed to the same twice")
	}
}

// TestPostQuantum: age's other kind of keys works, and not beside the first.
func TestPostQuantum(t *testing.T) {
	key, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	stored, e := sealedBytes(t, recipients(t, key.Recipient().String()), content(chunk+5))
	if got, err := open(stored, e, identities(t, key.String())); err != nil || len(got) != chunk+5 {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	_, _, classic := pair(t)
	if _, err := encryption.ParseRecipients([]byte(key.Recipient().String() + "\n" + classic.Recipient().String())); err == nil {
		t.Error("keys of two kinds were taken together")
	}
}

func TestKeyFilesThatCannotBe(t *testing.T) {
	_, _, key := pair(t)
	secret := key.String()
	for name, parse := range map[string]func([]byte) error{
		"recipients": func(b []byte) error { _, err := encryption.ParseRecipients(b); return err },
		"identities": func(b []byte) error { _, err := encryption.ParseIdentities(b); return err },
		"proof keys": func(b []byte) error { _, err := encryption.ParseProofKeys(b); return err },
	} {
		for _, text := range []string{"", "# nothing\n", "junk", secret[:len(secret)-1], secret + "x", strings.Repeat("0g", 32), strings.Repeat("00", 31)} {
			err := parse([]byte(text))
			if err == nil {
				t.Errorf("%s: %q was taken", name, text)
			} else if len(text) > 8 && strings.Contains(err.Error(), text[:8]) && strings.HasPrefix(text, "AGE-SECRET") {
				t.Errorf("%s: the error shows the key: %v", name, err)
			}
		}
	}
}

// TestDamage: whatever bit is flipped, and wherever it is cut, nothing comes out that was not put in, and it is never called a wrong key.
func TestDamage(t *testing.T) {
	a, keys, _ := pair(t)
	plain := content(2*chunk + 100)
	stored, e := sealedBytes(t, a, plain)
	look := func(what string, b []byte) {
		got, err := open(b, e, keys)
		if !errors.Is(err, encryption.ErrDamaged) {
			t.Errorf("%s: %d bytes, %v", what, len(got), err)
		}
		if !bytes.HasPrefix(plain, got) {
			t.Errorf("%s: gives other bytes", what)
		}
	}
	borders := []int{e.Size, e.Size + 16, e.Size + 16 + chunk + 16, e.Size + 16 + 2*(chunk+16), len(stored)}
	positions := make([]int, 0, e.Size+100)
	for i := range e.Size {
		positions = append(positions, i)
	}
	for _, b := range borders {
		positions = append(positions, b-2, b-1, min(b, len(stored)-1), min(b+1, len(stored)-1))
	}
	for _, i := range positions {
		flipped := bytes.Clone(stored)
		flipped[i] ^= 1 << (i % 8)
		look(fmt.Sprintf("bit of byte %d", i), flipped)
		look(fmt.Sprintf("cut at %d", i), stored[:i])
	}
	look("a byte behind", append(bytes.Clone(stored), 0))
	swapped := bytes.Clone(stored)
	first := e.Size + 16
	copy(swapped[first:], stored[first+chunk+16:first+2*(chunk+16)])
	copy(swapped[first+chunk+16:], stored[first:first+chunk+16])
	look("chunks swapped", swapped)
}

// failing gives some bytes and then an error.
type failing struct {
	bytes []byte
	err   error
}

func (f *failing) Read(p []byte) (int, error) {
	if len(f.bytes) == 0 {
		return 0, f.err
	}
	n := copy(p, f.bytes)
	f.bytes = f.bytes[n:]
	return n, nil
}

// TestSourceFails: a source that failed is not called damaged.
func TestSourceFails(t *testing.T) {
	to, keys, _ := pair(t)
	stored, e := sealedBytes(t, to, content(3*chunk))
	key, err := keys.Open(stored[:e.Size])
	if err != nil {
		t.Fatal(err)
	}
	away := errors.New("away")
	for _, at := range []int{10, e.Size + 5, e.Size + 16 + chunk, len(stored) - 1} {
		r, err := key.Reader(&failing{stored[:at], away})
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if !errors.Is(err, away) || errors.Is(err, encryption.ErrDamaged) {
			t.Errorf("at %d: %v", at, err)
		}
	}
}

func TestProofs(t *testing.T) {
	text := strings.Repeat("0a", 32) + "\n# old\n" + strings.Repeat("F1", 32)
	keys, err := encryption.ParseProofKeys([]byte(text))
	if err != nil || len(keys) != 2 {
		t.Fatal(len(keys), err)
	}
	if keys[0].ID() == keys[1].ID() || keys[0].ID() == [8]byte{} {
		t.Error("IDs tell nothing")
	}
	found, ok := keys.Find(keys[1].ID())
	if !ok || found != keys[1] {
		t.Error("a key is not found by its ID")
	}
	if _, ok := keys.Find([8]byte{}); ok {
		t.Error("no ID is that of a key")
	}
	sum := func(k encryption.ProofKey, s string) string {
		h := k.Hash()
		h.Write([]byte(s))
		return string(h.Sum(nil))
	}
	again, err := encryption.ParseProofKeys([]byte(text))
	if err != nil || sum(keys[0], "a") != sum(again[0], "a") || sum(keys[0], "a") == sum(keys[1], "a") || sum(keys[0], "a") == sum(keys[0], "b") {
		t.Error("proofs do not tell")
	}
}

func FuzzOpen(f *testing.F) {
	to, keys, _ := pair(f)
	stored, e := sealedBytes(f, to, content(100))
	f.Add(stored, e.Size)
	f.Add(stored[:e.Size], e.Size)
	f.Add([]byte("age-encryption.org/v1\n-> pgark 1\n"), 500)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		got, err := open(b, encryption.Envelope{Size: size, Digest: e.Digest}, keys)
		if err == nil && !bytes.Equal(got, content(100)) {
			t.Errorf("opens to %d other bytes", len(got))
		}
		if plain, ok := encryption.PlainSize(int64(size), int64(len(b))); ok && encryption.SealedSize(int64(size), plain) != int64(len(b)) {
			t.Errorf("%d bytes under a header of %d are %d", len(b), size, plain)
		}
	})
}

// BenchmarkSeal and BenchmarkOpen measure a segment's worth of compressed WAL.
func BenchmarkSeal(b *testing.B) {
	to, _, _ := pair(b)
	plain := content(4 << 20)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		w, err := to.Seal(io.Discard, func(encryption.Envelope) (n [encryption.NoteSize]byte) { return n })
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(plain); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	to, keys, _ := pair(b)
	stored, e := sealedBytes(b, to, content(4<<20))
	b.SetBytes(4 << 20)
	for b.Loop() {
		if _, err := open(stored, e, keys); err != nil {
			b.Fatal(err)
		}
	}
}
