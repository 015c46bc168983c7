package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"testing/iotest"
	"unicode/utf8"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// What the fake server is.
const (
	systemID = wal.SystemID(7305932142338281482)
	segment  = wal.SegmentSize(1 << 20)
	startLSN = wal.LSN(0x2000028)
	stopLSN  = wal.LSN(0x2200100)
)

// fakeFile is a member of a fake archive. Its content comes from its seed, so it takes no memory.
type fakeFile struct {
	path string
	kind repository.FileType
	size int64
	text string // the content, if it matters; otherwise it is generated
	// noise makes a content that cannot be compressed.
	noise bool
}

// open returns the content.
func (f fakeFile) open() io.Reader {
	if f.text != "" {
		return strings.NewReader(f.text)
	}
	if f.noise {
		return io.LimitReader(rand.NewChaCha8(sha256.Sum256([]byte(f.path))), f.size)
	}
	return &pattern{left: f.size, random: rand.New(rand.NewPCG(uint64(crc32.ChecksumIEEE([]byte(f.path))), uint64(f.size)))}
}

// sum returns the length and CRC32C of the content.
func (f fakeFile) sum() (int64, uint32) {
	if f.length() == 0 {
		return 0, 0
	}
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	n, _ := io.Copy(h, f.open())
	return n, h.Sum32()
}

// pattern is content that is neither constant nor random: blocks of 4 KiB, most of them like the one before.
type pattern struct {
	left   int64
	at     int
	random *rand.Rand
	block  [4096]byte
}

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	if p.at%len(p.block) == 0 {
		p.at = 0
		if p.random.IntN(8) == 0 {
			for i := range 64 {
				p.block[i*8] = byte(p.random.Uint32())
			}
		}
	}
	n := copy(b[:min(int64(len(b)), p.left)], p.block[p.at:])
	p.at += n
	p.left -= int64(n)
	return n, nil
}

// fakeArchive is one archive of the fake source.
type fakeArchive struct {
	tablespace uint32
	files      []fakeFile
}

// fakeSource plays a server.
type fakeSource struct {
	start    backup.Start
	stop     backup.Stop
	archives []fakeArchive
	// manifest, if set, changes the manifest's file lines before its checksum is made.
	manifest func(lines []string) []string
	// between, if set, is called before each member.
	between             func()
	beginErr, finishErr error

	// cut, if above -1, is where the stream of the first archive breaks.
	cut int64

	next     int
	finished bool
}

// newSource is a server with these files in its data directory, beside those that every one has.
func newSource(files ...fakeFile) *fakeSource {
	base := append([]fakeFile{
		{path: "backup_label", kind: repository.TypeFile, text: label()},
		{path: "base", kind: repository.TypeDir},
	}, files...)
	base = append(base, fakeFile{path: "global/pg_control", kind: repository.TypeFile, text: string(control(systemID, 1))})
	return &fakeSource{
		start: backup.Start{
			SystemID: systemID, VersionNum: 150018, SegmentSize: segment, Timeline: 1, LSN: startLSN, Label: "test",
			Total: 1 << 20,
		},
		stop:     backup.Stop{Timeline: 1, LSN: stopLSN, Checksums: repository.ChecksumsVerified},
		archives: []fakeArchive{{files: base}},
		cut:      -1,
	}
}

// label is a backup_label as build_backup_content (src/backend/access/transam/xlogbackup.c) writes it.
func label() string {
	return fmt.Sprintf("START WAL LOCATION: %s (file %s)\nCHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\n"+
		"BACKUP FROM: primary\nSTART TIME: 2026-11-21 02:39:59 UTC\nLABEL: test\nSTART TIMELINE: 1\n",
		startLSN, segment.FileName(segment.Segment(1, startLSN)))
}

// control is a pg_control of PostgreSQL 15 (src/include/catalog/pg_control.h), with the fields that are read.
func control(id wal.SystemID, checksums uint32) []byte {
	b := make([]byte, 8192)
	le := binary.LittleEndian
	le.PutUint64(b[0:], uint64(id))
	le.PutUint32(b[8:], 1300)       // pg_control_version
	le.PutUint32(b[12:], 202209061) // catalog_version_no
	le.PutUint32(b[16:], 6)         // state: in production
	le.PutUint64(b[32:], 0x2000060) // checkPoint
	le.PutUint64(b[40:], uint64(startLSN))
	le.PutUint32(b[48:], 1)
	le.PutUint32(b[52:], 1)
	le.PutUint64(b[64:], 744) // nextXid
	le.PutUint32(b[172:], 1)  // wal_level
	le.PutUint32(b[180:], 100)
	le.PutUint32(b[184:], 8)
	le.PutUint32(b[188:], 10)
	le.PutUint32(b[196:], 64)
	le.PutUint32(b[204:], 8) // maxAlign
	le.PutUint64(b[208:], 0x4132D68700000000)
	le.PutUint32(b[216:], 8192)
	le.PutUint32(b[220:], 131072)
	le.PutUint32(b[224:], 8192)
	le.PutUint32(b[228:], uint32(segment))
	b[248] = 1
	le.PutUint32(b[252:], checksums)
	le.PutUint32(b[288:], crc32.Checksum(b[:288], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func (s *fakeSource) Begin(context.Context) (backup.Start, error) {
	return s.start, s.beginErr
}

func (s *fakeSource) NextArchive(ctx context.Context) (backup.Archive, error) {
	if s.next == len(s.archives) {
		return backup.Archive{}, io.EOF
	}
	a := s.archives[s.next]
	s.next++
	return backup.Archive{Tablespace: a.tablespace, Members: backup.ReadTar(s.stream(ctx, a))}, nil
}

// stream is the archive as the server sends it.
func (s *fakeSource) stream(ctx context.Context, a fakeArchive) io.Reader {
	r := io.Reader(&stream{ended: func() error { return context.Cause(ctx) }, between: s.between, files: a.files})
	if s.cut >= 0 {
		r = io.MultiReader(io.LimitReader(r, s.cut), iotest.ErrReader(io.ErrClosedPipe))
	}
	return r
}

// stream makes the tar bytes of one member after the other.
type stream struct {
	ended   func() error // of the context
	between func()
	files   []fakeFile
	current io.Reader
	last    bool
}

func (s *stream) Read(p []byte) (int, error) {
	for {
		if err := s.ended(); err != nil {
			return 0, err
		}
		if s.current != nil {
			n, err := s.current.Read(p)
			if err == nil || n > 0 {
				return n, nil
			}
			s.current = nil
		}
		switch {
		case len(s.files) > 0:
			if s.between != nil {
				s.between()
			}
			s.current = member(s.files[0])
			s.files = s.files[1:]
		case !s.last:
			s.last = true
			s.current = bytes.NewReader(make([]byte, 1024))
		default:
			return 0, io.EOF
		}
	}
}

// member is one member as bytes of a tar stream.
func member(f fakeFile) io.Reader {
	if f.kind != repository.TypeFile {
		return bytes.NewReader(header(f.path, f.kind, 0, f.text))
	}
	size := f.length()
	return io.MultiReader(bytes.NewReader(header(f.path, f.kind, size, "")), f.open(), bytes.NewReader(make([]byte, -size&511)))
}

func (f fakeFile) length() int64 {
	if f.text != "" {
		return int64(len(f.text))
	}
	return f.size
}

func (s *fakeSource) Finish(context.Context) (backup.Stop, error) {
	s.finished = true
	stop := s.stop
	if stop.Manifest == nil {
		stop.Manifest = s.makeManifest()
	}
	return stop, s.finishErr
}

// makeManifest writes the manifest as backup_manifest.c of PostgreSQL 15 does.
func (s *fakeSource) makeManifest() []byte {
	var lines []string
	for _, a := range s.archives {
		for _, f := range a.files {
			if f.kind != repository.TypeFile {
				continue
			}
			path := f.path
			if a.tablespace != 0 {
				path = fmt.Sprintf("pg_tblspc/%d/%s", a.tablespace, path)
			}
			n, sum := f.sum()
			var crc [4]byte // pg_checksum_final gives the bytes in memory's order
			binary.LittleEndian.PutUint32(crc[:], sum)
			name := fmt.Sprintf(`"Path": %q`, path)
			if !utf8.ValidString(path) {
				name = fmt.Sprintf(`"Encoded-Path": "%x"`, path)
			}
			lines = append(lines, fmt.Sprintf(`{ %s, "Size": %d, "Last-Modified": "%s", "Checksum-Algorithm": "CRC32C", "Checksum": "%x" }`,
				name, n, modified.Format("2006-01-02 15:04:05 GMT"), crc))
		}
	}
	if s.manifest != nil {
		lines = s.manifest(lines)
	}
	body := fmt.Sprintf("{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n%s\n],\n\"WAL-Ranges\": [\n"+
		"{ \"Timeline\": %d, \"Start-LSN\": \"%s\", \"End-LSN\": \"%s\" }\n],\n",
		strings.Join(lines, ",\n"), s.start.Timeline, s.start.LSN, s.stop.LSN)
	return fmt.Appendf(nil, "%s\"Manifest-Checksum\": \"%x\"}\n", body, sha256.Sum256([]byte(body)))
}
