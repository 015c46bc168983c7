package repository

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/storage"
)

// Parts of the format: never changed.
const (
	// runFrames is the number of frames in a run.
	runFrames = 4
	// OwnFrameSize is the size in bytes from which a file's content starts on a frame of its own.
	OwnFrameSize = 256 << 10
	// FrameSize is the most plain bytes in one frame.
	FrameSize = frameSize
)

const (
	// PackSize is what a pack aims at, in plain bytes; a larger member has a pack of its own.
	PackSize = 512 << 20
	// PackFiles is the most members of a pack: it bounds what a reader must hold of the index.
	PackFiles = 1 << 16

	maxPath   = 4096 // PATH_MAX
	maxPacks  = 1 << 20
	maxFrames = 1 << 24 // 16 TiB in one pack
	// maxLine bounds one line of the index in plain bytes.
	maxLine = 1 << 30
	// maxFolders is the most folders in a path, and maxName the most bytes of a name in it, NAME_MAX.
	maxFolders, maxName = 128, 255

	tablespaceFolder = "pg_tblspc/"
)

// FileType is the type of a member of a pack.
type FileType string

// The types. They are parts of the format.
const (
	TypeFile FileType = "file"
	TypeDir  FileType = "dir"
	TypeLink FileType = "link"
)

// File is one member of a pack.
type File struct {
	Path    string // relative to the archive's root, slashes, any bytes but NUL
	Type    FileType
	Mode    uint32 // permission bits, 0 to 07777
	Size    int64  // bytes; 0 for dirs and links
	ModTime time.Time
	CRC32C  uint32 // of the content; 0 for dirs, links and empty files
	Link    string // target of a link
	// Frame and Offset say where the content begins: the frame counted from 0, and the byte in its plain bytes. 0
	// without content.
	Frame, Offset int
}

// fileJSON is the form of a File in the index.
type fileJSON struct {
	Path        string    `json:"path,omitempty"`
	EncodedPath string    `json:"encoded_path,omitempty"`
	Type        FileType  `json:"type"`
	Mode        uint32    `json:"mode"`
	Size        int64     `json:"size,omitzero"`
	ModTime     time.Time `json:"mtime"`
	CRC32C      string    `json:"crc32c,omitempty"`
	Link        string    `json:"link,omitempty"`
	EncodedLink string    `json:"encoded_link,omitempty"`
	Frame       *int      `json:"frame,omitempty"`
	Offset      *int      `json:"offset,omitempty"`
}

// MarshalJSON writes the form of FORMAT.md, section 5.3.
func (f File) MarshalJSON() ([]byte, error) {
	j := fileJSON{Type: f.Type, Mode: f.Mode, Size: f.Size, ModTime: f.ModTime.UTC()}
	j.Path, j.EncodedPath = encodePath(f.Path)
	j.Link, j.EncodedLink = encodePath(f.Link)
	if f.Type == TypeFile {
		j.CRC32C = fmt.Sprintf("%08x", f.CRC32C)
	}
	if f.Size > 0 {
		j.Frame, j.Offset = &f.Frame, &f.Offset
	}
	return json.Marshal(j)
}

var errFileField = errors.New("field of a file out of range")

// UnmarshalJSON reads the form of FORMAT.md, section 5.3. It validates nothing yet.
func (f *File) UnmarshalJSON(b []byte) error {
	var j fileJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	path, errPath := decodePath(j.Path, j.EncodedPath)
	link, errLink := decodePath(j.Link, j.EncodedLink)
	if err := errors.Join(errPath, errLink); err != nil {
		return err
	}
	d := File{Path: path, Type: j.Type, Mode: j.Mode, Size: j.Size, ModTime: j.ModTime, Link: link}
	if j.Type == TypeFile {
		if !isLowerHex(j.CRC32C, 8) {
			return fmt.Errorf("%w: crc32c %q", errFileField, j.CRC32C)
		}
		crc, _ := strconv.ParseUint(j.CRC32C, 16, 32) // 8 hex digits
		d.CRC32C = uint32(crc)
	}
	if (j.Frame != nil) != (j.Size > 0) || (j.Offset != nil) != (j.Size > 0) {
		return fmt.Errorf("%w: frame and offset of %d bytes", errFileField, j.Size)
	}
	if j.Frame != nil {
		d.Frame, d.Offset = *j.Frame, *j.Offset
	}
	*f = d
	return nil
}

// validate checks all that can be told of the file without the pack it lies in.
func (f *File) validate() error {
	bad := func(what string) error { return fmt.Errorf("%w: %s of %q", errFileField, what, f.Path) }
	switch {
	case !localPath(f.Path):
		return bad("path")
	case f.Mode > 0o7777:
		return bad("mode")
	case f.Size < 0 || f.Frame < 0 || f.Offset < 0:
		return bad("number below 0")
	}
	switch f.Type {
	case TypeFile:
		if f.Link != "" {
			return bad("link")
		}
	case TypeDir:
		if f.Size != 0 || f.Link != "" {
			return bad("size or link")
		}
	case TypeLink:
		if f.Size != 0 || f.Link == "" || len(f.Link) > maxPath || strings.ContainsRune(f.Link, 0) {
			return bad("link")
		}
		if _, ok := tablespaceOf(f.Path); !ok {
			return bad("place of a link")
		}
	default:
		return bad("type")
	}
	return nil
}

// localPath reports whether p is a path that stays below the folder it is joined to, in its shortest form.
func localPath(p string) bool {
	if p == "" || len(p) > maxPath || strings.ContainsRune(p, 0) {
		return false
	}
	for name := range strings.SplitSeq(p, "/") {
		if name == "" || name == "." || name == ".." || len(name) > maxName {
			return false
		}
	}
	return strings.Count(p, "/") <= maxFolders
}

// tablespaceOf returns the OID of the tablespace whose link p is.
func tablespaceOf(p string) (uint32, bool) {
	name, ok := strings.CutPrefix(p, tablespaceFolder)
	if !ok || name == baseArchive || !validArchive(name) {
		return 0, false
	}
	oid, err := strconv.ParseUint(name, 10, 32)
	return uint32(oid), err == nil
}

// Pack is what the index's top says of one pack.
type Pack struct {
	Number  int    // in the backup, from 1
	Name    string // last part of its key
	Archive string // "base" or the OID of a tablespace
	Plain   int64  // bytes of the tar file
	Stored  int64  // bytes of the object, header included
	Frames  int
	Files   int

	line   lineRef
	sealed bool // it is encrypted: the chunks of that are authentic, and its runs have no hashes
}

// lineRef is where a pack's line lies in the index.
type lineRef struct {
	offset int64 // from the start of the object; not stored, the lines follow each other
	Stored int64 `json:"stored"`
	Plain  int64 `json:"plain"`
	SHA256 Sum   `json:"sha256"` // of the stored bytes
}

// topJSON and packJSON are line 1 of the index.
type topJSON struct {
	Packs atMost[packJSON] `json:"packs"`
}

type packJSON struct {
	Name    string  `json:"name"`
	Archive string  `json:"archive"`
	Plain   int64   `json:"plain"`
	Stored  int64   `json:"stored"`
	Frames  int     `json:"frames"`
	Files   int     `json:"files"`
	Line    lineRef `json:"line"`
}

// encodeTop returns line 1.
func encodeTop(packs []Pack) ([]byte, error) {
	top := topJSON{Packs: atMost[packJSON]{list: make([]packJSON, 0, len(packs))}}
	for _, p := range packs {
		top.Packs.list = append(top.Packs.list, packJSON{p.Name, p.Archive, p.Plain, p.Stored, p.Frames, p.Files, p.line})
	}
	return json.Marshal(top)
}

// parseTop reads line 1, whose stored end in the index is at end, and validates it.
func parseTop(text []byte, end int64, codec compression.Codec) ([]Pack, error) {
	top := topJSON{Packs: atMost[packJSON]{limit: maxPacks}}
	if err := json.Unmarshal(text, &top); err != nil {
		return nil, err
	}
	packs := make([]Pack, 0, len(top.Packs.list))
	for i, j := range top.Packs.list {
		p := Pack{
			Number: i + 1, Name: j.Name, Archive: j.Archive, Plain: j.Plain, Stored: j.Stored,
			Frames: j.Frames, Files: j.Files, line: j.Line,
		}
		if err := p.validate(codec); err != nil {
			return nil, err
		}
		p.line.offset = end
		end += p.line.Stored
		packs = append(packs, p)
	}
	return packs, nil
}

var errPackField = errors.New("field of a pack out of range")

func (p *Pack) validate(codec compression.Codec) error {
	l := p.line
	switch {
	case !validArchive(p.Archive) || p.Name != packName(p.Archive, p.Number, codec):
		return fmt.Errorf("%w: pack %d of archive %q has the name %q", errPackField, p.Number, p.Archive, p.Name)
	case p.Frames < 1 || p.Frames > maxFrames || p.Plain < 1 || p.Plain > int64(p.Frames)*frameSize,
		p.Stored <= HeaderSize || p.Stored > HeaderSize+int64(p.Frames)*maxStored(frameSize),
		p.Files < 0 || p.Files > PackFiles || int64(p.Files) > p.Plain/tarBlock:
		return fmt.Errorf("%w: %s has %d frames, %d files, %d plain bytes, %d stored bytes", errPackField,
			p.Name, p.Frames, p.Files, p.Plain, p.Stored)
	case l.Plain < 1 || l.Plain > p.mostLine() || l.Stored < 1 || l.Stored > maxStored(l.Plain) || l.Plain > unfolded(l.Stored, lineRatio):
		return fmt.Errorf("%w: line of %s of %d plain bytes, %d stored bytes", errPackField, p.Name, l.Plain, l.Stored)
	}
	return nil
}

// What a few stored bytes of an index may unfold to. Each pack in the top has a hash, which does not shrink, and each member in a line has a path of its own: the
// rest repeats itself, so that of an index that was written honestly the top shrinks to no less than a tenth, and a line to no less than a hundredth.
const (
	topRatio  = 32
	lineRatio = 1024
)

// unfolded returns the most plain bytes that stored ones may stand for; ratio times as many, once it is more than a little.
func unfolded(stored int64, ratio int64) int64 { return 64<<10 + ratio*stored }

// Most bytes of what a line of the index holds, as JSON.
const (
	frameText  = 32
	runText    = 72
	memberText = 512 + 2*6*maxPath // a path and a link of letters that JSON escapes
)

// mostLine bounds the plain bytes of the pack's line.
func (p *Pack) mostLine() int64 {
	frames := int64(p.Frames)
	return min(maxLine, 1024+frames*frameText+(frames+runFrames-1)/runFrames*runText+int64(p.Files)*memberText)
}

// tarBlock is the size of a tar header, and what file content is padded to (POSIX.1-2017, pax, ustar).
const tarBlock = 512

// key returns the pack's key.
func (p *Pack) key(prefix storage.Key) storage.Key { return prefix + storage.Key(p.Name) }
