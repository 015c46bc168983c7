package main

import (
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/telemetry"
)

// traced is the span of a restore or a drill, and those of its phases. The zero value exports nothing.
type traced struct {
	span   *telemetry.Span
	phases *telemetry.Phases
}

// beginSpan begins the span of a restore or a drill, in its first phase. Who begins it ends it.
func (r *restoring) beginSpan(job telemetry.Name, c config.Cluster) {
	r.trace()
	r.ctx, r.span = telemetry.Begin(r.ctx, job, telemetry.Cluster.String(c.Name))
	r.phases = telemetry.NewPhases(r.ctx, job)
	r.phases.Enter(telemetry.Plan)
}

// endSpan ends it, and the phase that is on, with what the command ends with.
func (r *restoring) endSpan(err error) {
	r.phases.End(err)
	r.span.End(err)
}

// planFacts say what is restored.
func planFacts(p *restore.Plan) []telemetry.Attribute {
	return []telemetry.Attribute{
		telemetry.SystemID.String(p.SystemID.String()), telemetry.BackupID.String(p.Backup.ID), telemetry.Timeline.Int64(int64(p.Timeline)),
		telemetry.LSN.String(p.Backup.StartLSN.String()), telemetry.EndLSN.String(p.Until.String()),
	}
}

// drillFacts say what a drill came to.
func drillFacts(d repository.Drill) []telemetry.Attribute {
	facts := []telemetry.Attribute{
		telemetry.DrillID.String(d.ID), telemetry.Result.String(string(d.Result)), telemetry.SystemID.String(d.SystemID.String()),
		telemetry.Files.Int64(d.Fetch.Files), telemetry.Bytes.Int64(d.Fetch.Bytes),
	}
	if d.RTO > 0 {
		facts = append(facts, telemetry.RTO.Float64(d.RTO.Duration().Seconds()))
	}
	return facts
}
