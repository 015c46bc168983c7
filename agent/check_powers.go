package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pgark/pgark/storage"
)

// powers tries, on an object of its own, what the credential may do to objects that are there already: what the policy of a writer refuses.
func (k *check) powers(ctx context.Context, p *checkedPlace) {
	if strings.HasPrefix(p.url, "file:") {
		return // whoever may write into a folder may do anything there
	}
	key := storage.Key(fmt.Sprintf("%s-powers-%d", storage.ProbeKey, time.Now().UnixNano()))
	err := p.store.Put(ctx, key, []byte("pgark check\n"))
	var may storage.Powers
	if err == nil {
		may, err = storage.ProbePowers(ctx, p.store, key)
	}
	switch {
	case errors.Is(err, errors.ErrUnsupported):
	case err != nil:
		k.bad(SectionStorage, p.says(fmt.Errorf("try what this credential may destroy: %w", err)))
	default:
		if danger := dangerOf(may); danger != "" {
			k.report(Finding{
				Section: SectionStorage, Verdict: Warning, Text: p.label + danger,
				Fix: "pgark repo policy " + withoutQuery(p.url) + "   prints what a writer needs; prune with a credential of its own: --role janitor",
			})
		}
	}
}

// dangerOf says what whoever steals a credential could do to the archive; "" if nothing.
func dangerOf(may storage.Powers) string {
	var what []string
	if may.Delete {
		what = append(what, "delete")
	}
	if may.Overwrite {
		what = append(what, "overwrite")
	}
	switch {
	case len(what) == 0:
		return ""
	case may.DeleteVersions:
		return "this credential may " + strings.Join(what, " and ") + " objects, and delete their versions for good: ransomware could too"
	case may.Versioned:
		return "this credential may " + strings.Join(what, " and ") + " objects: whoever steals it can; their older versions stay, for it may not delete these"
	}
	return "this credential may " + strings.Join(what, " and ") + " objects, and the bucket keeps no versions of them: ransomware could too"
}
