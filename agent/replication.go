package agent

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/wal"
)

const (
	// replicationNewest is how many of the newest objects are asked after.
	replicationNewest = 32
	// replicationSegments is how far before the end they are looked for.
	replicationSegments = 64
	// replicationJobs is how many are asked after at a time.
	replicationJobs = 8
)

// lookAtReplication adds to a report which copies the primary's bucket makes, and how far it has come with them. cluster is the primary's;
// nil if that does not answer.
func (p *places) lookAtReplication(ctx context.Context, cluster *repository.Cluster, report *status.Report) {
	var made []*status.Copy
	for i := range report.Copies {
		if p.all[i].byBucket {
			report.Copies[i].By = status.ByBucket
			made = append(made, &report.Copies[i])
		}
	}
	if len(made) == 0 || cluster == nil {
		return
	}
	rules, err := storage.BucketReplication(ctx, p.all[0].store)
	var newest []status.ReplicatedObject
	if err == nil {
		newest, err = p.newest(ctx, cluster, report.Durable)
	}
	for _, to := range made {
		judged := status.Replication{}
		if err != nil {
			judged.Error = err.Error()
		} else {
			judged = status.JudgeReplication(rules, bucketOf(to.Repository), newest, report.Now)
		}
		to.Replication = &judged
	}
}

// bucketOf returns the bucket of a URL that was opened before.
func bucketOf(repoURL string) string {
	options, err := s3.ParseURL(repoURL)
	if err != nil {
		return repoURL
	}
	return options.Bucket
}

// newest asks the primary's bucket how far it has copied the newest objects: the last of the WAL, and the record of the last base backup.
func (p *places) newest(ctx context.Context, cluster *repository.Cluster, end *status.Position) ([]status.ReplicatedObject, error) {
	var all []repository.Entry
	if end != nil {
		size, err := cluster.SegmentSize(ctx)
		if err != nil {
			return nil, fmt.Errorf("look for the newest WAL: %w", err)
		}
		from := end.LSN - min(end.LSN, replicationSegments*wal.LSN(size))
		for e, err := range cluster.ListWAL(ctx, end.Timeline, from) {
			if err != nil {
				return nil, fmt.Errorf("look for the newest WAL: %w", err)
			}
			if len(all) == replicationNewest {
				all = append(all[:0], all[1:]...)
			}
			all = append(all, e)
		}
	}
	record, ok, err := cluster.NewestRecord(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for the newest base backup: %w", err)
	}
	if ok {
		all = append(all, repository.Entry{Key: record.Key, Modified: record.Modified})
	}
	return p.replicated(ctx, all)
}

// replicated asks after each object. One that is gone is left out: a piece whose segment is complete by now.
func (p *places) replicated(ctx context.Context, all []repository.Entry) ([]status.ReplicatedObject, error) {
	states := make([]storage.ReplicationStatus, len(all))
	gone := make([]bool, len(all))
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(replicationJobs)
	for i, e := range all {
		group.Go(func() (err error) {
			states[i], err = storage.Replicated(asking, p.all[0].store, e.Key)
			if errors.Is(err, storage.ErrNotFound) {
				gone[i], err = true, nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var found []status.ReplicatedObject
	for i, e := range all {
		if !gone[i] {
			found = append(found, status.ReplicatedObject{Timeline: e.Timeline, Range: e.Range, Created: e.Modified, Status: states[i]})
		}
	}
	return found, nil
}
