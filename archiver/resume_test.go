package archiver

import (
	"errors"
	"reflect"
	"testing"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

const mb = 1 << 20

func span(start, end wal.LSN) wal.Range { return wal.Range{Start: start, End: end} }

// cover is an archive of one timeline.
func cover(tli wal.TimelineID, spans ...wal.Range) archived {
	return archived{newest: tli, coverage: repository.Coverage{Timeline: tli, Spans: spans}}
}

// lost adds recorded gaps to an archive.
func (a archived) lost(tli wal.TimelineID, gaps ...wal.Range) archived {
	for _, g := range gaps {
		a.gaps = append(a.gaps, repository.Gap{Timeline: tli, Range: g})
	}
	return a
}

// oneToThree is the history of timeline 3.
func oneToThree() wal.History {
	return wal.History{Timeline: 3, Parents: []wal.Switch{{Timeline: 1, At: 5*mb + 500}, {Timeline: 2, At: 8 * mb}}}
}

func TestResume(t *testing.T) {
	one, three := wal.History{Timeline: 1}, oneToThree()
	at := func(tli wal.TimelineID, start, durable, fallback, held, limit wal.LSN) resumption {
		return resumption{timeline: tli, start: start, durable: durable, fallback: fallback, held: held, limit: limit}
	}
	fresh := func(tli wal.TimelineID, start, held wal.LSN) resumption {
		r := resumption{timeline: tli, start: start, durable: start, fallback: start, fresh: true, held: held}
		if tli == 2 {
			r.limit = 8 * mb // where it was left
		}
		return r
	}
	anew := func(r resumption) resumption {
		r.anew = true
		return r
	}
	tests := []struct {
		name    string
		flush   wal.LSN
		history wal.History
		have    archived
		want    resumption
	}{
		{"empty repository", 5*mb + 77, one, archived{}, fresh(1, 5*mb, 0)},
		{"empty repository, third timeline", 9 * mb, three, archived{}, fresh(3, 9*mb, 0)},
		{"empty repository, a slot from before", 5*mb + 77, one, archived{kept: 3*mb + 5}, fresh(1, 3*mb, 0)},
		{"empty repository, a slot of this moment", 5*mb + 77, one, archived{kept: 5*mb + 70}, fresh(1, 5*mb, 0)},
		{"empty repository, a slot from an ancestor", 9*mb + 1, three, archived{kept: 6 * mb}, fresh(3, 8*mb, 0)},
		{"within a segment", 9 * mb, one, cover(1, span(2*mb, 5*mb+leastCompared)), at(1, 5*mb, 5*mb+leastCompared, 5*mb, 5*mb+leastCompared, 0)},
		{"little of a segment: compare the one before too", 9 * mb, one, cover(1, span(2*mb, 5*mb+9)), at(1, 4*mb, 5*mb+9, 5*mb, 5*mb+9, 0)},
		{"little of the first segment", 9 * mb, one, cover(1, span(5*mb, 5*mb+9)), at(1, 5*mb, 5*mb+9, 5*mb, 5*mb+9, 0)},
		{"at a segment's end: compare the one before", 9 * mb, one, cover(1, span(2*mb, 5*mb)), at(1, 4*mb, 5*mb, 5*mb, 5*mb, 0)},
		{"nothing before to compare", 9 * mb, one, cover(1, span(4*mb+8, 5*mb)), at(1, 5*mb, 5*mb, 5*mb, 5*mb, 0)},
		{"the server has exactly this", 5 * mb, one, cover(1, span(2*mb, 5*mb)), at(1, 4*mb, 5*mb, 5*mb, 5*mb, 0)},
		{"a hole that uploads in flight left is filled", 9 * mb, one, cover(1, span(mb, 2*mb+7), span(3*mb, 4*mb), span(5*mb, 6*mb)), at(1, mb, 2*mb+7, 2*mb, 2*mb+7, 3*mb)},
		{"the farthest such hole", 900 * mb, one, cover(1, span(mb, 100*mb), span(101*mb, 165*mb)), at(1, 99*mb, 100*mb, 100*mb, 100*mb, 101*mb)},
		{"a hole further back is an old one", 900 * mb, one, cover(1, span(mb, 100*mb), span(101*mb, 166*mb)), at(1, 165*mb, 166*mb, 166*mb, 166*mb, 0)},
		{"an ancestor with a hole before the switch", 9 * mb, three, cover(1, span(2*mb, 4*mb), span(5*mb, 5*mb+500)), at(1, 3*mb, 4*mb, 4*mb, 4*mb, 5*mb)},
		{"a span within a segment is sent again", 9 * mb, one, cover(1, span(3*mb+5, 3*mb+10)), at(1, 3*mb, 3*mb, 3*mb, 3*mb+10, 0)},
		{"ancestor to be finished", 9 * mb, three, cover(1, span(2*mb, 4*mb+9)), at(1, 3*mb, 4*mb+9, 4*mb, 4*mb+9, 5*mb+500)},
		{"ancestor complete", 9 * mb, three, cover(1, span(2*mb, 5*mb+500)), fresh(2, 5*mb, 5*mb+500)},
		{"more than the switch", 9 * mb, three, cover(1, span(2*mb, 7*mb)), fresh(2, 5*mb, 5*mb+500)},
		{"switch at a segment's border", 9 * mb, three, cover(2, span(5*mb, 8*mb)), fresh(3, 8*mb, 8*mb)},
		{"a branch that the server never knew", 9 * mb, three, archived{newest: 2, coverage: cover(1, span(2*mb, 4*mb+9)).coverage}, at(1, 3*mb, 4*mb+9, 4*mb, 4*mb+9, 5*mb+500)},
		{"nothing of the server's history", 9 * mb, three, archived{newest: 2}, anew(fresh(3, 8*mb, 8*mb))},

		// What is recorded as lost is not to be filled.
		{"a gap at the end", 9 * mb, one, cover(1, span(2*mb, 4*mb+9)).lost(1, span(4*mb+9, 7*mb)), at(1, 7*mb, 7*mb, 7*mb, 7*mb, 0)},
		{"a gap, and then WAL", 9 * mb, one, cover(1, span(2*mb, 4*mb+9), span(7*mb, 7*mb+5)).lost(1, span(4*mb+9, 7*mb)), at(1, 7*mb, 7*mb+5, 7*mb, 7*mb+5, 0)},
		{"a gap, and then a segment to compare", 9 * mb, one, cover(1, span(2*mb, 4*mb+9), span(7*mb, 8*mb)).lost(1, span(4*mb+9, 7*mb)), at(1, 7*mb, 8*mb, 8*mb, 8*mb, 0)},
		{"a gap and a hole behind it", 9 * mb, one, cover(1, span(2*mb, 4*mb), span(6*mb, 7*mb)).lost(1, span(4*mb, 5*mb)), at(1, 5*mb, 5*mb, 5*mb, 5*mb, 6*mb)},
		{"a hole and a gap behind it", 9 * mb, one, cover(1, span(2*mb, 4*mb), span(6*mb, 7*mb)).lost(1, span(7*mb, 8*mb)), at(1, 3*mb, 4*mb, 4*mb, 4*mb, 6*mb)},
		{"gaps that touch", 9 * mb, one, cover(1, span(2*mb, 4*mb)).lost(1, span(4*mb, 5*mb), span(5*mb, 6*mb)), at(1, 6*mb, 6*mb, 6*mb, 6*mb, 0)},
		{"gaps that overlap", 9 * mb, one, cover(1, span(2*mb, 4*mb)).lost(1, span(4*mb, 6*mb), span(5*mb, 7*mb), span(4*mb, 5*mb)), at(1, 7*mb, 7*mb, 7*mb, 7*mb, 0)},
		{"bytes of a gap that are there all the same", 9 * mb, one, cover(1, span(2*mb, 4*mb), span(5*mb, 6*mb)).lost(1, span(4*mb, 7*mb)), at(1, 7*mb, 7*mb, 7*mb, 7*mb, 0)},
		{"all of a gap is there, and more", 9 * mb, one, cover(1, span(2*mb, 8*mb)).lost(1, span(4*mb, 7*mb)), at(1, 7*mb, 8*mb, 8*mb, 8*mb, 0)},
		{"a gap that the archive does not reach is no end", 9 * mb, one, cover(1, span(2*mb, 3*mb)).lost(1, span(4*mb, 7*mb)), at(1, 2*mb, 3*mb, 3*mb, 3*mb, 4*mb)},
		{"a gap of another timeline", 9 * mb, one, cover(1, span(2*mb, 3*mb)).lost(2, span(3*mb, 7*mb)), at(1, 2*mb, 3*mb, 3*mb, 3*mb, 0)},
		{"a gap longer than uploads in flight", 900 * mb, one, cover(1, span(2*mb, 3*mb), span(800*mb, 800*mb+1)).lost(1, span(3*mb, 800*mb)), at(1, 800*mb, 800*mb+1, 800*mb, 800*mb+1, 0)},
		{"a gap up to a span within a segment", 9 * mb, one, cover(1, span(2*mb, 4*mb), span(5*mb+100, 5*mb+200)).lost(1, span(4*mb, 5*mb+100)), at(1, 5*mb, 5*mb, 5*mb, 5*mb+200, 0)},
		{"ancestor lost up to the switch", 9 * mb, three, cover(1, span(2*mb, 4*mb)).lost(1, span(4*mb, 5*mb+500)), fresh(2, 5*mb, 5*mb+500)},
		{"ancestor lost in part", 9 * mb, three, cover(1, span(2*mb, 4*mb)).lost(1, span(4*mb, 5*mb)), at(1, 5*mb, 5*mb, 5*mb, 5*mb, 5*mb+500)},
		{"and the beginning of the next", 9 * mb, three, cover(1, span(2*mb, 4*mb)).lost(1, span(4*mb, 5*mb+500)).lost(2, span(5*mb+500, 7*mb)), at(2, 7*mb, 7*mb, 7*mb, 7*mb, 8*mb)},
		{"and all of the next", 9 * mb, three, cover(1, span(2*mb, 4*mb)).lost(1, span(4*mb, 5*mb+500)).lost(2, span(5*mb+500, 8*mb)), fresh(3, 8*mb, 8*mb)},
		{"and the beginning of the last", 9 * mb, three, cover(1, span(2*mb, 4*mb)).lost(1, span(4*mb, 5*mb+500)).lost(2, span(5*mb+500, 8*mb)).lost(3, span(8*mb, 9*mb)), at(3, 9*mb, 9*mb, 9*mb, 9*mb, 0)},
		{"nothing of the history, recorded", 9*mb + 1, three, archived{newest: 2}.lost(3, span(8*mb, 9*mb)), anew(at(3, 9*mb, 9*mb, 9*mb, 9*mb, 0))},
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
}

func TestResumeFences(t *testing.T) {
	three := oneToThree()
	server := postgres.System{Timeline: 3, Flush: 9 * mb, SegmentSize: mb}
	var (
		ahead    *AheadError
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
	for _, err := range []error{ahead, timeline, &ForeignError{}, &SegmentSizeError{}, &ConflictError{}, &HistoryError{}, &RestoredError{}, &timelineEndError{}, errGap, errCompare} {
		if err.Error() == "" || fence(err) == again(err) {
			t.Errorf("%T %q: fence %v", err, err, fence(err))
		}
	}
}

func TestCauseOf(t *testing.T) {
	server := postgres.System{Timeline: 2}
	own := resumption{timeline: 2, held: 5 * mb}
	for _, test := range []struct {
		name  string
		from  resumption
		slot  postgres.Slot
		found repository.Cause
		want  repository.Cause
	}{
		{"the slot was lost", own, postgres.Slot{}, repository.CauseSlotLost, repository.CauseSlotLost},
		{"the slot was gone", own, postgres.Slot{}, repository.CauseSlotDropped, repository.CauseSlotDropped},
		{"the slot keeps too little", own, postgres.Slot{Exists: true, RestartLSN: 5*mb + 1}, "", repository.CauseSlotAhead},
		{"the slot keeps enough", own, postgres.Slot{Exists: true, RestartLSN: 5 * mb}, "", repository.CauseWALRemoved},
		{"the slot is not known", own, postgres.Slot{}, "", repository.CauseWALRemoved},
		{"the old timeline", resumption{timeline: 1, held: mb}, postgres.Slot{}, repository.CauseSlotDropped, repository.CauseFailover},
		{"the new one from its start", resumption{timeline: 2, held: mb, fresh: true}, postgres.Slot{}, "", repository.CauseFailover},
		{"another branch", resumption{timeline: 2, held: mb, fresh: true, anew: true}, postgres.Slot{}, "", repository.CauseNotArchived},
	} {
		if got, detail := causeOf(server, test.from, test.slot, "pgark", test.found); got != test.want || detail == "" && got != repository.CauseWALRemoved {
			t.Errorf("%s: got %s %q, want %s", test.name, got, detail, test.want)
		}
	}
}

func TestCompareEarly(t *testing.T) {
	one := wal.History{Timeline: 1}
	two := wal.History{Timeline: 2, Parents: []wal.Switch{{Timeline: 1, At: 5*mb + 300_000}}}
	before := wal.History{Timeline: 2, Parents: []wal.Switch{{Timeline: 1, At: 3*mb + 300_000}}}
	border := wal.History{Timeline: 2, Parents: []wal.Switch{{Timeline: 1, At: 5 * mb}}}
	tests := []struct {
		name    string
		history wal.History
		tli     wal.TimelineID // archived
		spans   []wal.Range
		lost    []wal.Range
		want    early
	}{
		{"nothing is archived", one, 0, nil, nil, early{}},
		{"the stream compares", one, 1, []wal.Range{span(2*mb, 5*mb+9)}, nil, early{}},
		{"the ancestor is to be finished: the stream compares", two, 1, []wal.Range{span(2*mb, 4*mb+9)}, nil, early{}},
		{"the ancestor is complete", two, 1, []wal.Range{span(2*mb, 5*mb+300_000)}, nil, early{1, span(2*mb, 5*mb+300_000), []wal.LSN{5 * mb}, true}},
		{"more than complete", two, 1, []wal.Range{span(2*mb, 7*mb)}, nil, early{1, span(2*mb, 5*mb+300_000), []wal.LSN{5 * mb}, true}},
		{"a switch at a border", border, 1, []wal.Range{span(2*mb, 5*mb)}, nil, early{1, span(2*mb, 5*mb), []wal.LSN{4 * mb}, true}},
		{
			"little in the segment of the switch",
			wal.History{Timeline: 2, Parents: []wal.Switch{{Timeline: 1, At: 5*mb + 9}}},
			1,
			[]wal.Range{span(2*mb, 6*mb)},
			nil,
			early{1, span(2*mb, 5*mb+9), []wal.LSN{4 * mb, 5 * mb}, true},
		},
		{
			"and nothing before it",
			wal.History{Timeline: 2, Parents: []wal.Switch{{Timeline: 1, At: 5*mb + 9}}},
			1,
			[]wal.Range{span(5*mb, 6*mb)},
			nil,
			early{1, span(5*mb, 5*mb+9), []wal.LSN{5 * mb}, true},
		},
		{"behind a hole", one, 1, []wal.Range{span(mb, 2*mb+7), span(3*mb, 4*mb), span(5*mb, 6*mb)}, nil, early{1, span(2*mb+7, 6*mb), []wal.LSN{2 * mb}, false}},
		{"behind a hole and past the switch", two, 1, []wal.Range{span(mb, 2*mb+7), span(3*mb, 4*mb), span(5*mb, 6*mb)}, nil, early{1, span(2*mb+7, 5*mb+300_000), []wal.LSN{2 * mb}, true}},
		{"behind a recorded gap the stream compares", one, 1, []wal.Range{span(mb, 2*mb+7), span(3*mb, 4*mb)}, []wal.Range{span(2*mb+7, 3*mb)}, early{}},
		{"lost up to the switch: nothing is there to compare", two, 1, []wal.Range{span(mb, 2*mb+7)}, []wal.Range{span(2*mb+7, 5*mb+300_000)}, early{}},
		{
			"lost behind the switch", before, 1,
			[]wal.Range{span(mb, 4*mb), span(5*mb, 6*mb)},
			[]wal.Range{span(4*mb, 5*mb)},
			early{1, span(mb, 3*mb+300_000), []wal.LSN{3 * mb}, true},
		},
		{
			"lost behind the switch, and nothing since", before, 1,
			[]wal.Range{span(mb, 4*mb)},
			[]wal.Range{span(4*mb, 5*mb)},
			early{1, span(mb, 3*mb+300_000), []wal.LSN{3 * mb}, true},
		},
		{
			"lost, and then up to the switch", two, 1,
			[]wal.Range{span(mb, 2*mb+7), span(5*mb, 5*mb+300_000)},
			[]wal.Range{span(2*mb+7, 5*mb)},
			early{1, span(5*mb, 5*mb+300_000), []wal.LSN{5 * mb}, true},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			have := archived{newest: test.tli, coverage: repository.Coverage{Timeline: test.tli, Spans: test.spans}}.lost(test.tli, test.lost...)
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
