package recall

import (
	"slices"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/asof"
)

// Fate is what becomes of an object that is not as it was.
type Fate string

// The fates.
const (
	// Back means that it is brought back.
	Back Fate = "back"
	// Expired means that retention let it go: an expiry record names it.
	Expired Fate = "expired"
	// Replaced means that pgark deleted it because another took its place: a piece whose segment was there, a beat or an expiry record that a newer one follows.
	Replaced Fate = "replaced"
	// Dropped means that pgark deleted it because nothing needs it: of a base backup that was never completed, the mark of a reader.
	Dropped Fate = "dropped"
)

// Item is an object that was there at the instant and is not there now as it was.
type Item struct {
	repository.Object
	asof.Change

	Fate Fate

	back bool // it is there again
}

// Deleted reports whether the object is gone, and not put over by another.
func (i Item) Deleted() bool { return i.Now.Marker }

// entry is one key of a group: what became of it, and what it is.
type entry struct {
	asof.Change

	object repository.Object

	sound bool               // of a beat that came since: it says what its key does
	says  *repository.Expiry // of an expiry record, of then where it is gone; nil if it cannot be read
}

func (e entry) was() bool     { return e.Was.Key != "" }
func (e entry) is() bool      { return !e.Now.Marker }
func (e entry) gone() bool    { return e.was() && !e.is() }
func (e entry) altered() bool { return e.was() && !e.Same() }

// judge returns the items of a group in its order: entries that pgark deletes for one another's sake, such as a segment and its pieces.
func judge(group []entry, let repository.Expiry) []Item {
	var items []Item
	for _, e := range group {
		if e.was() && !e.Same() {
			items = append(items, Item{Object: e.object, Change: e.Change, Fate: fate(e, group, let)})
		}
	}
	return items
}

func fate(e entry, group []entry, let repository.Expiry) Fate {
	o := e.object
	switch {
	case o.Class == repository.ClassHold, o.Class == repository.ClassReading, o.Class == repository.ClassCensus:
		return Dropped
	case e.is(): // what was put over is nobody's doing but a thief's
		return Back
	case has(group, e.isFollowedBy):
		return Replaced
	case o.Class == repository.ClassPiece && has(group, func(other entry) bool { return other.object.Class == repository.ClassSegment && other.was() }):
		return Replaced // one that came since may be anybody's, and a piece beside its segment does no harm
	case o.Backup != "" && o.Class != repository.ClassPin && !has(group, func(other entry) bool { return other.object.Class == repository.ClassRecord && other.was() }):
		return Dropped
	case expired(o, let):
		return Expired
	}
	return Back
}

// isFollowedBy reports whether another beat or expiry record took the place of one that is gone: a newer one that nobody altered, and that says as much.
func (e entry) isFollowedBy(other entry) bool {
	switch {
	case !other.is() || other.altered() || other.Now.Key <= e.Now.Key:
		return false
	case e.object.Class == repository.ClassExpiry: // two that were put at one time do not repeat each other
		return other.says != nil && e.says != nil && other.says.Contains(*e.says)
	}
	return e.object.Class == repository.ClassBeat && (other.was() || other.sound)
}

func has(group []entry, is func(entry) bool) bool { return slices.ContainsFunc(group, is) }

// expired reports whether retention let the object go.
func expired(o repository.Object, let repository.Expiry) bool {
	switch o.Class {
	case repository.ClassSegment, repository.ClassPiece:
		return let.Covers(o.Timeline, o.Range)
	case repository.ClassDrill, repository.ClassNames:
		return let.HasDrill(o.Drill)
	case repository.ClassHistory, repository.ClassMarker, repository.ClassBeat, repository.ClassSync, repository.ClassGap, repository.ClassExpiry,
		repository.ClassHold, repository.ClassReading, repository.ClassRecord, repository.ClassIndex, repository.ClassManifest, repository.ClassPack, repository.ClassPin,
		repository.ClassFence, repository.ClassCensus:
	}
	return o.Backup != "" && let.HasBackup(o.Backup)
}
