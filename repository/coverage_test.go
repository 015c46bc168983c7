package repository_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

func r(start, end wal.LSN) wal.Range { return wal.Range{Start: start, End: end} }

func TestCoverage(t *testing.T) {
	tests := []struct {
		name string
		add  []wal.Range
		want []wal.Range
	}{
		{"nothing", nil, nil},
		{"empty range", []wal.Range{r(5, 5), r(7, 6)}, nil},
		{"one", []wal.Range{r(1, 5)}, []wal.Range{r(1, 5)}},
		{"touching", []wal.Range{r(1, 5), r(5, 9)}, []wal.Range{r(1, 9)}},
		{"hole", []wal.Range{r(1, 5), r(6, 9)}, []wal.Range{r(1, 5), r(6, 9)}},
		{"piece inside segment", []wal.Range{r(0, 16), r(0, 4), r(4, 8)}, []wal.Range{r(0, 16)}},
		{"pieces that overlap", []wal.Range{r(0, 4), r(0, 7), r(6, 9)}, []wal.Range{r(0, 9)}},
		{"backwards", []wal.Range{r(6, 9), r(1, 2), r(4, 6)}, []wal.Range{r(1, 2), r(4, 9)}},
		{"filling a hole", []wal.Range{r(0, 4), r(8, 12), r(4, 8)}, []wal.Range{r(0, 12)}},
		{"over many", []wal.Range{r(0, 1), r(2, 3), r(4, 5), r(8, 9), r(1, 8)}, []wal.Range{r(0, 9)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var v repository.Coverage
			for _, a := range tt.add {
				v.Add(a)
			}
			if !slices.Equal(v.Spans, tt.want) {
				t.Errorf("got %v, want %v", v.Spans, tt.want)
			}
		})
	}
}

// TestCoverageAgainstBits compares with a plain array of bytes.
func TestCoverageAgainstBits(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	for range 2000 {
		var v repository.Coverage
		var bits [40]bool
		for range random.IntN(8) {
			a := wal.LSN(random.IntN(40))
			b := a + wal.LSN(random.IntN(40-int(a)+1))
			v.Add(r(a, b))
			for i := a; i < b; i++ {
				bits[i] = true
			}
		}
		var want []wal.Range
		for i, set := range bits {
			switch {
			case !set:
			case len(want) > 0 && want[len(want)-1].End == wal.LSN(i):
				want[len(want)-1].End++
			default:
				want = append(want, r(wal.LSN(i), wal.LSN(i+1)))
			}
		}
		if !slices.Equal(v.Spans, want) {
			t.Fatalf("got %v, want %v", v.Spans, want)
		}
		from, to := wal.LSN(random.IntN(41)), wal.LSN(random.IntN(41))
		var gaps []wal.Range
		for i := from; i < to; i++ {
			switch {
			case bits[i]:
			case len(gaps) > 0 && gaps[len(gaps)-1].End == i:
				gaps[len(gaps)-1].End++
			default:
				gaps = append(gaps, r(i, i+1))
			}
		}
		if got := v.Gaps(r(from, to)); !slices.Equal(got, gaps) {
			t.Fatalf("gaps of %v in %v: got %v, want %v", r(from, to), v.Spans, got, gaps)
		}
		if got, want := v.Covers(r(from, to)), len(gaps) == 0; got != want {
			t.Fatalf("%v covers %v: got %t, want %t", v.Spans, r(from, to), got, want)
		}
	}
}

func TestAssemble(t *testing.T) {
	piece := func(start, end wal.LSN) repository.Entry {
		return repository.Entry{Kind: repository.KindPiece, Range: r(start, end)}
	}
	segment := repository.Entry{Kind: repository.KindSegment, Range: r(0, 100)}
	tests := []struct {
		name string
		in   []repository.Entry
		want []wal.Range
	}{
		{"nothing", nil, nil},
		{"complete", []repository.Entry{segment}, []wal.Range{r(0, 100)}},
		{"complete beats pieces", []repository.Entry{segment, piece(0, 10), piece(10, 20)}, []wal.Range{r(0, 100)}},
		{"complete and a piece to its end", []repository.Entry{segment, piece(0, 100)}, []wal.Range{r(0, 100)}},
		{"pieces", []repository.Entry{piece(0, 10), piece(10, 20)}, []wal.Range{r(0, 10), r(10, 20)}},
		{"no start", []repository.Entry{piece(5, 10), piece(10, 20)}, nil},
		{"hole", []repository.Entry{piece(0, 10), piece(11, 20)}, []wal.Range{r(0, 10)}},
		{"furthest", []repository.Entry{piece(0, 10), piece(0, 30), piece(10, 20), piece(20, 40)}, []wal.Range{r(0, 30), r(20, 40)}},
		{"overlap", []repository.Entry{piece(0, 10), piece(5, 15), piece(8, 12), piece(12, 30)}, []wal.Range{r(0, 10), r(5, 15), r(12, 30)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []wal.Range
			for _, e := range repository.Assemble(0, tt.in) {
				got = append(got, e.Range)
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
