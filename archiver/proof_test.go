package archiver

import (
	"testing"
	"time"

	"github.com/pgark/pgark/wal"
)

// Three keepalives in a row with the same end, and no WAL between them, prove the time of the first.
func TestProof(t *testing.T) {
	type step struct {
		data     bool
		end      wal.LSN
		time     wal.Time
		received wal.LSN
		proved   wal.Time
	}
	alive := func(end wal.LSN, at wal.Time, proved wal.Time) step {
		return step{end: end, time: at, received: 100, proved: proved}
	}
	data := func(proved wal.Time) step { return step{data: true, proved: proved} }
	tests := []struct {
		name  string
		steps []step
	}{
		{"two are not enough", []step{alive(100, 1, 0), alive(100, 2, 0)}},
		{"three are, and each one after moves on", []step{alive(100, 1, 0), alive(100, 2, 0), alive(100, 3, 1), alive(100, 4, 2)}},
		{"WAL between", []step{alive(100, 1, 0), alive(100, 2, 0), data(0), alive(100, 3, 0), alive(100, 4, 0), alive(100, 5, 3)}},
		{"the server has more than came", []step{alive(100, 1, 0), alive(100, 2, 0), alive(101, 3, 0), alive(100, 4, 0), alive(100, 5, 0)}},
		{"what was proved stays", []step{alive(100, 1, 0), alive(100, 2, 0), alive(100, 3, 1), data(1), alive(100, 9, 1)}},
		{"a server without a clock", []step{alive(100, 0, 0), alive(100, 0, 0), alive(100, 0, 0)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var p proof
			for i, s := range test.steps {
				if s.data {
					p.data()
				} else {
					p.alive(keepalive{end: s.end, time: s.time}, s.received)
				}
				if p.proved.time != s.proved {
					t.Fatalf("step %d: got %d, want %d", i+1, p.proved.time, s.proved)
				}
			}
		})
	}
}

func TestBeats(t *testing.T) {
	const second = 1_000_000
	at := func(s int) time.Time { return epoch().Add(time.Duration(s) * time.Second) }
	b := beats{every: 10 * time.Second}
	tests := []struct {
		name    string
		proved  keepalive
		durable wal.LSN
		now     int
		final   bool
		want    bool
	}{
		{"nothing proved", keepalive{}, 100, 0, false, false},
		{"not durable yet", keepalive{100, 5 * second}, 99, 6, false, false},
		{"first", keepalive{100, 5 * second}, 100, 6, false, true},
		{"too soon", keepalive{100, 9 * second}, 100, 10, false, false},
		{"the last before the end", keepalive{100, 9 * second}, 100, 10, true, true},
		{"the same second again", keepalive{100, 9*second + 5}, 100, 30, false, false},
		{"next", keepalive{100, 19 * second}, 100, 30, false, true},
	}
	for _, test := range tests {
		f := b.due
		if test.final {
			f = b.final
		}
		if got, ok := f(test.proved, test.durable, at(test.now)); ok != test.want || ok && got != test.proved {
			t.Errorf("%s: got %v, %v, want %v", test.name, got, ok, test.want)
		}
	}
}
