package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pgark/pgark/repository"
)

// blockSize is the unit of a tar file.
const blockSize = 512

// MemberError says which member of an archive is not one that a PostgreSQL server sends.
type MemberError struct {
	// Path is the member's name as it came, possibly hostile; empty where the header is unreadable.
	Path string
	// Reason is what is wrong with it.
	Reason string
}

// Error implements error.
func (e *MemberError) Error() string {
	return fmt.Sprintf("tar member %q: %s", e.Path, e.Reason)
}

// ReadTar reads the members of a tar stream as PostgreSQL writes it (tarCreateHeader, src/port/tar.c):
// ustar headers of regular files, directories and symbolic links, names within 100 bytes, sizes of
// 8 GiB and more in base-256. It refuses everything else with a *MemberError, and a stream that ends
// within a member with io.ErrUnexpectedEOF. The stream ends at two zero blocks or, as PostgreSQL 14
// sends it, at the end of r between members.
func ReadTar(r io.Reader) Members {
	return &tarReader{r: r}
}

type tarReader struct {
	r     io.Reader
	block [blockSize]byte
	left  int64 // content of the current member that was not read yet
	pad   int64 // zero bytes after it
	err   error // once set, every Next returns it
}

// Next implements Members.
func (t *tarReader) Next() (Member, error) {
	if t.err != nil {
		return Member{}, t.err
	}
	m, err := t.next()
	if err != nil {
		t.err = err
	}
	return m, err
}

func (t *tarReader) next() (Member, error) {
	if t.left > 0 {
		return Member{}, fmt.Errorf("read tar: %d bytes of the member before were not read", t.left)
	}
	if t.pad > 0 {
		if _, err := io.ReadFull(t.r, t.block[:t.pad]); err != nil {
			return Member{}, fmt.Errorf("read tar padding: %w", unexpected(err))
		}
		t.pad = 0
	}
	if _, err := io.ReadFull(t.r, t.block[:]); err != nil {
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return Member{}, io.EOF
		}
		return Member{}, fmt.Errorf("read tar header: %w", err)
	}
	if zero(t.block[:]) {
		return Member{}, t.end()
	}
	m, err := parseHeader(t.block[:])
	if err != nil {
		return Member{}, err
	}
	t.left = m.Size
	t.pad = padding(m.Size)
	return m, nil
}

// end reads what follows the first zero block: a second one, and nothing after it.
func (t *tarReader) end() error {
	if _, err := io.ReadFull(t.r, t.block[:]); err != nil {
		return fmt.Errorf("read end of tar: %w", unexpected(err))
	}
	if !zero(t.block[:]) {
		return &MemberError{Reason: "one zero block between members"}
	}
	n, err := io.ReadFull(t.r, t.block[:1])
	switch {
	case n > 0:
		return &MemberError{Reason: "bytes after the end of the archive"}
	case errors.Is(err, io.EOF):
		return io.EOF
	default:
		return fmt.Errorf("read end of tar: %w", err)
	}
}

// Read implements io.Reader over the content of the current member.
func (t *tarReader) Read(p []byte) (int, error) {
	if t.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > t.left {
		p = p[:t.left]
	}
	n, err := t.r.Read(p)
	t.left -= int64(n)
	if err != nil && t.left > 0 {
		return n, fmt.Errorf("read tar content, %d bytes missing: %w", t.left, unexpected(err))
	}
	return n, nil
}

// unexpected turns the end of the input into an error: it may not end here.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func padding(size int64) int64 { return -size & (blockSize - 1) }

func zero(block []byte) bool {
	for _, b := range block {
		if b != 0 {
			return false
		}
	}
	return true
}

// parseHeader reads one ustar header. The fields and their places are POSIX's (IEEE Std 1003.1, pax,
// ustar interchange format).
func parseHeader(h []byte) (Member, error) {
	name := field(h[0:100])
	bad := func(format string, args ...any) (Member, error) {
		return Member{}, &MemberError{Path: name, Reason: fmt.Sprintf(format, args...)}
	}
	sum, err := number(h[148:156])
	if err != nil || sum != headerSum(h) {
		return bad("header checksum is wrong")
	}
	if string(h[257:265]) != "ustar\x0000" {
		return bad("not a ustar header")
	}
	if h[345] != 0 {
		return bad("name longer than 100 bytes")
	}
	m := Member{Header: h}
	mode, err := number(h[100:108])
	if err != nil || mode > 0o7777 {
		return bad("mode is not valid")
	}
	m.Mode = uint32(mode)
	if m.Size, err = number(h[124:136]); err != nil {
		return bad("size: %v", err)
	}
	if m.Size > maxSize {
		return bad("size of %d bytes is not valid", m.Size)
	}
	seconds, err := number(h[136:148])
	if err != nil || seconds > maxSeconds {
		return bad("time of last change is not valid")
	}
	m.ModTime = time.Unix(seconds, 0).UTC()
	if reason := setType(&m, h); reason != "" {
		return bad("%s", reason)
	}
	if m.Path, err = cleanPath(name, m.Type); err != nil {
		return bad("%v", err)
	}
	return m, nil
}

// maxSize is far above every file and far below an overflow, in bytes.
const maxSize = 1 << 56

// maxSeconds is the end of the year 9999, the last that RFC 3339 can write.
const maxSeconds = 253402300799

// setType sets the member's type and link; it returns what is wrong with them.
func setType(m *Member, h []byte) string {
	switch h[156] {
	case '0':
		m.Type = repository.TypeFile
		return ""
	case '5':
		m.Type = repository.TypeDir
	case '2':
		m.Type = repository.TypeLink
		m.Link = field(h[157:257])
		if m.Link == "" {
			return "link has no target"
		}
	default:
		return fmt.Sprintf("type %q is none that a server sends", h[156])
	}
	if m.Size != 0 {
		return fmt.Sprintf("%s has a content of %d bytes", m.Type, m.Size)
	}
	return ""
}

// field returns a text field up to its first NUL.
func field(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// number reads a numeric field: octal digits ended by a space or NUL, or 0x80 followed by a number in
// base-256 (print_tar_number, src/port/tar.c).
func number(b []byte) (int64, error) {
	var v uint64
	if b[0] == 0x80 {
		for _, c := range b[1:] {
			if v>>(63-8) != 0 {
				return 0, errors.New("number is too large")
			}
			v = v<<8 | uint64(c)
		}
		return int64(v), nil
	}
	digits, rest := b, []byte(nil)
	if i := bytes.IndexAny(b, " \x00"); i >= 0 {
		digits, rest = b[:i], b[i:]
	}
	if len(digits) == 0 || len(bytes.Trim(rest, " \x00")) > 0 {
		return 0, fmt.Errorf("%q is not an octal number", b)
	}
	for _, c := range digits {
		if c < '0' || c > '7' {
			return 0, fmt.Errorf("%q is not an octal number", b)
		}
		v = v<<3 | uint64(c-'0')
	}
	return int64(v), nil
}

// headerSum is the sum of all bytes of a header with the checksum field taken as spaces.
func headerSum(h []byte) int64 {
	sum := int64(8 * ' ')
	for i, b := range h {
		if i < 148 || i >= 156 {
			sum += int64(b)
		}
	}
	return sum
}

// cleanPath checks a member's name and returns it without a leading "./", which the server gives
// "./pg_wal/archive_status", and without the slash that ends names of directories and links.
func cleanPath(name string, t repository.FileType) (string, error) {
	path := strings.TrimPrefix(name, "./")
	if t != repository.TypeFile {
		path = strings.TrimSuffix(path, "/")
	}
	if path == "" {
		return "", errors.New("name is empty")
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return "", fmt.Errorf("name has the part %q", part)
		}
	}
	return path, nil
}
