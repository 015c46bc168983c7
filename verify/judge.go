package verify

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// content is what one repository holds of a small object, whole by all that it says of itself.
type content struct {
	place int
	body  []byte
}

// witness is a reason to believe that an object has one content. It returns "" if body fits, and otherwise why not.
type witness func(body []byte) string

// recordedHistory is what the record of a backup says of the history of its timeline.
func recordedHistory(b repository.Backup) witness {
	return func(body []byte) string {
		if bytes.Equal(body, b.History) {
			return ""
		}
		return fmt.Sprintf("is not the one that the record of backup %s holds", b.ID)
	}
}

// childHistory is what the history of a timeline that came from this one says: PostgreSQL copies the parent's file and adds a newline and a
// line (writeTimeLineHistory, src/backend/access/transam/timeline.c).
func childHistory(child wal.TimelineID, raw []byte) witness {
	return func(body []byte) string {
		rest, copied := bytes.CutPrefix(raw, body)
		if rest, ends := bytes.CutPrefix(rest, []byte("\n")); copied && ends && !bytes.HasPrefix(rest, []byte("\n")) {
			return ""
		}
		return fmt.Sprintf("the history of timeline %d goes on from another one", uint32(child))
	}
}

// seenBefore is what an earlier verification read.
func seenBefore(sum repository.Sum) witness {
	return func(body []byte) string {
		if sum == sha256.Sum256(body) {
			return ""
		}
		return "is not the one that an earlier verification read"
	}
}

// finding is a content that is not right.
type finding struct {
	place  int
	kind   Kind
	reason string
}

// compare judges the contents of one small object in several repositories. Who contradicts a witness is damaged; where witnesses contradict
// each other the earlier counts. Of those that are left, those that differ from the trusted one are damaged; without one, all that differ from the
// first differ, and none is known to be right. A trusted below 0 is none. Same reports whether two contents count as equal.
func compare(all []content, witnesses []witness, trusted int, names []string, same func(a, b []byte) bool) (right []int, wrong []finding) {
	for _, w := range witnesses {
		var fit, unfit []content
		var why string
		for _, c := range all {
			if reason := w(c.body); reason != "" {
				unfit, why = append(unfit, c), reason
			} else {
				fit = append(fit, c)
			}
		}
		if len(fit) == 0 && len(all) > 1 {
			continue // it speaks of none of them
		}
		for _, c := range unfit {
			wrong = append(wrong, finding{c.place, Damaged, why})
		}
		all = fit
	}
	if len(all) == 0 {
		return nil, wrong
	}
	model, kind := all[0], Different
	for _, c := range all {
		if c.place == trusted {
			model, kind = c, Damaged
		}
	}
	split := false
	for _, c := range all {
		if same(c.body, model.body) {
			right = append(right, c.place)
			continue
		}
		split = true
		wrong = append(wrong, finding{c.place, kind, "holds another content than " + names[model.place]})
	}
	if split && kind == Different {
		return nil, wrong // which is right is not known
	}
	return right, wrong
}
