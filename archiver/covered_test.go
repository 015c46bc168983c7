package archiver

import (
	"testing"
	"time"

	"github.com/pgark/pgark/wal"
)

// TestCovered holds which instant is covered: never a later one than that at which the server sent the end that is durable now.
func TestCovered(t *testing.T) {
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	type step struct {
		read    time.Duration // when a message was read, after start; or none came
		sent    time.Duration // when the server sent it, by its clock
		end     wal.LSN       // that it named; 0 if none came
		durable wal.LSN
		want    time.Duration // covered then; -1 if nothing is
	}
	const s = time.Second
	tests := []struct {
		name  string
		steps []step
	}{
		{"nothing is durable", []step{{1 * s, 1 * s, 100, 50, -1}}},
		{"as it comes", []step{{1 * s, 1 * s, 100, 50, -1}, {0, 0, 0, 100, 1 * s}, {3 * s, 3 * s, 100, 100, 3 * s}}},
		{"the oldest that is not durable counts", []step{{1 * s, 1 * s, 100, 0, -1}, {2 * s, 2 * s, 200, 0, -1}, {3 * s, 3 * s, 300, 150, 1 * s}, {4 * s, 4 * s, 400, 250, 2 * s}}},
		{"an end that is named again holds later too", []step{{1 * s, 1 * s, 100, 0, -1}, {5 * s, 5 * s, 100, 0, -1}, {0, 0, 0, 100, 5 * s}}},
		{"a server whose clock is an hour ahead", []step{{1 * s, 1*s + time.Hour, 100, 100, 1 * s}, {3 * s, 3*s + time.Hour, 100, 100, 3 * s}}},
		{"a message that lay unread for minutes tells of when it was sent", []step{
			{1 * s, 1 * s, 100, 100, 1 * s}, {200 * s, 2 * s, 200, 100, 1 * s}, {0, 0, 0, 200, 2 * s}, {201 * s, 201 * s, 900, 200, 2 * s}, {0, 0, 0, 900, 201 * s},
		}},
		{"a clock that was set back is noticed after a while", []step{
			{1 * s, 1 * s, 100, 100, 1 * s},
			{10 * s, -50 * s, 100, 100, 1 * s},
			{400 * s, 340 * s, 100, 100, 340 * s},
			{800 * s, 740 * s, 100, 100, 800 * s},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var c covered
			for i, at := range test.steps {
				if at.end != 0 {
					c.heard(at.end, wal.FromGo(start.Add(at.sent)), start.Add(at.read))
				}
				got, want := c.durable(at.durable), start.Add(at.want)
				if at.want < 0 {
					want = time.Time{}
				}
				if !got.Equal(want) {
					t.Errorf("step %d: got %s, want %s", i, got, want)
				}
			}
		})
	}
}

// TestCoveredIsBounded: a store that takes nothing for a day costs precision and no memory.
func TestCoveredIsBounded(t *testing.T) {
	var c covered
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	const n = 10 * mostEnds
	for i := range n {
		at := start.Add(time.Duration(i) * endsApart)
		c.heard(wal.LSN(i+1), wal.FromGo(at), at)
		if len(c.ends) > mostEnds {
			t.Fatalf("%d ends are kept", len(c.ends))
		}
	}
	for _, durable := range []int{n / 3, n / 2, n - 1} {
		most := start.Add(time.Duration(durable) * endsApart)
		if got := c.durable(wal.LSN(durable)); got.After(most) || most.Sub(got) > 10*time.Second {
			t.Errorf("durable up to what was sent at %s: got %s", most, got)
		}
	}
}
