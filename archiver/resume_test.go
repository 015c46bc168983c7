package archiver

import (
	"errors"
	"reflect"
	"testing"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

func TestResume(t *testing.T) {
	const mb = 1 << 20
	one := wal.History{Timeline: 1}
	three := wal.History{Timeline: 3, Parents: []wal.Switch{{Timeline: 1, At: 5*mb + 500}, {Timeline: 2, At: 8 * mb}}}
	cover := func(tli wal.TimelineID, spans ...wal.Range) archived {
		return archived{newest: tli, coverage: repository.Coverage{Timeline: tli, Spans: spans}}
	}
	span := func(start, end wal.LSN) wal.Range { return wal.Range{Start: start, End: end} }
	tests := []struct {
		name    string
		flush   wal.LSN
		history wal.History
		have    archived
		want    resumption
	}{
		{"empty repository", 5*mb + 77, one, archived{}, resumption{1, 5 * mb, 5 * mb, 5 * mb, true}},
		{"empty repository, third timeline", 9 * mb, three, archived{}, resumption{3, 9 * mb, 9 * mb, 9 * mb, true}},
		{"within a segment", 9 * mb, one, cover(1, span(2*mb, 5*mb+leastCompared)), resumption{1, 5 * mb, 5*mb + leastCompared, 5 * mb, false}},
		{"little of a segment: compare the one before too", 9 * mb, one, cover(1, span(2*mb, 5*mb+9)), resumption{1, 4 * mb, 5*mb + 9, 5 * mb, false}},
		{"little of the first segment", 9 * mb, one, cover(1, span(5*mb, 5*mb+9)), resumption{1, 5 * mb, 5*mb + 9, 5 * mb, false}},
		{"at a segment's end: compare the one before", 9 * mb, one, cover(1, span(2*mb, 5*mb)), resumption{1, 4 * mb, 5 * mb, 5 * mb, false}},
		{"nothing before to compare", 9 * mb, one, cover(1, span(4*mb+8, 5*mb)), resumption{1, 5 * mb, 5 * mb, 5 * mb, false}},
		{"the server has exactly this", 5 * mb, one, cover(1, span(2*mb, 5*mb)), resumption{1, 4 * mb, 5 * mb, 5 * mb, false}},
		{"a hole that uploads in flight left is filled", 9 * mb, one, cover(1, span(mb, 2*mb+7), span(3*mb, 4*mb), span(5*mb, 6*mb)), resumption{1, mb, 2*mb + 7, 2 * mb, false}},
		{"the farthest such hole", 900 * mb, one, cover(1, span(mb, 100*mb), span(101*mb, 165*mb)), resumption{1, 99 * mb, 100 * mb, 100 * mb, false}},
		{"a hole further back is an old one", 900 * mb, one, cover(1, span(mb, 100*mb), span(101*mb, 166*mb)), resumption{1, 165 * mb, 166 * mb, 166 * mb, false}},
		{"an ancestor with a hole before the switch", 9 * mb, three, cover(1, span(2*mb, 4*mb), span(5*mb, 5*mb+500)), resumption{1, 3 * mb, 4 * mb, 4 * mb, false}},
		{"a span within a segment is sent again", 9 * mb, one, cover(1, span(3*mb+5, 3*mb+10)), resumption{1, 3 * mb, 3 * mb, 3 * mb, false}},
		{"ancestor to be finished", 9 * mb, three, cover(1, span(2*mb, 4*mb+9)), resumption{1, 3 * mb, 4*mb + 9, 4 * mb, false}},
		{"ancestor complete", 9 * mb, three, cover(1, span(2*mb, 5*mb+500)), resumption{2, 5 * mb, 5 * mb, 5 * mb, true}},
		{"more than the switch", 9 * mb, three, cover(1, span(2*mb, 7*mb)), resumption{2, 5 * mb, 5 * mb, 5 * mb, true}},
		{"switch at a segment's border", 9 * mb, three, cover(2, span(5*mb, 8*mb)), resumption{3, 8 * mb, 8 * mb, 8 * mb, true}},
		{"a branch that the server never knew", 9 * mb, three, archived{newest: 2, coverage: cover(1, span(2*mb, 4*mb+9)).coverage}, resumption{1, 3 * mb, 4*mb + 9, 4 * mb, false}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := postgres.System{Timeline: test.history.Timeline, Flush: test.flush, SegmentSize: mb}
			got, err := resume(server, test.history, test.have)
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}

	server := postgres.System{Timeline: 3, Flush: 9 * mb, SegmentSize: mb}
	var (
		ahead    *AheadError
		gap      *GapError
		timeline *TimelineError
	)
	if _, err := resume(server, three, cover(3, span(8*mb, 9*mb+1))); !errors.As(err, &ahead) || ahead.Archive != 9*mb+1 {
		t.Errorf("server set back: got %v", err)
	}
	if _, err := resume(server, three, cover(3, span(8*mb, 8*mb+5), span(9*mb, 10*mb))); !errors.As(err, &ahead) || ahead.Archive != 10*mb {
		t.Errorf("server set back behind a hole: got %v", err)
	}
	if _, err := resume(server, three, cover(4, span(8*mb, 9*mb))); !errors.As(err, &timeline) {
		t.Errorf("younger timeline in the archive: got %v", err)
	}
	if _, err := resume(server, three, archived{newest: 3, known: 4, coverage: cover(3, span(8*mb, 9*mb)).coverage}); !errors.As(err, &timeline) || timeline.Archive != 4 {
		t.Errorf("the history file of a younger timeline in the archive: got %v", err)
	}
	if _, err := resume(server, three, archived{newest: 2}); !errors.As(err, &gap) || gap.To != 9*mb {
		t.Errorf("nothing of the server's history: got %v", err)
	}
	for _, err := range []error{ahead, gap, timeline, &ForeignError{}, &SegmentSizeError{}, &ConflictError{}, &HistoryError{}, &RestoredError{}, &timelineEndError{}} {
		if err.Error() == "" || fence(err) == ended(err) {
			t.Errorf("%T %q: fence %v", err, err, fence(err))
		}
	}
}

func TestCompareEarly(t *testing.T) {
	const mb = 1 << 20
	one := wal.History{Timeline: 1}
	two := wal.History{Timeline: 2, Parents: []wal.Switch{{Timeline: 1, At: 5*mb + 300_000}}}
	border := wal.History{Timeline: 2, Parents: []wal.Switch{{Timeline: 1, At: 5 * mb}}}
	span := func(start, end wal.LSN) wal.Range { return wal.Range{Start: start, End: end} }
	tests := []struct {
		name    string
		history wal.History
		tli     wal.TimelineID // archived
		spans   []wal.Range
		want    early
	}{
		{"nothing is archived", one, 0, nil, early{}},
		{"the stream compares", one, 1, []wal.Range{span(2*mb, 5*mb+9)}, early{}},
		{"the ancestor is to be finished: the stream compares", two, 1, []wal.Range{span(2*mb, 4*mb+9)}, early{}},
		{"the ancestor is complete", two, 1, []wal.Range{span(2*mb, 5*mb+300_000)}, early{1, span(2*mb, 5*mb+300_000), []wal.LSN{5 * mb}, true}},
		{"more than complete", two, 1, []wal.Range{span(2*mb, 7*mb)}, early{1, span(2*mb, 5*mb+300_000), []wal.LSN{5 * mb}, true}},
		{"a switch at a border", border, 1, []wal.Range{span(2*mb, 5*mb)}, early{1, span(2*mb, 5*mb), []wal.LSN{4 * mb}, true}},
		{
			"little in the segment of the switch",
			wal.History{Timeline: 2, Parents: []wal.Switch{{Timeline: 1, At: 5*mb + 9}}},
			1,
			[]wal.Range{span(2*mb, 6*mb)},
			early{1, span(2*mb, 5*mb+9), []wal.LSN{4 * mb, 5 * mb}, true},
		},
		{
			"and nothing before it",
			wal.History{Timeline: 2, Parents: []wal.Switch{{Timeline: 1, At: 5*mb + 9}}},
			1,
			[]wal.Range{span(5*mb, 6*mb)},
			early{1, span(5*mb, 5*mb+9), []wal.LSN{5 * mb}, true},
		},
		{"behind a hole", one, 1, []wal.Range{span(mb, 2*mb+7), span(3*mb, 4*mb), span(5*mb, 6*mb)}, early{1, span(2*mb+7, 6*mb), []wal.LSN{2 * mb}, false}},
		{"behind a hole and past the switch", two, 1, []wal.Range{span(mb, 2*mb+7), span(3*mb, 4*mb), span(5*mb, 6*mb)}, early{1, span(2*mb+7, 5*mb+300_000), []wal.LSN{2 * mb}, true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			have := archived{newest: test.tli, coverage: repository.Coverage{Timeline: test.tli, Spans: test.spans}}
			server := postgres.System{Timeline: test.history.Timeline, Flush: 9 * mb, SegmentSize: mb}
			from, err := resume(server, test.history, have)
			if err != nil {
				t.Fatal(err)
			}
			if got := compareEarly(mb, test.history, have, from); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}
