package archiver

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/wal"
)

// TestAssemblerScenarios runs the text files of testdata. A line is a
// command; the indented lines under it are what it must print.
//
//	new size=1MB interval=1s piece=1MB slots=4 start=0/100000 [durable=…]
//	at 1.5s                  the clock, from 0
//	receive LSN [server LSN] bytes came; how far the server's own WAL reaches
//	cut                      prints every object that is to be cut now
//	confirm ID               an object is durable; prints the durable position
//	demand on|off            commits wait for what is put
//	flush · split (the open segment) · wake · durable · settled · floor · drained
//	flying LSN               is an object of its segment in flight?
//	whole LSN                is its segment still to go up whole?
func TestAssemblerScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatalf("scenario files: %d, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScenario(t, file) })
	}
}

func runScenario(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var (
		s      scenario
		got    []string
		want   []string
		origin string
	)
	check := func() {
		if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
			t.Fatalf("%s\ngot:\n%s\nwant:\n%s", origin, g, w)
		}
	}
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "#"), strings.TrimSpace(line) == "":
		case strings.HasPrefix(line, "  "):
			want = append(want, strings.TrimSpace(line))
		default:
			check()
			origin = fmt.Sprintf("%s:%d: %s", file, i+1, line)
			got, want = s.run(t, strings.Fields(line)), nil
		}
	}
	check()
}

type scenario struct {
	assembler *assembler
	now       time.Time
}

func (s *scenario) run(t *testing.T, words []string) []string {
	t.Helper()
	a := s.assembler
	switch words[0] {
	case "new":
		s.create(t, words[1:])
	case "at":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			t.Fatal(err)
		}
		s.now = epoch().Add(d)
	case "receive":
		server := lsn(t, words[1])
		if len(words) == 4 {
			server = lsn(t, words[3])
		}
		a.receive(lsn(t, words[1]), server, s.now)
	case "demand":
		a.onDemand(words[1] == "on")
	case "flush":
		a.flush(s.now)
	case "split":
		a.piecesOnly()
	case "confirm":
		id, err := strconv.ParseUint(words[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		a.confirm(id)
		return []string{"durable " + a.durable.String()}
	default:
		return s.ask(t, words)
	}
	return nil
}

func (s *scenario) ask(t *testing.T, words []string) (out []string) {
	t.Helper()
	a := s.assembler
	switch words[0] {
	case "cut":
		for c, ok := a.nextCut(s.now); ok; c, ok = a.nextCut(s.now) {
			kind := map[cutKind]string{cutSegment: "segment", cutPiece: "piece"}[c.kind]
			out = append(out, fmt.Sprintf("%d %s %s-%s", c.id, kind, c.bytes.Start, c.bytes.End))
		}
		if out == nil {
			out = []string{"nothing"}
		}
	case "wake":
		at, ok := a.wake()
		if !ok {
			return []string{"never"}
		}
		return []string{at.Sub(epoch()).String()}
	case "durable":
		return []string{a.durable.String()}
	case "settled":
		return []string{a.settled().String()}
	case "floor":
		return []string{a.floor().String()}
	case "drained":
		return []string{fmt.Sprint(a.drained())}
	case "whole":
		return []string{fmt.Sprint(!a.isSplit(a.number(lsn(t, words[1]))))}
	case "flying":
		return []string{fmt.Sprint(a.inFlight(a.number(lsn(t, words[1]))))}
	default:
		t.Fatalf("unknown command %q", words[0])
	}
	return out
}

func (s *scenario) create(t *testing.T, words []string) {
	t.Helper()
	config := assemblerConfig{size: 1 << 20, interval: time.Second, maxPiece: 1 << 20, slots: 4}
	start, durable := wal.LSN(0), wal.LSN(0)
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "size":
			config.size = wal.SegmentSize(bytesOf(t, value))
		case "piece":
			config.maxPiece = wal.LSN(bytesOf(t, value))
		case "slots":
			config.slots = int(bytesOf(t, value))
		case "interval":
			d, err := time.ParseDuration(value)
			if err != nil {
				t.Fatal(err)
			}
			config.interval = d
		case "fresh":
			config.fresh = value == "true"
		case "start":
			start = lsn(t, value)
			durable = max(start, durable)
		case "durable":
			durable = lsn(t, value)
		default:
			t.Fatalf("unknown parameter %q", word)
		}
	}
	s.assembler, s.now = newAssembler(config, start, durable), epoch()
}

func epoch() time.Time { return time.Unix(1_000_000, 0) }

func lsn(t *testing.T, s string) wal.LSN {
	t.Helper()
	l, err := wal.ParseLSN(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func bytesOf(t *testing.T, s string) uint64 {
	t.Helper()
	unit := uint64(1)
	for suffix, n := range map[string]uint64{"kB": 1 << 10, "MB": 1 << 20} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = rest, n
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n * unit
}
