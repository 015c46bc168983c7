package agent

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/copies"
	"github.com/pgark/pgark/storage/memory"
)

// TestFenceUnderAnOldNumber guards I5: a fence was put by hand and lifted while a copy did not take records. Who takes over by that copy alone, then, puts its fence under a number that the other
// repository has long had. The agent must see it before it confirms anything.
func TestFenceUnderAnOldNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, dr := memory.New(), memory.New()
		first, err := repository.Create(t.Context(), home)
		if err == nil {
			err = first.PutBack(t.Context(), dr)
		}
		if err != nil {
			t.Fatal(err)
		}
		both, err := copies.New([]copies.Member{{Name: "home", Store: home}, {Name: "dr", Store: dr}}, copies.Options{
			Required: copies.All(), CatchUp: StoreOptions{}.catchUp, Marker: repository.MarkerKey,
		})
		if err != nil {
			t.Fatal(err)
		}
		go both.Run(t.Context())
		r, err := repository.Open(t.Context(), both)
		if err != nil {
			t.Fatal(err)
		}
		agent := r.Cluster(42)
		if err := agent.Unfenced(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		for number, change := range []repository.FenceChange{repository.FenceUp, repository.FenceLift} {
			byHand := repository.Fence{Timeline: 1, Number: number + 1, Change: change, Time: time.Now(), Host: "desk"}
			if err := first.Cluster(42).PutFence(t.Context(), byHand); err != nil {
				t.Fatal(err)
			}
		}
		if err := agent.Unfenced(t.Context(), 1); err != nil {
			t.Fatalf("lifted: %v", err)
		}
		far, err := repository.Open(t.Context(), dr)
		if err != nil {
			t.Fatal(err)
		}
		taken := takeOver("/one")
		taken.Number = 1
		if err := far.Cluster(42).PutFence(t.Context(), taken); err != nil {
			t.Fatal(err)
		}
		var fenced *repository.FencedError
		if err := agent.Unfenced(t.Context(), 1); !errors.As(err, &fenced) || fenced.Fence.Directory != "/one" {
			t.Errorf("a standby took over by the copy: the agent confirms: %v", err)
		}
	})
}

// TestGivingBackLiftsNoOther guards I5: a standby that was beaten takes back the fence that it had put, and never that of a third one which had taken that over by force meanwhile, and may be
// promoted by now.
func TestGivingBackLiftsNoOther(t *testing.T) {
	f, stores := fencePlaces(t, 2)
	if _, err := (&fencing{places: f.places[1:]}).put(t.Context(), takeOver("/two"), false); err != nil {
		t.Fatal(err)
	}
	stores[1].Alter("*/fences/*", 1, func(body []byte) []byte { // the second's is just being read
		if _, err := (&fencing{places: f.places[:1]}).put(t.Context(), takeOver("/three"), true); err != nil {
			t.Error(err)
		}
		return body
	})
	var taken *TakenError
	if _, err := f.put(t.Context(), takeOver("/one"), false); !errors.As(err, &taken) {
		t.Errorf("got %v, want a *TakenError", err)
	}
	if newest, err := f.places[0].cluster.NewestFence(t.Context(), 1); err != nil || !newest.Stands() || newest.Directory != "/three" {
		t.Errorf("the third one's fence became %+v, %v", newest, err)
	}
}

// TestHostsOfOneName guards I5: of two standbys on hosts of one name, with data directories of one name, one takes over.
func TestHostsOfOneName(t *testing.T) {
	f, _ := fencePlaces(t, 1)
	first, second := takeOver("/var/lib/postgresql/data"), takeOver("/var/lib/postgresql/data")
	first.Machine, second.Machine = "0a", "0b"
	for range 2 {
		if _, err := f.put(t.Context(), first, false); err != nil {
			t.Fatal(err)
		}
	}
	var taken *TakenError
	if _, err := f.put(t.Context(), second, false); !errors.As(err, &taken) {
		t.Errorf("second: got %v, want a *TakenError", err)
	}
	if err := f.check(t.Context(), second, []string{"a"}); !errors.As(err, &taken) {
		t.Errorf("second, before it promotes: got %v, want a *TakenError", err)
	}
}

// TestGivingBackByHand: a standby that was beaten leaves a person's fence as it was.
func TestGivingBackByHand(t *testing.T) {
	f, _ := fencePlaces(t, 2)
	byHand := repository.Fence{Timeline: 1, Change: repository.FenceUp, Time: time.Now(), Host: "desk", Note: "maintenance"}
	if _, err := (&fencing{places: f.places[:1]}).put(t.Context(), byHand, false); err != nil {
		t.Fatal(err)
	}
	if _, err := (&fencing{places: f.places[1:]}).put(t.Context(), takeOver("/two"), false); err != nil {
		t.Fatal(err)
	}
	var taken *TakenError
	if _, err := f.put(t.Context(), takeOver("/one"), false); !errors.As(err, &taken) {
		t.Errorf("got %v, want a *TakenError", err)
	}
	if newest, err := f.places[0].cluster.NewestFence(t.Context(), 1); err != nil || newest.Number != 3 || !newest.Stands() || newest.Note != byHand.Note {
		t.Errorf("the fence by hand became %+v, %v", newest, err)
	}
}
