package file

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pgark/pgark/storage"
)

// List implements storage.Store. A folder is read when the list comes to it.
func (s *Store) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		fail := func(err error) { yield(storage.Info{}, s.fault("list", prefix, err)) }
		root, err := s.toList(ctx, prefix)
		if err != nil {
			fail(err)
			return
		}
		if root == nil {
			return
		}
		w := walk{root: root, prefix: string(prefix), after: string(after)}
		w.yield = func(info storage.Info) (bool, error) {
			if !yield(info, nil) {
				return false, nil // and is not called again, whatever has become of ctx
			}
			return true, ended(ctx)
		}
		if _, err := w.dir(""); err != nil {
			fail(err)
		}
	}
}

// toList returns the root for a list of prefix; nil if there is no folder yet, and so nothing in it.
func (s *Store) toList(ctx context.Context, prefix storage.Key) (*os.Root, error) {
	if err := errors.Join(prefix.ValidatePrefix(), ended(ctx)); err != nil {
		return nil, err
	}
	root, err := s.opened()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if err == nil {
		err = s.present()
	}
	return root, err
}

// present returns nil if the folder is the one that was opened.
func (s *Store) present() error {
	if err := s.missing(fs.ErrNotExist); !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	return nil
}

// walk goes through the tree in key order.
type walk struct {
	root   *os.Root
	prefix string
	after  string
	yield  func(storage.Info) (more bool, err error)
}

// dir walks the folder whose keys begin with base, which is empty or ends with a slash. It returns
// false when the reader of the list wants no more.
func (w *walk) dir(base string) (bool, error) {
	names, err := w.names(base)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		key := base + name
		if !w.wanted(key) {
			continue
		}
		var more bool
		if strings.HasSuffix(name, "/") {
			more, err = w.dir(key)
		} else {
			more, err = w.file(key)
		}
		if err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// wanted tells whether key, or for a folder a key in it, can be in the list.
func (w *walk) wanted(key string) bool {
	if !strings.HasSuffix(key, "/") {
		return strings.HasPrefix(key, w.prefix) && key > w.after
	}
	if !strings.HasPrefix(key, w.prefix) && !strings.HasPrefix(w.prefix, key) {
		return false
	}
	return key > w.after || strings.HasPrefix(w.after, key)
}

func (w *walk) file(key string) (bool, error) {
	info, err := w.root.Lstat(key)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // deleted since the folder was read
	}
	if err != nil {
		return false, err
	}
	return w.yield(storage.Info{Key: storage.Key(key), Size: info.Size(), Modified: info.ModTime().UTC()})
}

// names returns the entries of a folder that are parts of keys, folders with a slash at the end, in
// byte order. With the slash that is the order of the keys: "a.zst" comes before "a/b", although the
// name "a" comes before "a.zst".
func (w *walk) names(base string) ([]string, error) {
	d, err := w.root.Open(path.Join(".", base))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil // deleted since its parent was read
	}
	if err != nil {
		return nil, err
	}
	entries, err := d.ReadDir(-1)
	// A folder that is deleted while it is open answers "no such file" (getdents(2)); it was empty then.
	if err := errors.Join(ignoreMissing(err), d.Close()); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		name := entry.Name()
		if storage.Key(base+name).Validate() != nil {
			continue
		}
		switch {
		case entry.IsDir():
			names = append(names, name+"/")
		case entry.Type().IsRegular():
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Clean removes temporary files that a crash left behind and that were last written before the given
// time, and returns how many. A write that is still running must not be older than that.
func (s *Store) Clean(ctx context.Context, before time.Time) (int, error) {
	root, err := s.opened()
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, s.fault("clean", "", err)
	}
	n := 0
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err = errors.Join(err, ended(ctx)); err != nil {
			return err
		}
		if !entry.Type().IsRegular() || !strings.HasPrefix(entry.Name(), tempPrefix) {
			return nil
		}
		info, err := entry.Info()
		if err != nil || !info.ModTime().Before(before) {
			return ignoreMissing(err)
		}
		n++
		return ignoreMissing(root.Remove(name))
	})
	if err != nil {
		return n, s.fault("clean", "", err)
	}
	return n, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
