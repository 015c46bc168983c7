package agent

import (
	"context"
	"time"

	"github.com/pgark/pgark/health"
	"github.com/pgark/pgark/standby"
)

const (
	// standbyLookEvery is how often a standby is looked at for who asks, and standbyLookPatience how long server and archive may take each time.
	standbyLookEvery    = 5 * time.Second
	standbyLookPatience = 5 * time.Second
)

// standbySighting is what the last looks at a standby found. It is never changed.
type standbySighting struct {
	standing  standby.Standing
	judgement standby.Judgement
	failed    bool // a look after it did not succeed
}

// watch looks at the standby until ctx ends, as `pgark standby status` does.
func (f *following) watch(ctx context.Context, v *Vitals) {
	defer v.standby.Store(nil)
	ticker := time.NewTicker(standbyLookEvery)
	defer ticker.Stop()
	for {
		seen, err := f.sight(ctx)
		if last := v.standby.Load(); err != nil && last != nil {
			seen = &standbySighting{last.standing, last.judgement, true}
		}
		if seen != nil {
			v.standby.Store(seen)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// sight looks once. An archive that does not answer leaves what the standby says of itself.
func (f *following) sight(ctx context.Context) (*standbySighting, error) {
	before, err := f.standing(ctx)
	if err != nil {
		return nil, err
	}
	archive := f.archiveOf(ctx, before)
	now, err := f.standing(ctx)
	if err != nil {
		return nil, err
	}
	return &standbySighting{standing: now, judgement: standby.Judge(before, now, archive)}, nil
}

func (f *following) standing(ctx context.Context) (standby.Standing, error) {
	ctx, cancel := context.WithTimeout(ctx, standbyLookPatience)
	defer cancel()
	return f.server.standing(ctx, f.config.Postgres)
}

// archiveOf is what the archive that is followed holds for the standby; nil if it does not answer. It is asked through the follower's own connection: to open the repository anew for
// each look would be most of the requests of a whole agent.
func (f *following) archiveOf(ctx context.Context, s standby.Standing) *standby.Archive {
	followed := f.archive.Load()
	if followed == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, standbyLookPatience)
	defer cancel()
	archive, err := standby.Survey(ctx, followed.cluster, s)
	if err != nil {
		return nil // the follower tells why
	}
	return &archive
}

// facts are those of a standby and of the server that it is.
func (s *standbySighting) facts() (health.Standby, health.Server) {
	at := s.standing
	return health.Standby{State: s.judgement.State, Until: s.judgement.Until}, health.Server{
		Seen: at.At, Failed: s.failed, Recovery: at.InRecovery, SystemID: at.SystemID, Timeline: at.Timeline,
	}
}
