package copies_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/copies"
	"github.com/pgark/pgark/storage/memory"
)

const asked storage.Key = "fences/1"

var errThere = errors.New("it is there")

// isThere is the question whether a place has the object.
func isThere(ctx context.Context, _ string, place storage.Store) error {
	_, err := storage.ReadAll(ctx, place, asked, 100)
	switch {
	case err == nil:
		return errThere
	case errors.Is(err, storage.ErrNotFound) && !errors.Is(err, storage.ErrNoStore):
		return nil
	}
	return err
}

// TestAsk: that an object is absent counts when as many members as must hold what is put said so, after they held it. One that has it is enough otherwise.
func TestAsk(t *testing.T) {
	s := newSite(t, 2, copies.Options{Required: copies.All()})
	s.state(t, 1, copies.Live)
	if err := storage.Ask(t.Context(), s, isThere); err != nil {
		t.Fatalf("absent: got %v", err)
	}
	s.places[1].Replace(asked, []byte("there"))
	if err := storage.Ask(t.Context(), s, isThere); !errors.Is(err, errThere) {
		t.Errorf("in a copy alone: got %v", err)
	}
}

// TestAskWaitsForWhoMustAnswer: while a member that is required does not answer nothing is said.
func TestAskWaitsForWhoMustAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		required copies.Policy
		answers  bool
	}{
		"all": {copies.All(), false}, "primary": {copies.Primary(), true}, "one": {copies.AtLeast(1), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 2, copies.Options{Required: test.required})
			s.state(t, 1, copies.Live)
			release := s.places[1].Hang(memory.Get, "fences/*")
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			err := storage.Ask(ctx, s, isThere)
			if answered := err == nil; answered != test.answers {
				t.Errorf("got %v, want an answer: %t", err, test.answers)
			}
			release()
			if err := storage.Ask(t.Context(), s, isThere); err != nil {
				t.Errorf("when it answers again: %v", err)
			}
		})
	}
}

// TestAskCountsNoneThatJoins: what a member said before it was brought up to date is no younger than what it got then.
func TestAskCountsNoneThatJoins(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	first := true
	s := newSite(t, 2, copies.Options{Required: copies.All(), CatchUp: func(ctx context.Context, from, to storage.Store, needed func() bool) error {
		if first {
			first = false
			close(began)
			<-goOn
		}
		return catchUp(ctx, from, to, needed)
	}})
	s.places[0].Replace("old", []byte("old"))
	<-began
	answer := make(chan error, 1)
	go func() {
		answer <- storage.Ask(t.Context(), s, isThere)
	}()
	select {
	case err := <-answer:
		t.Fatalf("answered while a member was brought up to date: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	// Somebody takes over by the copy, before it got what the primary alone held.
	s.places[1].Replace(asked, []byte("fence"))
	close(goOn)
	if err := <-answer; !errors.Is(err, errThere) {
		t.Errorf("the copy has the object: got %v", err)
	}
	if !s.has(1, "old") {
		t.Error("answered before the copy held what there was")
	}
}

// TestAskLeavesWhoRefuses: a member that may not be read is left behind, and tried again.
func TestAskLeavesWhoRefuses(t *testing.T) {
	s := newSite(t, 2, copies.Options{Required: copies.All()})
	s.state(t, 1, copies.Live)
	s.places[1].Fail(memory.Get, "fences/*", 1, storage.ErrDenied)
	if err := storage.Ask(t.Context(), s, isThere); err != nil {
		t.Errorf("got %v", err)
	}
	if n := s.places[1].Count(memory.Get, "fences/*"); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
}
