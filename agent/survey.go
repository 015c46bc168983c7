package agent

import (
	"context"
	"sync"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/cost"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// serverPatience is how long a look at the server may take.
const serverPatience = 5 * time.Second

// Survey reports how a cluster stands: what its repositories hold and, if the server answers, how far
// the archive is behind it. A server that does not answer is in the report, not an error, and so is a repository as long as another
// answers. With id 0 the cluster is the server's, or the only one in the repository.
//
// Server and repositories are asked at the same time, so that two which are silent are not waited for one after the other. What a repository holds is looked at after the
// server has said how far it is: the archive cannot seem to be further behind than it is.
func Survey(ctx context.Context, c config.Cluster, id wal.SystemID, o StoreOptions) (status.Report, error) {
	var said status.Server
	var system wal.SystemID
	var askErr error
	var asking sync.WaitGroup
	asking.Go(func() { said, system, askErr = ask(ctx, c) })
	report, billed, err := surveyPlaces(ctx, c, o, func(ctx context.Context, r *repository.Repository) (wal.SystemID, error) {
		asking.Wait()
		if id != 0 || askErr != nil {
			return id, nil
		}
		if here, err := r.Clusters(ctx); err == nil && len(here) > 1 {
			return system, nil
		}
		return 0, nil
	})
	asking.Wait()
	if err != nil {
		return status.Report{}, err
	}
	switch {
	case askErr != nil:
		report.ServerError = askErr.Error()
	case system != report.SystemID:
		report.ServerError = (&archiver.ForeignError{Server: system, Archived: []wal.SystemID{report.SystemID}}).Error()
	default:
		setSlot(ctx, c, &said)
		report.SetServer(said)
		if said.Slot.Receiving() {
			report.Next = nextJobs(c, report.Now)
		}
		report.SetSync(said.Sync, policyOf(c))
	}
	report.Cost = cost.Of(billed, habitsOf(c, report.Sync != nil, o))
	return report, nil
}

// SurveyRepository reports what a cluster's repositories hold, without asking the server.
func SurveyRepository(ctx context.Context, c config.Cluster, id wal.SystemID, o StoreOptions) (status.Report, error) {
	report, billed, err := surveyPlaces(ctx, c, o, func(context.Context, *repository.Repository) (wal.SystemID, error) { return id, nil })
	if err == nil {
		report.Cost = cost.Of(billed, habitsOf(c, false, o))
	}
	return report, err
}

// surveyPlaces looks at all repositories of a cluster at once. The report is of the primary, or of the copy that holds most where
// the primary does not answer; with it comes what each costs that answers. The error is the primary's, when none answers.
func surveyPlaces(ctx context.Context, c config.Cluster, o StoreOptions,
	choose func(context.Context, *repository.Repository) (wal.SystemID, error),
) (status.Report, []cost.Repository, error) {
	stores, err := openPlaces(ctx, c, o)
	if err != nil {
		return status.Report{}, nil, err
	}
	defer func() { _ = stores.Close() }() // only reads were made
	found, errs := stores.look(ctx)
	if _, err := stores.agree(found, errs); err != nil && len(stores.all) == 1 {
		return status.Report{}, nil, err
	}
	reports := make([]status.Report, len(stores.all))
	var group sync.WaitGroup
	for i, one := range stores.all {
		if errs[i] != nil {
			errs[i] = opening(one.url, errs[i])
			continue
		}
		group.Go(func() {
			id, err := choose(ctx, found[i])
			if err == nil {
				reports[i], err = surveyRepository(ctx, found[i], id, o.placeOf(one))
			}
			reports[i].Cluster, reports[i].Repository = c.Name, one.url
			reports[i].Lock, reports[i].Lossy = lookAtLock(ctx, one), one.store.Lossy()
			errs[i] = err
		})
	}
	group.Wait()
	report, err := joinReports(stores.all, found, reports, errs)
	if err != nil {
		return report, nil, err
	}
	var billed []cost.Repository
	for i, one := range c.Repositories() {
		if errs[i] != nil {
			billed = append(billed, cost.Repository{Name: one.Name, Silent: true})
			continue
		}
		billed = append(billed, costOf(ctx, c, one, reports[i], o))
	}
	var primary *repository.Cluster
	if errs[0] == nil {
		primary = found[0].Cluster(reports[0].SystemID)
	}
	stores.lookAtReplication(ctx, primary, &report)
	report.RPOTarget, report.RTOTarget = c.Objectives.RPO.Seconds(), c.Objectives.RTO.Seconds()
	return report, billed, nil
}

// lookAtLock says how the objects of a repository come under lock, nil if that is not asked for.
func lookAtLock(ctx context.Context, one place) *status.Lock {
	if one.lock.IsZero() {
		return nil
	}
	held, by := one.lock, status.LockedByAgent
	found, err := storage.BucketLock(ctx, one.store)
	switch {
	case err != nil:
		return &status.Lock{Error: err.Error()}
	case found.Covers(held):
		held, by = found, status.LockedByBucket
	case one.byBucket: // which copies the locks too
		by = status.LockedByBucket
	}
	const page = 1000 // of a list: one request
	s := lookAtStock(ctx, one.store, one.lock, page)
	return &status.Lock{Mode: string(held.Mode), Seconds: int64(held.For.Seconds()), By: by, Looked: s.looked, Unlocked: s.bare}
}

// joinReports makes one report of those of several repositories.
func joinReports(all []place, found []*repository.Repository, reports []status.Report, errs []error) (status.Report, error) {
	best := -1
	var id string
	copies := make([]status.Copy, 0, len(all))
	for i, one := range all {
		if errs[i] == nil && id == "" {
			id = found[i].Marker().RepositoryID
		}
		switch {
		case errs[i] != nil:
			copies = append(copies, status.Copy{Name: one.name, Repository: one.url, Error: errs[i].Error()})
			continue
		case found[i].Marker().RepositoryID != id:
			copies = append(copies, status.Copy{Name: one.name, Repository: one.url, Error: "it holds another repository than " + all[0].name})
			continue
		}
		copies = append(copies, status.CopyOf(one.name, reports[i]))
		if best < 0 || best > 0 && newer(reports[i], reports[best]) {
			best = i
		}
	}
	if best < 0 {
		return status.Report{}, errs[0]
	}
	report := reports[best]
	if len(all) > 1 {
		report.SetCopies(copies)
	}
	return report, nil
}

// newer reports whether a reaches further than b.
func newer(a, b status.Report) bool {
	return a.RecoverableUntil != nil && (b.RecoverableUntil == nil || a.RecoverableUntil.After(*b.RecoverableUntil))
}

// placeOf is what the last census of a repository is looked for by; empty where all WAL is to be listed.
func (o StoreOptions) placeOf(one place) string {
	if o.Whole || !o.AsOf.IsZero() {
		return ""
	}
	return identity(one.url)
}

func surveyRepository(ctx context.Context, r *repository.Repository, id wal.SystemID, place string) (status.Report, error) {
	cluster, err := SelectCluster(ctx, r, id)
	if err != nil {
		return status.Report{}, err
	}
	facts, err := status.Survey(ctx, cluster, status.Options{Place: place, Now: time.Now()})
	if err != nil {
		return status.Report{}, err
	}
	report := status.Make(facts, time.Now())
	report.SystemID = cluster.SystemID()
	return report, nil
}

// ask asks the server who and where it is.
func ask(ctx context.Context, c config.Cluster) (status.Server, wal.SystemID, error) {
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	s, err := newServer(c)
	if err != nil {
		return status.Server{}, 0, err
	}
	conn, err := s.connect(ctx)
	if err != nil {
		return status.Server{}, 0, err
	}
	defer hangUp(ctx, conn)
	system, err := conn.System(ctx)
	if err != nil {
		return status.Server{}, 0, err
	}
	version, err := conn.Setting(ctx, "server_version")
	if err != nil {
		return status.Server{}, 0, err
	}
	settings, err := syncSettings(ctx, conn)
	if err != nil {
		return status.Server{}, 0, err
	}
	said := status.Server{Address: s.config.String(), Version: version, Timeline: system.Timeline, Flush: system.Flush, Sync: settings}
	said.Slot, err = replicationSlot(ctx, conn, c.Slot, system.Flush)
	return said, system.ID, err
}
