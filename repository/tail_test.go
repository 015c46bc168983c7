package repository_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// TestTails guards I9: what lies beyond each switch, for every shape of history.
func TestTails(t *testing.T) {
	type histories = map[wal.TimelineID]wal.History
	type coverage = map[wal.TimelineID][]wal.Range
	h := func(tli wal.TimelineID, parents ...wal.Switch) wal.History {
		return wal.History{Timeline: tli, Parents: parents}
	}
	two, three := h(2, wal.Switch{Timeline: 1, At: 500}), h(3, wal.Switch{Timeline: 1, At: 500}, wal.Switch{Timeline: 2, At: 900})
	aside := h(3, wal.Switch{Timeline: 1, At: 300})
	tests := []struct {
		name      string
		histories histories
		coverage  coverage
		want      []repository.Tail
	}{
		{"nothing", nil, nil, nil},
		{"one timeline", nil, coverage{1: {r(0, 800)}}, nil},
		{"caught-up standby", histories{2: two}, coverage{1: {r(0, 500)}, 2: {r(400, 800)}}, nil},
		{"archive ahead of the switch", histories{2: two}, coverage{1: {r(0, 700)}, 2: {r(400, 800)}}, []repository.Tail{{1, 2, r(500, 700), nil}}},
		{"the new timeline has no WAL yet", histories{2: two}, coverage{1: {r(0, 700)}}, []repository.Tail{{1, 2, r(500, 700), nil}}},
		{"two tails", histories{2: two, 3: three}, coverage{1: {r(0, 700)}, 2: {r(400, 950)}, 3: {r(800, 990)}}, []repository.Tail{{1, 2, r(500, 700), nil}, {2, 3, r(900, 950), nil}}},
		{"a timeline that was never taken", histories{2: two, 3: aside}, coverage{1: {r(0, 500)}, 2: {r(400, 950)}, 3: {r(200, 990)}}, []repository.Tail{{1, 3, r(300, 500), nil}, {2, 3, r(500, 950), nil}}},
		{"a hole in the tail", histories{2: two}, coverage{1: {r(0, 600), r(650, 700)}}, []repository.Tail{{1, 2, r(500, 700), []wal.Range{r(600, 650)}}}},
		{"a tail that begins behind a hole", histories{2: two}, coverage{1: {r(0, 400), r(650, 700)}}, []repository.Tail{{1, 2, r(650, 700), nil}}},
		{"the newest history is missing", histories{2: two}, coverage{1: {r(0, 700)}, 4: {r(400, 800)}}, nil},
		{"the history of a side branch is missing", histories{4: h(4, wal.Switch{Timeline: 1, At: 500})}, coverage{1: {r(0, 700)}, 2: {r(400, 800)}}, []repository.Tail{{1, 4, r(500, 700), nil}}},
	}
	for _, tt := range tests {
		if got := repository.Tails(tt.histories, tt.coverage); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// TestPiecesThatDisagree guards I4: two pieces that hold the same byte agree on it, or no byte of their segment is given out.
func TestPiecesThatDisagree(t *testing.T) {
	c, _ := cluster(t)
	seg := wal.SegmentID{Timeline: 1, Number: 1}
	putPiece(t, c, 1, r(mib, mib+100))
	putPiece(t, c, 1, r(mib+100, mib+300))
	putPiece(t, c, 1, r(mib+100, mib+200)) // another agent's, of the same server
	got, err := c.ReadSegment(t.Context(), segSize, seg)
	if err != nil || len(got) != 300 {
		t.Fatalf("pieces that agree: got %d bytes, %v", len(got), err)
	}
	if err := c.CheckOverlaps(t.Context(), entries(t, c, 1, mib)); err != nil {
		t.Errorf("overlaps that agree: %v", err)
	}
	other := walBytes(r(mib+200, mib+250))
	other[7]++
	put := encode(t, compression.Zstd(), object(repository.KindPiece, 1, segSize, r(mib+200, mib+250)), other)
	if err := c.PutWAL(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	var conflict *repository.ConflictError
	if _, err := c.ReadSegment(t.Context(), segSize, seg); !errors.As(err, &conflict) || conflict.Range.Start != mib+207 {
		t.Errorf("read: got %v, want a conflict at %s", err, wal.LSN(mib+207))
	}
	if err := c.CheckOverlaps(t.Context(), entries(t, c, 1, mib)); !errors.As(err, &conflict) || conflict.Range.Start != mib+207 {
		t.Errorf("check: got %v, want a conflict at %s", err, wal.LSN(mib+207))
	}
}

func TestHasTimelineAfter(t *testing.T) {
	c, store := cluster(t)
	putPiece(t, c, 1, r(mib, mib+100))
	after := func(tli wal.TimelineID) bool {
		t.Helper()
		got, err := c.HasTimelineAfter(t.Context(), tli)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if after(1) {
		t.Error("after the only one: got true")
	}
	if err := store.Put(t.Context(), "7312345678901234567/wal/notes/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if after(1) {
		t.Error("a key that is not ours: got true")
	}
	if err := c.PutHistory(t.Context(), 2, []byte("1\t0/500000\tno recovery target specified\n")); err != nil {
		t.Fatal(err)
	}
	if !after(1) || after(2) {
		t.Errorf("a history file: after 1 %t, after 2 %t", after(1), after(2))
	}
	putPiece(t, c, 0xA, r(mib, mib+100))
	if !after(9) || after(10) {
		t.Errorf("WAL alone: after 9 %t, after 10 %t", after(9), after(10))
	}
}
