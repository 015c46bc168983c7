package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/wal"
)

const (
	walFolder = "pg_wal"
	// controlBefore is what pg_control of the old cluster is called while nothing else was changed yet.
	controlBefore = "global/pg_control.pgark-before"
)

// Unfinished reports whether a data directory was being restored in place and is not whole: no server starts in it, and the same restore
// goes on from what is right in it.
func Unfinished(dir string) bool {
	if _, err := os.Lstat(filepath.Join(dir, claimName)); err != nil {
		return false
	}
	_, err := os.Lstat(filepath.Join(dir, controlFile))
	return errors.Is(err, fs.ErrNotExist)
}

// inPlaces returns the places of a restore in place: the data directory, links followed, and where its tablespaces lie now, unless the options
// say otherwise.
func inPlaces(plan *Plan, options LayOptions) ([]*place, error) {
	dir, err := filepath.EvalSymlinks(options.Dir)
	if err != nil {
		return nil, &RefusedError{Path: options.Dir, Reason: "there is no data directory to replace"}
	}
	mapped := map[string]string{}
	for key, to := range options.Tablespaces {
		mapped[key] = to
	}
	for _, t := range plan.Backup.Tablespaces {
		oid := strconv.FormatUint(uint64(t.OID), 10)
		if key, _ := mappedTo(mapped, oid, t.Path); key != "" {
			continue
		}
		if to, err := os.Readlink(filepath.Join(dir, "pg_tblspc", oid)); err == nil {
			mapped[oid] = to
		}
	}
	list, err := places(dir, plan.Backup.Tablespaces, mapped)
	if err != nil {
		return nil, err
	}
	for _, p := range list {
		p.inPlace, p.system, p.version = true, plan.SystemID, fmt.Sprintf("PG_%d_", plan.Backup.PGVersionNum/10000)
		if real, err := filepath.EvalSymlinks(p.final); err == nil && p.prefix == "" {
			p.final = real
		}
	}
	return list, apart(list)
}

// checkInPlace refuses a folder that is not to be restored in place: of another cluster, or with a server at work in it.
func (p *place) checkInPlace(data string, uid int) error {
	info, err := os.Stat(p.final)
	if errors.Is(err, fs.ErrNotExist) && p.archive != "base" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("check %s: %w", p.final, err)
	}
	if !info.IsDir() {
		return &RefusedError{Path: p.final, Reason: "is no folder"}
	}
	if owner := ownerOf(info); owner != uid {
		return &RefusedError{Path: p.final, Reason: fmt.Sprintf("belongs to user %d, not %d", owner, uid)}
	}
	if p.archive != "base" {
		return p.checkTablespace(data)
	}
	if pid := runningServer(p.final); pid > 0 {
		return &RefusedError{Path: p.final, Reason: fmt.Sprintf("a server runs in it (process %d): stop it", pid)}
	}
	id, err := systemOf(p.final)
	switch {
	case err != nil:
		return err
	case id != p.system:
		return &RefusedError{Path: p.final, Reason: fmt.Sprintf("holds the cluster with the system identifier %s, not %s", id, p.system)}
	}
	return nil
}

// checkTablespace refuses a folder for a tablespace that is neither the data directory's own nor free of what a server of this kind has there.
func (p *place) checkTablespace(data string) error {
	link := filepath.Join(data, "pg_tblspc", p.archive)
	if own, err := filepath.EvalSymlinks(link); err == nil && own == p.final {
		return nil
	}
	if text, err := os.ReadFile(filepath.Join(p.final, claimName)); err == nil && string(text) == data+"\n" {
		return nil // a restore that was interrupted
	}
	entries, err := os.ReadDir(p.final)
	if err != nil {
		return fmt.Errorf("check %s: %w", p.final, err)
	}
	if len(entries) > 0 {
		return &RefusedError{Path: p.final, Reason: "is not empty, and not where the tablespace lies now"}
	}
	return nil
}

// systemOf returns whose data directory dir is: from pg_control, or from the mark of a restore in place that was interrupted.
func systemOf(dir string) (wal.SystemID, error) {
	for _, name := range []string{controlFile, controlBefore} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("whose data directory %s is: %w", dir, err)
		}
		c, err := postgres.ParseControl(b)
		if err != nil {
			return 0, &RefusedError{Path: dir, Reason: fmt.Sprintf("cannot tell whose cluster it is: %v", err)}
		}
		return c.SystemID, nil
	}
	b, err := os.ReadFile(filepath.Join(dir, claimName))
	if err != nil {
		return 0, &RefusedError{Path: dir, Reason: "is no data directory: it has no " + controlFile}
	}
	id, err := wal.ParseSystemID(strings.TrimSuffix(string(b), "\n"))
	if err != nil {
		return 0, &RefusedError{Path: dir, Reason: "cannot tell whose cluster it was: its mark cannot be read"}
	}
	return id, nil
}

// disarm marks a data directory as being restored and takes its pg_control away, so that no server starts in it before all is in place. A
// server that was started meanwhile gets it back.
func (p *place) disarm(owner *Owner) error {
	if err := p.mark(p.system.String()+"\n", owner); err != nil {
		return err
	}
	err := p.root.Rename(controlFile, controlBefore)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // taken away by a restore before this one
	}
	if err != nil {
		return fmt.Errorf("take pg_control away: %w", err)
	}
	if pid := runningServer(p.final); pid > 0 {
		return errors.Join(
			&RefusedError{Path: p.final, Reason: fmt.Sprintf("a server was started in it (process %d)", pid)},
			p.root.Rename(controlBefore, controlFile), p.root.Remove(claimName))
	}
	return syncParent(filepath.Join(p.final, controlFile))
}

// mark writes the file that says that a folder is being restored, durably. One that says so already is not touched: where pg_control is gone,
// nothing else says whose folder it is. It is the owner's, who may go on with the restore himself.
func (p *place) mark(text string, owner *Owner) error {
	if b, err := p.root.ReadFile(claimName); err == nil && string(b) == text {
		return nil
	}
	file, err := p.root.OpenFile(claimName, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, ownerFile)
	if err != nil {
		return fmt.Errorf("mark folder: %w", err)
	}
	_, err = file.WriteString(text)
	if owner != nil && err == nil {
		err = file.Chown(owner.UID, owner.GID)
	}
	if err := errors.Join(err, file.Sync(), file.Close(), p.dir.Sync()); err != nil {
		return fmt.Errorf("mark folder: %w", err)
	}
	return nil
}

// commitInPlace makes all durable, and then puts pg_control into its place: from then on a server may start.
func (l *layer) commitInPlace() error {
	data := l.places[0]
	if err := l.sync(); err != nil {
		return err
	}
	if err := data.root.Rename(controlPartial, controlFile); err != nil {
		return fmt.Errorf("put pg_control in place: %w", err)
	}
	if err := syncParent(filepath.Join(data.final, controlFile)); err != nil {
		return err
	}
	for _, p := range l.places {
		if p.prefix == "" {
			_ = p.root.Remove(claimName) // it says nothing any more
		}
	}
	return nil
}

// linkedWAL opens the folder that pg_wal of a data directory that is restored in place is a link to (initdb --waldir); nil if it is none.
func (p *place) linkedWAL() (*os.Root, error) {
	info, err := p.root.Lstat(walFolder)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 || !p.inPlace || p.archive != "base" {
		return nil, nil //nolint:nilerr,nilnil // there is none
	}
	root, err := os.OpenRoot(filepath.Join(p.final, walFolder))
	if err != nil {
		return nil, fmt.Errorf("open pg_wal: %w", err)
	}
	return root, nil
}

// clearWAL removes the WAL behind a link: none of it may be mixed with the history that is restored.
func (p *place) clearWAL() error {
	if p.wal == nil {
		return nil
	}
	entries, err := fs.ReadDir(p.wal.FS(), ".")
	if err != nil {
		return fmt.Errorf("clear pg_wal: %w", err)
	}
	for _, e := range entries {
		if !serversWAL(e.Name()) {
			continue // of the file system it is the top of
		}
		if err := p.wal.RemoveAll(e.Name()); err != nil {
			return fmt.Errorf("clear pg_wal: %w", err)
		}
	}
	return nil
}

// serversWAL reports whether a server, or a restore, makes files of this name in pg_wal.
func serversWAL(name string) bool {
	for _, prefix := range []string{"archive_status", "summaries", "xlogtemp.", "RECOVERYXLOG", "RECOVERYHISTORY", spoolPrefix} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	base, suffix, _ := strings.Cut(name, ".")
	if strings.Trim(base, "0123456789ABCDEF") != "" {
		return false
	}
	return len(base) == segmentNameLen || len(base) == 8 && suffix == "history"
}

// walDir returns where the WAL of the data directory lies: on another file system perhaps.
func (p *place) walDir() string {
	if p.inPlace {
		if dir, err := filepath.EvalSymlinks(filepath.Join(p.final, walFolder)); err == nil {
			return dir
		}
	}
	return p.final
}

// held returns the bytes that a place gives back or keeps, as far as a restore touches them.
func (p *place) held() (uint64, error) {
	if p.prefix != "" {
		return 0, nil // counted with the data directory
	}
	var sum uint64
	err := filepath.WalkDir(p.partial(), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(p.partial(), path)
		if err != nil || p.kept(name) || p.inPlace && p.archive != "base" && !strings.HasPrefix(name, p.version) {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err == nil && st.Nlink == 1 {
			sum += uint64(st.Blocks) * 512
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", p.partial(), err)
	}
	return sum, nil
}

// inUse reports whether a process is attached to the shared memory that postmaster.pid names: a server whose postmaster died may have left
// others at work (PGSharedMemoryIsInUse, src/backend/port/sysv_shmem.c). The line holds key and id of the segment (LOCK_FILE_LINE_SHMEM_KEY).
func inUse(line string) bool {
	fields := strings.Fields(line)
	if len(fields) != 2 {
		return false
	}
	key, errKey := strconv.ParseUint(fields[0], 10, 32)
	id, errID := strconv.Atoi(fields[1])
	if errKey != nil || errID != nil {
		return false
	}
	var segment unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &segment); err != nil {
		return false
	}
	return uint32(segment.Perm.Key) == uint32(key) && segment.Nattch > 0
}
