package status_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// here is the place of the tests' archives.
const here = "memory://here"

func survey(tb testing.TB, c *repository.Cluster, place string) status.Facts {
	tb.Helper()
	f, err := status.Survey(context.Background(), c, status.Options{Place: place, Now: time.Now()})
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func takeCensus(tb testing.TB, c *repository.Cluster) *repository.Census {
	tb.Helper()
	n, err := c.TakeCensus(context.Background(), here, nil)
	if err == nil {
		err = c.PutCensus(context.Background(), n)
	}
	var taken *repository.ConflictError // two in a second: the first one stays
	if err != nil && !errors.As(err, &taken) {
		tb.Fatal(err)
	}
	return n
}

// life is an archive that things happen to.
type life struct {
	*archive

	t    *testing.T
	c    *repository.Cluster
	draw *rand.Rand
	tli  wal.TimelineID
	next wal.SegmentNumber
	did  []string
}

// step does one of the things that happen to an archive.
func (l *life) step() {
	n := wal.SegmentNumber(1 + l.draw.IntN(1500))
	switch l.draw.IntN(10) {
	case 0:
		l.did = append(l.did, "encrypted from now on")
		l.sealed = true
	case 1: // pieces that a writer left beside their segment, because it may not delete
		l.did = append(l.did, "pieces left")
		l.segments(l.tli, l.next, l.next+n)
		l.put(l.pieces(l.next, l.next+n)...)
		l.next += n
	case 2: // WAL that was lost
		l.did = append(l.did, fmt.Sprintf("%d segments lost", n%50))
		l.next += n % 50
	case 3: // a writer that was killed left a hole, and pieces
		l.did = append(l.did, "killed")
		l.put(l.pieces(l.next, l.next+1)...)
		l.next++
	case 4: // a hole is filled late, by a copy that lagged
		l.did = append(l.did, "filled")
		from := wal.SegmentNumber(l.draw.IntN(int(l.next)))
		l.segments(l.tli, from, min(from+n, l.next))
	case 5: // a failover
		l.did = append(l.did, "failover")
		h := fmt.Sprintf("%d\t%s\tno recovery target specified\n", l.tli, wal.LSN(uint64(segSize)*uint64(l.next)))
		l.tli++
		if err := l.c.PutHistory(l.t.Context(), l.tli, []byte(h)); err != nil {
			l.t.Fatal(err)
		}
	case 6: // retention lets WAL go: all of it, or a run that was broken off
		from, to := l.stretch()
		tli := 1 + wal.TimelineID(l.draw.IntN(int(l.tli)))
		l.did = append(l.did, fmt.Sprintf("%d to %d of %s let go", from, to, tli))
		before, err := l.c.Expiry(l.t.Context())
		if err == nil {
			more := repository.Expiry{Time: time.Now(), WAL: []repository.Stretch{{Timeline: tli, Range: wal.Range{Start: segSize.Start(from), End: segSize.Start(to)}}}}
			err = l.c.PutExpiry(l.t.Context(), before, more)
		}
		if err != nil {
			l.t.Fatal(err)
		}
		if l.draw.IntN(3) == 0 {
			to = (from + to) / 2
		}
		l.lose(func(w walName) bool { return w.tli == tli && w.seg >= from && w.seg < to })
	case 7, 8:
		l.did = append(l.did, "census")
		for _, info := range l.Keys() { // one second is one name
			if _, ours := l.c.Classify(segSize, storage.Info{Key: info}); ours && len(info) > 9 && info[:9] == "7/census/" {
				l.Replace(info, nil)
			}
		}
		takeCensus(l.t, l.c)
	default: // the archiver at work; the segment that is written has pieces
		l.did = append(l.did, fmt.Sprintf("%d segments on %s", n, l.tli))
		l.segments(l.tli, l.next, l.next+n)
		l.next += n
		l.put(l.pieces(l.next, l.next+1)...)
	}
}

// pieces are two at the start of each of the segments [from, to).
func (l *life) pieces(from, to wal.SegmentNumber) []walName {
	var names []walName
	for n := from; n < to; n++ {
		start := segSize.Start(n)
		names = append(names,
			walName{tli: l.tli, seg: n, piece: wal.Range{Start: start, End: start + 0x1000}},
			walName{tli: l.tli, seg: n, piece: wal.Range{Start: start + 0x1000, End: start + 0x3000}})
	}
	return names
}

func (l *life) stretch() (from, to wal.SegmentNumber) {
	from = wal.SegmentNumber(l.draw.IntN(int(l.next)))
	return from, from + 1 + wal.SegmentNumber(l.draw.IntN(int(l.next)))
}

// TestCensusTruth: whatever happened to an archive, a survey that goes by its last census finds what one finds that lists everything.
func TestCensusTruth(t *testing.T) {
	t.Parallel()
	seeds, steps := 30, 14
	if testing.Short() {
		seeds, steps = 2, 8 // with the race detector
	}
	used := 0
	for seed := range uint64(seeds) {
		a, c := newArchive(t)
		l := &life{archive: a, t: t, c: c, draw: rand.New(rand.NewPCG(seed, 26)), tli: 1, next: 1}
		l.segments(1, 1, 6000)
		l.next = 6000
		a.putRecord(t, time.Now().Add(-time.Hour), 1, 5000) // all is listed in two parts
		takeCensus(t, c)
		for range steps {
			l.step()
			whole, short := survey(t, c, ""), survey(t, c, here)
			if short.Listed != nil {
				used++
			}
			if whole.Listed != nil || !slices.Equal(whole.Spans, withLast(a.spans(), whole.Spans)) {
				t.Fatalf("seed %d, after %q: got %+v, want %+v", seed, l.did, whole.Spans, a.spans())
			}
			if short.Sealed.LateTotal > 0 { // of a block only how many objects it has is known
				short.Sealed.Late, whole.Sealed.Late = nil, nil
			}
			short.Listed = nil
			if !reflect.DeepEqual(whole, short) {
				t.Fatalf("seed %d, after %q:\nall listed %+v\nby a census %+v", seed, l.did, whole.Spans, short.Spans)
			}
		}
	}
	if used < seeds*steps/3 {
		t.Errorf("a census was gone by %d times alone", used)
	}
}

// withLast returns spans with the times of the last transactions that others have.
func withLast(spans, others []status.Span) []status.Span {
	for i := range spans {
		if i < len(others) {
			spans[i].Last = others[i].Last
		}
	}
	return spans
}

// TestCensusTampered: what was deleted behind a census is seen at once where it is what the window begins or ends with, or most of it, and else by the next listing.
func TestCensusTampered(t *testing.T) {
	t.Parallel()
	const last = 14_000
	for _, lost := range []struct {
		name     string
		from, to wal.SegmentNumber
		at       string // when it is seen
	}{
		{"the first segment", 1, 2, "at once"},
		{"what a lifecycle rule takes", 1, 5000, "at once"},
		{"the last segment that was counted", last - 1, last, "at once"},
		{"all that is not listed", 1200, last - 1200, "at once"},
		{"one in the middle", 7000, 7001, "later"},
	} {
		t.Run(lost.name, func(t *testing.T) {
			t.Parallel()
			a, c := newArchive(t)
			a.segments(1, 1, last)
			takeCensus(t, c)
			a.lose(func(w walName) bool { return w.seg >= lost.from && w.seg < lost.to })
			if f := survey(t, c, here); lost.at == "at once" && (f.Listed != nil || !reflect.DeepEqual(f, survey(t, c, ""))) {
				t.Errorf("got %+v by a census of %v, want what is there", f.Spans, f.Listed)
			}
			for _, key := range a.Keys() {
				if key[:min(9, len(key))] == "7/census/" {
					a.Replace(key, nil)
				}
			}
			takeCensus(t, c)
			f := survey(t, c, here)
			if f.Listed == nil {
				t.Error("the next census is not gone by")
			}
			if f.Listed = nil; !reflect.DeepEqual(f, survey(t, c, "")) {
				t.Errorf("got %+v by the next census, want what is there", f.Spans)
			}
		})
	}
}

// TestCensusUnusable: a census of another place, an old one, one from the future, a damaged one and one beside expiry records that cannot be read are as none.
func TestCensusUnusable(t *testing.T) {
	t.Parallel()
	a, c := newArchive(t)
	a.segments(1, 1, 6000)
	takeCensus(t, c)
	at := func(place string, now time.Time) *time.Time {
		t.Helper()
		f, err := status.Survey(t.Context(), c, status.Options{Place: place, Now: now})
		if err != nil || len(f.Spans) != 1 || f.Spans[0].Stored != 5999*(repository.HeaderSize+stored) {
			t.Fatalf("got %+v, %v", f.Spans, err)
		}
		return f.Listed
	}
	if at(here, time.Now()) == nil || at(here, time.Now().Add(47*time.Hour)) == nil || at(here, time.Now().Add(-time.Minute)) == nil {
		t.Error("a census was not gone by")
	}
	if at("s3://copy", time.Now()) != nil || at(here, time.Now().Add(49*time.Hour)) != nil || at(here, time.Now().Add(-2*time.Hour)) != nil {
		t.Error("a census was gone by of another place, or of another time")
	}
	expired := storage.Key("7/expired/20261120T130000Z-0123abcd.json")
	a.Replace(expired, []byte("{"))
	f, err := status.Survey(t.Context(), c, status.Options{Place: here, Now: time.Now()})
	if err != nil || f.Listed != nil {
		t.Errorf("got %v, %v: a census was gone by although what was let go cannot be read", f.Listed, err)
	}
	a.Replace(expired, nil)
	for _, key := range a.Keys() {
		if key[:min(9, len(key))] == "7/census/" {
			body := a.Bytes(key)
			a.Replace(key, slices.Concat(body[:len(body)/2], []byte("1"), body[len(body)/2:]))
		}
	}
	if at(here, time.Now()) != nil {
		t.Error("a damaged census was gone by")
	}
}

// perDay is how many segments are archived in a day, one each 15 s.
const perDay = 24 * 60 * 4

// daily makes an archive of so many days, with a base backup each day, that was counted a day ago.
func daily(tb testing.TB, days int) (*archive, *repository.Cluster) {
	tb.Helper()
	a, c := newArchive(tb)
	counted := wal.SegmentNumber((days - 1) * perDay)
	a.segments(1, 1, counted)
	takeCensus(tb, c)
	a.segments(1, counted, counted+perDay)
	first := time.Now().AddDate(0, 0, -days)
	for d := range days {
		a.putRecord(tb, first.AddDate(0, 0, d), 1, wal.SegmentNumber(1+d*perDay))
	}
	return a, c
}

// yearMost is how many requests a survey of a year may take beside one for each base backup.
const yearMost = 60

// TestSurveyYear: a year of WAL costs no more requests than a few, because the last census counted it.
func TestSurveyYear(t *testing.T) {
	days := 365
	if testing.Short() {
		days = 20 // with the race detector
	}
	a, c := daily(t, days)
	a.requests.Store(0)
	f := survey(t, c, here)
	got := int(a.requests.Load())
	t.Logf("%d requests, of which %d for base backups", got, days)
	if len(f.Backups) != days || len(f.Spans) != 1 || f.Spans[0].End != segSize.Start(wal.SegmentNumber(days*perDay)) || f.Listed == nil {
		t.Fatalf("got %d backups, spans %+v, listed %v", len(f.Backups), f.Spans, f.Listed)
	}
	if got > days+yearMost {
		t.Errorf("a survey of %d days took %d requests beside those of base backups, want at most %d", days, got-days, yearMost)
	}
}

// BenchmarkSurveyYear surveys a year of WAL and 365 base backups in a store that answers each request after 25 ms, about as long as S3 takes in the same region for a small
// object, or at once.
func BenchmarkSurveyYear(b *testing.B) {
	a, c := daily(b, 365)
	for _, how := range []struct {
		name, place string
		delay       time.Duration
	}{
		{"census/25ms", here, 25 * time.Millisecond}, {"census/0ms", here, 0}, {"all/0ms", "", 0},
	} {
		b.Run(how.name, func(b *testing.B) {
			a.delay = how.delay
			for b.Loop() {
				a.requests.Store(0)
				survey(b, c, how.place)
				b.ReportMetric(float64(a.requests.Load()), "requests")
			}
		})
	}
}
