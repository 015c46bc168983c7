package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/wal"
)

// lifecycle looks by which rules the bucket itself moves and removes objects, and whether they leave alone what restores need.
func (k *check) lifecycle(ctx context.Context, p *checkedPlace, r *repository.Repository) {
	if _, err := s3.ParseURL(p.url); err != nil {
		return // a folder
	}
	if err := checkArchive(k.cluster); err != nil {
		k.bad(SectionStorage, p.says(err))
		return
	}
	rules, err := storage.BucketLifecycle(ctx, p.store)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		k.report(Finding{Section: SectionStorage, Verdict: Pending, Text: p.label + "the store does not tell whether it removes or archives objects by itself"})
		return
	case errors.Is(err, storage.ErrDenied):
		k.report(Finding{
			Section: SectionStorage, Verdict: Warning, Text: p.label + "this credential may not see by which rules the bucket removes or archives objects by itself",
			Fix: "pgark repo policy " + withoutQuery(p.url) + "   prints the policy with s3:GetLifecycleConfiguration",
		})
		return
	case err != nil:
		k.bad(SectionStorage, p.says(err))
		return
	}
	need := needOf(k.cluster)
	versioning, err := storage.BucketVersioning(ctx, p.store)
	need.versions = err == nil && versioning == storage.VersioningEnabled && k.cluster.Retain.Versions != config.RemoveVersions
	clusters, err := r.Clusters(ctx)
	if err != nil {
		k.bad(SectionStorage, p.says(err))
		return
	}
	found := need.judge(rules, clusters)
	for _, f := range found {
		f.Text = p.label + f.Text
		k.report(f)
	}
	if len(found) == 0 {
		k.good(SectionStorage, "%sthe bucket's lifecycle rules leave alone what restores need", p.label)
	}
}

// Lifecycle is the lifecycle of a bucket that leaves alone what a cluster's restores need. With repo.archive set it asks the repository which clusters
// it holds; otherwise it asks nobody. It returns ErrNoPolicy for a folder and an *ArchiveError for a configuration that archives too early.
func Lifecycle(ctx context.Context, c config.Cluster, o StoreOptions) (s3.LifecycleConfiguration, error) {
	options, err := s3.ParseURL(c.Repo.URL)
	if strings.HasPrefix(c.Repo.URL, "file:") {
		err = fmt.Errorf("%s: %w", c.Repo.URL, ErrNoPolicy)
	}
	if err != nil {
		return s3.LifecycleConfiguration{}, err
	}
	if err := checkArchive(c); err != nil {
		return s3.LifecycleConfiguration{}, err
	}
	var clusters []wal.SystemID
	if need := needOf(c); need.archive > 0 {
		r, store, err := OpenRepository(ctx, c, o)
		if err != nil {
			return s3.LifecycleConfiguration{}, err
		}
		defer func() { _ = store.Close() }() // only reads were made
		if clusters, err = r.Clusters(ctx); err != nil {
			return s3.LifecycleConfiguration{}, err
		}
	}
	return options.Lifecycle(needOf(c).rules(clusters)), nil
}
