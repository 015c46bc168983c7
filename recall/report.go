package recall

import (
	"cmp"
	"slices"
	"time"

	"github.com/pgark/pgark/repository"
)

// Amount is how many objects, and how many bytes of them as stored.
type Amount struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

func (a *Amount) add(i Item) {
	a.Objects++
	a.Bytes += i.Was.Size
}

// Kind is what was lost of one class.
type Kind struct {
	Class repository.Class `json:"class"`
	// Deleted and Overwritten are to be brought back, or are back.
	Deleted     Amount `json:"deleted"`
	Overwritten Amount `json:"overwritten"`
}

// Report is what Run found and did in one repository. docs/JSON.md describes it.
type Report struct {
	AsOf time.Time `json:"as_of"`
	// Lossy says that the bucket did not keep versions all the time since: what was put and lost meanwhile is not among what was found.
	Lossy bool `json:"lossy,omitempty"`
	Acted bool `json:"acted"`
	// Kinds are the classes of which something was lost, by name.
	Kinds []Kind `json:"kinds"`
	// Lost is all of it, Back what is there again: by this run or, of what was lost, by one before.
	Lost Amount `json:"lost"`
	Back Amount `json:"back"`
	// Expired was let go by retention, and is brought back only if that is asked for; it is not among the others otherwise.
	Expired Amount `json:"expired"`
	// First and Last are when the first and the last of what was lost was; nil if nothing was.
	First *time.Time `json:"first,omitempty"`
	Last  *time.Time `json:"last,omitempty"`
}

// add counts an item.
func (r *Report) add(i Item) {
	switch i.Fate {
	case Replaced, Dropped:
		return
	case Expired:
		r.Expired.add(i)
		if !i.back {
			return
		}
	case Back:
	}
	if i.back {
		r.Back.add(i)
	}
	r.Lost.add(i)
	at := slices.IndexFunc(r.Kinds, func(k Kind) bool { return k.Class == i.Class })
	if at < 0 {
		at = len(r.Kinds)
		r.Kinds = append(r.Kinds, Kind{Class: i.Class})
	}
	if i.Deleted() {
		r.Kinds[at].Deleted.add(i)
	} else {
		r.Kinds[at].Overwritten.add(i)
	}
	when := i.Now.Modified
	if r.First == nil || when.Before(*r.First) {
		r.First = &when
	}
	if r.Last == nil || when.After(*r.Last) {
		r.Last = &when
	}
}

func (r *Report) finish() {
	if r.Kinds == nil {
		r.Kinds = []Kind{}
	}
	slices.SortFunc(r.Kinds, func(a, b Kind) int { return cmp.Compare(a.Class, b.Class) })
}
