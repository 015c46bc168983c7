package agent

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/standby"
	"github.com/pgark/pgark/wal"
)

// StandbyReport is how a standby stands to the archive that it follows. docs/JSON.md describes it.
type StandbyReport struct {
	Cluster    string         `json:"cluster"`
	Server     string         `json:"server"`
	Repository string         `json:"repository"`
	SystemID   wal.SystemID   `json:"system_id"`
	Time       time.Time      `json:"time"`
	State      standby.State  `json:"state"`
	Ready      bool           `json:"ready"`
	Reason     string         `json:"reason,omitempty"`
	Timeline   wal.TimelineID `json:"timeline"`
	Replayed   wal.LSN        `json:"replayed_lsn"`
	// LastCommit is of the last transaction replayed since the server started.
	LastCommit *time.Time `json:"last_commit,omitempty"`
	Streams    bool       `json:"streams"`
	// Until is an instant by which all that the primary had committed is here; Lag is how long ago that is.
	Until *time.Time `json:"until,omitempty"`
	Lag   *float64   `json:"lag_seconds,omitempty"`
	// Bytes and Late are how far it is behind the archive.
	Bytes *uint64  `json:"behind_bytes,omitempty"`
	Late  *float64 `json:"behind_seconds,omitempty"`
	// ArchiveTimeline and ArchiveEnd are where the archive ends, as far as it goes on from the standby's place without a hole.
	ArchiveTimeline wal.TimelineID `json:"archive_timeline,omitempty"`
	ArchiveEnd      wal.LSN        `json:"archive_lsn,omitempty"`
	// PrimarySeen is when the archive last heard of the primary.
	PrimarySeen *time.Time         `json:"primary_seen,omitempty"`
	Promotion   *PromotionEstimate `json:"promotion,omitempty"`
	Error       string             `json:"archive_error,omitempty"`
	Judgement   standby.Judgement  `json:"-"`
	Archive     *standby.Archive   `json:"-"` // nil where it did not answer
	Standing    standby.Standing   `json:"-"`
	Err         error              `json:"-"` // why it did not
}

// PromotionEstimate is how long a promotion would take, and what that is made of.
type PromotionEstimate struct {
	Seconds float64 `json:"seconds"`
	Replay  float64 `json:"replay_seconds"`
	Open    float64 `json:"open_seconds"`
	Bytes   uint64  `json:"replay_bytes"`
	Rate    float64 `json:"bytes_per_second,omitempty"`
}

// looksApart is how long after another a standby is looked at twice, to see whether it replays.
const looksApart = 400 * time.Millisecond

// LookAtStandby asks the configured server, a standby, and the archive how the one stands to the other. An archive that does not answer is in the report; an error is the
// server's.
func LookAtStandby(ctx context.Context, c config.Cluster, o StoreOptions) (StandbyReport, error) {
	srv, err := newServer(c)
	if err != nil {
		return StandbyReport{}, err
	}
	asking, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	before, err := srv.standing(asking, c.Postgres)
	if err != nil {
		return StandbyReport{}, err
	}
	next := time.NewTimer(looksApart)
	defer next.Stop()
	archive, archiveErr := lookAtArchive(ctx, c, before, o)
	select {
	case <-ctx.Done():
		return StandbyReport{}, context.Cause(ctx)
	case <-next.C:
	}
	asking, cancelAgain := context.WithTimeout(ctx, serverPatience)
	defer cancelAgain()
	now, err := srv.standing(asking, c.Postgres)
	if err != nil {
		return StandbyReport{}, err
	}
	r := standbyReport(before, now, archive, archiveErr)
	r.Cluster, r.Server, r.Repository = c.Name, srv.config.String(), c.Repo.URL
	return r, nil
}

// lookAtArchive opens the archive and surveys it. The error says why it could not be.
func lookAtArchive(ctx context.Context, c config.Cluster, s standby.Standing, o StoreOptions) (*standby.Archive, error) {
	r, sources, err := OpenSources(ctx, c, o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sources.Close() }() // only reads were made
	cluster, err := SelectCluster(ctx, r, s.SystemID)
	if errors.Is(err, ErrEmpty) { // another cluster's, perhaps
		cluster, err = SelectCluster(ctx, r, 0)
	}
	if err != nil {
		return nil, err
	}
	a, err := standby.Survey(ctx, cluster, s)
	if err != nil {
		return nil, err
	}
	return &a, nil
}

// standbyReport puts together what was found.
func standbyReport(before, now standby.Standing, a *standby.Archive, archiveErr error) StandbyReport {
	j := standby.Judge(before, now, a)
	r := StandbyReport{
		SystemID: now.SystemID, Time: now.At.UTC(), State: j.State, Ready: j.State.Ready(), Reason: j.Reason,
		Timeline: now.Timeline, Replayed: now.Replayed, LastCommit: known(now.LastCommit), Streams: now.Streams,
		Until: known(j.Until), Judgement: j, Archive: a, Standing: now, Err: archiveErr,
	}
	if archiveErr != nil {
		r.Error = archiveErr.Error()
	}
	if r.Until != nil {
		lag := max(now.At.Sub(j.Until), 0).Seconds()
		r.Lag = &lag
	}
	if a != nil {
		r.ArchiveTimeline, r.PrimarySeen = a.History.Timeline, known(a.Seen)
		if j.State != standby.Foreign && j.State != standby.Primary {
			r.ArchiveEnd, r.Bytes = a.End, &j.Bytes
		}
	}
	if j.LateKnown {
		late := j.Late.Seconds()
		r.Late = &late
	}
	if p := j.Promotion; p != nil {
		r.Promotion = &PromotionEstimate{
			Seconds: p.Total().Seconds(), Replay: p.Replay.Seconds(), Open: p.Open.Seconds(), Bytes: p.Bytes, Rate: p.Rate,
		}
	}
	return r
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// standingSQL asks a server how it stands. Functions that one in recovery refuses, or one that is not, are called of the other alone.
const standingSQL = `select pg_is_in_recovery(),
  case when pg_is_in_recovery() then coalesce(pg_last_wal_replay_lsn(), '0/0') else pg_current_wal_flush_lsn() end,
  coalesce((extract(epoch from pg_last_xact_replay_timestamp()) * 1000000)::bigint, 0),
  exists (select from pg_stat_wal_receiver),
  case when pg_is_in_recovery() then pg_is_wal_replay_paused() else false end`

// standing asks the server how it stands: by SQL, and for its timeline, which SQL does not tell of a standby, by the replication protocol.
func (s server) standing(ctx context.Context, conn string) (standby.Standing, error) {
	system, err := s.identify(ctx)
	if err != nil {
		return standby.Standing{}, err
	}
	rows, err := postgres.Query(ctx, conn, standingSQL)
	if err != nil {
		return standby.Standing{}, fmt.Errorf("ask the standby how it stands: %w", err)
	}
	const columns = 5
	if len(rows) != 1 || len(rows[0]) != columns {
		return standby.Standing{}, errors.New("ask the standby how it stands: no answer")
	}
	row := rows[0]
	at := standby.Standing{
		At: time.Now(), SystemID: system.ID, Timeline: system.Timeline,
		InRecovery: row[0] == "t", Streams: row[3] == "t", Paused: row[4] == "t",
	}
	if at.Replayed, err = wal.ParseLSN(row[1]); err != nil {
		return standby.Standing{}, fmt.Errorf("ask the standby how it stands: %w", err)
	}
	micros, err := strconv.ParseInt(row[2], 10, 64)
	if err != nil {
		return standby.Standing{}, fmt.Errorf("ask the standby how it stands: %w", err)
	}
	if micros != 0 {
		at.LastCommit = time.UnixMicro(micros)
	}
	return at, nil
}
