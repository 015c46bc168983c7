package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// fencePlaces are repositories in memory.
func fencePlaces(t *testing.T, n int) (*fencing, []*memory.Store) {
	t.Helper()
	f := &fencing{}
	var stores []*memory.Store
	for i := range n {
		store := memory.New()
		r, err := repository.Create(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		f.places, stores = append(f.places, fencedPlace{string(rune('a' + i)), r.Cluster(42)}), append(stores, store)
	}
	return f, stores
}

func takeOver(directory string) repository.Fence {
	return repository.Fence{Timeline: 1, Change: repository.FenceUp, Time: time.Unix(1_800_000_000, 0), Host: "far", Directory: directory}
}

// TestOneTakesOver guards I5: of two standbys one gets the fence, and the other leaves none behind. The one that got it may call again.
func TestOneTakesOver(t *testing.T) {
	f, _ := fencePlaces(t, 2)
	for range 2 {
		r, err := f.put(t.Context(), takeOver("/one"), false)
		if err != nil || r.Fence.Number != 1 || len(r.In) != 2 {
			t.Fatalf("first: got %+v, %v", r, err)
		}
	}
	var taken *TakenError
	if _, err := f.put(t.Context(), takeOver("/two"), false); !errors.As(err, &taken) || taken.Fence.Directory != "/one" {
		t.Errorf("second: got %v, want a *TakenError", err)
	}
	if err := f.check(t.Context(), takeOver("/one"), []string{"a", "b"}); err != nil {
		t.Error(err)
	}
	// The second reached another repository first, and gives that back.
	g, _ := fencePlaces(t, 1)
	g.places = append(g.places, f.places[1])
	if _, err := g.put(t.Context(), takeOver("/two"), false); !errors.As(err, &taken) || taken.Repository != "b" {
		t.Errorf("second, from elsewhere: got %v", err)
	}
	if err := g.places[0].cluster.Unfenced(t.Context(), 1); err != nil {
		t.Errorf("it left a fence: %v", err)
	}
	// By force it takes over, and the first one finds out before it promotes.
	if r, err := f.put(t.Context(), takeOver("/two"), true); err != nil || r.Fence.Number != 2 {
		t.Errorf("by force: got %+v, %v", r, err)
	}
	if err := f.check(t.Context(), takeOver("/one"), []string{"a", "b"}); !errors.As(err, &taken) || taken.Fence.Directory != "/two" {
		t.Errorf("the first one: got %v", err)
	}
	lift := repository.Fence{Timeline: 1, Change: repository.FenceLift, Time: time.Now()}
	if _, err := f.put(t.Context(), lift, false); err != nil {
		t.Fatal(err)
	}
	if err := f.check(t.Context(), takeOver("/two"), []string{"a"}); !errors.Is(err, ErrLifted) {
		t.Errorf("lifted meanwhile: got %v", err)
	}
}

// TestFenceByHand: it stands for whoever takes over then, and says no less where one does already.
func TestFenceByHand(t *testing.T) {
	f, stores := fencePlaces(t, 2)
	byHand := repository.Fence{Timeline: 1, Change: repository.FenceUp, Time: time.Now(), Host: "desk"}
	if r, err := f.put(t.Context(), byHand, false); err != nil || r.Fence.Number != 1 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if r, err := f.put(t.Context(), takeOver("/one"), false); err != nil || r.Fence.Number != 2 {
		t.Errorf("taking over: got %+v, %v", r, err)
	}
	if r, err := f.put(t.Context(), byHand, false); err != nil || r.Fence.Directory != "/one" {
		t.Errorf("again by hand: got %+v, %v", r, err)
	}
	// A repository that does not answer is named; the first one must.
	stores[1].Fail(memory.Put, "*/fences/*", 0, errors.New("scripted"))
	if r, err := f.put(t.Context(), repository.Fence{Timeline: 2, Change: repository.FenceUp, Time: time.Now(), Host: "desk"}, false); err != nil || len(r.Missing) != 1 || r.Missing[0].Repository != "b" {
		t.Errorf("the second refuses: got %+v, %v", r, err)
	}
	stores[0].Fail(memory.Put, "*/fences/*", 0, errors.New("scripted"))
	if _, err := f.put(t.Context(), repository.Fence{Timeline: 3, Change: repository.FenceUp, Time: time.Now(), Host: "desk"}, false); err == nil {
		t.Error("the first refuses: no error")
	}
}

// TestHooks guards that a hook gets what it is told and no more, and is killed with all that it started when its time is over.
func TestHooks(t *testing.T) {
	t.Setenv("PGPASSWORD", "canary")
	run := runHook(t.Context(), config.Hook{Run: []string{"/bin/sh", "-c", "env"}, Timeout: time.Minute}, []string{"PATH=" + hookPath, "PGARK_TIMELINE=2"})
	if run.Err != nil || !strings.Contains(run.Said, "PGARK_TIMELINE=2") || strings.Contains(run.Said, "canary") {
		t.Errorf("got %+v", run)
	}
	if run := runHook(t.Context(), config.Hook{Run: []string{"/bin/sh", "-c", "echo no >&2; exit 3"}, Timeout: time.Minute}, nil); run.Err == nil || run.Said != "no" {
		t.Errorf("it fails: got %+v", run)
	}
	pid := filepath.Join(t.TempDir(), "pid")
	run = runHook(t.Context(), config.Hook{Run: []string{"/bin/sh", "-c", "sleep 600 & echo $! > " + pid + "; wait"}, Timeout: 300 * time.Millisecond}, []string{"PATH=" + hookPath})
	if run.Err == nil || !strings.Contains(run.Err.Error(), "killed after 300ms") {
		t.Errorf("it hangs: got %+v", run)
	}
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); syscall.Kill(child, 0) == nil && !zombie(child); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d, which the hook started, lives", child)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if run := runHook(ended, config.Hook{Run: []string{"/bin/true"}, Timeout: time.Minute}, nil); run.Err == nil {
		t.Error("it ran after the end")
	}
}

// zombie reports whether a process ended and waits for its parent.
func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// TestSilentIsNotDead guards I5: a repository that holds nothing where the standby is, because its copy is behind or the primary idle, tells by what came before that the primary
// lives; one that holds nothing at all does not say that it is dead.
func TestSilentIsNotDead(t *testing.T) {
	const mib = 1 << 20
	f, stores := fencePlaces(t, 1)
	p := &promotion{fencing: f, options: PromoteOptions{Silence: 30 * time.Second}}
	p.reach.Timeline, p.state.Replayed = 1, 3*mib
	var alive *AliveError
	if err := p.alive(t.Context()); !errors.As(err, &alive) || alive.Again != 0 {
		t.Errorf("of an empty repository: %v", err)
	}
	began := time.Now()
	now := began
	stores[0].SetClock(func() time.Time { return now })
	e, err := repository.NewWALEncoder(compression.Zstd()).Encode(repository.WALObject{
		SystemID: 42, Timeline: 1, SegmentSize: mib, Kind: repository.KindSegment, Range: wal.Range{Start: 2 * mib, End: 3 * mib},
	}, make([]byte, mib))
	if err == nil {
		err = f.places[0].cluster.PutWAL(t.Context(), e)
	}
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]bool{time.Second: true, 29 * time.Second: true, 31 * time.Second: false} {
		now = began.Add(after)
		if err := p.alive(t.Context()); errors.As(err, &alive) != want {
			t.Errorf("%v after its last segment: %v", after, err)
		}
	}
}

// TestFencedEverywhere guards I5: a fence goes into every repository that answers, the one that the standby follows first. With the primary's gone with its region, that one is a copy.
func TestFencedEverywhere(t *testing.T) {
	folder := t.TempDir()
	c := config.Cluster{Copies: []config.Copy{{Name: "dr", URL: "file://" + folder + "/dr"}, {Name: "near", URL: "file://" + folder + "/near"}}}
	c.Repo.URL = "file://" + folder + "/home"
	c.Standby.From = "dr"
	stores, err := openPlaces(t.Context(), c, StoreOptions{Patience: Brief})
	if err != nil {
		t.Fatal(err)
	}
	first, err := repository.Create(t.Context(), stores.all[1].store)
	if err == nil {
		err = first.PutBack(t.Context(), stores.all[2].store)
	}
	if err == nil {
		err = first.Cluster(42).PutHistory(t.Context(), 2, []byte("1\t0/5000000\tno recovery target specified\n"))
	}
	if err != nil {
		t.Fatal(err)
	}
	f, err := openFencing(t.Context(), c, 42, StoreOptions{Patience: Brief})
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.put(t.Context(), takeOver("/one"), false)
	if err != nil || strings.Join(r.In, " ") != "dr near" || len(r.Missing) != 1 || r.Missing[0].Repository != config.Primary {
		t.Errorf("got %+v, %v", r, err)
	}
}
