package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
)

// places returns the repositories that a restore reads: as they are configured, those that did not answer when the plan was made last.
func (r *restoring) places() []config.Copy {
	name := r.cli.String("from")
	if name == "" || name == config.DrillAny || strings.Contains(name, "://") {
		name = config.Primary
	}
	list := append([]config.Copy{{Name: name, URL: r.configured.Repo.URL}}, r.configured.Copies...)
	rankPlaces(list, func(c config.Copy) int {
		if r.faultOf(c.Name) != nil {
			return 1
		}
		return 0
	})
	return list
}

// asked returns the places in the order in which they are asked for objects: the near before the far.
func (r *restoring) asked() []config.Copy {
	list, order := r.places(), r.sources.Order()
	rankPlaces(list, func(c config.Copy) int {
		if r.faultOf(c.Name) != nil {
			return len(list)
		}
		return slices.Index(order, c.Name)
	})
	return list
}

func rankPlaces(list []config.Copy, rank func(config.Copy) int) {
	slices.SortStableFunc(list, func(a, b config.Copy) int { return rank(a) - rank(b) })
}

// faultOf returns why a repository did not answer when the plan was made, or nil.
func (r *restoring) faultOf(name string) error {
	for _, f := range r.away {
		if f.Source == name {
			return f.Err
		}
	}
	return nil
}

// awayNotes says which repositories the plan was made without.
func (r *restoring) awayNotes() []string {
	var notes []string
	for _, f := range r.away {
		notes = append(notes, fmt.Sprintf("%s IS LEFT OUT: %v; what it alone holds, perhaps the newest WAL, is not in this plan", f.Source, f.Err))
	}
	return notes
}

// printFrom says where the bytes come from.
func (r *restoring) printFrom() {
	places := r.asked()
	r.fields("from", places[0].URL, "system id "+r.plan.SystemID.String())
	var others []string
	for _, one := range places[1:] {
		if r.faultOf(one.Name) == nil {
			others = append(others, one.Name)
		}
	}
	if len(others) > 0 {
		r.wrapped("", "what is damaged or missing there from "+strings.Join(others, ", "))
	}
}

// sourcesJSON is the repositories as scripts get them.
func (r *restoring) sourcesJSON() []map[string]any {
	list := []map[string]any{}
	for _, one := range r.asked() {
		row := map[string]any{"name": one.Name, "repository": one.URL}
		if err := r.faultOf(one.Name); err != nil {
			row["error"] = err.Error()
		}
		list = append(list, row)
	}
	return list
}

// substitutesShown is how many objects a person is shown.
const substitutesShown = 10

// substitutes returns what came from elsewhere, as a drill's report has it.
func (r *restoring) substitutes() (list []repository.DrillSubstitute, all int) {
	if r.cluster != nil {
		r.cluster.Forgive(r.ctx)
	}
	var d repository.Drill
	d.NoteSubstitutes(r.sources.Substitutes())
	return d.Substitutes, d.Substituted
}

// substituteLines says which objects came from elsewhere, and why.
func substituteLines(list []repository.DrillSubstitute, all int) []string {
	if all == 0 {
		return nil
	}
	lines := []string{count(all, "object") + " damaged or missing in one repository, given by another:"}
	for i, one := range list {
		if i == substitutesShown {
			break
		}
		lines = append(lines, fmt.Sprintf("%s from %s; %s", one.Object, one.From, one.Reason))
	}
	if all > substitutesShown {
		lines = append(lines, fmt.Sprintf("and %d more: -o json lists them", all-substitutesShown))
	}
	return lines
}

// printSubstitutes is a part of what is said of a restore or a drill.
func (s *session) printSubstitutes(list []repository.DrillSubstitute, all int) {
	label := "DAMAGED"
	for _, line := range substituteLines(list, all) {
		s.wrapped(label, line)
		label = ""
	}
	if label == "" {
		s.row("fix", "pgark verify --deep --repair   puts them right from the other copies")
	}
}

// noteSubstitutes tells of them when the restore did not succeed.
func (r *restoring) noteSubstitutes() {
	for _, line := range substituteLines(r.substitutes()) {
		r.note("%s", line)
	}
}

func (r *restoring) substitutesJSON() []map[string]any {
	rows := []map[string]any{}
	if r.cluster != nil {
		r.cluster.Forgive(r.ctx)
	}
	list, _ := r.sources.Substitutes()
	for _, one := range list {
		faults := []map[string]any{}
		for _, f := range one.Faults {
			faults = append(faults, map[string]any{"repository": f.Source, "error": f.Err.Error()})
		}
		rows = append(rows, map[string]any{"object": one.Key, "from": one.Source, "faults": faults})
	}
	return rows
}
