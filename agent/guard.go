package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/pgark/pgark/repository"
)

// guardEvery is how often an agent reads the marker of its repository: 60 requests an hour.
const guardEvery = time.Minute

// guard tells when the repository that was there is not any more: an agent that only writes would go on in an emptied bucket, and what it archives there could not
// be opened. It puts the marker back, which is created as any object is, so that what is archived from now on can be restored. Copies are looked after by
// storage/copies, which fills them again.
type guard struct {
	primary place
	logger  *slog.Logger
	known   *repository.Repository // as it was first found; nil before
	told    string                 // last, so that it is said once
}

// run looks until ctx ends.
func (g *guard) run(ctx context.Context) {
	ticker := time.NewTicker(guardEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			g.look(ctx)
		}
	}
}

// look reads the marker once. A store that does not answer is passed over: the archiver tells of that.
func (g *guard) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, preflightTimeout)
	defer cancel()
	found, err := repository.Open(ctx, g.primary.store)
	switch {
	case g.known == nil:
		g.known = found
	case errors.Is(err, repository.ErrNoRepository):
		g.tell(ctx, g.putBack(ctx))
	case err != nil:
	case found.Marker().RepositoryID != g.known.Marker().RepositoryID:
		g.tell(ctx, fmt.Sprintf("repository %s was exchanged for %s", g.known.Marker().RepositoryID, found.Marker().RepositoryID))
	default:
		g.told = ""
	}
}

// putBack makes the marker again that somebody deleted, and returns what is to be told.
func (g *guard) putBack(ctx context.Context) string {
	const lost = "the marker was deleted, and maybe more"
	if err := g.known.PutBack(ctx, g.primary.store); err != nil {
		return fmt.Sprintf("%s; what is archived cannot be opened until it is back: %v", lost, err)
	}
	return lost + "; the marker is back"
}

func (g *guard) tell(ctx context.Context, what string) {
	if g.told != what {
		g.logger.ErrorContext(ctx, "the repository is not what it was", "repo", g.primary.name, "what", what,
			"fix", "pgark repo undelete tells what the bucket still holds, pgark verify --deep what is missing; docs/runbooks/bucket-lost.md")
	}
	g.told = what
}
