package archivertest_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/archiver/archivertest"
	"github.com/pgark/pgark/wal"
)

const mb = 1 << 20

// script makes a recording of segments of 1 MiB, one event each millisecond.
func script(required string, events ...archivertest.Event) *archivertest.Recording {
	began := time.Now()
	r := archivertest.NewRecording(mb, strings.Fields(required)...)
	for i, e := range events {
		r.AddAt(began.Add(time.Duration(i)*time.Millisecond), e)
	}
	return r
}

func stream(conn int, tli wal.TimelineID, at wal.LSN) archivertest.Event {
	return archivertest.Event{Kind: archivertest.Stream, Conn: conn, Timeline: tli, LSN: at}
}

func told(conn int, flush wal.LSN) archivertest.Event {
	return archivertest.Event{Kind: archivertest.Told, Conn: conn, Write: flush, Flush: flush}
}

func segment(repo string, tli, n int) archivertest.Event {
	return archivertest.Event{Kind: archivertest.Held, Repository: repo, Key: fmt.Sprintf("42/wal/%08X/%08X%08X%08X.zst", tli, tli, 0, n)}
}

func piece(tli int, from, to wal.LSN) archivertest.Event {
	return archivertest.Event{
		Kind: archivertest.Held, Repository: "a",
		Key: fmt.Sprintf("42/wal/%08X/%08X%08X%08X.part/%s-%s.zst", tli, tli, 0, int(from/mb), from.Hex(), to.Hex()),
	}
}

func history(repo string, tli int) archivertest.Event {
	return archivertest.Event{Kind: archivertest.Held, Repository: repo, Key: fmt.Sprintf("42/wal/%08X.history", tli)}
}

func deleted(e archivertest.Event) archivertest.Event {
	e.Kind = archivertest.Deleted
	return e
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name     string
		required string
		events   []archivertest.Event
		broken   string // "" if nothing is
	}{
		{"what is durable", "a", []archivertest.Event{
			stream(1, 1, 3*mb), told(1, 3*mb), piece(1, 3*mb, 3*mb+500), told(1, 3*mb+500), segment("a", 1, 3), told(1, 4*mb),
		}, ""},
		{"more than that", "a", []archivertest.Event{stream(1, 1, 3*mb), piece(1, 3*mb, 3*mb+500), told(1, 3*mb+501)}, "before 0/3001F4"},
		{"before it is durable", "a", []archivertest.Event{stream(1, 1, 3*mb), told(1, 4*mb), segment("a", 1, 3)}, "flush 0/400000"},
		{"written before it is durable", "a", []archivertest.Event{
			stream(1, 1, 3*mb), {Kind: archivertest.Told, Conn: 1, Write: 4 * mb},
		}, "write 0/400000"},
		{"behind a hole", "a", []archivertest.Event{stream(1, 1, 3*mb), segment("a", 1, 4), told(1, 5*mb)}, "before 0/300000"},
		{"behind a hole filled later", "a", []archivertest.Event{
			stream(1, 1, 3*mb), segment("a", 1, 4), told(1, 3*mb), segment("a", 1, 3), told(1, 5*mb),
		}, ""},
		{"behind a recorded gap", "a", []archivertest.Event{
			stream(1, 1, 3*mb), segment("a", 1, 3),
			{Kind: archivertest.Held, Repository: "a", Key: "42/gaps/00000001-0000000000400000-0000000000500000.json"},
			stream(2, 1, 5*mb), segment("a", 1, 5), told(2, 6*mb),
		}, ""},
		{"stream that skips", "a", []archivertest.Event{stream(1, 1, 3*mb), segment("a", 1, 3), stream(2, 1, 5*mb)}, "streamed from 0/500000"},
		{"begun again before anything was archived", "a", []archivertest.Event{
			stream(1, 1, 3*mb), told(1, 3*mb), stream(2, 1, 6*mb), segment("a", 1, 6), told(2, 7*mb),
		}, ""},
		{"one of two required", "a b", []archivertest.Event{stream(1, 1, 3*mb), segment("a", 1, 3), told(1, 4*mb)}, "of which b holds"},
		{"both required", "a b", []archivertest.Event{stream(1, 1, 3*mb), segment("a", 1, 3), segment("b", 1, 3), told(1, 4*mb)}, ""},
		{"a copy that is not required", "a", []archivertest.Event{stream(1, 1, 3*mb), segment("b", 1, 3), told(1, 4*mb)}, "of which a holds"},
		{"new timeline", "a", []archivertest.Event{
			stream(1, 1, 3*mb), segment("a", 1, 3), history("a", 2), stream(2, 2, 4*mb), told(2, 4*mb), piece(2, 4*mb, 4*mb+9), told(2, 4*mb+9),
		}, ""},
		{"new timeline without its history", "a", []archivertest.Event{stream(1, 2, 4*mb), segment("a", 2, 4)}, "before the history"},
		{"piece beside its segment deleted", "a", []archivertest.Event{
			stream(1, 1, 3*mb), piece(1, 3*mb, 3*mb+9), segment("a", 1, 3), deleted(piece(1, 3*mb, 3*mb+9)),
		}, ""},
		{"piece deleted too early", "a", []archivertest.Event{
			stream(1, 1, 3*mb), piece(1, 3*mb, 3*mb+9), deleted(piece(1, 3*mb, 3*mb+9)),
		}, "does not hold its segment"},
		{"told on no stream", "a", []archivertest.Event{told(1, 0)}, "streams nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := script(tt.required, tt.events...)
			_, err := archivertest.Judge(r)
			judged(t, err, tt.broken)

			var file bytes.Buffer
			if err := r.Encode(&file); err != nil {
				t.Fatal(err)
			}
			again, err := archivertest.Decode(&file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = archivertest.Judge(again)
			judged(t, err, tt.broken)
		})
	}
}

func judged(t *testing.T, err error, broken string) {
	t.Helper()
	var v *archivertest.BrokenError
	switch {
	case broken == "" && err != nil:
		t.Errorf("got %v, want nothing broken", err)
	case broken != "" && (!errors.As(err, &v) || !strings.Contains(v.Broken, broken)):
		t.Errorf("got %v, want a violation that says %q", err, broken)
	}
}
