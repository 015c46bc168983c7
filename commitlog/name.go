package commitlog

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

const (
	drillsSeen = 100 // of the newest drills whose reports are read
	namesRead  = 3   // of which the names are read
)

// names are the names that relations had when a drill's cluster was restored.
type names struct {
	drill repository.Drill
	known *repository.Names
}

// name adds names to what was removed, from the newest drills whose clusters
// still had it. Without any, numbers stay numbers.
func (r *reading) name(ctx context.Context) error {
	if !slices.ContainsFunc(r.log.Entries, func(e Entry) bool { return e.Removal != nil }) {
		return nil
	}
	drills, err := r.cluster.Drills(ctx, drillsSeen)
	if err != nil && ctx.Err() != nil {
		return err
	}
	if err != nil {
		r.log.Notes = append(r.log.Notes, fmt.Sprintf("a drill's report cannot be read: %v", err))
	}
	wanted := r.useful(drills)
	var list []names
	for _, d := range wanted[max(0, len(wanted)-namesRead):] {
		known, err := r.cluster.DrillNames(ctx, d)
		if err != nil && ctx.Err() != nil {
			return err
		}
		if err != nil {
			r.log.Notes = append(r.log.Notes, fmt.Sprintf("names cannot be read: %v", err))
			continue
		}
		list = append(list, names{d, known})
		r.log.NamesOf = append(r.log.NamesOf, d.ID)
	}
	for i := range r.log.Entries {
		e := &r.log.Entries[i]
		var last *repository.Names
		for _, n := range list {
			if e.Removal != nil && before(n.drill, e) {
				e.Removal.name(n.known) // that of a later drill counts
				last = n.known
			}
		}
		if last != nil {
			e.Removal.nameByOID(last)
		}
	}
	return nil
}

// useful returns the drills that have names, along this history, and that are
// the last before any of the removals.
func (r *reading) useful(drills []repository.Drill) []repository.Drill {
	drills = slices.DeleteFunc(drills, func(d repository.Drill) bool {
		return d.Names == nil || d.Until == 0 || r.history.TimelineAt(d.Until-1) != d.Timeline
	})
	slices.SortStableFunc(drills, func(a, b repository.Drill) int { return cmp.Compare(a.Until, b.Until) })
	var wanted []repository.Drill
	for i, d := range drills {
		next := ^wal.LSN(0)
		if i+1 < len(drills) {
			next = drills[i+1].Until
		}
		if slices.ContainsFunc(r.log.Entries, func(e Entry) bool { return e.Removal != nil && before(d, &e) && e.Range.Start < next }) {
			wanted = append(wanted, d)
		}
	}
	return wanted
}

// before tells whether what the drill restored is older than the entry. A drill of an instant needs WAL to the end of the first transaction past it,
// which it does not apply: right before a mistake that is the mistake.
func before(d repository.Drill, e *Entry) bool {
	applied := d.LastCommit != nil && d.LastCommit.LSN >= e.Range.Start
	return d.Until <= e.Range.Start || d.Until == e.Range.End && !applied
}

// name adds the names that are known.
func (r *Removal) name(known *repository.Names) {
	for i := range r.Relations {
		f := r.Relations[i].File
		if found, ok := known.ByFile(f.Tablespace, f.Database, f.Number); ok {
			r.Relations[i].take(found)
		}
	}
	for i := range r.Truncated {
		if found, ok := known.ByOID(r.Truncated[i].File.Database, r.Truncated[i].OID); ok {
			r.Truncated[i].take(found)
		}
	}
	for i := range r.Databases {
		if found, ok := known.Database(r.Databases[i].OID); ok {
			r.Databases[i].Name = found
		}
	}
}

// nameByOID names what the transaction changed, and, where that leaves no choice, relations whose files were made after the drill. A relation whose file was
// removed is among what the transaction changed. So where as many relations with files are left of these as files without a name, they are the same;
// which file was whose WAL does not tell, and the names stand in the place of the files. One that the drill does not know leaves a choice: it may be a new table,
// or a view, which has no file.
func (r *Removal) nameByOID(known *repository.Names) {
	taken := map[wal.RelationID]bool{}
	unnamed := 0
	for _, one := range r.Relations {
		if one.Name == "" {
			unnamed++
		}
		taken[wal.RelationID{Database: one.File.Database, OID: one.OID}] = true
	}
	var left []Relation
	sure := r.Count == len(r.Relations)
	for i := range r.Changed {
		one := &r.Changed[i]
		found, ok := known.ByOID(one.File.Database, one.OID)
		if ok {
			one.take(found)
		}
		if (!ok || found.Filenode != 0) && !taken[wal.RelationID{Database: one.File.Database, OID: one.OID}] {
			left, sure = append(left, *one), sure && ok
		}
	}
	if unnamed == 0 || !sure || len(left) != unnamed {
		return
	}
	named := slices.DeleteFunc(slices.Clone(r.Relations), func(one Relation) bool { return one.Name == "" })
	if unnamed == 1 { // then the file is known too
		i := slices.IndexFunc(r.Relations, func(one Relation) bool { return one.Name == "" })
		left[0].File = r.Relations[i].File
	}
	r.Relations = append(named, left...)
}

func (r *Relation) take(found repository.Relation) {
	r.OID, r.Name, r.Kind = found.OID, found.Schema+"."+found.Name, found.Kind
}
