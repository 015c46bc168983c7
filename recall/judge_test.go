package recall

import (
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/asof"
	"github.com/pgark/pgark/wal"
)

// state is what a key was and is.
type state int

const (
	kept    state = iota // it was there and is
	deleted              // it was there and is not
	over                 // it was there, and another is
	later                // it came since
)

// keyed gives an entry a key of its own.
func keyed(key storage.Key, e entry) entry {
	e.Was.Key, e.Now.Key = key, key
	if e.Was.Version == "" {
		e.Was.Key = ""
	}
	return e
}

func in(s state, o repository.Object) entry {
	was, now := storage.Info{Key: "k", Version: "1", Modified: time.Unix(1, 0)}, storage.Version{Info: storage.Info{Key: "k", Version: "1"}}
	switch s {
	case kept:
	case deleted:
		now.Marker, now.Version = true, "2"
	case over:
		now.Version = "2"
	case later:
		was = storage.Info{}
	}
	return entry{Change: asof.Change{Was: was, Now: now}, object: o}
}

// says gives an entry of an expiry record the backups that it names.
func says(e entry, backups ...string) entry {
	e.says = &repository.Expiry{Backups: backups}
	return e
}

// sound gives an entry of a beat that came since what its key says.
func sound(e entry) entry {
	e.sound = true
	return e
}

// TestJudge guards what is brought back, and that what pgark itself let go or replaced is not.
func TestJudge(t *testing.T) {
	segment := repository.Object{Class: repository.ClassSegment, Timeline: 1, Range: wal.Range{Start: 0x1000000, End: 0x2000000}}
	piece := repository.Object{Class: repository.ClassPiece, Timeline: 1, Range: wal.Range{Start: 0x1000000, End: 0x1800000}}
	of := func(class repository.Class, id string) repository.Object {
		return repository.Object{Class: class, Backup: id}
	}
	pack, record := of(repository.ClassPack, "20261121T020000Z"), of(repository.ClassRecord, "20261121T020000Z")
	expiry, beat, drill := repository.Object{Class: repository.ClassExpiry}, repository.Object{Class: repository.ClassBeat}, repository.Object{Class: repository.ClassDrill, Drill: "20261121T030000Z"}
	let := repository.Expiry{Backups: []string{"20261121T020000Z"}, Drills: []string{"20261121T030000Z"}}
	let.Add(repository.Expiry{WAL: []repository.Stretch{{Timeline: 1, Range: segment.Range}}})
	for _, tt := range []struct {
		name  string
		group []entry
		let   repository.Expiry
		want  []Fate
	}{
		{"nothing happened", []entry{in(kept, segment)}, let, nil},
		{"came since", []entry{in(later, segment)}, let, nil},
		{"a segment is deleted", []entry{in(deleted, segment)}, repository.Expiry{}, []Fate{Back}},
		{"a segment is put over", []entry{in(over, segment)}, repository.Expiry{}, []Fate{Back}},
		{"a segment is let go", []entry{in(deleted, segment)}, let, []Fate{Expired}},
		{"a segment that is let go is put over", []entry{in(over, segment)}, let, []Fate{Back}},
		{"a piece has a segment since, perhaps a thief's", []entry{in(deleted, piece), in(later, segment)}, repository.Expiry{}, []Fate{Back}},
		{"a piece had its segment", []entry{in(deleted, piece), in(deleted, segment)}, repository.Expiry{}, []Fate{Replaced, Back}},
		{"a piece is all there is", []entry{in(deleted, piece)}, repository.Expiry{}, []Fate{Back}},
		{"a piece is put over", []entry{in(over, piece), in(kept, segment)}, repository.Expiry{}, []Fate{Back}},
		{"a piece is let go", []entry{in(deleted, piece)}, let, []Fate{Expired}},
		{"a backup is deleted", []entry{in(deleted, pack), in(deleted, record)}, repository.Expiry{}, []Fate{Back, Back}},
		{"a pack is deleted", []entry{in(deleted, pack), in(kept, record)}, repository.Expiry{}, []Fate{Back}},
		{"a backup is let go", []entry{in(deleted, pack), in(deleted, record)}, let, []Fate{Expired, Expired}},
		{"a backup that was never completed", []entry{in(deleted, pack)}, repository.Expiry{}, []Fate{Dropped}},
		{"a pin of a backup that is let go", []entry{in(deleted, of(repository.ClassPin, "20261121T020000Z"))}, let, []Fate{Expired}},
		{"a pin", []entry{in(deleted, of(repository.ClassPin, "20261121T020000Z"))}, repository.Expiry{}, []Fate{Back}},
		{"a drill is let go", []entry{in(deleted, drill)}, let, []Fate{Expired}},
		{"a drill", []entry{in(deleted, drill)}, repository.Expiry{}, []Fate{Back}},
		{"a beat has a newer one", []entry{keyed("1", in(deleted, beat)), keyed("2", in(kept, beat))}, repository.Expiry{}, []Fate{Replaced}},
		{"a beat has a newer one since", []entry{keyed("1", in(deleted, beat)), keyed("2", sound(in(later, beat)))}, repository.Expiry{}, []Fate{Replaced}},
		{"a beat has noise behind it", []entry{keyed("1", in(deleted, beat)), keyed("2", in(later, beat))}, repository.Expiry{}, []Fate{Back}},
		{"the newer beat is put over", []entry{keyed("1", in(deleted, beat)), keyed("2", sound(in(over, beat)))}, repository.Expiry{}, []Fate{Back, Back}},
		{"the newer beat is deleted", []entry{keyed("1", in(kept, beat)), keyed("2", in(deleted, beat))}, repository.Expiry{}, []Fate{Back}},
		{"the newer beat is deleted, the older put over", []entry{keyed("1", in(over, beat)), keyed("2", in(deleted, beat))}, repository.Expiry{}, []Fate{Back, Back}},
		{"two beats are put over", []entry{keyed("1", in(over, beat)), keyed("2", in(over, beat))}, repository.Expiry{}, []Fate{Back, Back}},
		{"the only beat is put over", []entry{in(over, beat)}, repository.Expiry{}, []Fate{Back}},
		{"the newest beat", []entry{in(deleted, beat)}, repository.Expiry{}, []Fate{Back}},
		{"an expiry record has a newer one", []entry{keyed("1", says(in(deleted, expiry), "a")), keyed("2", says(in(later, expiry), "a", "b"))}, repository.Expiry{}, []Fate{Replaced}},
		{"an expiry record has a newer one that says less", []entry{keyed("1", says(in(deleted, expiry), "a")), keyed("2", says(in(later, expiry), "b"))}, repository.Expiry{}, []Fate{Back}},
		{"two of one time, and one is deleted", []entry{keyed("1", says(in(deleted, expiry), "a")), keyed("2", says(in(kept, expiry), "b"))}, repository.Expiry{}, []Fate{Back}},
		{"an expiry record has noise behind it", []entry{keyed("1", says(in(deleted, expiry), "a")), keyed("2", in(later, expiry))}, repository.Expiry{}, []Fate{Back}},
		{"an expiry record that could not be read", []entry{keyed("1", in(deleted, expiry)), keyed("2", says(in(later, expiry), "a"))}, repository.Expiry{}, []Fate{Back}},
		{"the newer expiry record is put over", []entry{keyed("1", says(in(deleted, expiry), "a")), keyed("2", says(in(over, expiry), "a"))}, repository.Expiry{}, []Fate{Back, Back}},
		{"the newer expiry record is deleted", []entry{keyed("1", says(in(kept, expiry), "a")), keyed("2", says(in(deleted, expiry), "a"))}, repository.Expiry{}, []Fate{Back}},
		{"two expiry records are put over", []entry{keyed("1", in(over, expiry)), keyed("2", in(over, expiry))}, repository.Expiry{}, []Fate{Back, Back}},
		{"a hold", []entry{in(deleted, repository.Object{Class: repository.ClassHold})}, repository.Expiry{}, []Fate{Dropped}},
		{"the marker", []entry{in(over, repository.Object{Class: repository.ClassMarker})}, let, []Fate{Back}},
	} {
		got := judge(tt.group, tt.let)
		ok := len(got) == len(tt.want)
		for i := range got {
			ok = ok && got[i].Fate == tt.want[i]
		}
		if !ok {
			t.Errorf("%s: got %+v, want %v", tt.name, got, tt.want)
		}
	}
}
