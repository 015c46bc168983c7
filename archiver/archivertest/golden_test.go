package archivertest_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/pgark/pgark/archiver/archivertest"
)

// golden is a recording of a whole run of integration's TestChaos (seed 2): a PostgreSQL 15 behind one proxy, two required repositories behind
// two others, agents that were killed, a fence, a promotion. PGARK_TEST_RECORDINGS keeps the recordings of such runs.
func golden(t *testing.T) *archivertest.Recording {
	t.Helper()
	f, err := os.Open("testdata/chaos.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read
	r, err := archivertest.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestGolden guards I1, I2 and I8 offline: nothing in the recording is broken, and it is no empty one.
func TestGolden(t *testing.T) {
	v, err := archivertest.Judge(golden(t))
	if err != nil {
		t.Fatal(err)
	}
	if v.Streams < 10 || v.Told < 100 || v.Advances < 50 || v.Held < 100 {
		t.Errorf("the recording holds too little: %+v", v)
	}
}

// TestGoldenSpoilt: the judge finds what is done to the recording, so that its silence about the true one says something.
func TestGoldenSpoilt(t *testing.T) {
	events := golden(t).Events()
	half := events[len(events)/2].At
	withoutHalf := func(repo string) []archivertest.Event {
		return slices.DeleteFunc(slices.Clone(events), func(e archivertest.Event) bool {
			return e.Kind == archivertest.Held && e.Repository == repo && e.At > half
		})
	}
	sooner := slices.Clone(events) // confirmed before it was durable
	for i := range sooner {
		if sooner[i].Kind == archivertest.Told {
			sooner[i].At -= 300 * time.Millisecond
		}
	}
	ahead := slices.Clone(events)
	for i := range ahead {
		if ahead[i].Kind == archivertest.Told && ahead[i].Flush != 0 {
			ahead[i].Flush += 1 << 20
		}
	}
	skip := slices.Clone(events)
	for i := range skip {
		if skip[i].Kind == archivertest.Stream && skip[i].At > half {
			skip[i].LSN += 32 << 20
		}
	}
	for name, spoilt := range map[string][]archivertest.Event{
		"the primary lacks what it was told": withoutHalf("primary"), "the copy does": withoutHalf("dr"),
		"told sooner": sooner, "told more": ahead, "streams that skip": skip,
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			r := archivertest.NewRecording(golden(t).SegmentSize, "primary", "dr")
			for _, e := range spoilt {
				r.AddAt(began.Add(e.At), e)
			}
			if v, err := archivertest.Judge(r); err == nil {
				t.Errorf("the judge finds nothing broken: %+v", v)
			}
		})
	}
}
