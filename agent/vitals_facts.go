package agent

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/storage"
)

// pausesOf is the longest time between two runs of each job that a cluster's configuration schedules. A schedule that names fewer than two runs has none.
func pausesOf(c config.Cluster) map[status.JobKind]time.Duration {
	pauses := map[status.JobKind]time.Duration{}
	for kind, parse := range map[status.JobKind]func(config.Cluster) (*backup.Schedule, error){
		status.JobBackup: func(c config.Cluster) (*backup.Schedule, error) { return parsePlan(c, 0) },
		status.JobDrill:  parseDrills, status.JobVerify: parseVerifications, status.JobPrune: parsePruning,
	} {
		plan, err := parse(c)
		if err != nil || plan == nil {
			continue
		}
		if pause := longestPause(*plan); pause > 0 {
			pauses[kind] = pause
		}
	}
	return pauses
}

// versionsEvery is how often a bucket is asked whether it keeps versions: one request for each, whoever looks at the metrics.
const versionsEvery = 10 * time.Minute

// watchVersions finds out whether the buckets keep versions, until ctx ends.
func (v *Vitals) watchVersions(ctx context.Context, all []place) {
	ticker := time.NewTicker(versionsEvery)
	defer ticker.Stop()
	for {
		for _, one := range all {
			if v.wantsVersions(one) {
				v.lookForVersions(ctx, one)
			} else {
				v.tally.versioned(one.name, nil)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// wantsVersions reports whether a place is a bucket that is written to and is to keep versions.
func (v *Vitals) wantsVersions(one place) bool {
	c := v.Settings()
	return strings.HasPrefix(one.url, "s3:") && !one.closed && !one.byBucket && c.Repo.NeedsVersions(one.name)
}

// lookForVersions asks once. A bucket that does not answer is what it was; one that may not be asked is not known.
func (v *Vitals) lookForVersions(ctx context.Context, one place) {
	ctx, cancel := context.WithTimeout(ctx, preflightTimeout)
	defer cancel()
	found, err := storage.BucketVersioning(ctx, one.store)
	kept := err == nil && found == storage.VersioningEnabled
	switch {
	case err == nil, errors.Is(err, errors.ErrUnsupported):
		v.tally.versioned(one.name, &kept)
	case errors.Is(err, storage.ErrDenied):
		v.tally.versioned(one.name, nil)
	}
}
