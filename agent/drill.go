package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
)

// Filed says what became of a drill's report in one repository.
type Filed struct {
	Name string // "primary" or a copy's
	Err  error  // nil: it is there, durable
}

// HeldDrill is what is to be filed of a drill.
type HeldDrill struct {
	// Archive is the marker of the repository that was restored from.
	Archive repository.Marker
	Report  repository.Drill
	Names   *repository.Names // nil: none
}

// FileDrill writes the report of a drill into every repository of a cluster that holds the same archive. A copy that the primary's bucket makes
// gets it from there. A repository that does not take it keeps no other from having it. It returns the report as it stands there.
func FileDrill(ctx context.Context, c config.Cluster, held HeldDrill, o StoreOptions) (repository.Drill, []Filed, error) {
	stores, err := openPlaces(ctx, c, o)
	if err != nil {
		return held.Report, nil, fmt.Errorf("file report: %w", err)
	}
	defer func() { _ = stores.Close() }() // all writes were confirmed before
	found, errs := stores.look(ctx)
	var filed []Filed
	stands := held.Report
	for i, one := range stores.all {
		err := errs[i]
		switch {
		case one.byBucket:
			continue
		case err == nil && found[i].Marker().RepositoryID != held.Archive.RepositoryID:
			err = errOtherArchive
		case err == nil:
			var put repository.Drill
			if put, err = found[i].Cluster(held.Report.SystemID).PutDrill(ctx, held.Report, held.Names); err == nil {
				stands = put
			}
		}
		filed = append(filed, Filed{one.name, err})
	}
	return stands, filed, nil
}

var errOtherArchive = errors.New("it holds another archive")
