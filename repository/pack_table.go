package repository

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/pgark/pgark/storage"
)

// Frame is one frame of a pack.
type Frame struct {
	Offset      int64 // of its stored bytes in the object
	PlainOffset int64 // of its plain bytes in the tar file
	Stored      int   // bytes
	Plain       int   // bytes
}

// PackTable is the index of one pack: what lies where. Whoever holds one got it validated: frames follow each other
// and fill the pack, runs cover all frames, files lie inside the plain bytes without overlap, paths are local, links are those of
// declared tablespaces. It is not changed after it was made.
type PackTable struct {
	Pack   Pack
	Frames []Frame
	Runs   []Sum // SHA-256 of the stored bytes of 4 frames each, the last of fewer; none of an encrypted pack
	Files  []File
}

// tableJSON is the line of a pack in the index.
type tableJSON struct {
	Pack   string         `json:"pack"`
	Frames atMost[[2]int] `json:"frames"`
	Runs   atMost[Sum]    `json:"runs,omitzero"`
	Files  atMost[File]   `json:"files"`
}

// RunCount returns the number of runs.
func (t *PackTable) RunCount() int { return (len(t.Frames) + runFrames - 1) / runFrames }

// RunFrames returns the frames [first, end) of a run.
func (t *PackTable) RunFrames(run int) (first, end int) {
	return run * runFrames, min((run+1)*runFrames, len(t.Frames))
}

// RunOf returns the run that a frame lies in.
func (t *PackTable) RunOf(frame int) int { return frame / runFrames }

// RunSpan returns the stored bytes of the runs [first, first+n).
func (t *PackTable) RunSpan(first, n int) storage.Span {
	from, _ := t.RunFrames(first)
	_, end := t.RunFrames(first + n - 1)
	last := t.Frames[end-1]
	return storage.Span{Offset: t.Frames[from].Offset, Length: last.Offset + int64(last.Stored) - t.Frames[from].Offset}
}

// FileFrames returns the frames [first, end) that hold the content of f, a file of this pack. They are none for an empty file.
func (t *PackTable) FileFrames(f *File) (first, end int) {
	if f.Size == 0 {
		return 0, 0
	}
	past := t.Frames[f.Frame].PlainOffset + int64(f.Offset) + f.Size
	end = sort.Search(len(t.Frames), func(i int) bool { return t.Frames[i].PlainOffset >= past })
	return f.Frame, end
}

// encode returns the pack's line.
func (t *PackTable) encode() ([]byte, error) {
	j := tableJSON{Pack: t.Pack.Name, Runs: atMost[Sum]{list: t.Runs}, Files: atMost[File]{list: t.Files}}
	for _, f := range t.Frames {
		j.Frames.list = append(j.Frames.list, [2]int{f.Stored, f.Plain})
	}
	return json.Marshal(j)
}

// parseTable reads the line of pack p and validates it.
func parseTable(text []byte, p Pack, tablespaces []Tablespace) (*PackTable, error) {
	j := tableJSON{Frames: atMost[[2]int]{limit: p.Frames}, Runs: atMost[Sum]{limit: p.Frames}, Files: atMost[File]{limit: p.Files}}
	if err := json.Unmarshal(text, &j); err != nil {
		return nil, err
	}
	if j.Pack != p.Name {
		return nil, fmt.Errorf("%w: line of %q where that of %q belongs", errPackField, j.Pack, p.Name)
	}
	t := &PackTable{Pack: p, Runs: j.Runs.list, Files: j.Files.list, Frames: make([]Frame, 0, len(j.Frames.list))}
	for _, f := range j.Frames.list {
		if err := t.addFrame(f[0], f[1]); err != nil {
			return nil, err
		}
	}
	if err := t.validate(); err != nil {
		return nil, err
	}
	return t, t.validateLinks(tablespaces)
}

// addFrame adds a frame behind the last.
func (t *PackTable) addFrame(stored, plain int) error {
	if plain < 1 || plain > frameSize || stored < 1 || int64(stored) > maxStored(frameSize) {
		return fmt.Errorf("%w: frame of %d plain bytes, %d stored bytes", errPackField, plain, stored)
	}
	f := Frame{Offset: HeaderSize, Stored: stored, Plain: plain}
	if n := len(t.Frames); n > 0 {
		last := t.Frames[n-1]
		f.Offset, f.PlainOffset = last.Offset+int64(last.Stored), last.PlainOffset+int64(last.Plain)
	}
	t.Frames = append(t.Frames, f)
	return nil
}

// validate checks the frames, runs and files against each other and against the top.
func (t *PackTable) validate() error {
	if len(t.Frames) == 0 || len(t.Frames) != t.Pack.Frames || len(t.Files) != t.Pack.Files {
		return fmt.Errorf("%w: %s has %d frames and %d files, the top says %d and %d", errPackField, t.Pack.Name,
			len(t.Frames), len(t.Files), t.Pack.Frames, t.Pack.Files)
	}
	last := t.Frames[len(t.Frames)-1]
	stored, plain := last.Offset+int64(last.Stored), last.PlainOffset+int64(last.Plain)
	if stored != t.Pack.Stored || plain != t.Pack.Plain {
		return fmt.Errorf("%w: %s has %d stored and %d plain bytes, the top says %d and %d", errPackField, t.Pack.Name,
			stored, plain, t.Pack.Stored, t.Pack.Plain)
	}
	want := t.RunCount()
	if t.Pack.sealed {
		want = 0
	}
	if len(t.Runs) != want {
		return fmt.Errorf("%w: %s has %d runs, want %d", errPackField, t.Pack.Name, len(t.Runs), want)
	}
	seen := make(map[string]bool, len(t.Files))
	for i := range t.Files {
		f := &t.Files[i]
		if err := f.validate(); err != nil {
			return err
		}
		if seen[f.Path] {
			return fmt.Errorf("%w: %q is there twice", errFileField, f.Path)
		}
		seen[f.Path] = true
		if err := t.validatePlace(f); err != nil {
			return err
		}
	}
	return t.validateOverlap()
}

// validatePlace checks where the content of f lies.
func (t *PackTable) validatePlace(f *File) error {
	if f.Size == 0 {
		if f.Frame != 0 || f.Offset != 0 {
			return fmt.Errorf("%w: place of empty %q", errFileField, f.Path)
		}
		return nil
	}
	if f.Frame >= len(t.Frames) || f.Offset >= t.Frames[f.Frame].Plain || f.Size > t.Pack.Plain-t.contentStart(f) {
		return fmt.Errorf("%w: %q of %d bytes is not inside of %s", errFileField, f.Path, f.Size, t.Pack.Name)
	}
	if f.Size < OwnFrameSize {
		return nil
	}
	first, end := t.FileFrames(f)
	for i := first; i < end-1; i++ {
		if t.Frames[i].Plain != frameSize {
			return fmt.Errorf("%w: frame %d inside of %q has %d plain bytes", errFileField, i, f.Path, t.Frames[i].Plain)
		}
	}
	if f.Offset != 0 {
		return fmt.Errorf("%w: %q of %d bytes begins inside a frame", errFileField, f.Path, f.Size)
	}
	return nil
}

// contentStart returns the place of the content of f in the tar file.
func (t *PackTable) contentStart(f *File) int64 {
	return t.Frames[f.Frame].PlainOffset + int64(f.Offset)
}

// validateOverlap checks that no two files share bytes, so that files are no larger together than their pack.
func (t *PackTable) validateOverlap() error {
	var files []*File
	for i := range t.Files {
		if t.Files[i].Size > 0 {
			files = append(files, &t.Files[i])
		}
	}
	slices.SortFunc(files, func(a, b *File) int {
		return int(min(1, max(-1, t.contentStart(a)-t.contentStart(b))))
	})
	for i := 1; i < len(files); i++ {
		if before := files[i-1]; t.contentStart(files[i])-t.contentStart(before) < before.Size {
			return fmt.Errorf("%w: %q and %q overlap", errFileField, before.Path, files[i].Path)
		}
	}
	return nil
}

// validateLinks checks that links are those of declared tablespaces, and that nothing lies behind a link.
func (t *PackTable) validateLinks(tablespaces []Tablespace) error {
	declared := make(map[uint32]string, len(tablespaces))
	for _, s := range tablespaces {
		declared[s.OID] = s.Path
	}
	for i := range t.Files {
		f := &t.Files[i]
		if f.Type == TypeLink {
			oid, _ := tablespaceOf(f.Path)
			if path, ok := declared[oid]; !ok || path != f.Link || t.Pack.Archive != baseArchive {
				return fmt.Errorf("%w: link %q to %q is no tablespace of the backup", errFileField, f.Path, f.Link)
			}
			continue
		}
		if oid, ok := behindLink(f.Path); ok && t.Pack.Archive == baseArchive && declared[oid] != "" {
			return fmt.Errorf("%w: %q lies behind the link of a tablespace", errFileField, f.Path)
		}
	}
	return nil
}

// behindLink returns the OID of the tablespace whose link is a folder of p.
func behindLink(p string) (uint32, bool) {
	name, ok := strings.CutPrefix(p, tablespaceFolder)
	if !ok {
		return 0, false
	}
	name, _, ok = strings.Cut(name, "/")
	if !ok {
		return 0, false
	}
	return tablespaceOf(tablespaceFolder + name)
}
