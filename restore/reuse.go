package restore

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
)

// reuse is what of a backup lies in its place already: an older state of the cluster that is restored in place, or what a restore that
// was killed had written. Only content decides, length and CRC32C as the index says them, never a time (docs/decisions/0009). All
// else is removed before the first byte is fetched, so that its room can be used.
type reuse struct {
	*layer

	// needed says of each pack, by name, which files of its table have to be fetched.
	needed map[string][]bool

	mu   sync.Mutex
	want map[*os.Root]map[string]bool // names that belong there; true is a folder
}

// leftovers reports whether anything lies in the places already.
func (l *layer) leftovers() (bool, error) {
	for _, p := range l.places {
		if p.prefix != "" {
			continue
		}
		entries, err := os.ReadDir(p.partial())
		if err != nil {
			return false, fmt.Errorf("look into folder: %w", err)
		}
		for _, e := range entries {
			if e.Name() != claimName {
				return true, nil
			}
		}
	}
	return false, nil
}

// sift keeps of what lies in the places what is right already, and removes the rest.
func (l *layer) sift(ctx context.Context, packs []repository.Pack) error {
	r := &reuse{layer: l, needed: map[string][]bool{}, want: map[*os.Root]map[string]bool{}}
	for _, p := range l.places {
		if r.want[p.root] == nil {
			r.want[p.root] = map[string]bool{}
		}
	}
	for _, p := range packs {
		if err := r.pack(ctx, p); err != nil {
			return err
		}
	}
	for _, name := range emptyFolders() {
		r.folder(l.places[0].root, name)
	}
	for _, p := range l.places {
		if p.prefix != "" {
			continue
		}
		if err := r.clear(ctx, p); err != nil {
			return err
		}
	}
	l.reuse = r
	if l.options.Progress != nil {
		l.options.Progress(l.written.Load(), l.total)
	}
	return nil
}

// pack compares the files of one pack.
func (r *reuse) pack(ctx context.Context, p repository.Pack) error {
	table, err := r.reader.Table(ctx, p)
	if err != nil {
		return err
	}
	place, err := r.placeOf(p)
	if err != nil {
		return err
	}
	needed := make([]bool, len(table.Files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.jobs())
	for i := range table.Files {
		f := &table.Files[i]
		name := place.name(f.Path)
		if place.never(f.Path) {
			continue
		}
		switch f.Type {
		case repository.TypeLink:
			continue
		case repository.TypeDir:
			r.folder(place.root, name)
			continue
		case repository.TypeFile:
		}
		if !r.file(place.root, name) {
			return &CorruptFileError{Path: f.Path, Reason: "it is there twice"}
		}
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if place.kept(name) {
				if info, err := place.root.Lstat(name); err == nil && info.Mode().IsRegular() {
					return nil
				}
			}
			if r.same(place, name, f) {
				r.files.Add(1)
				r.reusedFiles.Add(1)
				r.reusedBytes.Add(f.Size)
				r.written.Add(f.Size)
				r.report()
				return nil
			}
			needed[i] = true
			if err := place.root.RemoveAll(name); err != nil {
				return fmt.Errorf("remove what is replaced: %w", err)
			}
			return nil
		})
	}
	r.needed[p.Name] = needed
	return g.Wait()
}

// folder notes a folder and all above it.
func (r *reuse) folder(root *os.Root, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ; name != "."; name = path.Dir(name) {
		r.want[root][name] = true
	}
}

// file notes a file; it returns false if there is one of this name already.
func (r *reuse) file(root *os.Root, name string) bool {
	r.folder(root, path.Dir(name))
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, twice := r.want[root][name]; twice {
		return false
	}
	r.want[root][name] = false
	return true
}

// same reports whether a file is there with the content, and gives it the mode and the owner that it is to have. One with another
// name elsewhere is not taken: the server would write to that as well. What keeps it from being read counts as a difference.
func (r *reuse) same(p *place, name string, f *repository.File) bool {
	info, err := p.root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() != f.Size || links(info) != 1 {
		return false
	}
	file, err := p.root.Open(name)
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	if opened, err := file.Stat(); err != nil || !os.SameFile(info, opened) {
		return false
	}
	crc := crc32.New(crcTable())
	if n, err := io.Copy(crc, file); err != nil || n != f.Size || f.Size > 0 && crc.Sum32() != f.CRC32C {
		return false
	}
	if mode := fileMode(f); info.Mode().Perm() != mode || info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 {
		if file.Chmod(mode) != nil {
			return false
		}
	}
	if o := r.options.Owner; o != nil {
		return file.Chown(o.UID, o.GID) == nil
	}
	return ownerOf(info) == os.Geteuid()
}

// links returns how many names a file has.
func links(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink) //nolint:unconvert // it has 32 bits on other processors
	}
	return 1
}

// clear removes from a place what does not belong there.
func (r *reuse) clear(ctx context.Context, p *place) error {
	want := r.want[p.root]
	err := fs.WalkDir(p.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case name == ".":
			return nil
		}
		folder, wanted := want[name]
		switch {
		case wanted && folder == d.IsDir() && (folder || d.Type().IsRegular()):
			return nil
		case p.spared(name, d, want):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if err := p.root.RemoveAll(name); err != nil {
			return err
		}
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("clear %s: %w", p.partial(), err)
	}
	return p.clearWAL()
}

// chosen returns the files with content that have to be fetched, of those of a pack.
func (r *reuse) chosen(t *repository.PackTable, i int) bool {
	return r == nil || r.needed[t.Pack.Name][i]
}

// kept reports whether a file of this name that lies in place is left as it is: the server's log of what happened is no part of the
// cluster, and is wanted most when it is restored. These are the defaults of log_directory, and what it was before 10.
func (p *place) kept(name string) bool {
	return p.inPlace && p.archive == "base" && (strings.HasPrefix(name, "log/") || strings.HasPrefix(name, "pg_log/"))
}

// spared reports whether something that is not in the backup stays: our own mark; links to tablespaces, which settle makes anew; and in a
// data directory that is restored in place the logs, and links at its top, such as those of packages to configuration files, for base
// backups hold no links but those of tablespaces (sendDir, src/backend/backup/basebackup.c). In the folder of a tablespace only what
// lies in the server's own folder there is touched.
func (p *place) spared(name string, d fs.DirEntry, want map[string]bool) bool {
	top, _, below := strings.Cut(name, "/")
	link := d.Type()&fs.ModeSymlink != 0
	switch {
	case name == claimName:
		return true
	case p.archive != "base":
		_, ours := want[top]
		return p.inPlace && !ours
	case path.Dir(name) == "pg_tblspc" && link:
		return true
	case !p.inPlace:
		return false
	case p.kept(name + "/"), p.kept(name):
		return true
	}
	_, collides := want[name]
	return !below && link && (!collides || name == walFolder)
}

// neededRuns says which runs of the pack are read: where nothing is reused all of them, otherwise those that hold bytes of the job's files.
func (j *packJob) neededRuns() []bool {
	runs := make([]bool, j.table.RunCount())
	for i := range runs {
		runs[i] = j.whole
	}
	for _, f := range j.files {
		first, end := j.table.FileFrames(f)
		for run := j.table.RunOf(first); run <= j.table.RunOf(end-1); run++ {
			runs[run] = true
		}
	}
	return runs
}
