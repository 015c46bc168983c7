// Package encryption seals bytes to public keys and opens them again, as age does (age-encryption.org/v1, c2sp.org/age): whole, as a stream, or a
// part of what was sealed without the rest. A note that anybody can read stands first in the header of what is sealed. The package knows neither
// objects nor keys of a store; docs/FORMAT.md section 16 says what the room repository puts where. It is the only room that imports age.
package encryption

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/age"
)

// Parts of the format: never changed.
const (
	// NoteSize is the length of a note in bytes.
	NoteSize = 232
	// PrefixSize is how many bytes of what is sealed hold the note, in age's base64.
	PrefixSize = len(intro) + len(noteLine) + noteText + noteText/columns + 1

	intro    = "age-encryption.org/v1\n"
	noteLine = "-> pgark 1\n"
	noteText = (NoteSize*8 + 5) / 6 // characters of base64 without padding
	columns  = 64
	macLine  = 48 // "--- ", 43 characters of base64, a newline

	nonceSize = 16
	chunkSize = 64 << 10
	tagSize   = 16
	sealed    = chunkSize + tagSize
)

// MaxHeader is the longest header in bytes that is opened: that of a hundred recipients.
const MaxHeader = 256 << 10

var (
	// ErrNoKey means that something is sealed and no private key was given.
	ErrNoKey = errors.New("no private key is configured here")
	// ErrWrongKey means that something is sealed to other public keys than those of the private keys given.
	ErrWrongKey = errors.New("none of the private keys configured here opens it")
	// ErrDamaged means that bytes are not what was sealed.
	ErrDamaged = errors.New("sealed bytes are damaged")
)

// Keys are what a host has. The zero value has none: nothing is sealed, and nothing that is can be opened.
type Keys struct {
	Recipients Recipients
	Identities Identities
	Proofs     ProofKeys
}

// Recipients are the public keys that bytes are sealed to; each of their private keys opens them.
type Recipients struct{ list []age.Recipient }

// Empty reports whether there is none.
func (r Recipients) Empty() bool { return len(r.list) == 0 }

// Count returns how many there are.
func (r Recipients) Count() int { return len(r.list) }

// ParseRecipients reads public keys, one on each line; empty lines and those that begin with # are passed over. Keys of both of age's kinds cannot
// be mixed: what is sealed would be only as strong as the weaker.
func ParseRecipients(text []byte) (Recipients, error) {
	list, err := age.ParseRecipients(bytes.NewReader(text))
	if err != nil {
		return Recipients{}, err
	}
	r := Recipients{list}
	_, err = r.Seal(io.Discard, func(Envelope) (n [NoteSize]byte) { return n })
	return r, err
}

// Identities are private keys.
type Identities struct{ list []age.Identity }

// Empty reports whether there is none.
func (i Identities) Empty() bool { return len(i.list) == 0 }

// ParseIdentities reads private keys in the form of ParseRecipients, as age-keygen writes them. No error holds any of them.
func ParseIdentities(text []byte) (Identities, error) {
	list, err := age.ParseIdentities(bytes.NewReader(text))
	return Identities{list}, err
}

// Envelope is what a note may say of the header that it stands in.
type Envelope struct {
	// Size is the header's length in bytes, from the first byte of the age file to the newline behind its MAC.
	Size int
	// Digest is the start of the SHA-256 of the header's bytes between the note and the line with the MAC: the stanzas of the recipients.
	Digest [8]byte
}

// Writer seals what is written to it. Close ends it; without that nothing can be opened.
type Writer struct {
	io.WriteCloser

	key FileKey
}

// Key opens what this writer seals, and nothing else: to check it, where no private key is at hand.
func (w *Writer) Key() FileKey { return w.key }

// Seal returns a writer to dst. note is called once, before anything is written.
func (r Recipients) Seal(dst io.Writer, note func(Envelope) [NoteSize]byte) (*Writer, error) {
	e := &envelope{recipients: r.list, note: note}
	w, err := age.Encrypt(dst, e)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &Writer{w, FileKey{e.key}}, nil
}

// SealBytes appends plain, sealed, to dst. It is opened again and compared before it is returned.
func (r Recipients) SealBytes(dst, plain []byte, note func(Envelope) [NoteSize]byte) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	w, err := r.Seal(b, note)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	again, err := w.Key().Reader(bytes.NewReader(b.Bytes()[len(dst):]))
	if err == nil {
		err = sameBytes(again, plain)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSelfCheck, err)
	}
	return b.Bytes(), nil
}

var errSelfCheck = errors.New("sealed bytes open to others: memory or processor is faulty")

// sameBytes reads r to its end and compares, without holding all of it.
func sameBytes(r io.Reader, want []byte) error {
	buffer := make([]byte, chunkSize)
	for {
		n, err := r.Read(buffer)
		if n > len(want) || !bytes.Equal(buffer[:n], want[:n]) {
			return ErrDamaged
		}
		want = want[n:]
		switch {
		case errors.Is(err, io.EOF) && len(want) == 0:
			return nil
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
}

// envelope is all recipients as one, with the note before them: age writes the stanzas in the order in which it gets them.
type envelope struct {
	recipients []age.Recipient
	note       func(Envelope) [NoteSize]byte
	key        []byte
}

// Wrap implements age.Recipient.
func (e *envelope) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	stanzas, _, err := e.WrapWithLabels(fileKey)
	return stanzas, err
}

var errMixed = errors.New("public keys of different kinds cannot be mixed: use post-quantum ones (age1pq…) alone, or none")

// WrapWithLabels implements age.RecipientWithLabels.
func (e *envelope) WrapWithLabels(fileKey []byte) (stanzas []*age.Stanza, labels []string, err error) {
	e.key = bytes.Clone(fileKey)
	var text []byte
	for i, r := range e.recipients {
		one, l, err := wrap(r, fileKey)
		if err != nil {
			return nil, nil, err
		}
		slices.Sort(l)
		if i > 0 && !slices.Equal(l, labels) {
			return nil, nil, errMixed
		}
		labels = l
		for _, s := range one {
			stanzas, text = append(stanzas, s), appendStanza(text, s)
		}
	}
	if len(stanzas) == 0 {
		return nil, nil, errors.New("no public key")
	}
	sum := sha256.Sum256(text)
	note := e.note(Envelope{Size: PrefixSize + len(text) + macLine, Digest: [8]byte(sum[:8])})
	first := &age.Stanza{Type: "pgark", Args: []string{"1"}, Body: note[:]}
	return append([]*age.Stanza{first}, stanzas...), labels, nil
}

func wrap(r age.Recipient, fileKey []byte) ([]*age.Stanza, []string, error) {
	if labelled, ok := r.(age.RecipientWithLabels); ok {
		return labelled.WrapWithLabels(fileKey)
	}
	stanzas, err := r.Wrap(fileKey)
	return stanzas, nil, err
}

// appendStanza appends a stanza as age writes it: base64 in lines of 64 characters, the last one shorter.
func appendStanza(text []byte, s *age.Stanza) []byte {
	text = append(text, "-> "+strings.Join(append([]string{s.Type}, s.Args...), " ")+"\n"...)
	body := base64.RawStdEncoding.EncodeToString(s.Body)
	for ; len(body) >= columns; body = body[columns:] {
		text = append(text, body[:columns]+"\n"...)
	}
	return append(text, body+"\n"...)
}

// ReadNote returns the note in the first PrefixSize bytes of what is sealed. The error is ErrDamaged.
func ReadNote(prefix []byte) (note [NoteSize]byte, err error) {
	if len(prefix) < PrefixSize {
		return note, fmt.Errorf("%w: %d bytes of its header", ErrDamaged, len(prefix))
	}
	text, ok := strings.CutPrefix(string(prefix[:PrefixSize]), intro+noteLine)
	if !ok {
		return note, fmt.Errorf("%w: it does not begin with a note", ErrDamaged)
	}
	body, err := base64.RawStdEncoding.Strict().DecodeString(strings.ReplaceAll(text, "\n", ""))
	if err != nil || len(body) != NoteSize || string(appendStanza(nil, &age.Stanza{Type: "pgark", Args: []string{"1"}, Body: body})) != noteLine+text {
		return note, fmt.Errorf("%w: its note cannot be read", ErrDamaged)
	}
	return [NoteSize]byte(body), nil
}

// CheckHeader compares a header, e.Size bytes from the first of what is sealed on, with what its note says of it. It needs no key; only the MAC is left
// unchecked. The error is ErrDamaged.
func CheckHeader(header []byte, e Envelope) error {
	if len(header) != e.Size || e.Size < PrefixSize+macLine {
		return fmt.Errorf("%w: %d bytes of its header, its note says %d", ErrDamaged, len(header), e.Size)
	}
	sum := sha256.Sum256(header[PrefixSize : len(header)-macLine])
	if [8]byte(sum[:8]) != e.Digest {
		return fmt.Errorf("%w: its header is not as its note says", ErrDamaged)
	}
	return nil
}

// Stanzas returns to how many public keys the whole was sealed that has this header, which CheckHeader found right: age's own kinds of keys have a
// stanza each (c2sp.org/age, header).
func Stanzas(header []byte) int {
	return bytes.Count(header[PrefixSize-1:len(header)-macLine], []byte("\n-> "))
}

// FileKey opens one sealed whole.
type FileKey struct{ key []byte }

// Open returns what opens the whole that has this header, which CheckHeader found right. The error is ErrNoKey, ErrWrongKey or ErrDamaged.
func (i Identities) Open(header []byte) (FileKey, error) {
	if i.Empty() {
		return FileKey{}, ErrNoKey
	}
	key, err := age.DecryptHeader(header, i.list...)
	var other *age.NoIdentityMatchError
	switch {
	case errors.As(err, &other):
		return FileKey{}, ErrWrongKey
	case err != nil:
		return FileKey{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return FileKey{key}, nil
}

// Reader returns a reader of the plain bytes of what r gives. Bytes that it gave are authentic; that none are missing is known when it ends with io.EOF.
// Its errors are those of r, or wrap ErrDamaged.
func (k FileKey) Reader(r io.Reader) (io.Reader, error) {
	source := &remembering{reader: r}
	plain, err := age.Decrypt(source, age.NewInjectedFileKeyIdentity(k.key))
	if err != nil {
		return nil, source.blame(err)
	}
	return &opening{plain, source}, nil
}

// ReaderAt returns a reader of any of the plain bytes of what src gives, and their number. size is that of what is sealed. At once it reads the header
// and the last chunk, which proves the number, and later the chunks that hold what is asked for. Errors wrap ErrDamaged.
func (k FileKey) ReaderAt(src io.ReaderAt, size int64) (io.ReaderAt, int64, error) {
	plain, n, err := age.DecryptReaderAt(src, size, age.NewInjectedFileKeyIdentity(k.key))
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return plain, n, nil
}

// remembering keeps the error of a reader, so that it is not taken for damage.
type remembering struct {
	reader io.Reader
	err    error
}

// Read implements io.Reader.
func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

func (r *remembering) blame(err error) error {
	if r.err != nil {
		return r.err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// opening is a Reader whose errors tell damage from a source that failed.
type opening struct {
	plain  io.Reader
	source *remembering
}

// Read implements io.Reader.
func (o *opening) Read(p []byte) (int, error) {
	n, err := o.plain.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = o.source.blame(err)
	}
	return n, err
}
