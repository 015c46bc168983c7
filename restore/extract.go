package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/pgark/pgark/repository"
)

// CorruptFileError says that a file of a backup is not what the index says,
// although every stored byte is: the backup itself is bad.
type CorruptFileError struct {
	Path   string
	Reason string
}

// Error names the file.
func (e *CorruptFileError) Error() string { return "file " + e.Path + " of the backup: " + e.Reason }

// packJob is one pack while it is laid down.
type packJob struct {
	place *place
	table *repository.PackTable
	files []*repository.File // with content, in the order it lies in the tar file
	whole bool               // none of its files is there already

	mu   sync.Mutex
	open map[int]*openFile // files that more than one task writes
}

// openFile is a file while its tasks write to it.
type openFile struct {
	file  *os.File
	left  int64 // bytes still to come
	parts []part
}

// task is some runs of a pack, read with one request.
type task struct {
	job      *packJob
	first, n int
}

// Sizes of a task: as large as it may be without holding much memory, and
// small enough for many to be at work.
const (
	taskStored = 4 << 20  // bytes
	taskPlain  = 16 << 20 // bytes
)

// tasks cuts a pack into tasks.
func (j *packJob) tasks() []task {
	var list []task
	needed := j.neededRuns()
	for first := 0; first < j.table.RunCount(); {
		if !needed[first] {
			first++
			continue
		}
		n := 1
		for first+n < j.table.RunCount() && needed[first+n] && j.table.RunSpan(first, n+1).Length <= taskStored && j.plain(first, n+1) <= taskPlain {
			n++
		}
		list = append(list, task{j, first, n})
		first += n
	}
	return list
}

// plain returns the plain bytes of the runs [first, first+n).
func (j *packJob) plain(first, n int) int64 {
	from, _ := j.table.RunFrames(first)
	_, end := j.table.RunFrames(first + n - 1)
	last := j.table.Frames[end-1]
	return last.PlainOffset + int64(last.Plain) - j.table.Frames[from].PlainOffset
}

// begin returns the place of the content of f in the tar file.
func (j *packJob) begin(f *repository.File) int64 {
	return j.table.Frames[f.Frame].PlainOffset + int64(f.Offset)
}

// newPackJob makes the folders and empty files of a pack.
func (l *layer) newPackJob(p *place, t *repository.PackTable) (*packJob, error) {
	j := &packJob{place: p, table: t, whole: l.reuse == nil, open: map[int]*openFile{}}
	for i := range t.Files {
		f := &t.Files[i]
		switch {
		case f.Type == repository.TypeFile && (p.never(f.Path) || !l.reuse.chosen(t, i)):
		case f.Type == repository.TypeDir:
			if err := l.mkdir(p, f); err != nil {
				return nil, err
			}
		case f.Type == repository.TypeFile && f.Size == 0:
			if err := l.writeEmpty(p, f); err != nil {
				return nil, err
			}
		case f.Type == repository.TypeFile:
			j.files = append(j.files, f)
		}
	}
	slices.SortFunc(j.files, func(a, b *repository.File) int { return cmp.Compare(j.begin(a), j.begin(b)) })
	return j, nil
}

// never reports whether a member is not laid down: the lock file of the server
// that was backed up, which a base backup leaves out, would keep the same
// restore from going on as if a server ran.
func (p *place) never(member string) bool { return p.archive == "base" && member == lockName }

// name returns where a member lies below the place's root. pg_control has
// another name until all else is in place: without it no server starts.
func (p *place) name(member string) string {
	if p.archive == "base" && member == controlFile {
		return controlPartial
	}
	return path.Join(p.prefix, member)
}

// Modes: only those bits of a backup count that give the group what
// initdb --allow-group-access does.
const (
	ownerDir, ownerFile = 0o700, 0o600
	groupDir, groupFile = 0o050, 0o040
)

func (l *layer) mkdir(p *place, f *repository.File) error {
	name := p.name(f.Path)
	mode := fs.FileMode(ownerDir | f.Mode&groupDir)
	if err := l.mkdirs(p, name); err != nil {
		return err
	}
	if mode != ownerDir {
		if err := p.root.Chmod(name, mode); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	return nil
}

// mkdirs makes the folder name below the place and all above it.
func (l *layer) mkdirs(p *place, name string) error {
	if name == "." {
		return nil
	}
	if err := l.mkdirs(p, path.Dir(name)); err != nil {
		return err
	}
	key := p.partial() + "/" + name
	l.dirsMu.Lock()
	defer l.dirsMu.Unlock()
	if l.dirs[key] {
		return nil
	}
	if most := l.members + spareFolders; len(l.dirs) >= most {
		return &CorruptFileError{Path: name, Reason: fmt.Sprintf("more than %d folders: a backup has a member for each of its own", most)}
	}
	root := p.root
	if rest, ok := strings.CutPrefix(name, walFolder); ok && p.wal != nil {
		root, name = p.wal, "."+rest
	}
	err := root.Mkdir(name, ownerDir)
	if errors.Is(err, fs.ErrExist) && l.reuse != nil {
		err = root.Chmod(name, ownerDir) // what is no folder was removed
	}
	if err != nil {
		return fmt.Errorf("make folder: %w", l.full(err))
	}
	l.dirs[key] = true
	if l.options.Owner == nil {
		return nil
	}
	if err := root.Lchown(name, l.options.Owner.UID, l.options.Owner.GID); err != nil {
		return fmt.Errorf("give folder to user %d: %w", l.options.Owner.UID, err)
	}
	return nil
}

// spareFolders is how many folders may be made beside those that are members of the backup: emptyFolders, and those above a tablespace.
const spareFolders = 1000

// fileMode returns the mode that a file is laid down with.
func fileMode(f *repository.File) fs.FileMode { return fs.FileMode(ownerFile | f.Mode&groupFile) }

// create makes a file that is not there yet.
func (l *layer) create(p *place, f *repository.File) (*os.File, error) {
	name := p.name(f.Path)
	if err := l.mkdirs(p, path.Dir(name)); err != nil {
		return nil, err
	}
	mode := fileMode(f)
	file, err := p.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, fmt.Errorf("make file: %w", l.full(err))
	}
	if mode != ownerFile {
		err = file.Chmod(mode) // whatever the umask is
	}
	if l.options.Owner != nil && err == nil {
		err = file.Chown(l.options.Owner.UID, l.options.Owner.GID)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make file: %w", err), file.Close())
	}
	return file, nil
}

func (l *layer) writeEmpty(p *place, f *repository.File) error {
	if f.CRC32C != 0 {
		return &CorruptFileError{Path: f.Path, Reason: "empty, but with a checksum"}
	}
	file, err := l.create(p, f)
	if err != nil {
		return err
	}
	l.files.Add(1)
	return file.Close()
}

// full turns the error of a full disk into one that says what to do.
func (l *layer) full(err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	free, _, _ := Free(l.places[0].partial())
	needed := uint64(l.total)
	return fmt.Errorf("%w: %w", &SpaceError{Dir: l.places[0].partial(), Needed: needed, Free: free}, err)
}

// worker lays tasks down, one after the other.
type worker struct {
	*layer
	decoder interface {
		DecodeFrame(dst, stored []byte, limit int) ([]byte, error)
	}
	buffer []byte
	table  *crc32.Table
	done   *atomic.Int64
}

// run reads, verifies, decodes and writes one task.
func (w *worker) run(ctx context.Context, t task) error {
	stored, err := w.reader.ReadRuns(ctx, t.job.table, t.first, t.n)
	if err != nil {
		return err
	}
	first, _ := t.job.table.RunFrames(t.first)
	_, end := t.job.table.RunFrames(t.first + t.n - 1)
	var current written
	for i := first; i < end; i++ {
		frame := t.job.table.Frames[i]
		if w.buffer, err = w.decoder.DecodeFrame(w.buffer[:0], stored[:frame.Stored], frame.Plain); err != nil || len(w.buffer) != frame.Plain {
			return errors.Join(fmt.Errorf("frame %d of %s does not decode to %d bytes", i, t.job.table.Pack.Name, frame.Plain), err)
		}
		stored = stored[frame.Stored:]
		if err := w.frame(t.job, frame.PlainOffset, &current); err != nil {
			return errors.Join(err, current.abandon())
		}
		if w.reuse == nil {
			w.done.Add(int64(frame.Plain))
		}
		w.report()
	}
	return w.finish(t.job, &current)
}

// written is what a task has written of the file it is at.
type written struct {
	index int // in packJob.files
	f     *repository.File
	file  *os.File
	alone bool // the task writes the whole file: no other has it open
	part  part
}

// abandon closes a file after an error.
func (c *written) abandon() error {
	if c.file == nil || !c.alone {
		return nil
	}
	return c.file.Close()
}

// frame writes what the worker's buffer, plain bytes from the offset at in
// the tar file, holds of files.
func (w *worker) frame(j *packJob, at int64, c *written) error {
	end := at + int64(len(w.buffer))
	i := sort.Search(len(j.files), func(i int) bool { return j.begin(j.files[i])+j.files[i].Size > at })
	for ; i < len(j.files) && j.begin(j.files[i]) < end; i++ {
		f := j.files[i]
		from, to := max(at, j.begin(f)), min(end, j.begin(f)+f.Size)
		if c.f != f {
			if err := w.finish(j, c); err != nil {
				return err
			}
			if err := w.start(j, c, i, from-j.begin(f)); err != nil {
				return err
			}
		}
		b := w.buffer[from-at : to-at]
		if _, err := c.file.WriteAt(b, from-j.begin(f)); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, w.full(err))
		}
		c.part.crc = crc32.Update(c.part.crc, w.table, b)
		c.part.length += int64(len(b))
		if w.reuse != nil { // what was reused is counted already
			w.done.Add(int64(len(b)))
		}
	}
	return nil
}

// start opens file i at the offset from. Where its beginning and end lie in
// this one task is not known yet: it is taken to be shared if it is larger
// than a frame.
func (w *worker) start(j *packJob, c *written, i int, offset int64) error {
	f := j.files[i]
	*c = written{index: i, f: f, part: part{offset: offset}}
	if offset == 0 && f.Size <= repository.FrameSize && j.sameRun(f) {
		c.alone = true
		var err error
		c.file, err = w.create(j.place, f)
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	o := j.open[i]
	if o == nil {
		file, err := w.create(j.place, f)
		if err != nil {
			return err
		}
		o = &openFile{file: file, left: f.Size}
		j.open[i] = o
		if err := allocate(file, f.Size); err != nil {
			return fmt.Errorf("allocate %s: %w", f.Path, w.full(err))
		}
	}
	c.file = o.file
	return nil
}

// sameRun reports whether all of f lies in one run, so that no other task has it.
func (j *packJob) sameRun(f *repository.File) bool {
	first, end := j.table.FileFrames(f)
	return j.table.RunOf(first) == j.table.RunOf(end-1)
}

// finish notes what a task wrote of a file, and checks and closes it once it
// is whole.
func (w *worker) finish(j *packJob, c *written) error {
	if c.f == nil {
		return nil
	}
	f, file, parts := c.f, c.file, []part{c.part}
	writeBack(file, c.part.offset, c.part.length)
	alone := c.alone
	index := c.index
	whole := c.part.length == f.Size
	*c = written{}
	if !alone {
		j.mu.Lock()
		o := j.open[index]
		o.parts, o.left = append(o.parts, parts[0]), o.left-parts[0].length
		parts, whole = o.parts, o.left == 0
		if whole {
			delete(j.open, index)
		}
		j.mu.Unlock()
		if !whole {
			return nil
		}
	}
	crc, ok := joinParts(parts)
	switch {
	case !whole || !ok:
		return errors.Join(&CorruptFileError{Path: f.Path, Reason: "parts of it are missing"}, file.Close())
	case crc != f.CRC32C:
		return errors.Join(&CorruptFileError{Path: f.Path, Reason: fmt.Sprintf("CRC32C is %08x, want %08x", crc, f.CRC32C)}, file.Close())
	}
	w.files.Add(1)
	if err := file.Close(); err != nil {
		return fmt.Errorf("close %s: %w", f.Path, w.full(err))
	}
	return nil
}

// abandon closes what is open after an error.
func (j *packJob) abandon() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, o := range j.open {
		_ = o.file.Close()
	}
}
