package file

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/pgark/pgark/storage"
)

// tempPrefix begins the name of each temporary file. No key has a name that begins with a dot.
const tempPrefix = ".pgark-tmp-"

// keptPrefix begins the name of each file that was superseded; the last part of its key follows, and a random end.
const keptPrefix = ".pgark-kept-"

// temp is a temporary file that has no other name yet.
type temp struct {
	*os.File
	name string // relative to the root
}

// tempName returns a new name for a temporary file beside key: in the same folder, so that the link
// stays within one file system.
func tempName(key storage.Key) string {
	random := make([]byte, 12)
	_, _ = rand.Read(random) // never fails, crypto/rand
	return path.Join(path.Dir(string(key)), tempPrefix+hex.EncodeToString(random))
}

// Put implements storage.Store.
func (s *Store) Put(ctx context.Context, key storage.Key, body []byte) error {
	if err := errors.Join(key.Validate(), ended(ctx)); err != nil {
		return s.fault("put", key, err)
	}
	root, err := s.created()
	if err != nil {
		return s.fault("put", key, err)
	}
	if _, err := root.Lstat(string(key)); err == nil {
		return s.fault("put", key, s.taken(root, key))
	}
	f, err := s.temp(root, key)
	if err != nil {
		return s.fault("put", key, err)
	}
	_, err = f.Write(body)
	if err == nil {
		err = ended(ctx)
	}
	if err == nil {
		err = s.publish(root, f, key)
	}
	if err = errors.Join(err, f.discard(root)); err != nil {
		return s.fault("put", key, err)
	}
	return nil
}

// temp creates the temporary file for key and the folders it needs.
func (s *Store) temp(root *os.Root, key storage.Key) (*temp, error) {
	name := tempName(key)
	gone := errGone
	for range 10 { // a Delete may remove the folder, empty as it still is
		f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
		if !errors.Is(err, fs.ErrNotExist) {
			return &temp{f, name}, err
		}
		err = root.MkdirAll(path.Dir(name), dirMode)
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist):
			gone = errGone
		case errors.Is(err, fs.ErrExist):
			gone = err // a folder that another Put made at this moment and a Delete took away, or a file in the way
		default:
			return nil, err
		}
	}
	return nil, gone
}

// publish brings the temporary file to disk and gives it its name. The file is not closed.
func (s *Store) publish(root *os.Root, f *temp, key storage.Key) error {
	if err := f.Sync(); err != nil {
		return err
	}
	err := root.Link(f.name, string(key))
	switch {
	case errors.Is(err, fs.ErrExist) && !f.is(root, key):
		return s.taken(root, key)
	case errors.Is(err, fs.ErrExist):
		// A publish before this one got as far as the link.
	case errors.Is(err, syscall.EPERM), errors.Is(err, errors.ErrUnsupported):
		return errNoLink
	case err != nil:
		return err
	}
	return s.syncDirs(root, path.Dir(string(key)))
}

// supersede brings the temporary file to disk and gives it the name of key, in the place of the file that has it. That one gets another name
// before, so that it has a name at every moment. The temporary file loses its own name and is not closed.
func (s *Store) supersede(root *os.Root, f *temp, key storage.Key) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if f.is(root, key) {
		return s.syncDirs(root, path.Dir(string(key))) // a commit before this one got as far
	}
	random := make([]byte, 6)
	_, _ = rand.Read(random) // never fails, crypto/rand
	kept := path.Join(path.Dir(string(key)), keptPrefix+path.Base(string(key))+"-"+hex.EncodeToString(random))
	switch err := root.Link(string(key), kept); {
	case errors.Is(err, fs.ErrNotExist): // nothing lies there
	case errors.Is(err, syscall.EPERM), errors.Is(err, errors.ErrUnsupported):
		return errNoLink
	case err != nil:
		return err
	}
	if err := root.Rename(f.name, string(key)); err != nil {
		return err
	}
	return s.syncDirs(root, path.Dir(string(key)))
}

// is tells whether key already names the file.
func (f *temp) is(root *os.Root, key storage.Key) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := root.Lstat(string(key))
	return err == nil && os.SameFile(mine, named)
}

// taken returns ErrExists once the entry that takes the name is on disk for certain: it may come from
// a Put that failed, or crashed, between its link and its fsync.
func (s *Store) taken(root *os.Root, key storage.Key) error {
	info, err := root.Lstat(string(key))
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errFolder
	}
	if err := s.syncDirs(root, path.Dir(string(key))); err != nil {
		return err
	}
	return storage.ErrExists
}

// syncDirs brings the entries of dir to disk, and the entry of dir in its parent and so on up to the
// root unless this process has done that for this very folder before.
func (s *Store) syncDirs(root *os.Root, dir string) error {
	info, err := syncDir(root, dir)
	if err != nil {
		return err
	}
	if dir == "." || s.isSynced(dir, info) {
		return nil
	}
	if err := s.syncDirs(root, path.Dir(dir)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.synced[dir] = info
	return nil
}

func (s *Store) isSynced(dir string, info os.FileInfo) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, ok := s.synced[dir]
	return ok && os.SameFile(before, info)
}

func syncDir(root *os.Root, dir string) (os.FileInfo, error) {
	d, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	info, err := d.Stat()
	return info, errors.Join(err, d.Sync(), d.Close())
}

// discard closes a temporary file and removes its name.
func (f *temp) discard(root *os.Root) error {
	err := f.Close()
	if removeErr := root.Remove(f.name); !errors.Is(removeErr, fs.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return err
}
