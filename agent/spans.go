package agent

import (
	"context"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/telemetry"
	"github.com/pgark/pgark/verify"
	"github.com/pgark/pgark/wal"
)

// backupSpan is the span of a base backup and those of its phases, made of what it says of itself. One of a process that exports nothing does nothing.
type backupSpan struct {
	span   *telemetry.Span
	phases *telemetry.Phases
}

// beginBackup begins the span of a base backup of a cluster, and returns the context to take it with.
func beginBackup(ctx context.Context, cluster string, srv server) (context.Context, backupSpan) {
	if !telemetry.On(ctx) {
		return ctx, backupSpan{}
	}
	ctx, span := telemetry.Begin(ctx, telemetry.Backup, append(serverFacts(srv), telemetry.Cluster.String(cluster))...)
	return ctx, backupSpan{span, telemetry.NewPhases(ctx, telemetry.Backup)}
}

// serverFacts say which server is asked: where there are several it is found out anew with each connection.
func serverFacts(srv server) []telemetry.Attribute {
	facts := []telemetry.Attribute{telemetry.DBSystem.String(telemetry.PostgreSQL)}
	if all := srv.config.Endpoints(); len(all) == 1 {
		facts = append(facts, telemetry.ServerAddress.String(all[0].Host), telemetry.ServerPort.Int(int(all[0].Port)))
	}
	return facts
}

// watch returns what is to be told of the progress, and passes it on to next.
func (b backupSpan) watch(next func(backup.Progress)) func(backup.Progress) {
	if b.phases == nil {
		return next
	}
	return func(p backup.Progress) {
		b.phases.Enter(string(p.Phase))
		next(p)
	}
}

// end ends it: b was taken, or err came of it.
func (b backupSpan) end(taken repository.Backup, err error) {
	b.phases.End(err)
	if b.span != nil && taken.ID != "" {
		b.span.Set(walFacts(taken.SystemID, taken.Timeline, wal.Range{Start: taken.StartLSN, End: taken.StopLSN})...)
		b.span.Set(telemetry.BackupID.String(taken.ID), telemetry.Bytes.Int64(taken.Plain),
			telemetry.StoredBytes.Int64(taken.Stored), telemetry.Files.Int64(taken.Files))
	}
	b.span.End(err)
}

// walFacts say which WAL.
func walFacts(id wal.SystemID, tli wal.TimelineID, r wal.Range) []telemetry.Attribute {
	return []telemetry.Attribute{
		telemetry.SystemID.String(id.String()), telemetry.Timeline.Int64(int64(tli)),
		telemetry.LSN.String(r.Start.String()), telemetry.EndLSN.String(r.End.String()),
	}
}

// verifyFacts say what a verification came to.
func verifyFacts(r verify.Report) []telemetry.Attribute {
	var objects, bytes int64
	for _, p := range r.Repositories {
		objects, bytes = objects+p.Read, bytes+p.ReadBytes
	}
	return []telemetry.Attribute{
		telemetry.SystemID.String(r.SystemID.String()), telemetry.Result.String(string(r.Verdict)),
		telemetry.Objects.Int64(objects), telemetry.Bytes.Int64(bytes), telemetry.Damaged.Int(len(r.Damage)),
	}
}

// pruneFacts say what was removed.
func pruneFacts(r retention.Report) []telemetry.Attribute {
	var objects, bytes int64
	for _, one := range r.Repositories {
		objects, bytes = objects+one.DeletedObjects, bytes+one.DeletedBytes
	}
	return []telemetry.Attribute{telemetry.Objects.Int64(objects), telemetry.Bytes.Int64(bytes)}
}
