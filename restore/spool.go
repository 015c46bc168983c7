package restore

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/wal"
)

const (
	// spoolPrefix begins the name of the folder beside the file that the server
	// asks for, in pg_wal, where the server looks for files of certain names only.
	spoolPrefix = "pgark-spool-"
	// askedName is a file there that holds the name the server asked for last.
	askedName  = "asked"
	lockSuffix = ".lock"
	// tailName is a file there that says how much of which segment a standby was given.
	tailName = "tail"
	// crcDigits is how many hexadecimal digits end the name of a whole file.
	crcDigits = 8

	spoolBytes = 64 << 20 // read ahead by one call, at most
)

// spool is a folder of WAL files that were read ahead. A file there is called
// after the segment and the CRC32C of its content, and is verified when Fetch
// takes it: whatever a crash or another program made of it, it is used only if
// it is whole. TakeCommand does not verify it, and says why it need not. The
// folder's name says for which plan it is.
//
// Several processes may use it at once. Its only guarantee is that a file is
// taken whole or not at all.
type spool struct {
	dir     string
	options FetchOptions
	owner   *Owner // whose server takes the files; nil: ours
	late    atomic.Int64
}

// give makes a file or folder the owner's.
func (s *spool) give(path string) error {
	if s.owner == nil {
		return nil
	}
	return os.Chown(path, s.owner.UID, s.owner.GID)
}

// newSpool returns the spool beside the files in dir. It makes nothing.
func newSpool(dir string, o FetchOptions) *spool {
	name := fmt.Sprintf("%s%s-%s", spoolPrefix, o.Timeline, o.Until.Hex())
	return &spool{dir: filepath.Join(dir, name), options: o}
}

// remove deletes the folder. What cannot be deleted does no harm.
func (s *spool) remove() {
	if s.options.Ahead > 0 {
		_ = os.RemoveAll(s.dir)
	}
}

// find returns the path of a file that was read ahead, and its checksum.
func (s *spool) find(name string) (path string, crc uint32, ok bool) {
	found, err := filepath.Glob(filepath.Join(s.dir, name+"."+strings.Repeat("?", crcDigits)))
	if err != nil {
		return "", 0, false
	}
	for _, path := range found {
		digits := path[len(path)-crcDigits:]
		if _, err := fmt.Sscanf(digits, "%08x", &crc); err == nil && fmt.Sprintf("%08x", crc) == digits {
			return path, crc, true
		}
	}
	return "", 0, false
}

// take moves a file that was read ahead to path, unless look objects to it.
// Where another process is just reading it, it waits for that one.
func (s *spool) take(ctx context.Context, name, path string, look func(wal.SegmentSize, io.ReadSeeker) error) (bool, error) {
	if _, err := os.Stat(s.dir); err != nil {
		return false, nil //nolint:nilerr // nothing was read ahead
	}
	s.asked(name)
	unlock, err := s.lock(ctx, name)
	if err != nil {
		return false, err
	}
	defer unlock()
	from, crc, ok := s.find(name)
	if !ok {
		return false, nil
	}
	if got, n, err := checksum(from); err != nil || n == 0 || got != crc {
		return false, errors.Join(os.Remove(from)) // read it from the archive instead
	}
	if err := lookAt(from, look); err != nil {
		return false, err
	}
	if err := os.Rename(from, path); err != nil {
		return false, fmt.Errorf("put WAL file in place: %w", err)
	}
	return true, nil
}

// lookAt has look judge a whole segment in a file.
func lookAt(path string, look func(wal.SegmentSize, io.ReadSeeker) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("look through WAL: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look through WAL: %w", err)
	}
	return look(wal.SegmentSize(info.Size()), f)
}

// checksum returns the CRC32C of a file and its length. It reads in small parts: the server waits for it, and memory for a whole segment takes
// longer to get than to read.
func checksum(path string) (crc uint32, n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = f.Close() }()
	sum := crc32.New(crcTable())
	n, err = io.Copy(sum, f)
	return sum.Sum32(), n, err
}

// asked notes what the server asked for, and drops files before it: it will
// not ask for those again, or seldom.
func (s *spool) asked(name string) {
	note := filepath.Join(s.dir, askedName)
	if writeFile(note+lockSuffix, []byte(name), 0) == nil {
		_ = os.Rename(note+lockSuffix, note)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		file, _, _ := strings.Cut(e.Name(), ".")
		if len(file) == segmentNameLen && len(name) == segmentNameLen && file[8:] < name[8:] {
			_ = os.Remove(filepath.Join(s.dir, e.Name()))
		}
	}
}

// lastAsked returns the name the server asked for last.
func (s *spool) lastAsked() string {
	b, err := os.ReadFile(filepath.Join(s.dir, askedName))
	if err != nil {
		return ""
	}
	return string(b)
}

// lock waits until no other process reads the file ahead.
func (s *spool) lock(ctx context.Context, name string) (unlock func(), err error) {
	path := filepath.Join(s.dir, name+lockSuffix)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return func() {}, nil //nolint:nilerr // the folder is gone: nothing to wait for
	}
	unlock = func() {
		_ = os.Remove(path)
		_ = f.Close()
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		ours, err := lockFile(f)
		if ours || err != nil {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return unlock, errors.Join(ctx.Err(), f.Close())
		case <-tick.C:
		}
	}
}

// fill reads one segment into the spool, unless it is there or another
// process is at it, or look objects to it. look may be nil.
func (s *spool) fill(ctx context.Context, r reader, id wal.SegmentID, look func(plain []byte) error) error {
	name := r.size.FileName(id)
	path := filepath.Join(s.dir, name+lockSuffix)
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("read ahead: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if ours, err := lockFile(lock); !ours || err != nil {
		return err
	}
	defer func() { _ = os.Remove(path) }()
	if err := s.give(path); err != nil {
		return fmt.Errorf("read ahead: %w", err)
	}
	if _, _, ok := s.find(name); ok {
		return nil
	}
	plain, err := r.read(ctx, id)
	if err != nil {
		return err
	}
	if s.options.Until == 0 && len(plain) < int(r.size) {
		return nil // it may grow
	}
	if look != nil {
		if err := look(plain); err != nil {
			return err
		}
	}
	whole := plain
	if len(whole) < int(r.size) {
		whole = append(make([]byte, 0, r.size), plain...)[:r.size]
	}
	temporary := filepath.Join(s.dir, name+".partial-"+fmt.Sprint(os.Getpid()))
	if err := errors.Join(writeFile(temporary, whole, int64(r.size)), s.give(temporary)); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	crc := crc32.Checksum(whole, crcTable())
	return os.Rename(temporary, filepath.Join(s.dir, fmt.Sprintf("%s.%08x", name, crc)))
}

// ahead reads the segments after id into the spool, as many at the same time
// as the options say, and returns a function that waits for them. What cannot
// be read ahead is read, and judged, when it is asked for.
func (s *spool) ahead(ctx context.Context, r reader, id wal.SegmentID) (wait func()) {
	n := min(s.options.Ahead, spoolBytes/int(r.size))
	if n <= 0 || os.MkdirAll(s.dir, 0o700) != nil {
		return func() {}
	}
	var g errgroup.Group
	for i := range n {
		next := wal.SegmentID{Timeline: id.Timeline, Number: id.Number + wal.SegmentNumber(i) + 1}
		if r.pastEnd(next) {
			break
		}
		g.Go(func() error { return s.fill(ctx, r, next, nil) }) // it is looked through when it is taken
	}
	return func() { _ = g.Wait() }
}
