package standby

import (
	"fmt"
	"time"

	"github.com/pgark/pgark/wal"
)

// DefaultSilence is how long nothing may have come from a primary that is taken for dead: three of the beats that its agent puts while it is idle.
const DefaultSilence = 30 * time.Second

// Reach is how far a standby can get by what an archive holds.
type Reach struct {
	// Timeline is the one that the archive ends on, which a takeover leaves.
	Timeline wal.TimelineID
	// End is how far WAL goes on from the standby's place without a hole; the place itself if it does not.
	End wal.LSN
	// Beyond is where it goes on behind a hole, and Last where that ends; both 0 if there is none.
	Beyond, Last wal.LSN
}

// ForeignError says that the archive's newest timeline does not come from what a standby replayed.
type ForeignError struct {
	Timeline wal.TimelineID // the standby's
	Replayed wal.LSN
	Newest   wal.TimelineID
	Switch   wal.LSN // where that left the standby's timeline; 0 if it does not come from it
}

// Error names both timelines.
func (e *ForeignError) Error() string {
	if e.Switch == 0 {
		return fmt.Sprintf("the standby is on timeline %d, from which the archive's newest, %d, does not come", uint32(e.Timeline), uint32(e.Newest))
	}
	return fmt.Sprintf("the archive's newest timeline, %d, left timeline %d at %s; the standby has replayed that to %s",
		uint32(e.Newest), uint32(e.Timeline), e.Switch, e.Replayed)
}

// FindReach finds how far a standby that has replayed timeline tli up to at gets. h is the history of the archive's newest timeline, along what the archive holds
// on it from the standby's segment on, in order. The error is a *ForeignError.
func FindReach(h wal.History, along []wal.Range, tli wal.TimelineID, at wal.LSN) (Reach, error) {
	left, isLeft := h.SwitchOf(tli)
	if !h.Contains(tli) || isLeft && at > left {
		return Reach{}, &ForeignError{Timeline: tli, Replayed: at, Newest: h.Timeline, Switch: left}
	}
	r := Reach{Timeline: h.Timeline, End: at}
	for _, s := range along {
		switch {
		case s.End <= r.End:
		case s.Start <= r.End && r.Beyond == 0:
			r.End = s.End
		default:
			if r.Beyond == 0 {
				r.Beyond = s.Start
			}
			r.Last = s.End
		}
	}
	return r, nil
}
