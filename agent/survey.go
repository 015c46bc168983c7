package agent

import (
	"context"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/wal"
)

// serverPatience is how long a look at the server may take.
const serverPatience = 5 * time.Second

// Survey reports how a cluster stands: what its repository holds and, if the server answers, how far
// the archive is behind it. A server that does not answer is in the report, not an error. With id 0
// the cluster is the server's, or the only one in the repository.
func Survey(ctx context.Context, c config.Cluster, id wal.SystemID, o StoreOptions) (status.Report, error) {
	r, store, err := OpenRepository(ctx, c, o)
	if err != nil {
		return status.Report{}, err
	}
	defer func() { _ = store.Close() }() // only reads were made
	said, system, askErr := ask(ctx, c)
	if id == 0 && askErr == nil {
		if here, err := r.Clusters(ctx); err == nil && len(here) > 1 {
			id = system
		}
	}
	report, err := surveyRepository(ctx, r, id)
	if err != nil {
		return status.Report{}, err
	}
	report.Cluster, report.Repository = c.Name, c.Repo.URL
	switch {
	case askErr != nil:
		report.ServerError = askErr.Error()
	case system != report.SystemID:
		report.ServerError = (&archiver.ForeignError{Server: system, Archived: []wal.SystemID{report.SystemID}}).Error()
	default:
		report.SetServer(said)
	}
	return report, nil
}

// SurveyRepository reports what a cluster's repository holds, without asking the server.
func SurveyRepository(ctx context.Context, c config.Cluster, id wal.SystemID, o StoreOptions) (status.Report, error) {
	r, store, err := OpenRepository(ctx, c, o)
	if err != nil {
		return status.Report{}, err
	}
	defer func() { _ = store.Close() }() // only reads were made
	report, err := surveyRepository(ctx, r, id)
	report.Cluster, report.Repository = c.Name, c.Repo.URL
	return report, err
}

func surveyRepository(ctx context.Context, r *repository.Repository, id wal.SystemID) (status.Report, error) {
	cluster, err := SelectCluster(ctx, r, id)
	if err != nil {
		return status.Report{}, err
	}
	facts, err := status.Survey(ctx, cluster)
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
	said := status.Server{Address: s.config.String(), Version: version, Timeline: system.Timeline, Flush: system.Flush}
	slot, known, err := conn.Slot(ctx, c.Slot)
	if err != nil {
		return status.Server{}, 0, err
	}
	if known {
		said.Slot = &status.Slot{Name: c.Slot, Exists: slot.Exists, Restart: slot.RestartLSN}
		if slot.RestartLSN > 0 && system.Flush > slot.RestartLSN {
			said.Slot.Retained = int64(system.Flush - slot.RestartLSN)
		}
	}
	return said, system.ID, nil
}
