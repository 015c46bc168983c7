package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/recall"
)

// Undeleted is what was lost in one repository, and what of it is back.
type Undeleted struct {
	Name       string `json:"name"`
	Repository string `json:"repository"`
	recall.Report

	Error string `json:"error,omitempty"`
}

// Undelete looks in each repository of a cluster for what was deleted or put over since an instant, and brings it back if it is to. One that cannot be looked at does
// not keep the others from it: the error joins what kept each.
func Undelete(ctx context.Context, c config.Cluster, so StoreOptions, o recall.Options) ([]Undeleted, error) {
	var all []Undeleted
	var errs []error
	for _, one := range c.Repositories() {
		u := Undeleted{Name: one.Name, Repository: one.URL}
		store, err := OpenStore(ctx, one.URL, so.of(one).named(one.Name))
		if err == nil {
			u.Report, err = recall.Run(ctx, store, o)
			err = errors.Join(err, store.Close())
		}
		if err != nil {
			u.Error = err.Error()
			errs = append(errs, fmt.Errorf("%s: %w", one.Name, err))
		}
		all = append(all, u)
		if ctx.Err() != nil {
			break
		}
	}
	return all, errors.Join(errs...)
}
