package integration_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/pgark/pgark/archiver/archivertest"
	"github.com/pgark/pgark/wal"
)

// losses says how old the oldest acknowledged commit was that the death of all hosts would have lost, for deaths at instants drawn from the
// times at which nothing was wrong, with each repository alone; and how far the second repository was behind the first.
type losses struct {
	of  map[string][]time.Duration // by repository
	lag []time.Duration            // from a byte's arrival in the first repository to its arrival in the second
}

func (l *losses) add(more losses) {
	if l.of == nil {
		l.of = map[string][]time.Duration{}
	}
	for name, ages := range more.of {
		l.of[name] = append(l.of[name], ages...)
	}
	l.lag = append(l.lag, more.lag...)
}

func (l losses) String() string {
	text := ""
	for _, name := range []string{"primary", "dr"} {
		text += fmt.Sprintf("loss with %s alone %s; ", name, spread(l.of[name]))
	}
	return text + "second region behind the first " + spread(l.lag)
}

// spread is the distribution of some lengths of time.
func spread(d []time.Duration) string {
	if len(d) == 0 {
		return "unknown"
	}
	d = slices.Sorted(slices.Values(d))
	at := func(p int) time.Duration { return d[min(len(d)-1, len(d)*p/100)].Round(time.Millisecond) }
	return fmt.Sprintf("p50 %v, p99 %v, max %v of %d", at(50), at(99), d[len(d)-1].Round(time.Millisecond), len(d))
}

// caughtUp is how old the oldest commit that is not archived may be at the beginning of a pause that counts as calm: one interval of pieces,
// and the time of a PUT.
const caughtUp = 1500 * time.Millisecond

// lost computes the losses of a run from what was recorded.
func (c *chaos) lost(ends []txEnd) losses {
	t := c.t
	reached := map[string][]archivertest.Position{}
	if _, err := archivertest.JudgeEach(c.recording, func(p archivertest.Position) {
		reached[p.Repository] = append(reached[p.Repository], p)
	}); err != nil {
		return losses{} // judged already
	}
	commits := c.ackedCommits(ends)
	l := losses{of: map[string][]time.Duration{}}
	rng := rand.New(rand.NewPCG(1, 1))
	recovering := 0
	for _, calm := range c.calm {
		// What a fault held up is archived within seconds of its end: that is no steady state yet.
		if lossAt(calm.from, reached["primary"], commits) > caughtUp || lossAt(calm.from, reached["dr"], commits) > caughtUp {
			recovering++
			continue
		}
		for range int((calm.to - calm.from) / (10 * time.Millisecond)) {
			death := calm.from + time.Duration(rng.Int64N(int64(calm.to-calm.from)))
			for name, positions := range reached {
				l.of[name] = append(l.of[name], lossAt(death, positions, commits))
			}
		}
	}
	for _, p := range reached["primary"] {
		if !slices.ContainsFunc(c.calm, func(s span) bool { return s.from <= p.At && p.At < s.to }) {
			continue
		}
		second := reached["dr"]
		i := sort.Search(len(second), func(i int) bool { return second[i].End >= p.End })
		if i < len(second) {
			l.lag = append(l.lag, max(0, second[i].At-p.At))
		}
	}
	t.Logf("had all hosts died at instants of calm: %s; the archive still caught up at the beginning of %d pauses of %d, which are left out",
		l, recovering, len(c.calm))
	if len(l.of["primary"]) == 0 || len(l.lag) == 0 {
		t.Error("no calm instant was found to compute a loss for")
	}
	return l
}

// commit is one that a client was told of.
type commit struct {
	told time.Duration // in the recording
	end  wal.LSN
}

// ackedCommits finds the end of each acknowledged commit in the server's WAL, and returns them as they were told.
func (c *chaos) ackedCommits(ends []txEnd) []commit {
	byXID := make(map[uint32]wal.LSN, len(ends))
	for _, e := range ends {
		if e.commit {
			byXID[e.xid] = e.end
		}
	}
	var commits []commit
	for _, tr := range c.load.entries() {
		if end, ok := byXID[uint32(tr.xid)]; ok && tr.class == acked {
			commits = append(commits, commit{told: c.recording.Since(tr.after), end: end})
		}
	}
	slices.SortFunc(commits, func(a, b commit) int { return int(a.told - b.told) })
	return commits
}

// lossAt is the age of the oldest commit that a repository does not give back when all else is lost at an instant.
func lossAt(death time.Duration, positions []archivertest.Position, commits []commit) time.Duration {
	held := sort.Search(len(positions), func(i int) bool { return positions[i].At > death })
	var end wal.LSN
	if held > 0 {
		end = positions[held-1].End
	}
	for i := sort.Search(len(commits), func(i int) bool { return commits[i].told > death }) - 1; i >= 0; i-- {
		// Commits are told in about the order of their WAL: a second of what is safe before ends the search.
		if commits[i].end <= end {
			continue
		}
		oldest := death - commits[i].told
		for j := i - 1; j >= 0 && death-commits[j].told < oldest+time.Second; j-- {
			if commits[j].end > end {
				oldest = death - commits[j].told
			}
		}
		return oldest
	}
	return 0
}

// TestLossAt holds the computation against cases worked out by hand.
func TestLossAt(t *testing.T) {
	const ms = time.Millisecond
	positions := []archivertest.Position{{At: 100 * ms, End: 1000}, {At: 500 * ms, End: 2000}}
	commits := []commit{{told: 50 * ms, end: 900}, {told: 200 * ms, end: 1500}, {told: 210 * ms, end: 1400}, {told: 600 * ms, end: 2500}}
	for _, tt := range []struct{ death, want time.Duration }{
		{150 * ms, 0}, {300 * ms, 100 * ms}, {499 * ms, 299 * ms}, {550 * ms, 0}, {650 * ms, 50 * ms}, {60 * ms, 10 * ms},
	} {
		if got := lossAt(tt.death, positions, commits); got != tt.want {
			t.Errorf("death at %v: got %v, want %v", tt.death, got, tt.want)
		}
	}
}
