package agent

import (
	"cmp"
	"context"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/cost"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/storage/s3"
)

// seat is where a repository lies, and who bills for it.
type seat struct {
	store  cost.Store
	region string // "" is not known
	class  string // of what has none of its own
}

// seatOf asks nobody but the AWS environment.
func seatOf(ctx context.Context, repoURL string) seat {
	o, err := s3.ParseURL(repoURL)
	if err != nil {
		return seat{store: cost.Folder}
	}
	if located, err := o.Located(ctx); err == nil { // else it cannot be used from here
		o = located
	}
	at := seat{region: o.Region, class: o.StorageClass}
	if !o.AtAmazon() {
		at.store, at.region = cost.Other, "" // another store's regions say nothing
	}
	return at
}

// billed is what the configuration, and an agent by o.Counted, say of what a repository costs.
func billed(ctx context.Context, c config.Cluster, one config.Copy, o StoreOptions) cost.Repository {
	near := cmp.Or(o.Home, c.Repo.URL)
	at, home := seatOf(ctx, one.URL), seatOf(ctx, near)
	r := cost.Repository{Name: one.Name, Store: at.store, Given: one.Prices, ByBucket: one.ByBucket, BackupClass: one.Classes.Backups, WALClass: one.Classes.WAL}
	if r.BackupClass == "" {
		r.BackupClass = at.class
	}
	if r.WALClass == "" {
		r.WALClass = at.class
	}
	if far := at.region != home.region; one.URL == near || at.store == cost.Folder {
		r.Far = new(bool)
	} else if at.region != "" && home.region != "" {
		r.Far = &far
	}
	if o.Counted != nil {
		r.Puts = o.Counted(one.Name)
	}
	return r
}

// costOf adds what the report of a repository says.
func costOf(ctx context.Context, c config.Cluster, one config.Copy, r status.Report, o StoreOptions) cost.Repository {
	var pause time.Duration
	if plan, err := parsePlan(c, 0); err == nil && plan != nil {
		pause = longestPause(*plan)
	}
	return r.Costs(billed(ctx, c, one, o), status.Archived{After: c.Repo.Archive.After, Class: c.Repo.Archive.Class}, pause)
}

// habitsOf are what requests come from. waits is what the server says of commits that wait for the archive, which is stronger than what is wanted.
func habitsOf(c config.Cluster, waits bool, o StoreOptions) cost.Habits {
	return cost.Habits{Every: c.Repo.Every, Looks: o.Looks, Synchronous: waits || c.Sync.StandbyNames != ""}
}
