package agent

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/telemetry"
	"github.com/pgark/pgark/verify"
	"github.com/pgark/pgark/wal"
)

// Verify reads the repositories of a cluster back. With id 0 the cluster is the only one in them. A repository that does not answer is in the report,
// not an error, as long as another does; the report is returned with an error too, as far as it came. The markers need not be whole: they are judged.
func Verify(ctx context.Context, c config.Cluster, id wal.SystemID, o StoreOptions, v verify.Options) (verify.Report, error) {
	ctx, span := telemetry.Begin(ctx, telemetry.Verify, telemetry.Cluster.String(c.Name))
	report, err := readBack(ctx, c, id, o, v)
	if err == nil {
		span.Set(verifyFacts(report)...)
	}
	span.End(err)
	return report, err
}

// readBack is Verify.
func readBack(ctx context.Context, c config.Cluster, id wal.SystemID, o StoreOptions, v verify.Options) (verify.Report, error) {
	stores, err := openPlaces(ctx, c, o)
	if err != nil {
		return verify.Report{}, err
	}
	defer func() { _ = stores.Close() }() // all writes were confirmed before
	found, errs := stores.clusters(ctx)
	if v.SystemID, err = stores.chooseSystem(ctx, id, found, errs); err != nil {
		return verify.Report{}, err
	}
	var all []verify.Place
	for i, one := range stores.all {
		all = append(all, verify.Place{Name: one.name, URL: one.url, ID: identity(one.url), Store: one.store, Err: errs[i]})
	}
	v.Keys = stores.keys
	report, err := verify.Run(Patient(ctx), all, v)
	report.Cluster = c.Name
	for _, one := range stores.all {
		if one.store.Lossy() {
			report.Notes = append(report.Notes, one.name+": versioning is or was suspended since then: what was put and deleted or put over meanwhile left no version, and was not read")
		}
	}
	if err != nil && ctx.Err() == nil && errs[0] == nil {
		err = opening(stores.all[0].url, err)
	}
	return report, err
}

// clusters lists the clusters in each place, whatever its marker is. errs has an entry for each place that does not answer.
func (p *places) clusters(ctx context.Context) (found [][]wal.SystemID, errs []error) {
	found, errs = make([][]wal.SystemID, len(p.all)), make([]error, len(p.all))
	var group errgroup.Group
	for i, one := range p.all {
		group.Go(func() error {
			if found[i], errs[i] = repository.Unchecked(one.store).Clusters(ctx); errs[i] != nil {
				errs[i] = opening(one.url, errs[i])
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	return found, errs
}

// chooseSystem returns the cluster id, or the only one that the places hold.
func (p *places) chooseSystem(ctx context.Context, id wal.SystemID, found [][]wal.SystemID, errs []error) (wal.SystemID, error) {
	ids := slices.Concat(found...)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case id != 0 && slices.Contains(ids, id):
		return id, nil
	case len(ids) == 1 && id == 0:
		return ids[0], nil
	case len(ids) > 1 && id == 0:
		return 0, &AmbiguousError{ids}
	case errors.Join(errs...) != nil:
		return 0, errs[slices.IndexFunc(errs, func(err error) bool { return err != nil })]
	}
	for i, one := range p.all { // what there is instead
		if _, err := repository.Open(ctx, p.all[i].store); err != nil {
			return 0, opening(one.url, err)
		}
	}
	return 0, ErrEmpty
}

// identity is what a repository is known by in the records of its verifications: how it is reached, such as profile and region, is left out.
func identity(repoURL string) string {
	u, err := url.Parse(repoURL)
	if err != nil {
		return repoURL
	}
	query := url.Values{}
	if endpoint := u.Query().Get("endpoint"); endpoint != "" {
		query.Set("endpoint", endpoint)
	}
	u.RawQuery, u.User = query.Encode(), nil
	return u.String()
}
