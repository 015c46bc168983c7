package copies_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/copies"
	"github.com/pgark/pgark/storage/memory"
)

func TestUploadWithoutAFailingCopy(t *testing.T) {
	for _, op := range []memory.Op{memory.Begin, memory.Part, memory.Commit} {
		t.Run(string(op), func(t *testing.T) {
			s := newSite(t, 2, copies.Options{})
			s.allLive(t)
			s.places[1].Fail(op, "", 1, storage.ErrDenied)
			u, err := s.Begin(t.Context(), "large")
			if err != nil {
				t.Fatal(err)
			}
			if err := u.Part(t.Context(), 1, []byte("content")); err != nil {
				t.Fatal(err)
			}
			if err := u.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			await(t, func() bool {
				return string(s.places[1].Bytes("large")) == "content" && s.Status()[1].State == copies.Live
			},
				func() string { return "the copy to get the object from the primary" })
		})
	}
}

// TestNeeded: what brings a member up to date is told whether calls wait for that member.
func TestNeeded(t *testing.T) {
	for _, test := range []struct {
		required copies.Policy
		n        int
		want     bool
	}{
		{copies.All(), 2, true}, {copies.AtLeast(2), 2, true}, {copies.Primary(), 2, false},
	} {
		told := make(chan bool, 1)
		s := newSite(t, test.n, copies.Options{Required: test.required, CatchUp: func(ctx context.Context, from, to storage.Store, needed func() bool) error {
			select {
			case told <- needed():
			default:
			}
			return catchUp(ctx, from, to, needed)
		}})
		s.state(t, 1, copies.Live)
		if got := <-told; got != test.want {
			t.Errorf("%s of %d: needed %t, want %t", test.required, test.n, got, test.want)
		}
	}
}

// TestUploadsDoNotHoldUpAJoin: large objects are made while a copy is brought up to date. It goes on with what it was at, and
// gets them before it is live.
func TestUploadsDoNotHoldUpAJoin(t *testing.T) {
	copied, release := make(chan struct{}), make(chan struct{})
	var passes, broken atomic.Int32
	s := newSite(t, 2, copies.Options{CatchUp: func(ctx context.Context, from, to storage.Store, needed func() bool) error {
		err := catchUp(ctx, from, to, needed)
		if passes.Add(1) > 1 {
			return err
		}
		close(copied)
		select {
		case <-release:
		case <-ctx.Done():
			broken.Add(1)
		}
		return err
	}})
	<-copied
	for _, key := range []storage.Key{"large1", "large2"} {
		u, err := s.Begin(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(u.Part(t.Context(), 1, []byte("content")), u.Commit(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Status()[1]; st.State != copies.Joining {
		t.Errorf("beside the uploads: %+v", st)
	}
	close(release)
	s.state(t, 1, copies.Live)
	if !s.has(1, "large1") || !s.has(1, "large2") || broken.Load() > 0 {
		t.Errorf("live with large1 %t, large2 %t, after %d copies that were broken off", s.has(1, "large1"), s.has(1, "large2"), broken.Load())
	}
}

// TestUploadThatACopyRefusesLate: the answer of the copy comes after Commit has returned.
func TestUploadThatACopyRefusesLate(t *testing.T) {
	s := newSite(t, 2, copies.Options{})
	s.allLive(t)
	release := s.places[1].Hang(memory.Commit, "")
	s.places[1].Fail(memory.Commit, "", 1, storage.ErrDenied)
	u, err := s.Begin(t.Context(), "large")
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Part(t.Context(), 1, []byte("content")); err != nil {
		t.Fatal(err)
	}
	if err := u.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	release()
	caughtUp := func() bool {
		return string(s.places[1].Bytes("large")) == "content" && s.Status()[1].State == copies.Live
	}
	await(t, caughtUp, func() string { return "the copy to get the object from the primary" })
}

func TestUploadThatTheOnlyRequiredMemberRefuses(t *testing.T) {
	s := newSite(t, 2, copies.Options{})
	s.allLive(t)
	s.places[0].Fail(memory.Part, "", 1, storage.ErrDenied)
	u, err := s.Begin(t.Context(), "large")
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Part(t.Context(), 1, []byte("content")); !errors.Is(err, storage.ErrDenied) {
		t.Errorf("part: got %v, want ErrDenied", err)
	}
	if err := u.Abort(t.Context()); err != nil {
		t.Error(err)
	}
}

// late is a store that reads the body of a part only when it is told to, whoever waits for it.
type late struct {
	storage.Store

	read chan struct{}
	got  chan string
}

type lateUpload struct {
	storage.Upload

	store late
}

func (l late) Begin(ctx context.Context, key storage.Key) (storage.Upload, error) {
	u, err := l.Store.Begin(ctx, key)
	return lateUpload{u, l}, err
}

func (u lateUpload) Part(ctx context.Context, _ int, body []byte) error {
	<-u.store.read
	u.store.got <- string(body)
	return context.Cause(ctx)
}

// TestBodyOfAPart: the caller uses the memory of a part again while a copy that was dropped, or whose caller gave up, still reads it. The race detector tells too.
func TestBodyOfAPart(t *testing.T) {
	for name, part := range map[string]func(ctx context.Context, u storage.Upload, body []byte) error{
		"after the grace": func(ctx context.Context, u storage.Upload, body []byte) error { return u.Part(ctx, 1, body) },
		"the caller gives up": func(ctx context.Context, u storage.Upload, body []byte) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			if err := u.Part(ctx, 1, body); !errors.Is(err, context.Canceled) {
				return fmt.Errorf("got %w", err)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := late{read: make(chan struct{}), got: make(chan string, 1)}
				s := &site{places: []*memory.Store{memory.New(), memory.New()}}
				s.places[0].Replace(marker, []byte("marker"))
				s.runStores(t, copies.Options{}, func(i int) storage.Store {
					if i == 0 {
						return s.places[i]
					}
					l.Store = s.places[i]
					return l
				})
				s.allLive(t)
				u, err := s.Begin(t.Context(), "large")
				if err != nil {
					t.Fatal(err)
				}
				body := []byte("content")
				if err := part(t.Context(), u, body); err != nil {
					t.Fatal(err)
				}
				copy(body, "another")
				close(l.read)
				synctest.Wait()
				if got := <-l.got; got != "content" {
					t.Errorf("the copy read %q", got)
				}
			})
		})
	}
}
