package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// lifecycleNeed is what a bucket's rules must leave alone. Ages are in days since an object was created; a rule knows prefix, size and age of
// objects and nothing of what needs them.
type lifecycleNeed struct {
	// window is up to which age an object may be needed at once, as neededFor says; 0 for any.
	window int
	// keep is up to which age base backups of the calendar are kept.
	keep int
	// older is for how long versions that were deleted or put over are to stay: as long as the window, in which that should be found out.
	older int
	// archive is at which age base backups may be archived, 0 for never, and class where.
	archive int
	class   string
	// versions says that the bucket keeps versions, which prune leaves behind.
	versions bool
}

const (
	day = 24 * time.Hour
	// abandonedDays is after how many days an upload is nobody's any more.
	abandonedDays = 7
	// olderDays is how long old versions stay where everything is kept for ever.
	olderDays = 30
	// archiveLarger is the size in bytes above which the objects of a base backup are archived. Its record, which every look reads, is smaller.
	archiveLarger = 1 << 20
)

func days(d time.Duration) int { return int((d + day - 1) / day) }

func needOf(c config.Cluster) lifecycleNeed {
	n := lifecycleNeed{older: olderDays, archive: days(c.Repo.Archive.After), class: c.Repo.Archive.Class}
	if c.Retain.Window > 0 {
		pause := pauseBetween(c)
		n.window = days(neededFor(c)) + 1
		n.older = max(days(c.Retain.Window+pause+c.Retain.Grace)+1, days(c.Repo.Lock.For))
	}
	const week, month, year = 7, 31, 366
	n.keep = max(c.Retain.Daily, c.Retain.Weekly*week, c.Retain.Monthly*month, c.Retain.Yearly*year)
	return n
}

// ArchiveError says that base backups would be archived while the window needs them.
type ArchiveError struct{ After, Least int } // days

// Error names both.
func (e *ArchiveError) Error() string {
	return fmt.Sprintf("repo.archive.after is %dd, and the window needs base backups for up to %dd: a restore within it would wait for hours", e.After, e.Least)
}

// checkArchive returns an *ArchiveError if what is configured archives too early.
func checkArchive(c config.Cluster) error {
	if n := needOf(c); n.archive > 0 && n.archive < n.window {
		return &ArchiveError{n.archive, n.window}
	}
	return nil
}

// rules are those that a bucket should have. Nothing that is current expires by them: what a pin, the calendar or the last drill keeps
// is known to pgark prune alone.
func (n lifecycleNeed) rules(clusters []wal.SystemID) []storage.LifecycleRule {
	all := []storage.LifecycleRule{{ID: "pgark-clean", Enabled: true, UploadDays: abandonedDays, OlderDays: n.older, Markers: true}}
	for _, id := range clusters {
		if n.archive > 0 {
			all = append(all, storage.LifecycleRule{
				ID: "pgark-archive-" + id.String(), Enabled: true, Prefix: storage.Key(id.String() + "/backups/"), Larger: archiveLarger,
				Moves: []storage.LifecycleMove{{After: storage.Age{Days: n.archive}, Class: n.class}},
			})
		}
	}
	return all
}

// judge says what is wrong with the rules of a bucket.
func (n lifecycleNeed) judge(rules []storage.LifecycleRule, clusters []wal.SystemID) []Finding {
	var found []Finding
	add := func(v Verdict, fix, format string, args ...any) {
		found = append(found, Finding{Section: SectionStorage, Verdict: v, Text: fmt.Sprintf(format, args...), Fix: fix})
	}
	const print = "pgark repo policy --lifecycle   prints rules that leave alone what is needed"
	rules = slices.DeleteFunc(slices.Clone(rules), func(r storage.LifecycleRule) bool { return !r.Enabled || r.Tagged })
	for _, r := range rules {
		n.judgeExpiry(r, add)
		n.judgeMoves(r, add)
		n.judgeOlderMoves(r, add)
		if r.OlderDays > 0 && r.OlderDays < n.older {
			add(Warning, print, "lifecycle rule %q removes what was deleted or put over after %d days: what a thief does is found out later, and the window is %d days long", r.ID, r.OlderDays, n.older)
		}
	}
	has := func(is func(storage.LifecycleRule) bool) bool { return slices.ContainsFunc(rules, is) }
	if !has(func(r storage.LifecycleRule) bool { return r.UploadDays > 0 }) {
		add(Warning, print, "no lifecycle rule ends uploads that nobody ends: what a killed backup had sent is invisible, and billed for ever")
	}
	if n.versions && !has(func(r storage.LifecycleRule) bool { return r.OlderDays > 0 }) {
		add(Warning, print, "no lifecycle rule removes versions that were deleted or put over: what prune removes is billed for ever")
	}
	for _, id := range clusters {
		packs := storage.Key(id.String() + "/backups/")
		if n.archive > 0 && !has(func(r storage.LifecycleRule) bool {
			return strings.HasPrefix(string(packs), string(r.Prefix)) && slices.ContainsFunc(r.Moves, func(m storage.LifecycleMove) bool { return m.Class == n.class })
		}) {
			add(Warning, print, "repo.archive.after is set, and no lifecycle rule moves base backups of %s to %s", id, n.class)
		}
	}
	return found
}

type adding func(v Verdict, fix, format string, args ...any)

// judgeExpiry judges that a rule removes objects that are current.
func (n lifecycleNeed) judgeExpiry(r storage.LifecycleRule, add adding) {
	if r.Expires == nil {
		return
	}
	fix := fmt.Sprintf("take the Expiration out of rule %q: pgark prune removes what need not be kept", r.ID)
	when := ageText(*r.Expires)
	switch {
	case n.window == 0:
		add(Bad, fix, "lifecycle rule %q removes objects %s, and all is to be kept: retain.window is not set", r.ID, when)
	case r.Expires.Days < n.window:
		add(Bad, fix, "lifecycle rule %q removes objects %s, and the window needs them for up to %d days", r.ID, when, n.window)
	case r.Expires.Days < n.keep:
		add(Bad, fix, "lifecycle rule %q removes objects %s, and base backups of the calendar are kept for %d days", r.ID, when, n.keep)
	default:
		add(Warning, fix, "lifecycle rule %q removes objects %s: pinned base backups, and the last one that a drill proved, go with them", r.ID, when)
	}
}

// judgeMoves judges where a rule moves objects that must be thawed there before they are read.
func (n lifecycleNeed) judgeMoves(r storage.LifecycleRule, add adding) {
	for _, m := range r.Moves {
		if !m.Archive {
			continue
		}
		least := n.window
		if least == 0 {
			least = n.archive
		}
		fix := fmt.Sprintf("take the Transition to %s out of rule %q, or set repo.archive and let pgark repo policy --lifecycle print it", m.Class, r.ID)
		when := ageText(m.After)
		switch {
		case least == 0:
			add(Warning, fix, "lifecycle rule %q archives objects %s: a restore from before that waits until they are thawed", r.ID, when)
		case m.After.Days < least:
			add(Bad, fix, "lifecycle rule %q archives objects %s that a restore may need at once for up to %d days", r.ID, when, least)
		}
		if !strings.Contains(string(r.Prefix), "/backups/") {
			add(Warning, fix, "lifecycle rule %q archives WAL too: no plan of a restore that needs it can be made before that is thawed", r.ID)
		} else if max(r.Larger, m.Larger) < archiveLarger {
			add(Warning, fix, "lifecycle rule %q archives objects of %d bytes and less too: records of base backups among them, which every look reads", r.ID, int64(archiveLarger))
		}
	}
}

// judgeOlderMoves judges where a rule moves what was deleted or put over.
func (n lifecycleNeed) judgeOlderMoves(r storage.LifecycleRule, add adding) {
	for _, m := range r.OlderMoves {
		if !m.Archive || m.After.Days >= n.older {
			continue
		}
		add(Warning, fmt.Sprintf("take the NoncurrentVersionTransition to %s out of rule %q", m.Class, r.ID),
			"lifecycle rule %q archives what was deleted or put over %s: --as-of cannot read what a thief did that to before it is thawed, and the window is %d days long", r.ID, ageText(m.After), n.older)
	}
}

func ageText(a storage.Age) string {
	switch {
	case !a.On.IsZero():
		return "on " + a.On.UTC().Format(time.DateOnly)
	case a.Days == 0:
		return "at once"
	}
	return fmt.Sprintf("after %d days", a.Days)
}
