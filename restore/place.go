package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

const (
	// partialSuffix ends the name of the folder that a cluster is laid into
	// until it is complete.
	partialSuffix = ".pgark-partial"
	// claimName is a file that says that a folder is not whole: in a tablespace's
	// new folder which data directory it belongs to, as long as that is not in
	// place; in a data directory that is restored in place whose it is.
	claimName = "pgark-restore"
)

// RefusedError says that a restore would endanger what is there already.
type RefusedError struct {
	Path   string
	Reason string
	Flags  []string // what to add to the command line, if that is the cure
}

// Error names the path and the reason.
func (e *RefusedError) Error() string {
	s := "restore refused: "
	if e.Path != "" {
		s += e.Path + ": "
	}
	s += e.Reason
	if len(e.Flags) > 0 {
		s += ": add " + strings.Join(e.Flags, " ")
	}
	return s
}

// Owner is whom the restored files are given to. Only root may do that.
type Owner struct {
	UID, GID int
}

// place is one folder that is laid down: the data directory or a tablespace.
type place struct {
	archive string // "base" or the OID of a tablespace
	final   string // where it will lie, absolute
	prefix  string // with an archive inside the data directory: its folder there
	root    *os.Root
	dir     *os.File // of the partial folder, locked

	inPlace bool // it is written to where it will lie, and what is right there is kept
	system  wal.SystemID
	version string   // how the server's folder in that of a tablespace begins (TABLESPACE_VERSION_DIRECTORY, src/include/common/relpath.h)
	wal     *os.Root // where pg_wal is a link that is kept: its folder
}

// partial returns the folder that is written to.
func (p *place) partial() string {
	if p.inPlace {
		return p.final
	}
	return p.final + partialSuffix
}

// places decides where each archive of a backup goes.
func places(dir string, tablespaces []repository.Tablespace, mapped map[string]string) ([]*place, error) {
	final, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("restore into %s: %w", dir, err)
	}
	list := []*place{{archive: "base", final: final}}
	var missing []string
	used := map[string]bool{}
	for _, t := range tablespaces {
		oid := strconv.FormatUint(uint64(t.OID), 10)
		if t.Path == "pg_tblspc/"+oid { // allow_in_place_tablespaces
			list = append(list, &place{archive: oid, final: final, prefix: t.Path})
			continue
		}
		key, to := mappedTo(mapped, oid, t.Path)
		if key == "" {
			missing = append(missing, fmt.Sprintf("--tablespace %s=DIR (was %s)", oid, t.Path))
			continue
		}
		used[key] = true
		if !filepath.IsAbs(to) || strings.ContainsAny(to, "\x00\r\n") {
			return nil, &RefusedError{Path: to, Reason: "a tablespace needs an absolute path"}
		}
		list = append(list, &place{archive: oid, final: filepath.Clean(to)})
	}
	var unknown []string
	for key := range mapped {
		if !used[key] {
			unknown = append(unknown, key)
		}
	}
	slices.Sort(unknown)
	names := strings.Join(unknown, ", ")
	switch {
	case len(missing) > 0 && len(unknown) > 0:
		return nil, &RefusedError{Reason: "the backup does not know its tablespaces by their names in SQL, and none as " + names, Flags: missing}
	case len(missing) > 0:
		return nil, &RefusedError{Reason: "tablespaces have no place to go to", Flags: missing}
	case len(unknown) > 0:
		return nil, &RefusedError{Path: names, Reason: "the backup has no such tablespace, or it is given twice"}
	}
	return list, apart(list)
}

// mappedTo looks a tablespace up by its OID, its original path, or the last
// part of that.
func mappedTo(mapped map[string]string, oid, path string) (key, to string) {
	for _, key := range []string{oid, path, filepath.Base(path)} {
		if to, ok := mapped[key]; ok {
			return key, to
		}
	}
	return "", ""
}

// apart refuses folders that lie within each other.
func apart(list []*place) error {
	for i, a := range list {
		for _, b := range list[i+1:] {
			if a.prefix != "" || b.prefix != "" {
				continue
			}
			if within(a.final, b.final) || within(b.final, a.final) || within(a.partial(), b.final) || within(b.partial(), a.final) {
				return &RefusedError{Path: b.final, Reason: "lies within or around " + a.final}
			}
		}
	}
	return nil
}

// within reports whether path is folder or below it.
func within(folder, path string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
}

// check refuses a folder that exists unless it is empty and ours. A tablespace
// folder that an interrupted restore to the same data directory left is ours.
func (p *place) check(data string, uid int) error {
	if p.inPlace {
		return p.checkInPlace(data, uid)
	}
	info, err := os.Lstat(p.final)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("check %s: %w", p.final, err)
	}
	if !info.IsDir() {
		return &RefusedError{Path: p.final, Reason: "is no folder"}
	}
	if pid := runningServer(p.final); pid > 0 {
		return &RefusedError{Path: p.final, Reason: fmt.Sprintf("a server runs in it (process %d)", pid)}
	}
	if owner := ownerOf(info); owner != uid {
		return &RefusedError{Path: p.final, Reason: fmt.Sprintf("belongs to user %d, not %d", owner, uid)}
	}
	if p.claimed(data) {
		return nil
	}
	entries, err := os.ReadDir(p.final)
	if err != nil {
		return fmt.Errorf("check %s: %w", p.final, err)
	}
	if len(entries) > 0 {
		return &RefusedError{Path: p.final, Reason: "is not empty"}
	}
	return mounted(p.final, filepath.Dir(p.final))
}

// mounted refuses a mount point: it cannot be replaced by a rename.
func mounted(path, parent string) error {
	_, device, err := Free(path)
	if err != nil {
		return err
	}
	_, above, err := Free(parent)
	if err != nil {
		return err
	}
	if device != above {
		return &RefusedError{Path: path, Reason: "is a mount point: name a folder below it"}
	}
	return nil
}

// claimed reports whether the folder was put there by an interrupted restore
// to the data directory data.
func (p *place) claimed(data string) bool {
	if p.archive == "base" {
		return false
	}
	text, err := os.ReadFile(filepath.Join(p.final, claimName))
	if err != nil || string(text) != data+"\n" {
		return false
	}
	_, err = os.Lstat(filepath.Join(data, controlFile))
	return errors.Is(err, fs.ErrNotExist)
}

// runningServer returns the process that postmaster.pid names, if it is alive
// or has left others behind that use the server's shared memory. As a server
// does (CreateLockFile, src/backend/utils/init/miscinit.c) it takes its own and
// its parent's number, which in containers are likely to come again, for none.
func runningServer(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, lockName))
	if err != nil {
		return 0
	}
	lines := append(strings.Split(string(text), "\n"), make([]string, lockLines)...)
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid <= 0 {
		return 0
	}
	if pid != os.Getpid() && pid != os.Getppid() && alive(pid) || inUse(lines[lockLines-1]) {
		return pid
	}
	return 0
}

const (
	lockName = "postmaster.pid"
	// lockLines is the number of its line that names the shared memory
	// (LOCK_FILE_LINE_SHMEM_KEY, src/include/utils/pidfile.h).
	lockLines = 7
)

// open makes the folder to write to, if it is not there, and takes it for this
// process. A folder that is restored in place loses its pg_control first.
func (p *place) open(data string, owner *Owner) error {
	if p.prefix != "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(p.final), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := os.Mkdir(p.partial(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make folder: %w", err)
	}
	info, err := os.Lstat(p.partial())
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if !info.IsDir() || ownerOf(info) != os.Geteuid() && (owner == nil || ownerOf(info) != owner.UID) {
		return &RefusedError{Path: p.partial(), Reason: "is no folder of ours"}
	}
	if p.dir, err = os.Open(p.partial()); err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	if ours, err := lockFile(p.dir); err != nil || !ours {
		return errors.Join(&RefusedError{Path: p.partial(), Reason: "another restore writes to it"}, err)
	}
	if p.root, err = os.OpenRoot(p.partial()); err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	if p.wal, err = p.linkedWAL(); err != nil {
		return err
	}
	if owner != nil {
		if err := p.dir.Chown(owner.UID, owner.GID); err != nil {
			return fmt.Errorf("give folder to user %d: %w", owner.UID, err)
		}
	}
	if p.archive != "base" {
		return p.mark(data+"\n", owner)
	}
	if p.inPlace {
		return p.disarm(owner)
	}
	return nil
}

// close lets go of the folder.
func (p *place) close() {
	if p.wal != nil {
		_ = p.wal.Close()
	}
	if p.root != nil {
		_ = p.root.Close()
	}
	if p.dir != nil {
		_ = p.dir.Close()
	}
}

// room checks that the file systems hold what is laid into them. What lies there
// already is removed, or kept in the place of what would be written.
func room(list []*place, packs []repository.Pack, extra uint64) error {
	type demand struct {
		dir          string
		needed, free uint64
	}
	byDevice := map[uint64]*demand{}
	on := func(dir string) (*demand, error) {
		above := existing(dir)
		free, device, err := Free(above)
		if err != nil {
			return nil, err
		}
		if byDevice[device] == nil {
			byDevice[device] = &demand{dir: above, free: free}
		}
		return byDevice[device], nil
	}
	for _, p := range list {
		d, err := on(p.final)
		if err != nil {
			return err
		}
		for _, pack := range packs {
			if pack.Archive == p.archive {
				d.needed += uint64(max(pack.Plain, 0))
			}
		}
		held, err := p.held()
		if err != nil {
			return err
		}
		d.free += held
		if p.archive != "base" {
			continue
		}
		if d, err = on(p.walDir()); err != nil {
			return err
		}
		d.needed += extra
	}
	for _, d := range byDevice {
		if d.needed > d.free {
			return &SpaceError{Dir: d.dir, Needed: d.needed, Free: d.free}
		}
	}
	return nil
}

// prepare checks and opens all places. The caller closes them.
func prepare(ctx context.Context, list []*place, owner *Owner) error {
	uid := os.Geteuid()
	if owner != nil {
		uid = owner.UID
	}
	data := list[0].final
	for _, p := range list {
		if p.prefix != "" {
			continue
		}
		if err := p.check(data, uid); err != nil {
			return err
		}
	}
	for _, p := range slices.Backward(list) { // the data directory's lock last
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.open(data, owner); err != nil {
			return err
		}
	}
	for _, p := range list {
		if p.prefix != "" {
			p.root = list[0].root
		}
	}
	return nil
}
