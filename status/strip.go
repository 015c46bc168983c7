package status

import "time"

// StripWidth is the number of cells of the recovery window strip.
const StripWidth = 64

// Mark is a sign at an instant of the strip.
type Mark struct {
	At   time.Time
	Kind MarkKind
}

// MarkKind says what a Mark means.
type MarkKind uint8

// The kinds of marks.
const (
	// MarkBase is the end of a base backup.
	MarkBase MarkKind = iota + 1
	// MarkDrilled is that of one with which a drill passed.
	MarkDrilled
	// MarkTarget is what a restore aims at.
	MarkTarget
)

// Charset says which characters a strip is drawn with.
type Charset uint8

// The character sets.
const (
	Unicode Charset = iota
	ASCII
)

// Strip draws the time from..to in StripWidth cells. It never hides a gap: a cell is drawn as
// covered only if it is covered entirely, and a base backup whose cell is not is drawn in the next
// cell that is. A target is drawn where it lies.
func Strip(view Interval, covered []Interval, marks []Mark, set Charset) string {
	full, gap, base, drilled, target := '━', '·', '●', '◆', '▼'
	if set == ASCII {
		full, gap, base, drilled, target = '=', '.', 'o', '*', 'v'
	}
	total := view.Until.Sub(view.From)
	if total <= 0 {
		return ""
	}
	cells := make([]rune, StripWidth)
	edge := func(i int) time.Time {
		// The product would overflow for a window of centuries; the division first would lose little, but something.
		return view.From.Add(total/StripWidth*time.Duration(i) + total%StripWidth*time.Duration(i)/StripWidth)
	}
	for i := range cells {
		cells[i] = gap
		for _, c := range covered {
			if !edge(i).Before(c.From) && !edge(i+1).After(c.Until) {
				cells[i] = full
			}
		}
	}
	cellOf := func(at time.Time) int {
		i := 0
		for i < StripWidth-1 && !at.Before(edge(i+1)) {
			i++
		}
		return i
	}
	for _, m := range marks {
		i := cellOf(m.At)
		if m.Kind == MarkTarget || m.At.Before(view.From) || m.At.After(view.Until) {
			continue
		}
		if cells[i] == gap && i+1 < StripWidth {
			i++
		}
		switch {
		case cells[i] == gap, cells[i] == drilled:
		case m.Kind == MarkDrilled:
			cells[i] = drilled
		default:
			cells[i] = base
		}
	}
	for _, m := range marks {
		if m.Kind == MarkTarget {
			cells[cellOf(m.At)] = target
		}
	}
	return string(cells)
}

// View is the time that a strip of the report shows: from the first instant that can be restored
// to the last, and on to now when that is not fresh, so that an agent that is gone shows as a gap. A server
// that is idle, and says itself that all it has is archived, leaves none.
func (r Report) View() Interval {
	if r.RecoverableFrom == nil {
		return Interval{r.Now, r.Now}
	}
	v := Interval{*r.RecoverableFrom, *r.RecoverableUntil}
	if r.Now.Sub(v.Until) > RPOTarget && !r.CaughtUp() {
		v.Until = r.Now
	}
	return v
}

// Strip draws the report's recovery window; further marks, like a target, may be given.
func (r Report) Strip(set Charset, more ...Mark) string {
	var marks []Mark
	for _, b := range r.Backups {
		if b.Restorable {
			kind := MarkBase
			if b.Drill != nil {
				kind = MarkDrilled
			}
			marks = append(marks, Mark{b.Stopped, kind})
		}
	}
	return Strip(r.View(), r.Window, append(marks, more...), set)
}
