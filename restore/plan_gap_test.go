package restore_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
)

// TestPlanNamesTheGap: a target in or behind a hole is refused with what was recorded of it, also where the hole reaches over a switch; a hole
// that nothing is recorded of is said to be one.
func TestPlanNamesTheGap(t *testing.T) {
	lost := func(tli wal.TimelineID, from, to float64) repository.Gap {
		return repository.Gap{Timeline: tli, Range: span(from, to), Cause: repository.CauseSlotLost, Detail: "the server invalidated slot pgark"}
	}
	for name, tt := range map[string]struct {
		gaps []repository.Gap
		want string
	}{
		"recorded":            {[]repository.Gap{lost(1, 4.125, 5.5)}, "WAL 0/420000 to 0/580000 on timeline 1 was lost: slot lost: the server invalidated slot pgark"},
		"not recorded":        {nil, "WAL from 0/420000 on is missing, and nothing is recorded of it"},
		"another one":         {[]repository.Gap{lost(1, 6, 7), lost(1, 3, 4.125)}, "nothing is recorded of it"},
		"of another timeline": {[]repository.Gap{lost(2, 4.125, 5.5)}, "nothing is recorded of it"},
		"it begins before":    {[]repository.Gap{lost(1, 4, 5.5)}, "WAL 0/400000 to 0/580000 on timeline 1 was lost"},
		"part of it recorded": {[]repository.Gap{lost(1, 4.125, 5), lost(1, 5, 5.5)}, "WAL 0/420000 to 0/500000 on timeline 1 was lost"},
	} {
		for _, target := range []restore.Target{
			{Kind: restore.TargetTime, Time: at(25)}, {Kind: restore.TargetLSN, LSN: lsn(4.5)},
		} {
			a := quiet()
			a.Coverage[1] = []wal.Range{span(1, 4.125), span(5.5, 9.5)}
			a.Gaps = tt.gaps
			_, err := a.plan(t, target)
			var refused *restore.TargetError
			if !errors.As(err, &refused) || refused.Reason != restore.ReasonGap || !strings.Contains(refused.Detail, tt.want) {
				t.Errorf("%s: got %v, want %q", name, err, tt.want)
			} else if refused.NearestBefore == nil || refused.NearestAfter == nil || refused.NearestAfter.LSN != lsn(6.5) {
				t.Errorf("%s: got %v, want the nearest on both sides", name, err)
			}
		}
	}
}
