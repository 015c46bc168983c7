package backup_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/repository"
)

// header makes a tar header as tarCreateHeader (src/port/tar.c) does.
func header(path string, kind repository.FileType, size int64, link string) []byte {
	h := make([]byte, 512)
	copy(h[0:99], path)
	if kind != repository.TypeFile {
		h[min(len(path), 98)] = '/'
	}
	mode := int64(0o600)
	if kind != repository.TypeFile {
		mode = 0o700
	}
	putNumber(h[100:108], mode)
	putNumber(h[108:116], 999)
	putNumber(h[116:124], 999)
	putNumber(h[124:136], size)
	putNumber(h[136:148], modified.Unix())
	h[156] = map[repository.FileType]byte{repository.TypeFile: '0', repository.TypeDir: '5', repository.TypeLink: '2'}[kind]
	copy(h[157:256], link)
	copy(h[257:], "ustar\x0000postgres")
	copy(h[297:], "postgres")
	putNumber(h[329:337], 0)
	putNumber(h[337:345], 0)
	sum(h)
	return h
}

// modified is the time of last change of every generated file.
var modified = time.Date(2026, 11, 21, 2, 40, 0, 0, time.UTC)

func putNumber(b []byte, v int64) {
	if v < 1<<((len(b)-1)*3) {
		copy(b, fmt.Sprintf("%0*o ", len(b)-1, v))
		return
	}
	b[0] = 0x80
	for i := len(b) - 1; i > 0; i-- {
		b[i] = byte(v)
		v >>= 8
	}
}

// sum sets a header's checksum.
func sum(h []byte) {
	copy(h[148:156], "        ")
	var s int64
	for _, c := range h {
		s += int64(c)
	}
	putNumber(h[148:156], s)
}

// changed returns the header of an ordinary file with one change made to it, its checksum right.
func changed(change func(h []byte)) []byte {
	h := header("base/5/1259", repository.TypeFile, 0, "")
	change(h)
	sum(h)
	return h
}

func TestReadTarMembers(t *testing.T) {
	var b bytes.Buffer
	b.Write(header("backup_label", repository.TypeFile, 3, ""))
	b.WriteString("abc" + strings.Repeat("\x00", 509))
	b.Write(header("./pg_wal/archive_status", repository.TypeDir, 0, ""))
	b.Write(header("pg_tblspc/16400", repository.TypeLink, 0, "/srv/space one"))
	b.Write(header("base/5/empty", repository.TypeFile, 0, ""))
	b.Write(header("base/5/block", repository.TypeFile, 512, ""))
	b.WriteString(strings.Repeat("x", 512))
	whole := b.String()
	for name, end := range map[string]string{"two zero blocks": strings.Repeat("\x00", 1024), "no end (PostgreSQL 14)": ""} {
		for _, reader := range []func(io.Reader) io.Reader{
			func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader,
		} {
			t.Run(name, func(t *testing.T) {
				got := readAll(t, backup.ReadTar(reader(strings.NewReader(whole+end))))
				want := []string{
					`backup_label file 600 3 "" abc`,
					`pg_wal/archive_status dir 700 0 "" `,
					`pg_tblspc/16400 link 700 0 "/srv/space one" `,
					`base/5/empty file 600 0 "" `,
					`base/5/block file 600 512 "" ` + strings.Repeat("x", 512),
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("members: got %q, want %q", got, want)
				}
			})
		}
	}
}

func readAll(t *testing.T, members backup.Members) []string {
	t.Helper()
	var all []string
	for {
		m, err := members.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if !m.ModTime.Equal(modified) || len(m.Header) != 512 {
			t.Errorf("%s: time %v, header of %d bytes", m.Path, m.ModTime, len(m.Header))
		}
		content, err := io.ReadAll(members)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %v %o %d %q %s", m.Path, m.Type, m.Mode, m.Size, m.Link, content))
	}
}

// A size of 8 GiB and more is written in base-256.
func TestReadTarHugeSize(t *testing.T) {
	for _, size := range []int64{1<<33 - 1, 1 << 33, 3 << 40} {
		m, err := backup.ReadTar(bytes.NewReader(header("base/5/1259", repository.TypeFile, size, ""))).Next()
		if err != nil || m.Size != size {
			t.Errorf("size: got %d, %v, want %d", m.Size, err, size)
		}
	}
}

func TestReadTarRefuses(t *testing.T) {
	with := func(at int, text string) []byte { return changed(func(h []byte) { copy(h[at:], text) }) }
	broken := header("base/5/1259", repository.TypeFile, 0, "")
	broken[1] ^= 1
	for name, h := range map[string][]byte{
		"checksum":            broken,
		"v7 header":           with(257, "\x00\x00\x00\x00\x00\x00\x00\x00"),
		"gnu header":          with(257, "ustar  \x00"),
		"prefix":              with(345, "base"),
		"hard link":           with(156, "1"),
		"character device":    with(156, "3"),
		"block device":        with(156, "4"),
		"fifo":                with(156, "6"),
		"contiguous file":     with(156, "7"),
		"pax header":          with(156, "x"),
		"pax global header":   with(156, "g"),
		"gnu long name":       with(156, "L"),
		"gnu sparse":          with(156, "S"),
		"old file":            with(156, "\x00"),
		"link without target": with(156, "2"),
		"dir with content":    changed(func(h []byte) { h[156] = '5'; putNumber(h[124:136], 1) }),
		"link with content":   changed(func(h []byte) { h[156] = '2'; h[157] = '/'; putNumber(h[124:136], 1) }),
		"empty name":          changed(func(h []byte) { clear(h[:100]) }),
		"absolute":            with(0, "/etc/passwd\x00"),
		"parent":              with(0, "base/../../etc\x00"),
		"parent first":        with(0, "../etc\x00"),
		"dot":                 with(0, "base/./1\x00"),
		"only dot":            changed(func(h []byte) { clear(h[:100]); copy(h, "./") }),
		"two slashes":         with(0, "base//1\x00"),
		"file ends in slash":  with(0, "base/5/\x00"),
		"size not octal":      with(124, "00000000008 "),
		"size negative":       with(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
		"size over int64":     with(124, "\x80\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00"),
		"size over any file":  with(124, "\x80\x00\x00\x00\x7f\x00\x00\x00\x00\x00\x00\x00"),
		"size empty":          with(124, "            "),
		"size with junk":      with(124, "0000000000 7"),
		"mode":                with(100, "7777777 "),
		"time":                with(136, "\x80\x00\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := backup.ReadTar(bytes.NewReader(h)).Next()
			var member *backup.MemberError
			if !errors.As(err, &member) {
				t.Errorf("got %v, want a MemberError", err)
			}
		})
	}
}

func TestReadTarEnd(t *testing.T) {
	file := string(header("a", repository.TypeFile, 0, ""))
	block := strings.Repeat("\x00", 512)
	for name, test := range map[string]struct{ in, want string }{
		"nothing":              {"", ""},
		"only end":             {block + block, ""},
		"one zero block":       {file + block, "unexpected EOF"},
		"one and a half":       {file + block + block[:100], "unexpected EOF"},
		"member after a block": {file + block + file, "zero block between members"},
		"bytes after the end":  {file + block + block + "x", "bytes after the end"},
		"cut header":           {file + file[:511], "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			members := backup.ReadTar(strings.NewReader(test.in))
			var err error
			for err == nil {
				_, err = members.Next()
			}
			if test.want == "" && !cleanEnd(err) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if _, again := members.Next(); again == nil {
				t.Error("a member after the end")
			}
		})
	}
}

// TestReadTarCut cuts a stream at each byte: it ends cleanly between members only.
func TestReadTarCut(t *testing.T) {
	whole := string(header("a", repository.TypeFile, 700, "")) + strings.Repeat("x", 700) + strings.Repeat("\x00", 324) +
		string(header("b", repository.TypeDir, 0, "")) + strings.Repeat("\x00", 1024)
	borders := map[int]bool{0: true, 512 + 1024: true, 512 + 1024 + 512: true, len(whole): true}
	for cut := range len(whole) + 1 {
		members := backup.ReadTar(strings.NewReader(whole[:cut]))
		_, err := members.Next()
		for err == nil {
			if _, err = io.Copy(io.Discard, members); err == nil {
				_, err = members.Next()
			}
		}
		if clean := cleanEnd(err); clean != borders[cut] {
			t.Errorf("cut at %d: got %v, want clean %v", cut, err, borders[cut])
		}
	}
}

// cleanEnd tells the proper end of a stream from a broken one.
func cleanEnd(err error) bool { return errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) }

func TestReadTarContentNotRead(t *testing.T) {
	members := backup.ReadTar(strings.NewReader(string(header("a", repository.TypeFile, 5, "")) + strings.Repeat("x", 512)))
	if _, err := members.Next(); err != nil {
		t.Fatal(err)
	}
	if _, err := members.Next(); err == nil || cleanEnd(err) {
		t.Errorf("next before the content was read: got %v, want an error", err)
	}
}

func FuzzReadTar(f *testing.F) {
	f.Add(append(header("base/5/1259", repository.TypeFile, 3, ""), make([]byte, 1536)...))
	f.Add(header("pg_tblspc/16400", repository.TypeLink, 0, "/srv"))
	f.Add(header("base/5/1259", repository.TypeFile, 1<<40, ""))
	f.Fuzz(func(t *testing.T, in []byte) {
		members := backup.ReadTar(bytes.NewReader(in))
		for {
			m, err := members.Next()
			if err != nil {
				return
			}
			if m.Path == "" || strings.HasPrefix(m.Path, "/") || strings.Contains("/"+m.Path+"/", "/../") || m.Size < 0 {
				t.Fatalf("member %q of %d bytes was let through", m.Path, m.Size)
			}
			// What is let through means the same to another reader.
			other, err := tar.NewReader(bytes.NewReader(m.Header)).Next()
			if err == nil && (other.Size != m.Size || strings.TrimPrefix(strings.TrimSuffix(other.Name, "/"), "./") != m.Path) {
				t.Fatalf("got %q of %d bytes, archive/tar reads %q of %d", m.Path, m.Size, other.Name, other.Size)
			}
			if n, err := io.Copy(io.Discard, members); err != nil || n != m.Size {
				return
			}
		}
	})
}
