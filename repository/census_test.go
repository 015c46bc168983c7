package repository_test

import (
	"bytes"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// frozenCensus is the census whose bytes lie in testdata.
func frozenCensus() *repository.Census {
	at := time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC)
	block := func(from, to wal.SegmentNumber, objects int, sealed bool) repository.Block {
		return repository.Block{Range: wal.Range{Start: wal.DefaultSegmentSize.Start(from), End: wal.DefaultSegmentSize.Start(to)}, Objects: objects, Stored: int64(objects) * 1000, Sealed: sealed}
	}
	return &repository.Census{
		Place: "s3://bucket/main", Began: at, Ended: at.Add(100 * time.Second), SegmentSize: wal.DefaultSegmentSize,
		Blocks: map[wal.TimelineID][]repository.Block{1: {block(1, 961, 960, false), block(961, 1500, 700, true)}, 2: {block(1600, 1700, 100, true)}},
	}
}

// TestFrozenCensus: the bytes of version 1 never change.
func TestFrozenCensus(t *testing.T) {
	const name = "20261122T020140Z-86ea86f7.json"
	got, err := os.ReadFile("testdata/v1/census/" + name)
	if err != nil {
		t.Fatal(err)
	}
	want, err := repository.EncodeCensus(system, frozenCensus())
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got\n%s, %v, want\n%s", got, err, want)
	}
	c, store := cluster(t)
	store.Replace(storage.Key(system.String()+"/census/"+name), got)
	n, err := c.NewestCensus(t.Context(), frozenCensus().Place, frozenCensus().Ended.Add(time.Hour))
	if err != nil || !reflect.DeepEqual(n, frozenCensus()) {
		t.Errorf("got %+v, %v", n, err)
	}
}

// TestCensusRefused: what no census can say is not taken for one, cut at any byte neither.
func TestCensusRefused(t *testing.T) {
	good, err := repository.EncodeCensus(system, frozenCensus())
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		if _, err := repository.ParseCensus(system, good[:i]); err == nil {
			t.Fatalf("cut at %d it is read", i)
		}
	}
	if _, err := repository.ParseCensus(system+1, good); err == nil {
		t.Error("that of another cluster is read")
	}
	for name, change := range map[string]func(*repository.Census){
		"a block between segments":    func(n *repository.Census) { n.Blocks[1][0].Range.End += 5 },
		"blocks that overlap":         func(n *repository.Census) { n.Blocks[1][1].Range.Start -= 16 * mib },
		"an empty block":              func(n *repository.Census) { n.Blocks[1][0].Range.End = n.Blocks[1][0].Range.Start },
		"a block that is too long":    func(n *repository.Census) { n.Blocks[2][0].Range.End += 960 * 16 * mib },
		"fewer objects than segments": func(n *repository.Census) { n.Blocks[1][0].Objects = 959 },
		"less than nothing":           func(n *repository.Census) { n.Blocks[1][0].Stored = -1 },
		"timeline 0":                  func(n *repository.Census) { n.Blocks[0] = n.Blocks[2] },
		"no segment size":             func(n *repository.Census) { n.SegmentSize = 0 },
		"a time before all":           func(n *repository.Census) { n.Began = time.Time{} },
		"a long place":                func(n *repository.Census) { n.Place = strings.Repeat("x", 5000) },
	} {
		n := frozenCensus()
		change(n)
		if _, err := repository.EncodeCensus(system, n); err == nil {
			t.Errorf("%s: it is written", name)
		}
	}
	for _, text := range []string{"", "0/0", "0/0 0/1000000 1", "0/0 0/1000000 1 1 sealed", "0/0 0/1000000 1 1 encrypted 2", "0/0  0/1000000 1 1", "x 0/1000000 1 1", strings.Repeat("0", 200)} {
		var b repository.Block
		if b.UnmarshalText([]byte(text)) == nil {
			t.Errorf("block %q is read as %+v", text, b)
		}
	}
}

func FuzzCensus(f *testing.F) {
	text, err := repository.EncodeCensus(system, frozenCensus())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := repository.ParseCensus(system, text)
		if err != nil {
			return
		}
		if _, err := repository.EncodeCensus(system, n); err != nil {
			t.Fatal(err)
		}
	})
}

// TestPutCensus: those before it of its place go, and of the newest the one counts that is asked for.
func TestPutCensus(t *testing.T) {
	c, store := cluster(t)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, one := range []struct {
		place string
		hours time.Duration
	}{{"a", 40}, {"b", 30}, {"a", 20}, {"a", 2}} {
		n := frozenCensus()
		n.Place, n.Ended = one.place, now.Add(-one.hours*time.Hour)
		n.Began = n.Ended
		if err := c.PutCensus(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	keys := slices.DeleteFunc(store.Keys(), func(k storage.Key) bool { return !strings.Contains(string(k), "/census/") })
	if len(keys) != 2 {
		t.Errorf("there are %v, want the last of each place", keys)
	}
	for place, hours := range map[string]time.Duration{"a": 2, "b": 30} {
		if n, err := c.NewestCensus(t.Context(), place, now); err != nil || n == nil || !n.Ended.Equal(now.Add(-hours*time.Hour)) {
			t.Errorf("%s: got %+v, %v", place, n, err)
		}
	}
	for _, info := range keys {
		if o, ours := c.Classify(wal.DefaultSegmentSize, storage.Info{Key: info}); !ours || o.Class != repository.ClassCensus {
			t.Errorf("%s is %q", info, o.Class)
		}
	}
	if o, ours := c.Classify(wal.DefaultSegmentSize, storage.Info{Key: storage.Key(system.String() + "/census/other.json")}); ours {
		t.Errorf("another's key is a %s", o.Class)
	}
}

// TestCount: blocks are of whole segments, at most 960 long, encrypted or not; pieces beside a segment are counted, and pieces alone end a block.
func TestCount(t *testing.T) {
	var entries []repository.Entry
	add := func(n wal.SegmentNumber, suffix string, kind repository.Kind) {
		e := repository.Entry{Key: storage.Key("x" + suffix), Kind: kind, Timeline: 1, Range: wal.DefaultSegmentSize.Range(n), Stored: 10}
		if kind == repository.KindPiece {
			e.Range.End = e.Range.Start + 8192
		}
		entries = append(entries, e)
	}
	for n := wal.SegmentNumber(1); n < 1201; n++ {
		add(n, ".zst", repository.KindSegment)
		if n == 5 {
			add(n, ".zst", repository.KindPiece)
		}
	}
	add(1201, ".zst", repository.KindPiece)
	for n := wal.SegmentNumber(1202); n < 1300; n++ {
		suffix := ".zst"
		if n >= 1250 {
			suffix = ".zst.age"
		}
		add(n, suffix, repository.KindSegment)
	}
	add(1300, ".zst", repository.KindSegment)
	add(1300, ".zst.age", repository.KindPiece)
	for n := wal.SegmentNumber(1301); n < 1320; n++ { // too few to be of use
		add(n, ".zst", repository.KindSegment)
	}
	block := func(from, to wal.SegmentNumber, objects int, sealed bool) repository.Block {
		return repository.Block{Range: wal.Range{Start: wal.DefaultSegmentSize.Start(from), End: wal.DefaultSegmentSize.Start(to)}, Objects: objects, Stored: int64(10 * objects), Sealed: sealed}
	}
	want := []repository.Block{block(1, 961, 961, false), block(961, 1201, 240, false), block(1202, 1250, 48, false), block(1250, 1300, 50, true)}
	if got := repository.Count(wal.DefaultSegmentSize, entries); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestRely: what a run begins and ends with is listed, and so are 64 segments before its end, where encryption begins, eight by chance, and what was let go.
func TestRely(t *testing.T) {
	blocks := func(runs string) []repository.Block { // each letter is a block, upper case if encrypted; a space a hole
		var all []repository.Block
		at := wal.SegmentNumber(1)
		for _, r := range runs {
			length := map[rune]wal.SegmentNumber{'l': 960, 'L': 960, 's': 40, 'S': 40, ' ': 7}[r]
			if r != ' ' {
				all = append(all, repository.Block{Range: wal.Range{Start: wal.DefaultSegmentSize.Start(at), End: wal.DefaultSegmentSize.Start(at + length)}, Sealed: r == 'L' || r == 'S'})
			}
			at += length
		}
		return all
	}
	for _, tt := range []struct{ runs, want string }{
		{"l", "p"},
		{"ll", "pp"},
		{"lllllllllllllll", "ppppppppprrrrrp"}, // the eight are drawn from the left here
		{"llllllllllllllls", "ppppppppprrrrrpp"},
		{"lllllllllll lll", "ppppppppprpprp"},
		{"llllllllllllLLLL", "ppppppppprrpprrp"},
	} {
		if got := repository.Rely(blocks(tt.runs), wal.DefaultSegmentSize, func(wal.Range) bool { return false }, func(int) int { return 0 }); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.runs, got, tt.want)
		}
	}
	all := blocks("lllllllllllllll")
	let := func(r wal.Range) bool { return r == all[1].Range || r == all[12].Range }
	if got := repository.Rely(all, wal.DefaultSegmentSize, let, func(n int) int { return n - 1 }); got != "pxppppppppppxpp" {
		t.Errorf("with two let go: got %s", got)
	}
}
