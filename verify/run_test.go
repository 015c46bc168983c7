package verify_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/verify"
	"github.com/pgark/pgark/wal"
)

// whole returns the keys of packs, indexes, manifests and WAL that were read from the first to the last byte.
func whole(s *memory.Store) []storage.Key {
	var keys []storage.Key
	for _, c := range s.Calls() {
		if c.Op == memory.Get && c.Span.Length < 0 && strings.HasSuffix(string(c.Key), ".zst") {
			keys = append(keys, c.Key)
		}
	}
	return keys
}

// TestNothingIsReadTwice guards the period: an object that was read and found right is not read again before it is over, and what came since is.
func TestNothingIsReadTwice(t *testing.T) {
	primary := archive(t)
	dr := primary.Clone()
	options := verify.Options{SystemID: system}
	var lasting int
	for _, k := range primary.Keys() {
		if strings.HasSuffix(string(k), ".zst") {
			lasting++
		}
	}
	check := func(what string, options verify.Options, want int) {
		t.Helper()
		for _, s := range []*memory.Store{primary, dr} {
			s.Reset()
		}
		if r := run(t, two(primary, dr), options); r.Verdict != verify.Sound {
			t.Errorf("%s: got %+v", what, r)
		}
		for i, s := range []*memory.Store{primary, dr} {
			got := whole(s)
			slices.Sort(got)
			if len(got) != want || len(slices.Compact(got)) != want {
				t.Errorf("%s: store %d: read %d objects whole, want %d: %v", what, i, len(got), want, got)
			}
		}
	}
	check("first run", options, lasting)
	check("second run", options, 0)
	for _, s := range []*memory.Store{primary, dr} {
		r, err := repository.Open(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		putWAL(t, r.Cluster(system), repository.KindPiece, 3, wal.Range{Start: 0x780000, End: 0x790000})
	}
	check("after one more piece", options, 1)
	everything := options
	everything.Deep = true
	check("deep", everything, lasting+1)
	check("after deep", options, 0)
	over := options
	over.Now = func() time.Time { return time.Now().Add(verify.DefaultSince + time.Minute) }
	check("when the period is over", over, lasting+1)

	// The record of another place, which came with the copy of a bucket, says nothing of this one.
	places := two(primary, dr)
	places[1].ID = "c"
	dr.Reset()
	run(t, places, options)
	if got := len(whole(dr)); got != lasting+1 {
		t.Errorf("of another place: read %d objects, want all %d", got, lasting+1)
	}
}

// TestDamageIsToldUntilItIsHealed: what was found damaged is read again in each run, whatever the period.
func TestDamageIsToldUntilItIsHealed(t *testing.T) {
	primary, key := archive(t), classes()[repository.ClassSegment][0]
	places := two(primary, nil)[:1]
	b := primary.Bytes(key)
	b[500] ^= 1
	primary.Replace(key, b)
	for range 2 {
		checkNamed(t, run(t, places, verify.Options{SystemID: system}), []storage.Key{key})
	}
}

// TestDamageThatCameLater: what was right once and was found damaged since is read again in each run, though the period in which it need not be has not ended.
func TestDamageThatCameLater(t *testing.T) {
	primary, key := archive(t), classes()[repository.ClassPack][0]
	places := two(primary, nil)[:1]
	for range 2 {
		if r := run(t, places, verify.Options{SystemID: system}); r.Verdict != verify.Sound {
			t.Fatalf("verdict %s", r.Verdict)
		}
		primary.Alter(string(key), 0, func(b []byte) []byte { b[500] ^= 1; return b }) // it is not due the second time
	}
	primary.Reset()
	primary.Alter(string(key), 0, func(b []byte) []byte { b[500] ^= 1; return b })
	checkNamed(t, run(t, places, verify.Options{SystemID: system, Deep: true}), []storage.Key{key})
	checkNamed(t, run(t, places, verify.Options{SystemID: system}), []storage.Key{key})
}

// TestBrokenOffRunIsRecorded: the next run goes on where one was broken off.
func TestBrokenOffRunIsRecorded(t *testing.T) {
	primary := archive(t)
	places := two(primary, nil)[:1]
	ctx, cancel := context.WithCancel(t.Context())
	o := verify.Options{SystemID: system, Jobs: 1, Progress: func(p verify.Progress) {
		if p.Objects == 14 {
			cancel()
		}
	}}
	if _, err := verify.Run(ctx, places, o); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
	before := whole(primary)
	if len(before) == 0 {
		t.Fatal("nothing was read before")
	}
	primary.Reset()
	o.Progress = nil
	if r := run(t, places, o); r.Verdict != verify.Sound {
		t.Errorf("got %+v", r)
	}
	again := 0
	for _, k := range whole(primary) {
		if slices.Contains(before, k) {
			again++
		}
	}
	if again > 1 { // the one that was being read
		t.Errorf("%d objects were read twice", again)
	}
}

// TestRiskNamesInstants guards I25: what damage means is said in WAL and in time, and who holds it.
func TestRiskNamesInstants(t *testing.T) {
	sound := archive(t)
	primary := sound.Clone()
	key := classes()[repository.ClassSegment][0]
	primary.Replace(key, nil)
	r := run(t, two(primary, sound), deep())
	if len(r.Risks) != 2 { // to the switch, and behind it
		t.Fatalf("got %+v", r.Risks)
	}
	k := r.Risks[0]
	if k.Repository != "primary" || k.Timeline != 1 || k.Start != 0x300000 || k.End != 0x580000 || !slices.Equal(k.Elsewhere, []string{"dr"}) {
		t.Errorf("got %+v", k)
	}
	if k.From == nil || !k.From.Equal(instant(0x300000)) || k.Until == nil || !k.Until.Equal(instant(0x580000)) {
		t.Errorf("instants between %v and %v", k.From, k.Until)
	}
	k = r.Risks[1]
	if k.Timeline != 2 || k.Start != 0x580000 || k.End != 0x600138 || k.Until == nil || !k.Until.Equal(instant(0x600138)) ||
		k.From == nil || !k.From.Equal(instant(0x580000)) { // of the parent timeline: its own begins there
		t.Errorf("got %+v", k)
	}
	if r.Verdict != verify.Impaired || len(r.Unusable) != 0 {
		t.Errorf("got %s, %+v", r.Verdict, r.Unusable)
	}

	// Where no other repository has them, that is said too.
	r = run(t, two(primary, nil)[:1], deep())
	checkNamed(t, r, []storage.Key{key})
	if r.Verdict != verify.Lost || len(r.Risks) != 2 || len(r.Risks[0].Elsewhere) != 0 {
		t.Errorf("alone: got %s, %+v", r.Verdict, r.Risks)
	}
}

// TestUnusableBackup: a backup that lacks an object cannot be restored, and which repository can is said.
func TestUnusableBackup(t *testing.T) {
	sound := archive(t)
	primary := sound.Clone()
	primary.Replace(classes()[repository.ClassPack][0], nil)
	r := run(t, two(primary, sound), deep())
	if len(r.Unusable) != 1 || r.Unusable[0].Backup != first || !slices.Equal(r.Unusable[0].Elsewhere, []string{"dr"}) {
		t.Errorf("got %+v", r.Unusable)
	}
	if len(r.Risks) == 0 || r.Risks[0].Start != 0x200138 || !r.Risks[0].From.Equal(instant(0x200138)) {
		t.Errorf("got %+v", r.Risks)
	}
}

// TestHoles guards I2 and D2: WAL that is nowhere is damage, unless a gap record says why; on timeline switches and at the end too.
func TestHoles(t *testing.T) {
	for name, tt := range map[string]struct {
		gone []string
		want wal.Range
		tli  wal.TimelineID
	}{
		"in the middle":          {[]string{"wal/00000001/000000010000000000000003.zst"}, wal.Range{Start: 0x300000, End: 0x400000}, 1},
		"before a switch":        {[]string{"wal/00000001/000000010000000000000005.part/0000000000500000-0000000000580000.zst"}, wal.Range{Start: 0x500000, End: 0x580000}, 1},
		"behind a switch":        {[]string{"wal/00000002/000000020000000000000005.zst"}, wal.Range{Start: 0x580000, End: 0x600000}, 2},
		"a piece before another": {[]string{"wal/00000002/000000020000000000000007.part/0000000000700000-0000000000720000.zst"}, wal.Range{Start: 0x700000, End: 0x720000}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			store := archive(t)
			for _, k := range tt.gone {
				store.Replace(storage.Key(system.String()+"/"+k), nil)
			}
			r := run(t, two(store, nil)[:1], deep())
			if len(r.Damage) != 1 || r.Damage[0].Kind != verify.Missing || r.Damage[0].Start != tt.want.Start || r.Damage[0].End != tt.want.End ||
				r.Damage[0].Timeline != tt.tli || r.Verdict != verify.Lost {
				t.Fatalf("got %s, %+v", r.Verdict, r.Damage)
			}
			open, err := repository.Open(t.Context(), store)
			if err != nil {
				t.Fatal(err)
			}
			err = open.Cluster(system).PutGap(t.Context(), repository.Gap{
				Timeline: tt.tli, Range: tt.want, Cause: repository.CauseSlotLost, FirstSeen: epoch, ServerFlush: tt.want.End,
			})
			if err != nil {
				t.Fatal(err)
			}
			if r := run(t, two(store, nil)[:1], deep()); len(r.Damage) != 0 {
				t.Errorf("with a gap record: got %+v", r.Damage)
			}
		})
	}
}

// TestLetGoElsewhere: that one repository let WAL go does not explain why another, which has WAL from before it, lacks it; one that begins behind it does not miss it.
func TestLetGoElsewhere(t *testing.T) {
	const third = "/wal/00000001/000000010000000000000003.zst"
	for name, test := range map[string]struct {
		gone []storage.Key // of the primary
		want int
	}{
		"lost in the middle":    {[]storage.Key{third}, 1},
		"it begins behind that": {[]storage.Key{"/wal/00000001/000000010000000000000001.zst", "/wal/00000001/000000010000000000000002.zst", third}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			primary, dr := archive(t), archive(t)
			for _, key := range test.gone {
				primary.Replace(storage.Key(system.String())+key, nil)
			}
			dr.Replace(storage.Key(system.String())+third, nil)
			open, err := repository.Open(t.Context(), dr)
			if err == nil {
				err = open.Cluster(system).PutExpiry(t.Context(), repository.Expiry{}, repository.Expiry{
					Time: epoch, WAL: []repository.Stretch{{Timeline: 1, Range: wal.Range{Start: 0x300000, End: 0x400000}}},
				})
			}
			if err != nil {
				t.Fatal(err)
			}
			r := run(t, two(primary, dr), deep())
			found := 0
			for _, d := range r.Damage {
				if d.Start == 0x300000 && d.Kind == verify.Missing {
					found++
					if d.Repository != "primary" {
						t.Errorf("%s is said to lack it", d.Repository)
					}
				}
			}
			if found != test.want || test.want > 0 && r.Verdict != verify.Lost {
				t.Errorf("got %s, %+v", r.Verdict, r.Damage)
			}
		})
	}
}

// TestLostTail guards D6: that the end of the archive was deleted shows by the beat, and by what an earlier verification saw, each time.
func TestLostTail(t *testing.T) {
	for _, beat := range []bool{true, false} {
		store := archive(t)
		if !beat {
			store.Replace(classes()[repository.ClassBeat][0], nil)
		}
		open, err := repository.Open(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		putWAL(t, open.Cluster(system), repository.KindPiece, 3, wal.Range{Start: 0x780000, End: 0x790000})
		places, o := two(store, nil)[:1], verify.Options{SystemID: system, Grace: -1}
		run(t, places, o)
		for _, k := range store.Keys() {
			if strings.HasSuffix(string(k), "-0000000000790000.zst") || beat && strings.HasSuffix(string(k), "-0000000000780000.zst") {
				store.Replace(k, nil)
			}
		}
		if beat {
			putWAL(t, open.Cluster(system), repository.KindPiece, 3, wal.Range{Start: 0x700000, End: 0x710000})
			o.Forget = true
		}
		for range 2 {
			r := run(t, places, o)
			if len(r.Damage) != 1 || r.Damage[0].End < 0x780000 || r.Verdict != verify.Lost {
				t.Errorf("beat %t: got %s, %+v", beat, r.Verdict, r.Damage)
			}
		}
	}
}

// TestCopyBehind: what a copy may not have yet is no damage; later it is, and is brought.
func TestCopyBehind(t *testing.T) {
	primary := archive(t)
	dr := primary.Clone()
	for _, k := range dr.Keys() {
		if strings.Contains(string(k), "/wal/00000002/") || strings.Contains(string(k), second) || strings.Contains(string(k), "/wal/00000003") {
			dr.Replace(k, nil)
		}
	}
	o := deep()
	o.Grace = time.Hour
	r := run(t, two(primary, dr), o)
	for _, d := range r.Damage { // the made-up backup is older than a day
		if d.Backup == "" {
			t.Errorf("got %+v", d)
		}
	}
	o.Grace, o.Repair = -1, true
	if r := run(t, two(primary, dr), o); r.Verdict != verify.Healed {
		t.Errorf("got %+v", r)
	}
	if r := run(t, two(primary, dr), deep()); r.Verdict != verify.Sound {
		t.Errorf("after healing: got %+v", r)
	}
	if got, want := dr.Keys(), primary.Keys(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestRecordComesLast guards the orders: a record is not put into a copy that lacks data which no repository gives.
func TestRecordComesLast(t *testing.T) {
	primary := archive(t)
	dr := primary.Clone()
	record, pack := classes()[repository.ClassRecord][0], classes()[repository.ClassPack][0]
	dr.Replace(record, nil)
	dr.Replace(pack, nil)
	b := primary.Bytes(pack)
	b[400] ^= 4
	primary.Replace(pack, b)
	o := deep()
	o.Repair = true
	r := run(t, two(primary, dr), o)
	if dr.Bytes(record) != nil || r.Verdict != verify.Lost {
		t.Errorf("got %+v", r)
	}
	if dr.Bytes(pack) != nil || len(primary.Older(pack)) != 0 {
		t.Error("a damaged pack was copied")
	}
}

func TestStoreThatMayNotBeWritten(t *testing.T) {
	primary := archive(t)
	keys := primary.Keys()
	for _, op := range []memory.Op{memory.Put, memory.Begin, memory.Supersede, memory.Delete} {
		primary.Fail(op, "", 0, storage.ErrDenied)
	}
	dr := primary.Clone()
	r := run(t, two(primary, dr), verify.Options{SystemID: system})
	if r.Verdict != verify.Sound || r.Repositories[0].Unrecorded == "" || r.Repositories[1].Unrecorded != "" {
		t.Errorf("got %+v", r)
	}
	if got := primary.Keys(); !slices.Equal(got, keys) {
		t.Errorf("got %v", got)
	}
	pack := classes()[repository.ClassPack][0]
	primary.Replace(pack, []byte("x"))
	o := deep()
	o.Repair = true
	if r := run(t, two(primary, dr), o); r.Verdict != verify.Impaired || !strings.Contains(r.Damage[0].Error, "denied") {
		t.Errorf("got %+v", r)
	}
}

// TestStoreWithoutVersions: where the damaged object would be lost it is not overwritten.
func TestStoreWithoutVersions(t *testing.T) {
	sound := archive(t)
	primary := sound.Clone()
	segment, piece := classes()[repository.ClassSegment][0], classes()[repository.ClassPiece][0]
	primary.Replace(segment, []byte("x"))
	primary.Replace(piece, nil)
	places := two(struct{ storage.Store }{primary}, sound)
	o := deep()
	o.Repair = true
	r := run(t, places, o)
	if string(primary.Bytes(segment)) != "x" || primary.Bytes(piece) == nil || r.Verdict != verify.Impaired {
		t.Errorf("got %+v", r)
	}
}

// TestOneBadReadingIsNoDamage: what is said of an object must be true of it, and not of the way to it.
func TestOneBadReadingIsNoDamage(t *testing.T) {
	for class, keys := range classes() {
		store := archive(t)
		store.Alter(string(keys[0]), 1, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		r := run(t, two(store, nil)[:1], deep())
		if len(r.Damage) != 0 {
			t.Errorf("%s: got %+v", class, r.Damage)
		}
	}
}

// TestPlaceThatDies: one repository that does not answer does not hide how the other stands, and when none answers that is the error.
func TestPlaceThatDies(t *testing.T) {
	for _, op := range []memory.Op{memory.Stat, memory.List, memory.Get} {
		for nth := 1; nth <= 6; nth++ {
			primary := archive(t)
			dr := primary.Clone()
			primary.Fail(op, "", nth, storage.ErrDenied)
			r := run(t, two(primary, dr), deep())
			if len(r.Damage) != 0 || r.Verdict == verify.Lost {
				t.Errorf("%s %d: got %+v", op, nth, r)
			}
			if p := r.Repositories[1]; p.Error != "" || p.Read != int64(len(objects(dr))) {
				t.Errorf("%s %d: got %+v", op, nth, p)
			}
		}
		dead := archive(t)
		dead.Fail(memory.Any, "", 0, storage.ErrDenied)
		if _, err := verify.Run(t.Context(), two(dead, dead), deep()); !errors.Is(err, storage.ErrDenied) {
			t.Errorf("got %v, want ErrDenied", err)
		}
	}
}

// TestObjectThatCannotBeRead: a bad sector under one object is damage of that object, and is healed.
func TestObjectThatCannotBeRead(t *testing.T) {
	sound := archive(t)
	primary := sound.Clone()
	key := classes()[repository.ClassSegment][0]
	primary.Fail(memory.Get, string(key), 1, storage.ErrUnavailable)
	r := run(t, two(primary, sound), deep())
	checkNamed(t, r, []storage.Key{key})
	if r.Damage[0].Kind != verify.Unreadable {
		t.Errorf("got %+v", r.Damage)
	}
}

// TestPiecesReplacedMeanwhile: a segment that is completed while the run goes is no hole.
func TestPiecesReplacedMeanwhile(t *testing.T) {
	store := archive(t)
	r, err := repository.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	c := r.Cluster(system)
	o := deep()
	done := false
	o.Jobs = 1
	o.Progress = func(p verify.Progress) {
		if p.Objects == 16 && !done { // before the pieces of timeline 2
			done = true
			putWAL(t, c, repository.KindSegment, 2, segSize.Range(7))
			if err := c.DeletePieces(t.Context(), segSize, segSize.Segment(2, 0x700000)); err != nil {
				t.Error(err)
			}
		}
	}
	if r := run(t, two(store, nil)[:1], o); len(r.Damage) != 0 || len(r.Risks) != 0 {
		t.Errorf("got %+v", r)
	}
}

// TestWALThatComesMeanwhile: WAL that one repository listed and another got a moment later puts nothing at risk.
func TestWALThatComesMeanwhile(t *testing.T) {
	for _, grace := range []time.Duration{time.Hour, -1} {
		primary := archive(t)
		dr := primary.Clone()
		r, err := repository.Open(t.Context(), dr)
		if err != nil {
			t.Fatal(err)
		}
		putWAL(t, r.Cluster(system), repository.KindPiece, 3, wal.Range{Start: 0x780000, End: 0x790000})
		var late storage.Key
		for _, k := range dr.Keys() {
			if strings.HasSuffix(string(k), "-0000000000790000.zst") {
				late = k
			}
		}
		o := deep()
		o.Jobs, o.Grace = 1, grace
		o.Progress = func(verify.Progress) {
			if primary.Bytes(late) == nil && dr.Count(memory.Get, string(late)) > 0 { // its turn has come, and the primary's listing is over
				primary.Replace(late, dr.Bytes(late))
			}
		}
		if r := run(t, two(primary, dr), o); primary.Bytes(late) == nil || r.Verdict != verify.Sound || len(r.Risks) != 0 {
			t.Errorf("grace %s: got %+v", grace, r)
		}
	}
}
