package repository_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

func gap(from, to wal.LSN) repository.Gap {
	g := frozenGap()
	g.Range = r(from, to)
	return g
}

// TestGaps: what is recorded is read again, in order, and never changed; other objects in the folder do no harm.
func TestGaps(t *testing.T) {
	c, store := cluster(t)
	if gaps, err := c.Gaps(t.Context()); err != nil || len(gaps) != 0 {
		t.Errorf("none: got %v, %v", gaps, err)
	}
	late, early, other := gap(5*mib, 7*mib), gap(mib, 2*mib), gap(mib, 2*mib)
	other.Timeline = 2
	for _, g := range []repository.Gap{other, late, early} {
		if err := c.PutGap(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	again := early
	again.Cause, again.FirstSeen = repository.CauseSlotLost, early.FirstSeen.Add(time.Hour)
	if err := c.PutGap(t.Context(), again); err != nil {
		t.Errorf("the same gap again: %v", err)
	}
	store.Replace("7312345678901234567/gaps/README", []byte("not ours"))
	if gaps, err := c.Gaps(t.Context()); err != nil || !slices.Equal(gaps, []repository.Gap{early, late, other}) {
		t.Errorf("got %+v, %v", gaps, err)
	}
}

// TestGapKey: the key is the one of FORMAT.md.
func TestGapKey(t *testing.T) {
	c, store := cluster(t)
	if err := c.PutGap(t.Context(), frozenGap()); err != nil {
		t.Fatal(err)
	}
	want := storage.Key("7312345678901234567/gaps/00000001-0000000002702008-0000000002800000.json")
	if !slices.Contains(store.Keys(), want) {
		t.Errorf("got %v, want %s", store.Keys(), want)
	}
	if err := want.Validate(); err != nil {
		t.Error(err)
	}
}

// TestGapEachBit cuts a record at each byte and flips each bit.
func TestGapEachBit(t *testing.T) {
	text, err := repository.EncodeGap(system, frozenGap())
	if err != nil {
		t.Fatal(err)
	}
	if g, err := repository.ParseGap(system, text); err != nil || g != frozenGap() {
		t.Fatalf("got %+v, %v", g, err)
	}
	if _, err := repository.ParseGap(system+1, text); err == nil {
		t.Error("record of another system: got nil")
	}
	for at := range text {
		if _, err := repository.ParseGap(system, text[:at]); err == nil {
			t.Errorf("cut at %d: got nil", at)
		}
		for bit := range 8 {
			text[at] ^= 1 << bit
			if _, err := repository.ParseGap(system, text); err == nil {
				t.Errorf("bit %d of byte %d flipped: got nil", bit, at)
			}
			text[at] ^= 1 << bit
		}
	}
}

func TestGapValidate(t *testing.T) {
	for name, change := range map[string]func(*repository.Gap){
		"timeline":     func(g *repository.Gap) { g.Timeline = 0 },
		"no bytes":     func(g *repository.Gap) { g.Range.End = g.Range.Start },
		"no cause":     func(g *repository.Gap) { g.Cause = "" },
		"cause":        func(g *repository.Gap) { g.Cause = "slot lost" },
		"long detail":  func(g *repository.Gap) { g.Detail = strings.Repeat("x", 5000) },
		"detail":       func(g *repository.Gap) { g.Detail = "\xff" },
		"without time": func(g *repository.Gap) { g.FirstSeen = time.Time{} },
	} {
		c, store := cluster(t)
		before := len(store.Keys())
		g := frozenGap()
		change(&g)
		if err := c.PutGap(t.Context(), g); err == nil || len(store.Keys()) != before {
			t.Errorf("%s: got %v and %d objects more", name, err, len(store.Keys())-before)
		}
	}
}

// TestGapDamaged: one record that cannot be read does not hide the others, and is said.
func TestGapDamaged(t *testing.T) {
	c, store := cluster(t)
	for _, g := range []repository.Gap{gap(mib, 2*mib), gap(3*mib, 4*mib)} {
		if err := c.PutGap(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	prefix := storage.Key("7312345678901234567/gaps/")
	first := prefix + repository.GapName(gap(mib, 2*mib))
	whole := store.Bytes(first)
	for name, body := range map[string][]byte{
		"cut": whole[:len(whole)-1], "under another name": store.Bytes(prefix + repository.GapName(gap(3*mib, 4*mib))), "huge": bytes.Repeat([]byte(" "), 1<<17),
		"newer": bytes.Replace(whole, []byte(`"format": 1`), []byte(`"format": 9`), 1),
	} {
		store.Replace(first, body)
		var corrupt *repository.CorruptError
		gaps, err := c.Gaps(t.Context())
		if !errors.As(err, &corrupt) || corrupt.Key != first || len(gaps) != 1 || gaps[0] != gap(3*mib, 4*mib) {
			t.Errorf("%s: got %+v, %v", name, gaps, err)
		}
		if err := c.PutGap(t.Context(), gap(mib, 2*mib)); !errors.As(err, &corrupt) {
			t.Errorf("%s: put again: got %v, want a *CorruptError", name, err)
		}
	}
	store.Replace(first, whole)
	store.Fail(memory.List, "*", 1, errScripted)
	if _, err := c.Gaps(t.Context()); !errors.Is(err, errScripted) {
		t.Errorf("store that fails: got %v", err)
	}
}

// TestCatchUpGapFirst fails each call in turn: a copy that holds WAL behind a gap holds the gap's record (I2).
func TestCatchUpGapFirst(t *testing.T) {
	from := whole(t)
	key := storage.Key("7312345678901234567/gaps/" + string(repository.GapName(frozenGap())))
	seen := false
	for nth := 1; ; nth++ {
		to := memory.New()
		to.Fail(memory.Any, "", nth, errScripted)
		err := repository.CatchUp(t.Context(), from, to)
		recorded := slices.Contains(to.Keys(), key)
		behind := slices.ContainsFunc(to.Keys(), func(k storage.Key) bool { return strings.Contains(string(k), "/wal/00000002/") })
		if behind && !recorded {
			t.Fatalf("call %d: WAL behind the gap without its record: %v", nth, to.Keys())
		}
		seen = seen || recorded && !behind
		if err == nil {
			break
		}
	}
	if !seen {
		t.Error("no call was failed between the record and the WAL behind it")
	}
}

// TestCatchUpCorruptGap: the record is not copied, all else is, and it is said.
func TestCatchUpCorruptGap(t *testing.T) {
	from, to := whole(t), memory.New()
	key := storage.Key("7312345678901234567/gaps/" + string(repository.GapName(frozenGap())))
	from.Replace(key, from.Bytes(key)[1:])
	var corrupt *repository.CorruptError
	if err := repository.CatchUp(t.Context(), from, to); !errors.As(err, &corrupt) || corrupt.Key != key {
		t.Errorf("got %v, want a *CorruptError for %s", err, key)
	}
	keys := to.Keys()
	if slices.Contains(keys, key) || !slices.ContainsFunc(keys, func(k storage.Key) bool { return strings.HasSuffix(string(k), "/record.json") }) {
		t.Errorf("got %v", keys)
	}
}

func TestSameGap(t *testing.T) {
	g := frozenGap()
	key := storage.Key("7312345678901234567/gaps/" + string(repository.GapName(g)))
	one, err := repository.EncodeGap(system, g)
	if err != nil {
		t.Fatal(err)
	}
	g.FirstSeen = g.FirstSeen.Add(time.Minute)
	two, err := repository.EncodeGap(system, g)
	if err != nil {
		t.Fatal(err)
	}
	g.Range.End++
	three, err := repository.EncodeGap(system, g)
	if err != nil {
		t.Fatal(err)
	}
	if !repository.SameContent(encryption.Keys{})(key, one, two) || repository.SameContent(encryption.Keys{})(key, one, three) || repository.SameContent(encryption.Keys{})(key, one, two[1:]) {
		t.Error("two records of one gap are the same, others are not")
	}
}

func FuzzGapName(f *testing.F) {
	f.Add("00000001-0000000002702008-0000000002800000.json")
	f.Fuzz(func(t *testing.T, s string) {
		if g, ok := repository.ParseGapName(s); ok && string(repository.GapName(g)) != s {
			t.Errorf("got %s, want %s", repository.GapName(g), s)
		}
	})
}

func FuzzGap(f *testing.F) {
	text, err := repository.EncodeGap(system, frozenGap())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		g, err := repository.ParseGap(system, text)
		if err != nil {
			return
		}
		again, err := repository.EncodeGap(system, g)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := repository.ParseGap(system, again); err != nil {
			t.Error(err)
		}
	})
}

func lostWAL(tli wal.TimelineID, from, to wal.LSN) repository.Gap {
	return repository.Gap{Timeline: tli, Range: r(from, to)}
}

func backedUp(tli wal.TimelineID, start wal.LSN) repository.Backup {
	return repository.Backup{Timeline: tli, StartLSN: start, Checksums: repository.ChecksumsVerified}
}

// TestOpenGap: which gap has to be ended by a base backup.
func TestOpenGap(t *testing.T) {
	one := wal.History{Timeline: 1}
	three := wal.History{Timeline: 3, Parents: []wal.Switch{{Timeline: 1, At: 500}, {Timeline: 2, At: 800}}}
	bad := backedUp(1, 300)
	bad.Checksums = repository.ChecksumsFailed
	for name, test := range map[string]struct {
		h       wal.History
		gaps    []repository.Gap
		backups []repository.Backup
		want    wal.LSN // its end; 0 if there is none
	}{
		"no gap":                                 {one, nil, []repository.Backup{backedUp(1, 100)}, 0},
		"no backup":                              {one, []repository.Gap{lostWAL(1, 200, 300)}, nil, 300},
		"a backup before":                        {one, []repository.Gap{lostWAL(1, 200, 300)}, []repository.Backup{backedUp(1, 100)}, 300},
		"one that begins in it":                  {one, []repository.Gap{lostWAL(1, 200, 300)}, []repository.Backup{backedUp(1, 299)}, 300},
		"one that begins at its end":             {one, []repository.Gap{lostWAL(1, 200, 300)}, []repository.Backup{backedUp(1, 300), backedUp(1, 100)}, 0},
		"one with wrong pages":                   {one, []repository.Gap{lostWAL(1, 200, 300)}, []repository.Backup{bad}, 300},
		"the newest counts":                      {one, []repository.Gap{lostWAL(1, 500, 600), lostWAL(1, 200, 300)}, []repository.Backup{backedUp(1, 400)}, 600},
		"on an older timeline":                   {three, []repository.Gap{lostWAL(1, 200, 500)}, []repository.Backup{backedUp(1, 100)}, 500},
		"ended on a younger one":                 {three, []repository.Gap{lostWAL(1, 200, 500)}, []repository.Backup{backedUp(3, 900)}, 0},
		"past where the way left":                {three, []repository.Gap{lostWAL(1, 600, 700)}, nil, 0},
		"on a branch":                            {three, []repository.Gap{lostWAL(4, 200, 300)}, nil, 0},
		"not ended by a backup on a branch":      {three, []repository.Gap{lostWAL(2, 600, 700)}, []repository.Backup{backedUp(4, 900)}, 700},
		"nor by one past where the way left":     {three, []repository.Gap{lostWAL(2, 600, 700)}, []repository.Backup{backedUp(1, 750)}, 700},
		"before anything is known of the server": {wal.History{}, []repository.Gap{lostWAL(1, 200, 300)}, nil, 0},
	} {
		got, open := repository.OpenGap(test.gaps, test.backups, test.h)
		if open != (test.want != 0) || got.Range.End != test.want {
			t.Errorf("%s: got %+v, %t, want one that ends at %s", name, got, open, test.want)
		}
	}
}
