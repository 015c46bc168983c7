package verify

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// TestCompare guards I4 where an object has no hash: who is believed when repositories hold different contents of it.
func TestCompare(t *testing.T) {
	const history2 = "1\t0/580000\tno recovery target specified\n"
	record := recordedHistory(repository.Backup{ID: "B", History: []byte(history2)})
	child := childHistory(3, []byte(history2+"\n2\t0/740000\tx\n"))
	seen := seenBefore(sha256.Sum256([]byte(history2)))
	flipped := strings.Replace(history2, "58", "59", 1)
	tests := map[string]struct {
		bodies    []string // of the places 0, 1, …; "" holds none
		witnesses []witness
		trusted   int
		right     []int
		wrong     string
	}{
		"equal":                      {[]string{"a", "a", "a"}, nil, -1, []int{0, 1, 2}, ""},
		"one alone":                  {[]string{"a"}, nil, -1, []int{0}, ""},
		"none":                       {[]string{"", ""}, nil, -1, nil, ""},
		"different":                  {[]string{"a", "b", "a"}, nil, -1, nil, "1 differs"},
		"one is trusted":             {[]string{"a", "b", "a"}, nil, 1, []int{1}, "0 damaged 2 damaged"},
		"the trusted one has none":   {[]string{"a", "", "b"}, nil, 1, nil, "2 differs"},
		"a backup's record knows":    {[]string{flipped, history2}, []witness{record}, -1, []int{1}, "0 damaged"},
		"a child's history knows":    {[]string{history2, flipped}, []witness{child}, -1, []int{0}, "1 damaged"},
		"cut at the end of the line": {[]string{history2, history2[:len(history2)-1]}, []witness{child}, -1, []int{0}, "1 damaged"},
		"cut within the line":        {[]string{history2[:20]}, []witness{child}, -1, nil, "0 damaged"},
		"an earlier run knows":       {[]string{history2, flipped}, []witness{seen}, -1, []int{0}, "1 damaged"},
		"alone against a witness":    {[]string{flipped}, []witness{record}, -1, nil, "0 damaged"},
		"a witness of none of them":  {[]string{"a", "a"}, []witness{seen}, -1, []int{0, 1}, ""},
		"witnesses who disagree":     {[]string{flipped, history2}, []witness{seenBefore(sha256.Sum256([]byte(flipped))), record}, -1, nil, "1 damaged 0 damaged"},
		"trust does not beat a fact": {[]string{flipped, history2}, []witness{record}, 0, []int{1}, "0 damaged"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var all []content
			for i, body := range tt.bodies {
				if body != "" {
					all = append(all, content{i, []byte(body)})
				}
			}
			right, wrong := compare(all, tt.witnesses, tt.trusted, []string{"primary", "dr", "near"}, bytes.Equal)
			var said []string
			for _, w := range wrong {
				said = append(said, fmt.Sprintf("%d %s", w.place, w.kind))
			}
			if !slices.Equal(right, tt.right) || strings.Join(said, " ") != tt.wrong {
				t.Errorf("got %v, %q, want %v, %q", right, said, tt.right, tt.wrong)
			}
		})
	}
}

const testSize wal.SegmentSize = 1 << 20

// spansOfText reads "1:100000-500000 2:500000-700000".
func spansOfText(t *testing.T, text string) map[wal.TimelineID][]wal.Range {
	t.Helper()
	spans := map[wal.TimelineID][]wal.Range{}
	for f := range strings.FieldsSeq(text) {
		var tli uint32
		var from, to uint64
		if _, err := fmt.Sscanf(f, "%d:%x-%x", &tli, &from, &to); err != nil {
			t.Fatal(err)
		}
		spans[wal.TimelineID(tli)] = append(spans[wal.TimelineID(tli)], wal.Range{Start: wal.LSN(from), End: wal.LSN(to)})
	}
	return spans
}

func textOf(all []stretch) string {
	var said []string
	for _, s := range all {
		said = append(said, fmt.Sprintf("%d:%x-%x", uint32(s.timeline), uint64(s.Start), uint64(s.End)))
	}
	return strings.Join(said, " ")
}

func histories(t *testing.T) map[wal.TimelineID]wal.History {
	t.Helper()
	all := map[wal.TimelineID]wal.History{}
	for tli, text := range map[wal.TimelineID]string{2: "1\t0/580000\n", 3: "1\t0/580000\n2\t0/740000\n"} {
		h, err := wal.ParseHistory(tli, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		all[tli] = h
	}
	return all
}

// TestUnexplained guards I2: every hole is found, on borders of segments, at switches and at the end, and no other.
func TestUnexplained(t *testing.T) {
	for name, tt := range map[string]struct {
		covered  string
		gaps     string
		expected map[wal.TimelineID]wal.LSN
		want     string
	}{
		"nothing":                             {},
		"one run":                             {covered: "1:100000-500000"},
		"a hole":                              {covered: "1:100000-300000 1:400000-500000", want: "1:300000-400000"},
		"a hole within a segment":             {covered: "1:100000-310000 1:311000-500000", want: "1:310000-311000"},
		"explained":                           {covered: "1:100000-300000 1:400000-500000", gaps: "1:300000-400000"},
		"explained in part":                   {covered: "1:100000-300000 1:400000-500000", gaps: "1:300000-380000", want: "1:380000-400000"},
		"explained on another timeline":       {covered: "1:100000-300000 1:400000-500000", gaps: "2:300000-400000", want: "1:300000-400000"},
		"over two switches":                   {covered: "1:100000-580000 2:500000-740000 3:700000-800000"},
		"from the switch on":                  {covered: "1:100000-580000 2:580000-740000 3:740000-800000"},
		"before a switch":                     {covered: "1:100000-500000 2:500000-740000", want: "1:500000-580000"},
		"behind a switch":                     {covered: "1:100000-580000 2:600000-740000", want: "2:580000-600000"},
		"behind a switch, explained":          {covered: "1:100000-580000 2:600000-740000", gaps: "2:580000-600000"},
		"archiving began on the second":       {covered: "2:600000-740000 3:700000-800000"},
		"what a failover left":                {covered: "1:100000-600000 2:500000-740000"},
		"a hole in what a failover left":      {covered: "1:100000-580000 1:590000-600000 2:500000-740000", want: "1:580000-590000"},
		"the end is known":                    {covered: "1:100000-300000", expected: map[wal.TimelineID]wal.LSN{1: 0x300000}},
		"the end is gone":                     {covered: "1:100000-300000", expected: map[wal.TimelineID]wal.LSN{1: 0x310000}, want: "1:300000-310000"},
		"all of a timeline expired":           {covered: "2:500000-740000", expected: map[wal.TimelineID]wal.LSN{1: 0x580000}},
		"a timeline whose history is unknown": {covered: "1:100000-580000 9:600000-700000 9:800000-900000", want: "9:700000-800000"},
	} {
		t.Run(name, func(t *testing.T) {
			h := holdings{size: testSize, covered: spansOfText(t, tt.covered), histories: histories(t)}
			var gaps []repository.Gap
			for tli, spans := range spansOfText(t, tt.gaps) {
				for _, r := range spans {
					gaps = append(gaps, repository.Gap{Timeline: tli, Range: r})
				}
			}
			if got := textOf(unexplained(h, gaps, tt.expected)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestReachable guards I35: what can be restored is what a whole backup reaches without a hole, along every history.
func TestReachable(t *testing.T) {
	first := repository.Backup{ID: "1", Timeline: 1, StartLSN: 0x200028, StopLSN: 0x200138}
	second := repository.Backup{ID: "2", Timeline: 2, StartLSN: 0x600028, StopLSN: 0x600138}
	for name, tt := range map[string]struct {
		covered string
		backups []repository.Backup
		want    string
	}{
		"no backup":                 {covered: "1:100000-500000"},
		"to the end":                {covered: "1:100000-500000", backups: []repository.Backup{first}, want: "1:200138-500000"},
		"to the hole":               {covered: "1:100000-300000 1:400000-500000", backups: []repository.Backup{first}, want: "1:200138-300000"},
		"no WAL to be consistent":   {covered: "1:100000-200100", backups: []repository.Backup{first}},
		"nothing behind the backup": {covered: "1:100000-200138", backups: []repository.Backup{first}, want: "1:200138-200139"},
		"over the switches": {
			covered: "1:100000-580000 2:500000-740000 3:700000-800000", backups: []repository.Backup{first},
			want: "1:200138-580000 2:580000-740000 3:740000-800000",
		},
		"and what a failover left": {
			covered: "1:100000-5a0000 2:500000-740000", backups: []repository.Backup{first}, want: "1:200138-5a0000 2:580000-740000",
		},
		"from the next backup on": {
			covered: "1:100000-300000 1:400000-580000 2:500000-740000", backups: []repository.Backup{first, second},
			want: "1:200138-300000 2:600138-740000",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := holdings{size: testSize, covered: spansOfText(t, tt.covered), histories: histories(t), backups: tt.backups}
			if got := textOf(without(h.reachable(), nil)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
