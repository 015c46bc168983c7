package status_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/wal"
)

var epoch = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)

// minute is the instant n minutes after the epoch of these tests.
func minute(n int) time.Time { return epoch.Add(time.Duration(n) * time.Minute) }

// taken is a backup on timeline 1 whose WAL is [start, stop), done at minute n.
func taken(n int, start, stop wal.LSN) repository.Backup {
	return repository.Backup{
		ID: minute(n).Format("20060102T150405Z"), Type: "full", Timeline: 1, StartLSN: start, StopLSN: stop,
		Started: minute(n - 1), Stopped: minute(n), Plain: 100, Stored: 10,
	}
}

func span(tli wal.TimelineID, start, end wal.LSN, last int) status.Span {
	s := status.Span{Timeline: tli, Start: start, End: end, Stored: 1}
	if last > 0 {
		at := minute(last)
		s.Last = &at
	}
	return s
}

func history(tli wal.TimelineID, parents ...wal.Switch) wal.History {
	return wal.History{Timeline: tli, Parents: parents}
}

func TestWindow(t *testing.T) {
	for _, test := range []struct {
		name   string
		facts  status.Facts
		window []status.Interval
		gaps   []status.Gap
	}{
		{"nothing", status.Facts{}, nil, nil},
		{"WAL alone", status.Facts{Spans: []status.Span{span(1, 0x100, 0x900, 5)}}, nil, nil},
		{"a backup whose WAL is missing", status.Facts{Backups: []repository.Backup{taken(1, 0x100, 0x200)}}, nil, nil},
		{
			"a backup whose WAL ends before its stop",
			status.Facts{Backups: []repository.Backup{taken(1, 0x100, 0x200)}, Spans: []status.Span{span(1, 0, 0x1ff, 9)}},
			nil, nil,
		},
		{
			"one backup, WAL to its stop exactly",
			status.Facts{Backups: []repository.Backup{taken(1, 0x100, 0x200)}, Spans: []status.Span{span(1, 0, 0x200, 0)}},
			[]status.Interval{{From: minute(1), Until: minute(1)}},
			nil,
		},
		{
			"two backups on one run of WAL",
			status.Facts{
				Backups: []repository.Backup{taken(1, 0x100, 0x200), taken(5, 0x500, 0x600)},
				Spans:   []status.Span{span(1, 0, 0x900, 9)},
			},
			[]status.Interval{{From: minute(1), Until: minute(9)}},
			nil,
		},
		{
			"a hole between two backups",
			status.Facts{
				Backups: []repository.Backup{taken(1, 0x100, 0x200), taken(7, 0x500, 0x600)},
				Spans:   []status.Span{span(1, 0, 0x300, 3), span(1, 0x500, 0x900, 9)},
			},
			[]status.Interval{{From: minute(1), Until: minute(3)}, {From: minute(7), Until: minute(9)}},
			[]status.Gap{{From: minute(3), Until: minute(7), Timeline: 1, Start: 0x300, End: 0x500}},
		},
		{
			"a hole between two backups that is recorded",
			status.Facts{
				Backups: []repository.Backup{taken(1, 0x100, 0x200), taken(7, 0x500, 0x600)},
				Spans:   []status.Span{span(1, 0, 0x300, 3), span(1, 0x480, 0x900, 9)},
				Lost:    []repository.Gap{lost(1, 0x300, 0x400), lost(1, 0x400, 0x480), lost(2, 0x300, 0x800)},
			},
			[]status.Interval{{From: minute(1), Until: minute(3)}, {From: minute(7), Until: minute(9)}},
			[]status.Gap{{
				From: minute(3), Until: minute(7), Timeline: 1, Start: 0x300, End: 0x480,
				Cause: repository.CauseSlotLost, Detail: "the server invalidated slot pgark", FirstSeen: know(minute(8)),
			}},
		},
		{
			"lost before a switch, ended on the next timeline",
			status.Facts{
				Backups: []repository.Backup{taken(1, 0x100, 0x200), func() repository.Backup {
					b := taken(7, 0x500, 0x600)
					b.Timeline = 2
					return b
				}()},
				Spans:     []status.Span{span(1, 0, 0x300, 3), span(2, 0x400, 0x900, 9)},
				Histories: map[wal.TimelineID]wal.History{2: history(2, wal.Switch{Timeline: 1, At: 0x450})},
				Lost:      []repository.Gap{lost(1, 0x300, 0x450)},
			},
			[]status.Interval{{From: minute(1), Until: minute(3)}, {From: minute(7), Until: minute(9)}},
			[]status.Gap{{
				From: minute(3), Until: minute(7), Timeline: 1, Start: 0x300, End: 0x450,
				Cause: repository.CauseSlotLost, Detail: "the server invalidated slot pgark", FirstSeen: know(minute(8)),
			}},
		},
		{
			"recorded as lost, and there all the same",
			status.Facts{
				Backups: []repository.Backup{taken(1, 0x100, 0x200)}, Spans: []status.Span{span(1, 0, 0x900, 9)},
				Lost: []repository.Gap{lost(1, 0x300, 0x400)},
			},
			[]status.Interval{{From: minute(1), Until: minute(9)}},
			nil,
		},
		{
			"a hole after the last backup hides what follows",
			status.Facts{
				Backups: []repository.Backup{taken(1, 0x100, 0x200)},
				Spans:   []status.Span{span(1, 0, 0x300, 3), span(1, 0x500, 0x900, 9)},
			},
			[]status.Interval{{From: minute(1), Until: minute(3)}},
			nil,
		},
		{
			"an idle server with a beat",
			status.Facts{
				Backups: []repository.Backup{taken(1, 0x100, 0x200)}, Spans: []status.Span{span(1, 0, 0x300, 3)},
				Beat: &repository.Beat{Time: minute(30), Timeline: 1, LSN: 0x300},
			},
			[]status.Interval{{From: minute(1), Until: minute(30)}},
			nil,
		},
		{
			"a beat past a hole proves nothing",
			status.Facts{
				Backups: []repository.Backup{taken(1, 0x100, 0x200)}, Spans: []status.Span{span(1, 0, 0x300, 3)},
				Beat: &repository.Beat{Time: minute(30), Timeline: 1, LSN: 0x301},
			},
			[]status.Interval{{From: minute(1), Until: minute(3)}},
			nil,
		},
		{
			"on to the next timeline",
			status.Facts{
				Backups:   []repository.Backup{taken(1, 0x100, 0x200)},
				Spans:     []status.Span{span(1, 0, 0x480, 6), span(2, 0x400, 0x900, 9)},
				Histories: map[wal.TimelineID]wal.History{2: history(2, wal.Switch{Timeline: 1, At: 0x450})},
			},
			[]status.Interval{{From: minute(1), Until: minute(9)}},
			nil,
		},
		{
			"over two switches",
			status.Facts{
				Backups: []repository.Backup{taken(1, 0x100, 0x200)},
				Spans:   []status.Span{span(1, 0, 0x480, 6), span(2, 0x400, 0x600, 7), span(3, 0x550, 0x700, 12)},
				Histories: map[wal.TimelineID]wal.History{
					2: history(2, wal.Switch{Timeline: 1, At: 0x450}),
					3: history(3, wal.Switch{Timeline: 1, At: 0x450}, wal.Switch{Timeline: 2, At: 0x580}),
				},
			},
			[]status.Interval{{From: minute(1), Until: minute(12)}},
			nil,
		},
		{
			"a timeline that left before the backup's stop is another history",
			status.Facts{
				Backups:   []repository.Backup{taken(1, 0x100, 0x200)},
				Spans:     []status.Span{span(1, 0, 0x480, 6), span(2, 0x100, 0x900, 9)},
				Histories: map[wal.TimelineID]wal.History{2: history(2, wal.Switch{Timeline: 1, At: 0x150})},
			},
			[]status.Interval{{From: minute(1), Until: minute(6)}},
			nil,
		},
	} {
		got := status.Make(test.facts, minute(60))
		if len(got.Window)+len(test.window) > 0 && !reflect.DeepEqual(got.Window, test.window) {
			t.Errorf("%s: window: got %v, want %v", test.name, got.Window, test.window)
		}
		if len(got.Gaps)+len(test.gaps) > 0 && !reflect.DeepEqual(got.Gaps, test.gaps) {
			t.Errorf("%s: gaps: got %v, want %v", test.name, got.Gaps, test.gaps)
		}
		if (got.RecoverableFrom == nil) != (len(test.window) == 0) {
			t.Errorf("%s: recoverable_from: got %v", test.name, got.RecoverableFrom)
		}
	}
}

func TestReportInJSON(t *testing.T) {
	r := status.Make(status.Facts{}, minute(0))
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"backups":[]`, `"wal":[]`, `"window":[]`, `"gaps":[]`, `"orphans":[]`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("an empty report lacks %s: %s", want, text)
		}
	}
	for _, unknown := range []string{"recoverable_until", "durable", "behind_bytes", "server"} {
		if strings.Contains(string(text), unknown) {
			t.Errorf("an empty report claims to know %s: %s", unknown, text)
		}
	}
}

func TestSetServer(t *testing.T) {
	r := status.Make(status.Facts{Spans: []status.Span{span(2, 0, 0x900, 9), span(1, 0, 0xfff, 9)}}, minute(60))
	if want := (&status.Position{Timeline: 2, LSN: 0x900}); !reflect.DeepEqual(r.Durable, want) {
		t.Fatalf("durable: got %v, want %v", r.Durable, want)
	}
	r.SetServer(status.Server{Timeline: 2, Flush: 0x910})
	if r.Behind == nil || *r.Behind != 0x10 {
		t.Errorf("behind: got %v, want 16", r.Behind)
	}
	other := status.Make(status.Facts{Spans: []status.Span{span(2, 0, 0x900, 9)}}, minute(60))
	other.SetServer(status.Server{Timeline: 3, Flush: 0x910})
	if other.Behind != nil {
		t.Errorf("on another timeline: got %d, want nothing", *other.Behind)
	}
}

func TestStrip(t *testing.T) {
	view := status.Interval{From: minute(0), Until: minute(64)} // a minute a cell
	all := []status.Interval{view}
	for _, test := range []struct {
		name    string
		covered []status.Interval
		marks   []status.Mark
		want    string
	}{
		{"all covered", all, nil, strings.Repeat("=", 64)},
		{"nothing covered", nil, nil, strings.Repeat(".", 64)},
		{
			"a second is missing",
			[]status.Interval{{From: minute(0), Until: minute(10)}, {From: minute(10).Add(time.Second), Until: minute(64)}},
			nil,
			strings.Repeat("=", 10) + "." + strings.Repeat("=", 53),
		},
		{
			"the backup that ends a gap does not hide it",
			[]status.Interval{{From: minute(0), Until: minute(10)}, {From: minute(10).Add(time.Second), Until: minute(64)}},
			[]status.Mark{{At: minute(0), Kind: status.MarkBase}, {At: minute(10).Add(time.Second), Kind: status.MarkBase}},
			"o" + strings.Repeat("=", 9) + ".o" + strings.Repeat("=", 52),
		},
		{
			"no room beside the gap",
			[]status.Interval{{From: minute(0), Until: minute(10)}},
			[]status.Mark{{At: minute(12), Kind: status.MarkBase}},
			strings.Repeat("=", 10) + strings.Repeat(".", 54),
		},
		{
			"a target at the end", all,
			[]status.Mark{{At: minute(64), Kind: status.MarkTarget}},
			strings.Repeat("=", 63) + "v",
		},
		{"a base outside", all, []status.Mark{{At: minute(70), Kind: status.MarkBase}, {At: minute(-1), Kind: status.MarkBase}}, strings.Repeat("=", 64)},
	} {
		if got := status.Strip(view, test.covered, test.marks, status.ASCII); got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.name, got, test.want)
		}
	}
	if got := status.Strip(status.Interval{From: minute(1), Until: minute(1)}, all, nil, status.Unicode); got != "" {
		t.Errorf("no time at all: got %q", got)
	}
}

// TestStripNeverHidesAGap draws gaps of every length at every place: each shows.
func TestStripNeverHidesAGap(t *testing.T) {
	view := status.Interval{From: epoch, Until: epoch.Add(14 * 24 * time.Hour)}
	for start := time.Hour; start < 13*24*time.Hour; start += 97 * time.Minute {
		for _, length := range []time.Duration{time.Second, 7 * time.Minute, 5 * time.Hour} {
			from, until := epoch.Add(start), epoch.Add(start+length)
			covered := []status.Interval{{From: view.From, Until: from}, {From: until, Until: view.Until}}
			marks := []status.Mark{{At: view.From, Kind: status.MarkBase}, {At: from, Kind: status.MarkBase}, {At: until, Kind: status.MarkBase}}
			got := status.Strip(view, covered, marks, status.Unicode)
			if !strings.Contains(got, "·") || len([]rune(got)) != status.StripWidth {
				t.Fatalf("gap of %s at %s does not show: %s", length, start, got)
			}
		}
	}
}

func TestViewShowsAnAgentThatIsGone(t *testing.T) {
	facts := status.Facts{Backups: []repository.Backup{taken(1, 0x100, 0x200)}, Spans: []status.Span{span(1, 0, 0x300, 30)}}
	stale := status.Make(facts, minute(60))
	if got := stale.Strip(status.ASCII); !strings.HasSuffix(got, "..") {
		t.Errorf("half an hour without news: got %s", got)
	}
	live := status.Make(facts, minute(30).Add(12*time.Second))
	if got := live.Strip(status.ASCII); !strings.HasPrefix(got, "o") || strings.Contains(got, ".") {
		t.Errorf("12 seconds without news: got %s", got)
	}
}
