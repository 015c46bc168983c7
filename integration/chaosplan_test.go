package integration_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// fault is a kind of trouble that the fault suite makes.
type fault = string

// Of the store, by the proxy in front of it.
const (
	slowDown        fault = "503 SlowDown"
	internalError   fault = "500"
	errorInside     fault = "200 with an error inside"
	storeHangs      fault = "store hangs"
	resetBeforeBody fault = "200, then reset before the body"
	replyLost       fault = "PUT applied, reply lost"
	latency         fault = "latency"
	bandwidth       fault = "bandwidth"
	expiredToken    fault = "403 ExpiredToken"
	accessDenied    fault = "403 AccessDenied"
	staleRead       fault = "404 for a fresh key"
	staleList       fault = "LIST lags"
	droppedKeys     fault = "LIST drops keys"
	truncatedBody   fault = "GET cut short"
	flippedBit      fault = "bit flip in GET"
)

// Of the wire to the server, by the proxy in front of that.
const (
	wireCut       fault = "connections cut"
	stallToServer fault = "stall towards the server"
	stallToAgent  fault = "stall towards the agent"
	wireDelay     fault = "delay on the wire"
)

// Of the network: every packet vanishes, and nobody is told.
const (
	partedFromServer fault = "network parted from the server"
	partedFromStore  fault = "network parted from the store"
)

// Of the processes.
const (
	agentKilled    fault = "agent killed"
	agentPaused    fault = "agent stopped and continued"
	serverCrash    fault = "server crashes and restarts"
	switchover     fault = "standby promoted, old primary rewound"
	serverSetBack  fault = "old data directory copied back"
	backupMeantime fault = "base backup meanwhile"
)

// storeFaults, wireFaults and partitions last for a while; the others are moments.
var (
	storeFaults = []fault{
		slowDown, internalError, errorInside, storeHangs, resetBeforeBody, replyLost, latency, bandwidth, expiredToken, accessDenied,
		staleRead, staleList, droppedKeys, truncatedBody, flippedBit,
	}
	wireFaults = []fault{stallToServer, stallToAgent, wireDelay}
	partitions = []fault{partedFromServer, partedFromStore}
	moments    = []fault{wireCut, agentKilled, agentPaused, serverCrash, backupMeantime}
	// upheavals take their time, and nothing else happens meanwhile.
	upheavals = []fault{switchover, serverSetBack}
)

// ofReads tells the faults that only a reader meets: the agent reads when it starts.
func ofReads(f fault) bool {
	return slices.Contains([]fault{resetBeforeBody, staleRead, staleList, droppedKeys, truncatedBody, flippedBit}, f)
}

// step is some faults at one time.
type step struct {
	Pause   time.Duration // of calm before it
	For     time.Duration // how long what lasts goes on
	Faults  []fault
	Percent int           // of the requests
	Amount  time.Duration // of latency and of moments that take time
	Rate    int           // bytes a second
	Offset  int64         // of what is cut or flipped
}

func (s step) String() string {
	return fmt.Sprintf("after %v: %s for %v (%d %%, %v, %d B/s, byte %d)", s.Pause, strings.Join(s.Faults, " + "), s.For, s.Percent, s.Amount, s.Rate, s.Offset)
}

// fit tells whether both can happen at a time and both befall something: an agent that cannot reach its server reads nothing from the store,
// and where no packet passes there is nothing else to befall.
func fit(f, g fault) bool {
	both := func(one, other []fault) bool {
		return slices.Contains(one, f) && slices.Contains(other, g) || slices.Contains(one, g) && slices.Contains(other, f)
	}
	server, store := []fault{partedFromServer}, []fault{partedFromStore}
	reads := slices.DeleteFunc(slices.Clone(storeFaults), func(f fault) bool { return !ofReads(f) })
	switch {
	case f == g, slices.Contains(upheavals, f), slices.Contains(upheavals, g):
		return false
	case both(reads, []fault{stallToServer, stallToAgent, partedFromServer}):
		return false
	case both([]fault{storeHangs}, []fault{stallToServer, stallToAgent}): // an agent that lost the server has nothing to put
		return false
	case both(server, wireFaults), both(store, storeFaults):
		return false
	}
	return true
}

// planFaults draws steps from a seed, of about the length asked for: first each kind once, those of store and network with another beside them
// as long as there are others, then two at a time. It is pure.
func planFaults(seed uint64, length time.Duration) []step {
	rng := rand.New(rand.NewPCG(seed, 3))
	var plan []step
	var took time.Duration
	add := func(faults ...fault) {
		s := step{
			Pause: time.Duration(200+rng.IntN(400)) * time.Millisecond, For: time.Duration(400+rng.IntN(800)) * time.Millisecond,
			Faults: faults, Percent: 20 + rng.IntN(50), Amount: time.Duration(50+rng.IntN(400)) * time.Millisecond,
			Rate: 100_000 + rng.IntN(400_000), Offset: rng.Int64N(400),
		}
		if slices.ContainsFunc(faults, func(f fault) bool { return slices.Contains(partitions, f) }) {
			s.For *= 3 // TCP tries again less and less often
		}
		plan = append(plan, s)
		took += s.Pause + s.For
	}
	shuffled := func(kinds ...[]fault) []fault {
		all := slices.Concat(kinds...)
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return all
	}
	beside := shuffled(wireFaults, moments)
	for _, f := range shuffled(storeFaults, partitions, upheavals) {
		i := slices.IndexFunc(beside, func(other fault) bool { return fit(f, other) })
		if i < 0 {
			add(f)
			continue
		}
		add(f, beside[i])
		beside = slices.Delete(beside, i, i+1)
	}
	for _, f := range beside {
		add(f)
	}
	for took < length {
		if rng.IntN(12) == 0 {
			add(upheavals[rng.IntN(len(upheavals))])
			continue
		}
		lasting, other := slices.Concat(storeFaults, wireFaults, partitions), slices.Concat(wireFaults, partitions, moments)
		if f, g := lasting[rng.IntN(len(lasting))], other[rng.IntN(len(other))]; fit(f, g) {
			add(f, g)
		}
	}
	return plan
}

// TestChaosPlan: a seed gives the same plan again, another one another, and each has every kind of fault.
func TestChaosPlan(t *testing.T) {
	for seed := range uint64(20) {
		plan := planFaults(seed, time.Minute)
		if again := planFaults(seed, time.Minute); fmt.Sprint(plan) != fmt.Sprint(again) {
			t.Fatalf("seed %d gives two plans", seed)
		}
		if other := planFaults(seed+1, time.Minute); fmt.Sprint(plan) == fmt.Sprint(other) {
			t.Fatalf("seeds %d and %d give one plan", seed, seed+1)
		}
		for _, f := range slices.Concat(storeFaults, wireFaults, partitions, moments, upheavals) {
			if !slices.ContainsFunc(plan, func(s step) bool { return slices.Contains(s.Faults, f) }) {
				t.Errorf("seed %d has no %q", seed, f)
			}
		}
	}
}
