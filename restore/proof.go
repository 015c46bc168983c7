package restore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/wal"
)

// ProofError says that the server stopped elsewhere than the plan says.
type ProofError struct {
	What      string
	Got, Want string
}

// Error names both.
func (e *ProofError) Error() string {
	return fmt.Sprintf("recovery did not stop as planned: %s is %s, want %s", e.What, e.Got, e.Want)
}

// pageHeaders is how far the start of a record may lie past the end of the
// one before: the header of a page that begins a segment (SizeOfXLogLongPHD).
const pageHeaders = 40

// proofSQL asks the server where it stopped. Values that recovery leaves stay
// as they were when it ended ("Recovery Information Functions" in
// PostgreSQL's documentation).
const proofSQL = `select pg_is_in_recovery(), coalesce(pg_last_wal_replay_lsn()::text, ''),
	coalesce((extract(epoch from pg_last_xact_replay_timestamp()) * 1000000)::bigint::text, ''),
	case when pg_is_in_recovery() then '' else substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end,
	case when pg_is_in_recovery() then '' else pg_snapshot_xmax(pg_current_snapshot())::text end,
	current_setting('is_superuser'), current_database()`

// answered is what the server said to proofSQL.
type answered struct {
	inRecovery bool
	replayed   wal.LSN
	last       wal.Time // 0 if none
	timeline   wal.TimelineID
	next       uint64 // full xid; 0 in recovery
	database   string // that was asked
}

// prove asks the server where it stopped and compares that with the plan.
func prove(ctx context.Context, s *Server, plan *Plan, o RecoverOptions) (*Recovered, error) {
	a, err := knock(ctx, s, o)
	if err != nil {
		return nil, fmt.Errorf("prove stop: %w", err)
	}
	if err := errors.Join(plan.checkReplayed(a.replayed), plan.checkLast(a.last)); err != nil {
		return nil, err
	}
	r := &Recovered{
		Server: s, User: a.user, Database: a.database,
		Timeline: a.timeline, InRecovery: a.inRecovery, Replayed: a.replayed, LastTime: a.last, LastCommit: plan.LastCommit,
	}
	if a.inRecovery {
		r.Timeline = plan.Timeline
	}
	if c := plan.LastCommit; c != nil && c.Start == plan.Stop.LSN && plan.Stop.Rule == StopAfter {
		r.LastTime = c.Time // proved by the LSN
	}
	if a.inRecovery != (o.Action == ActionPause) {
		return nil, &ProofError{What: "in recovery", Got: strconv.FormatBool(a.inRecovery), Want: strconv.FormatBool(!a.inRecovery)}
	}
	conn := s.CatalogConnString(r.User, r.Database)
	if r.Invalid, err = invalidDatabases(ctx, conn); err != nil || a.inRecovery {
		return r, err
	}
	if r.Later, r.LaterChecked, err = countLater(ctx, conn, plan, a.next); err != nil {
		return nil, err
	}
	return r, nil
}

// unixEpoch is 1970-01-01 in PostgreSQL's time, in microseconds.
const unixEpoch = -946684800 * 1_000_000

// parseAnswer reads the answer to proofSQL, and whether a superuser got it.
func parseAnswer(rows [][]string) (a answered, super bool, err error) {
	if len(rows) != 1 || len(rows[0]) != 7 {
		return a, false, fmt.Errorf("%d rows, want one of 7 columns", len(rows))
	}
	row := rows[0]
	a, err = parsePosition(row)
	a.database = row[6]
	return a, row[5] == "on", err
}

func parsePosition(row []string) (answered, error) {
	a := answered{inRecovery: row[0] == "t"}
	var err error
	if a.replayed, err = wal.ParseLSN(row[1]); err != nil {
		return a, fmt.Errorf("last replayed: %w", err)
	}
	if row[2] != "" {
		micro, err := strconv.ParseInt(row[2], 10, 64)
		if err != nil {
			return a, fmt.Errorf("time of the last transaction: %w", err)
		}
		a.last = wal.Time(micro + unixEpoch)
	}
	if a.inRecovery {
		return a, nil
	}
	if a.timeline, err = wal.ParseTimelineID(row[3]); err != nil {
		return a, err
	}
	a.next, err = strconv.ParseUint(row[4], 10, 64)
	return a, err
}

// checkReplayed compares the end of the last record that was applied.
func (p *Plan) checkReplayed(got wal.LSN) error {
	if want := p.kept(); got > want || want-got > pageHeaders {
		return &ProofError{What: "last replayed LSN", Got: got.String(), Want: want.String()}
	}
	return nil
}

// checkLast compares the time of the last transaction end. A record that
// recovery_target_lsn stops after is applied but its time is not noted
// (recoveryStopsAfter in xlogrecovery.c).
func (p *Plan) checkLast(got wal.Time) error {
	var want wal.Time // the server's answer is empty where there was none
	if p.LastEnd != nil {
		want = p.LastEnd.Time
	}
	if got == want {
		return nil
	}
	return &ProofError{What: "time of the last transaction", Got: got.String(), Want: want.String()}
}

// invalidSQL finds databases whose DROP was under way at the stop: it marks the database first, in place, then removes its files, and then commits (dropdb in
// src/backend/commands/dbcommands.c, since 2023: 16, 15.4, 14.9). What is marked admits nobody and can only be dropped.
const invalidSQL = `select datname from pg_database where datconnlimit = -2 order by datname`

func invalidDatabases(ctx context.Context, conn string) ([]string, error) {
	rows, err := postgres.Query(ctx, conn, invalidSQL)
	if err != nil {
		return nil, fmt.Errorf("look for databases that are half dropped: %w", err)
	}
	var names []string
	for _, row := range rows {
		names = append(names, row[0])
	}
	return names, nil
}

// countLater asks for the last commit, which must be there, and for commits
// behind the stop, which must not.
func countLater(ctx context.Context, conn string, plan *Plan, next uint64) (later, checked int, err error) {
	var list []string
	for _, xid := range plan.Later {
		if x := fullXID(xid, next); x < next {
			list = append(list, "'"+strconv.FormatUint(x, 10)+"'")
		}
	}
	if c := plan.LastCommit; c != nil && c.XID != 0 {
		rows, err := postgres.Query(ctx, conn, fmt.Sprintf("select coalesce(pg_xact_status('%d'), 'unknown')", fullXID(c.XID, next)))
		if err != nil {
			return 0, 0, fmt.Errorf("prove last commit: %w", err)
		}
		if got := rows[0][0]; got != "committed" && got != "unknown" {
			return 0, 0, &ProofError{What: fmt.Sprintf("transaction %d", c.XID), Got: got, Want: "committed"}
		}
	}
	if len(list) == 0 {
		return 0, len(plan.Later), nil
	}
	rows, err := postgres.Query(ctx, conn, "select count(*) from unnest(array["+strings.Join(list, ",")+
		"]::xid8[]) x where pg_xact_status(x) = 'committed'")
	if err != nil {
		return 0, 0, fmt.Errorf("prove later commits: %w", err)
	}
	if later, err = strconv.Atoi(rows[0][0]); err != nil {
		return 0, 0, fmt.Errorf("prove later commits: %w", err)
	}
	if later > 0 {
		return later, len(plan.Later), &ProofError{What: "number of later commits applied", Got: rows[0][0], Want: "0"}
	}
	return 0, len(plan.Later), nil
}

// fullXID returns the 64-bit transaction ID nearest to next whose lower half is xid.
func fullXID(xid wal.XID, next uint64) uint64 {
	full := next&^(1<<32-1) | uint64(xid)
	switch {
	case full > next && full-next > 1<<31 && full >= 1<<32:
		return full - 1<<32
	case full < next && next-full > 1<<31:
		return full + 1<<32
	}
	return full
}
