// Package file keeps objects as files under a folder, each key a path. An object is written to a
// temporary file, brought to disk with fsync, and then given its name with link(2), which fails if the
// name is taken; the folder and every folder made on the way are brought to disk too before a write
// returns. All paths go through os.Root, so no key and no symbolic link leads out of the folder.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/pgark/pgark/storage"
)

const (
	dirMode  = 0o750
	fileMode = 0o640
)

// Store is a storage.Store over a folder. It is safe for concurrent use, also by several processes.
type Store struct {
	dir   string
	place string

	mu     sync.Mutex
	root   *os.Root               // nil until the folder exists
	synced map[string]os.FileInfo // folders whose entry in their parent is on disk
}

// Open returns the store over dir. A folder that does not exist is created by the first write; until
// then the store is empty. One that cannot be opened is tried again by each call, which says so. The
// caller closes the store.
func Open(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	s := &Store{dir: abs, place: "file://" + abs, synced: make(map[string]os.FileInfo)}
	if root, err := os.OpenRoot(abs); err == nil {
		s.root = root
	}
	return s, nil
}

// Close releases the folder. Calls after it fail.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root == nil {
		return nil
	}
	return s.root.Close()
}

// opened returns the root, or ErrNotFound if the folder was not there yet.
func (s *Store) opened() (*os.Root, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root != nil {
		return s.root, nil
	}
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, err
	}
	s.root = root
	return root, nil
}

// created returns the root, making the folder if need be.
func (s *Store) created() (*os.Root, error) {
	root, err := s.opened()
	if !errors.Is(err, fs.ErrNotExist) {
		return root, err
	}
	if err := makeDirs(s.dir); err != nil {
		return nil, err
	}
	return s.opened()
}

// makeDirs makes dir and its missing parents and brings each new entry to disk.
func makeDirs(dir string) error {
	err := os.Mkdir(dir, dirMode)
	switch {
	case err == nil, errors.Is(err, fs.ErrExist):
		return syncPath(filepath.Dir(dir))
	case !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir:
		return err
	}
	if err := makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	return makeDirs(dir)
}

func syncPath(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	if err := errors.Join(key.Validate(), ended(ctx)); err != nil {
		return nil, s.fault("get", key, err)
	}
	root, err := s.opened()
	if err != nil {
		return nil, s.fault("get", key, err)
	}
	f, err := root.Open(string(key))
	if err != nil {
		return nil, s.fault("get", key, s.missing(err))
	}
	r, err := s.section(ctx, f, key, span)
	if err != nil {
		return nil, s.fault("get", key, errors.Join(err, f.Close()))
	}
	return r, nil
}

func (s *Store) section(ctx context.Context, f *os.File, key storage.Key, span storage.Span) (*reader, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, storage.ErrNotFound
	}
	n, err := span.Resolve(info.Size())
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(span.Offset, io.SeekStart); err != nil {
		return nil, err
	}
	r := &reader{file: f, want: n, left: n}
	r.fault = func(err error) error { return s.fault("get", key, err) }
	r.ended = func() error { return ended(ctx) }
	return r, nil
}

// Stat implements storage.Store.
func (s *Store) Stat(ctx context.Context, key storage.Key) (storage.Info, error) {
	if err := errors.Join(key.Validate(), ended(ctx)); err != nil {
		return storage.Info{}, s.fault("stat", key, err)
	}
	root, err := s.opened()
	if err != nil {
		return storage.Info{}, s.fault("stat", key, err)
	}
	info, err := root.Stat(string(key))
	if err != nil {
		return storage.Info{}, s.fault("stat", key, s.missing(err))
	}
	if !info.Mode().IsRegular() {
		return storage.Info{}, s.fault("stat", key, storage.ErrNotFound)
	}
	return storage.Info{Key: key, Size: info.Size(), Modified: info.ModTime().UTC()}, nil
}

// Delete implements storage.Store. It also removes the folders that it leaves empty.
func (s *Store) Delete(ctx context.Context, key storage.Key) error {
	if err := errors.Join(key.Validate(), ended(ctx)); err != nil {
		return s.fault("delete", key, err)
	}
	root, err := s.opened()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return s.fault("delete", key, err)
	}
	if info, err := root.Lstat(string(key)); err == nil && info.IsDir() {
		return nil
	}
	err = root.Remove(string(key))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		if err = s.missing(fs.ErrNotExist); errors.Is(err, storage.ErrNotFound) {
			return nil
		}
	}
	if err != nil {
		return s.fault("delete", key, err)
	}
	return s.prune(root, key)
}

// prune brings a removal to disk: it syncs the folder of the key, or removes it if it is empty now and
// goes on with its parent.
func (s *Store) prune(root *os.Root, key storage.Key) error {
	dir := path.Dir(string(key))
	for dir != "." && root.Remove(dir) == nil {
		dir = path.Dir(dir)
	}
	d, err := root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another call removed it meanwhile and syncs its parent
	}
	if err != nil {
		return s.fault("delete", key, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return s.fault("delete", key, err)
	}
	return nil
}

// missing turns "no such file" into ErrNotFound if the root itself is still there, so that a folder
// that was unmounted or removed is not taken for an empty one.
func (s *Store) missing(err error) error {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	root, openErr := s.opened()
	if openErr != nil {
		return openErr
	}
	opened, err := root.Stat(".")
	if err != nil {
		return err
	}
	now, err := os.Stat(s.dir)
	if err != nil || !os.SameFile(opened, now) {
		return errGone
	}
	return storage.ErrNotFound
}

func ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// fault gives err its place and its meaning. What is not known may pass: a full disk is made room on,
// a network file system comes back.
func (s *Store) fault(op string, key storage.Key, err error) error {
	var known *storage.Error
	if errors.As(err, &known) {
		return err
	}
	e := &storage.Error{Op: op, Key: key, Place: s.place, Err: err}
	for _, class := range []struct{ cause, kind error }{
		{context.Canceled, nil},
		{context.DeadlineExceeded, nil},
		{storage.ErrNotFound, nil},
		{storage.ErrExists, nil},
		{storage.ErrKey, nil},
		{storage.ErrSpan, nil},
		{storage.ErrClosed, nil},
		{storage.ErrUploadLost, nil},
		{storage.ErrNoVersions, nil},
		{storage.ErrUnavailable, nil},
		{errNoLink, nil},
		{errParts, nil},
		{syscall.ENOTDIR, errFolder},
		{syscall.EISDIR, errFolder},
		{fs.ErrPermission, storage.ErrDenied},
		{syscall.EROFS, storage.ErrDenied},
	} {
		if errors.Is(err, class.cause) {
			if class.kind != nil {
				e.Err, e.Detail = class.kind, cause(err)
			}
			return e
		}
	}
	e.Err, e.Detail = storage.ErrUnavailable, cause(err)
	if errors.Is(err, fs.ErrNotExist) && (op == "get" || op == "stat") {
		e.Err, e.Detail = storage.ErrNotFound, "" // the root is not there yet
	}
	return e
}

// cause returns the system's word alone, without the path, which the key names already.
func cause(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

var (
	errFolder = fmt.Errorf("%w: a folder and a file of one name", storage.ErrKey)
	errNoLink = errors.New("this file system has no hard links")
	errGone   = fmt.Errorf("%w: the folder is gone", storage.ErrUnavailable)
	errParts  = errors.New("parts do not make an object")
)
