package repository_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

const (
	fenceKey1 = storage.Key("7312345678901234567/fences/00000001.0001.json")
	fenceText = `{
 "format": 1,
 "system_id": "7312345678901234567",
 "timeline": 1,
 "number": 1,
 "change": "fence",
 "time": "2026-11-22T02:00:00Z",
 "host": "far",
 "directory": "/var/lib/postgresql/17/main",
 "lsn": "0/5000148",
 "note": "region lost",
 "sha256": "bac467040b2b6cbb897921793ee6459c4b35dbe66455b60c5a9481eeee768cc0"}
`
)

func fence(number int, change repository.FenceChange) repository.Fence {
	return repository.Fence{
		Timeline: 1, Number: number, Change: change, Time: time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC), Host: "far",
		Directory: "/var/lib/postgresql/17/main", LSN: 0x5000148, Note: "region lost",
	}
}

func mustFence(t *testing.T, c *repository.Cluster, f repository.Fence) {
	t.Helper()
	if err := c.PutFence(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// TestFences: the newest record of a timeline counts, also to who has read older ones, and one number is one server's.
func TestFences(t *testing.T) {
	c, store := cluster(t)
	if err := c.Unfenced(t.Context(), 1); err != nil {
		t.Fatalf("no record: %v", err)
	}
	other := openCluster(t, store)
	mustFence(t, other, fence(1, repository.FenceUp))
	mustFence(t, other, fence(1, repository.FenceUp)) // what a lost answer makes
	if got := string(store.Bytes(fenceKey1)); got != fenceText {
		t.Errorf("the record has another form than before:\n%s", got)
	}
	second := fence(1, repository.FenceUp)
	second.Host = "farther"
	if err := other.PutFence(t.Context(), second); !errors.Is(err, storage.ErrExists) {
		t.Errorf("another server's under the same number: got %v, want ErrExists", err)
	}
	var fenced *repository.FencedError
	if err := c.Unfenced(t.Context(), 1); !errors.As(err, &fenced) || fenced.Fence != fence(1, repository.FenceUp) {
		t.Errorf("fenced: got %v", err)
	}
	if err := c.Unfenced(t.Context(), 2); err != nil {
		t.Errorf("another timeline: %v", err)
	}
	mustFence(t, other, fence(2, repository.FenceLift))
	if err := c.Unfenced(t.Context(), 1); err != nil {
		t.Errorf("lifted: %v", err)
	}
	store.Reset()
	if err := c.Unfenced(t.Context(), 1); err != nil {
		t.Error(err)
	}
	if n := len(store.Calls()); n != 1 {
		t.Errorf("%d requests to learn that there is nothing new, want 1: %v", n, store.Calls())
	}
	mustFence(t, other, fence(3, repository.FenceUp))
	if err := c.Unfenced(t.Context(), 1); !errors.As(err, &fenced) || fenced.Fence.Number != 3 {
		t.Errorf("fenced again: got %v", err)
	}
}

// TestUnreadableFence: a record that cannot be read is not taken for none.
func TestUnreadableFence(t *testing.T) {
	for name, text := range map[string]string{
		"changed": fenceText[:40] + "X" + fenceText[41:], "cut": fenceText[:len(fenceText)/2], "empty": "",
	} {
		c, store := cluster(t)
		store.Replace(fenceKey1, []byte(text))
		var corrupt *repository.CorruptError
		if err := c.Unfenced(t.Context(), 1); !errors.As(err, &corrupt) {
			t.Errorf("%s: got %v, want a *CorruptError", name, err)
		}
	}
	c, store := cluster(t)
	store.Fail(memory.Get, "*fences*", 1, errScripted)
	if err := c.Unfenced(t.Context(), 1); !errors.Is(err, errScripted) {
		t.Errorf("no answer: got %v", err)
	}
	for _, f := range []repository.Fence{{}, fence(0, repository.FenceUp), fence(1, "off"), fence(10_000, repository.FenceUp)} {
		if err := c.PutFence(t.Context(), f); err == nil {
			t.Errorf("%+v was put", f)
		}
	}
}

// TestCatchUpFences: a copy gets them, and is none where it holds another under the same number: who asks for the next one would never see it. Of a timeline
// that others came after it does not matter any more.
func TestCatchUpFences(t *testing.T) {
	from, to := whole(t), whole(t)
	far, near := openCluster(t, from), openCluster(t, to)
	f := fence(1, repository.FenceUp)
	f.Timeline = 2 // the newest there
	mustFence(t, far, f)
	if err := repository.CatchUp(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	if got, err := near.NewestFence(t.Context(), 2); err != nil || got != f {
		t.Errorf("copied: got %+v, %v", got, err)
	}
	f.Number, f.Change = 2, repository.FenceLift
	mustFence(t, far, f)
	f.Change, f.Host = repository.FenceUp, "farther"
	mustFence(t, near, f)
	if err := repository.CatchUp(t.Context(), from, to); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("two under one number: got %v, want ErrConflict", err)
	}
	if err := far.PutHistory(t.Context(), 3, []byte("1\t0/2800000\tx\n\n2\t0/2900000\tx\n")); err != nil {
		t.Fatal(err)
	}
	if err := repository.CatchUp(t.Context(), from, to); err != nil {
		t.Errorf("of an older timeline: %v", err)
	}
}

// step is one thing that one of the parties does, with nothing between its parts.
type step func()

// merges calls f with each order in which the steps of several parties can follow each other.
func merges(parties [][]step, order []step, f func([]step)) {
	ended := true
	for i, steps := range parties {
		if len(steps) == 0 {
			continue
		}
		ended = false
		rest := append([][]step{}, parties...)
		rest[i] = steps[1:]
		merges(rest, append(order[:len(order):len(order)], steps[0]), f)
	}
	if ended {
		f(order)
	}
}

// takeover is one run of the protocol of docs/decisions/0022: two uploads of an agent, of what its first repository holds and the second must hold too, and a standby
// that follows the second and reaches no other.
type takeover struct {
	t         *testing.T
	near, far *repository.Cluster
	objects   []*repository.EncodedWAL
	asked     []bool // of each object, that nobody had taken over
	stopped   bool   // the agent
	confirmed int    // objects
	replayed  map[wal.LSN]bool
	promoted  bool
}

func newTakeover(t *testing.T, objects []*repository.EncodedWAL) *takeover {
	x := &takeover{t: t, objects: objects, asked: make([]bool, len(objects)), replayed: map[wal.LSN]bool{}}
	x.near, _ = cluster(t)
	x.far, _ = cluster(t)
	return x
}

func (x *takeover) put(c *repository.Cluster, i int) step {
	return func() {
		if err := c.PutWAL(x.t.Context(), x.objects[i]); err != nil {
			x.t.Fatal(err)
		}
	}
}

func (x *takeover) ask(c *repository.Cluster, i int) step {
	return func() {
		err := c.Unfenced(x.t.Context(), 1)
		var fenced *repository.FencedError
		if err != nil && !errors.As(err, &fenced) {
			x.t.Fatal(err)
		}
		x.asked[i], x.stopped = err == nil, x.stopped || err != nil
	}
}

// confirm tells the server of all that may be confirmed, in order.
func (x *takeover) confirm() {
	for !x.stopped && x.confirmed < len(x.asked) && x.asked[x.confirmed] {
		x.confirmed++
	}
}

// confirmAtOnce is the mutant: what is put is confirmed.
func (x *takeover) confirmAtOnce(i int) step {
	return func() { x.asked[i] = true; x.confirm() }
}

func (x *takeover) fence() {
	if err := x.far.PutFence(x.t.Context(), fence(1, repository.FenceUp)); err != nil {
		x.t.Fatal(err)
	}
}

func (x *takeover) replay() {
	for e, err := range x.far.ListWAL(x.t.Context(), 1, 0) {
		if err != nil {
			x.t.Fatal(err)
		}
		x.replayed[e.Range.Start] = true
	}
}

func (x *takeover) promote() { x.promoted = true }

// lost reports whether a commit was confirmed that the promoted standby does not have.
func (x *takeover) lost() bool {
	for _, o := range x.objects[:x.confirmed] {
		if !x.replayed[o.Header.Range.Start] {
			return true
		}
	}
	return false
}

// TestTakeover guards I5 and I7: in whatever order an agent that still archives and a standby that takes over do what they do, no commit returned on the agent's
// word that the promoted standby lacks. Each other order of the steps of one of them loses one.
func TestTakeover(t *testing.T) {
	objects := make([]*repository.EncodedWAL, 2)
	for i := range objects {
		start := wal.LSN(40*mib + 1000*i)
		span := r(start, start+1000)
		objects[i] = encode(t, compression.Zstd(), object(repository.KindPiece, 1, segSize, span), walBytes(span))
	}
	agent := func(x *takeover, i int) []step {
		return []step{x.put(x.far, i), x.ask(x.far, i), x.confirm}
	}
	standby := func(x *takeover) []step { return []step{x.fence, x.replay, x.promote} }
	for _, test := range []struct {
		name    string
		agent   func(*takeover, int) []step
		standby func(*takeover) []step
		safe    bool
	}{
		{"as it is", agent, standby, true},
		{"confirm before ask", func(x *takeover, i int) []step {
			return []step{x.put(x.far, i), x.confirmAtOnce(i), x.ask(x.far, i)}
		}, standby, false},
		{"ask before it is durable", func(x *takeover, i int) []step {
			return []step{x.ask(x.far, i), x.put(x.far, i), x.confirm}
		}, standby, false},
		{"ask the other repository", func(x *takeover, i int) []step {
			return []step{x.put(x.far, i), x.ask(x.near, i), x.confirm}
		}, standby, false},
		{"list before the fence", agent, func(x *takeover) []step { return []step{x.replay, x.fence, x.promote} }, false},
		{"no fence", agent, func(x *takeover) []step { return []step{x.replay, x.promote} }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			runs, losses, all := 0, 0, 0
			// The steps belong to the run that is now: each order begins anew.
			var now *takeover
			bind := func(of func(*takeover) []step) []step {
				var steps []step
				for i := range of(newTakeover(t, objects)) {
					steps = append(steps, func() { of(now)[i]() })
				}
				return steps
			}
			parties := [][]step{
				bind(func(x *takeover) []step { return test.agent(x, 0) }),
				bind(func(x *takeover) []step { return test.agent(x, 1) }),
				bind(test.standby),
			}
			if testing.Short() {
				parties[1] = nil
			}
			merges(parties, nil, func(order []step) {
				now = newTakeover(t, objects)
				runs++
				for _, do := range order {
					do()
				}
				if now.lost() {
					losses++
				}
				if now.confirmed > 0 && now.promoted {
					all++
				}
			})
			if test.safe != (losses == 0) {
				t.Errorf("%d of %d orders lose a commit", losses, runs)
			}
			if all == 0 {
				t.Error("nothing was ever confirmed")
			}
			t.Logf("%d orders, %d with a commit confirmed, %d lose one", runs, all, losses)
		})
	}
}
