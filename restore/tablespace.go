package restore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/wal"
)

// TablespaceError says that WAL was not given to a server, because replay would make a tablespace in a folder that is not free. A base backup's own tablespaces are
// laid down where LayOptions say; those that were made after it are made by replay, where they lay.
type TablespaceError struct {
	OID    uint32
	Path   string
	At     wal.LSN // of the record that makes it
	Reason string  // "is not empty"
}

// Error names the record and the folder.
func (e *TablespaceError) Error() string {
	return fmt.Sprintf("WAL at %s makes tablespace %d in %s, which %s", e.At, e.OID, e.Path, e.Reason)
}

// landlord looks through WAL before a server is given it, for tablespaces that replay would make. PostgreSQL makes them where they lay, empties what a server of its
// version has there and takes the folder over (create_tablespace_directories, src/backend/commands/tablespace.c): where the first server still runs on this host, its
// files would be gone. So the folder must be there already, and be empty, or belong to this cluster.
type landlord struct {
	dataDir  string        // relative to the working directory, perhaps
	within   string        // no tablespace may lie outside of it; empty: anywhere
	replaced []string      // folders of tablespaces of the cluster whose place this one takes
	first    wal.SegmentID // replay begins in it; only for inTurn
}

// holds reports whether dataDir is a cluster: whoever asks for a file by hand, into another folder, may have it.
func (l *landlord) holds() bool {
	_, err := os.Stat(filepath.Join(l.dataDir, "PG_VERSION"))
	return err == nil
}

// decoder returns one that finds tablespaces in WAL from start on.
func (l *landlord) decoder(size wal.SegmentSize, start wal.LSN) *wal.Decoder {
	return wal.NewDecoder(size, start, wal.EventsOnly, wal.TablespaceEvents)
}

// read has d read on, and judges what it finds. Its error is a *TablespaceError, or that of reading or decoding.
func (l *landlord) read(d *wal.Decoder, r io.Reader) error {
	part := make([]byte, 128<<10)
	for {
		n, err := r.Read(part)
		if err := d.Write(part[:n]); err != nil {
			return err
		}
		for {
			record, ok := d.Next()
			if !ok {
				break
			}
			var err error
			switch e := record.Event.(type) {
			case *wal.TablespaceCreate:
				err = l.judge(e)
			case *wal.Checkpoint:
				err = l.begins(e)
			}
			if err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("look through WAL: %w", err)
		}
	}
}

// start returns where replay begins: what backup_label says, and where the checkpoint is that must say the same; where the server has read that already, what it noted in
// pg_control itself. 0 is unknown.
func (l *landlord) start() (redo, checkpoint wal.LSN) {
	if b, err := os.ReadFile(filepath.Join(l.dataDir, labelFile)); err == nil {
		if label, err := postgres.ParseBackupLabel(b); err == nil {
			return label.Start, label.Checkpoint
		}
		return 0, 0
	}
	if b, err := os.ReadFile(filepath.Join(l.dataDir, controlFile)); err == nil {
		if c, err := postgres.ParseControl(b); err == nil {
			return c.Redo, 0
		}
	}
	return 0, 0
}

// begins refuses the checkpoint of a backup_label that has replay begin elsewhere than the label says: it is the checkpoint that the server goes by.
func (l *landlord) begins(e *wal.Checkpoint) error {
	redo, checkpoint := l.start()
	if e.Start != checkpoint || e.Redo == redo {
		return nil
	}
	return &CorruptFileError{Path: labelFile, Reason: fmt.Sprintf("starts at %s, and its checkpoint at %s", redo, e.Redo)}
}

// judge returns a *TablespaceError if the tablespace must not be made.
func (l *landlord) judge(e *wal.TablespaceCreate) error {
	if e.Path == "" { // below pg_tblspc
		return nil
	}
	if redo, _ := l.start(); e.Start < redo { // never replayed; the backup has it
		return nil
	}
	refuse := func(reason string) error {
		return &TablespaceError{OID: e.Tablespace, Path: e.Path, At: e.Start, Reason: reason}
	}
	path := filepath.Clean(e.Path)
	switch {
	case !filepath.IsAbs(path):
		return refuse("is no absolute path")
	case l.within != "" && !within(l.within, path):
		return refuse("lies outside of " + l.within + "; after the next base backup it has a folder of its own there")
	case slices.Contains(l.replaced, path) || l.links(path):
		return nil
	}
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return refuse("does not exist")
	case err != nil:
		return refuse("cannot be looked at: " + err.Error())
	case len(entries) > 0:
		return refuse("is not empty")
	}
	return nil
}

// links reports whether a tablespace of this cluster lies there already: replay goes over a record again after it was interrupted.
func (l *landlord) links(path string) bool {
	for _, to := range TablespaceFolders(l.dataDir) {
		if to == path {
			return true
		}
	}
	return false
}

// TablespaceFolders returns where the tablespaces of a cluster lie that are not in its data directory; those that cannot be read are left out.
func TablespaceFolders(dataDir string) []string {
	links, err := filepath.Glob(filepath.Join(dataDir, "pg_tblspc", "*"))
	if err != nil {
		return nil
	}
	var list []string
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && filepath.IsAbs(to) {
			list = append(list, filepath.Clean(to))
		}
	}
	return list
}

// handOver judges a segment that the server is about to be given, whole. Where a record goes on in it that began in the segment before, which the server has in its
// pg_wal, that is read too: a server takes in no record before it has all of it.
func (l *landlord) handOver(size wal.SegmentSize, id wal.SegmentID, segment io.ReadSeeker) error {
	if !l.holds() {
		return nil
	}
	d := l.decoder(size, size.Start(id.Number))
	if err := l.read(d, segment); err != nil {
		return err
	}
	if !d.SkippedHead() {
		return nil
	}
	before, err := l.before(size, id)
	if err != nil || before == nil {
		return err
	}
	defer func() { _ = before.Close() }()
	if _, err := segment.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("look through WAL: %w", err)
	}
	head := io.LimitReader(segment, int64(d.Head().End-size.Start(id.Number)))
	var refused *TablespaceError
	if err := l.read(l.decoder(size, size.Start(id.Number-1)), io.MultiReader(before, head)); errors.As(err, &refused) {
		return refused
	}
	return nil // what cannot be decoded together is no record to the server either
}

// before opens the segment before as the server was given it, of the same timeline or the one that this one came from; nil if it was given none. It begins at the
// record where recovery begins then, or behind it, and never replays what began before.
func (l *landlord) before(size wal.SegmentSize, id wal.SegmentID) (*os.File, error) {
	if id.Number == 0 {
		return nil, nil //nolint:nilnil // none is an answer
	}
	name := size.FileName(wal.SegmentID{Timeline: id.Timeline, Number: id.Number - 1})
	found, err := filepath.Glob(filepath.Join(l.dataDir, walFolder, strings.Repeat("?", 8)+name[8:]))
	if err != nil {
		return nil, fmt.Errorf("look through WAL: %w", err)
	}
	slices.Sort(found)
	for _, path := range slices.Backward(found) {
		if filepath.Base(path) <= name {
			f, err := os.Open(path)
			if err != nil {
				return nil, fmt.Errorf("look through WAL: %w", err)
			}
			return f, nil
		}
	}
	return nil, nil //nolint:nilnil // none is an answer
}

// errUnlinked says that a record begins in a segment that was not looked through, and goes on in this one.
var errUnlinked = errors.New("goes on with a record from a segment that was not looked through")

// inTurn judges a segment of those that are read ahead in the order of replay. It returns what the next one is judged with: d, or where the segment does not follow
// what d has read, a decoder that begins with it. A record that goes on from before is errUnlinked then, unless replay begins in this segment.
func (l *landlord) inTurn(d *wal.Decoder, size wal.SegmentSize, id wal.SegmentID, plain []byte) (*wal.Decoder, error) {
	follows := d != nil && d.Pos() == size.Start(id.Number)
	if !follows {
		d = l.decoder(size, size.Start(id.Number))
	}
	if err := l.read(d, bytes.NewReader(plain)); err != nil {
		return nil, err
	}
	if !follows && id != l.first && d.SkippedHead() {
		return d, errUnlinked
	}
	return d, nil
}
