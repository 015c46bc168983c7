package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/pgark/pgark/storage"
)

// upload keeps its parts in temporary files. A part goes where it belongs in the first file as long as
// the parts have one size, which is the usual case; a part that does not fit has a file of its own
// until Commit puts it in its place.
type upload struct {
	store *Store
	root  *os.Root
	key   storage.Key
	// supersedes says that it takes the place of an object, which is kept under another name.
	supersedes bool

	mu    sync.Mutex
	main  *temp // nil after the end
	size  int64 // of each part in main; 0 before the first part
	parts map[int]part
	done  bool // committed
}

type part struct {
	length int64
	own    *temp // nil: in main, at (n-1)*size
}

// Begin implements storage.Store.
func (s *Store) Begin(ctx context.Context, key storage.Key) (storage.Upload, error) {
	if err := errors.Join(key.Validate(), ended(ctx)); err != nil {
		return nil, s.fault("begin", key, err)
	}
	root, err := s.created()
	if err != nil {
		return nil, s.fault("begin", key, err)
	}
	f, err := s.temp(root, key)
	if err != nil {
		return nil, s.fault("begin", key, err)
	}
	return &upload{store: s, root: root, key: key, main: f, parts: make(map[int]part)}, nil
}

// Supersede implements storage.Superseder. What is superseded gets a second name in its folder, which begins with ".pgark-kept-", so that it
// is no key.
func (s *Store) Supersede(ctx context.Context, key storage.Key) (storage.Upload, error) {
	u, err := s.Begin(ctx, key)
	if err != nil {
		return nil, err
	}
	made, ok := u.(*upload)
	if !ok {
		return nil, s.fault("supersede", key, errors.ErrUnsupported)
	}
	made.supersedes = true
	return made, nil
}

// Part implements storage.Upload.
func (u *upload) Part(ctx context.Context, n int, body []byte) error {
	err := ended(ctx)
	if n < 1 || n > storage.MaxParts {
		err = fmt.Errorf("%w: part %d is not within 1 to %d", errParts, n, storage.MaxParts)
	}
	if err == nil {
		err = u.write(n, body)
	}
	if err != nil {
		return u.store.fault("part", u.key, err)
	}
	return nil
}

func (u *upload) write(n int, body []byte) error {
	main, offset, err := u.place(n, int64(len(body)))
	if err != nil {
		return err
	}
	p := part{length: int64(len(body))}
	if offset >= 0 {
		_, err = main.WriteAt(body, offset)
	} else {
		p.own, err = u.separate(body)
	}
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.main == nil {
		if p.own == nil {
			return storage.ErrClosed
		}
		return errors.Join(storage.ErrClosed, p.own.discard(u.root))
	}
	before := u.parts[n].own
	u.parts[n] = p
	if before != nil {
		return before.discard(u.root)
	}
	return nil
}

// place returns where part n goes in main, or -1 if it does not fit there.
func (u *upload) place(n int, length int64) (*temp, int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.main == nil {
		return nil, 0, storage.ErrClosed
	}
	if u.size == 0 {
		u.size = length
	}
	if length > u.size || length == 0 {
		return u.main, -1, nil
	}
	return u.main, int64(n-1) * u.size, nil
}

func (u *upload) separate(body []byte) (*temp, error) {
	f, err := u.store.temp(u.root, u.key)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(body); err != nil {
		return nil, errors.Join(err, f.discard(u.root))
	}
	return f, nil
}

// Commit implements storage.Upload.
func (u *upload) Commit(ctx context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done {
		return nil
	}
	if err := u.commit(ctx); err != nil {
		return u.store.fault("commit", u.key, err)
	}
	u.done = true
	if err := u.drop(); err != nil {
		return u.store.fault("commit", u.key, err)
	}
	return nil
}

// commit is called with u.mu held.
func (u *upload) commit(ctx context.Context) error {
	if u.main == nil {
		return storage.ErrClosed
	}
	length, inPlace, err := u.check()
	if err != nil {
		return err
	}
	if !inPlace {
		if err := u.join(ctx); err != nil {
			return err
		}
	}
	if err := errors.Join(ended(ctx), u.main.Truncate(length)); err != nil {
		return err
	}
	if u.supersedes {
		return u.store.supersede(u.root, u.main, u.key)
	}
	return u.store.publish(u.root, u.main, u.key)
}

// check returns the length of the object and whether main holds all of it in order.
func (u *upload) check() (length int64, inPlace bool, err error) {
	inPlace = true
	for n := 1; n <= len(u.parts); n++ {
		p, ok := u.parts[n]
		switch {
		case !ok:
			return 0, false, fmt.Errorf("%w: part %d of %d is missing", errParts, n, len(u.parts))
		case n < len(u.parts) && p.length < storage.MinPart:
			return 0, false, fmt.Errorf("%w: part %d has %d bytes, at least %d", errParts, n, p.length, storage.MinPart)
		case p.own != nil || length != int64(n-1)*u.size:
			inPlace = false
		}
		length += p.length
	}
	if len(u.parts) == 0 {
		return 0, false, fmt.Errorf("%w: none was sent", errParts)
	}
	return length, inPlace, nil
}

// join writes the parts in order into a new file, which becomes main with one part.
func (u *upload) join(ctx context.Context) error {
	whole, err := u.store.temp(u.root, u.key)
	if err != nil {
		return err
	}
	var length int64
	for n := 1; n <= len(u.parts) && err == nil; n++ {
		p := u.parts[n]
		from := io.NewSectionReader(u.main, int64(n-1)*u.size, p.length)
		if p.own != nil {
			from = io.NewSectionReader(p.own, 0, p.length)
		}
		var copied int64
		copied, err = io.Copy(whole, from)
		if err == nil && copied != p.length {
			err = storage.ShortBody(copied, p.length)
		}
		err = errors.Join(err, ended(ctx))
		length += p.length
	}
	if err != nil {
		return errors.Join(err, whole.discard(u.root))
	}
	err = u.drop()
	u.main, u.size, u.parts = whole, length, map[int]part{1: {length: length}}
	return err
}

// Abort implements storage.Upload.
func (u *upload) Abort(context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.drop(); err != nil {
		return u.store.fault("abort", u.key, err)
	}
	return nil
}

// drop removes the temporary files; it is called with u.mu held.
func (u *upload) drop() error {
	var errs []error
	if u.main != nil {
		errs = append(errs, u.main.discard(u.root))
	}
	for _, p := range u.parts {
		if p.own != nil {
			errs = append(errs, p.own.discard(u.root))
		}
	}
	u.main, u.parts = nil, nil
	return errors.Join(errs...)
}
