package agent

import (
	"context"
	"net/url"
	"path"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// Member is one cluster of a fleet, by where it is archived.
type Member struct {
	// Name is the folder of its repository below the place that was searched, with the system identifier where one repository holds several.
	Name string
	// URL is its repository's.
	URL string
	// SystemID is which cluster of the repository it is; 0 is the only one.
	SystemID wal.SystemID
}

// fleetAtOnce is how many repositories are asked at a time.
const fleetAtOnce = 8

// FindFleet returns the clusters whose repositories lie under a URL, by name. more says that there may be further ones. A repository that does not answer is
// a member all the same.
func FindFleet(ctx context.Context, place string, o StoreOptions) (members []Member, more bool, err error) {
	store, err := OpenStore(ctx, place, o)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = store.Close() }() // only reads were made
	roots, more, err := repository.Roots(ctx, store)
	if err != nil {
		return nil, false, err
	}
	all := make([][]Member, len(roots))
	var group errgroup.Group
	group.SetLimit(fleetAtOnce)
	for i, root := range roots {
		group.Go(func() error {
			all[i] = membersOf(ctx, place, root, o)
			return nil
		})
	}
	_ = group.Wait() // none fails
	for _, some := range all {
		members = append(members, some...)
	}
	return members, more, nil
}

func membersOf(ctx context.Context, place, root string, o StoreOptions) []Member {
	one := Member{Name: root, URL: place}
	u, err := url.Parse(place)
	if err != nil {
		return []Member{one}
	}
	u.Path = path.Join("/", u.Path, root)
	if one.URL = u.String(); root == "" {
		one.Name = path.Base(path.Join(u.Host, u.Path))
	}
	r, store, err := OpenRepository(ctx, config.Cluster{Name: one.Name, Repo: config.Repo{URL: one.URL}}, o)
	if err != nil {
		return []Member{one}
	}
	defer func() { _ = store.Close() }() // only reads were made
	ids, err := r.Clusters(ctx)
	if err != nil || len(ids) < 2 {
		return []Member{one}
	}
	members := make([]Member, 0, len(ids))
	for _, id := range ids {
		members = append(members, Member{Name: one.Name + " " + id.String(), URL: one.URL, SystemID: id})
	}
	return members
}
