package status

import (
	"fmt"
	"time"

	"github.com/pgark/pgark/repository"
)

// drillsRead is how many of the newest drills Survey reads, with one request for each.
const drillsRead = 10

// Drill is what the newest drill found: a restore that was carried out and measured.
type Drill struct {
	ID      string    `json:"id"`
	Started time.Time `json:"started"`
	// Result is "passed" or "failed"; Phase and Failure say where and why it failed.
	Result  repository.DrillResult `json:"result"`
	Phase   repository.DrillPhase  `json:"phase,omitempty"`
	Failure string                 `json:"failure,omitempty"`
	// RTO is how many seconds it took until the server accepted connections; absent where it never did.
	RTO *float64 `json:"rto_seconds,omitempty"`
	// DataLoss is how many seconds before its target all was proved to be there.
	DataLoss *float64 `json:"data_loss_seconds,omitempty"`
	// Fetch, Replay and Opening are how many seconds of the RTO went into laying down the base backup, replaying WAL, and until the server accepted
	// connections; absent where it did not come so far.
	Fetch   float64 `json:"fetch_seconds,omitempty"`
	Replay  float64 `json:"replay_seconds,omitempty"`
	Opening float64 `json:"open_seconds,omitempty"`
	// Plain is the size of the cluster, bytes.
	Plain int64 `json:"plain_bytes"`
}

// BackupDrill is the newest drill that passed with a base backup.
type BackupDrill struct {
	ID  string  `json:"id"`
	RTO float64 `json:"rto_seconds"`
}

// setDrills takes over what drills found, oldest first.
func (r *Report) setDrills(drills []repository.Drill) {
	r.DrillReports = drills
	for _, d := range drills {
		found := Drill{ID: d.ID, Started: d.Started.UTC(), Result: d.Result, Phase: d.Phase, Failure: d.Failure, Plain: d.Fetch.Bytes}
		if d.RTO > 0 {
			rto := float64(d.RTO)
			found.RTO = &rto
		}
		if d.DataLoss != nil {
			loss := float64(*d.DataLoss)
			found.DataLoss = &loss
		}
		found.Fetch, found.Replay, found.Opening = float64(d.Fetch.Seconds), float64(d.Replay.Seconds), float64(d.Open.Seconds)
		r.Drills = append(r.Drills, found)
		r.Drill = &found
		if d.Result != repository.DrillPassed {
			continue
		}
		for i := range r.Backups {
			if r.Backups[i].ID == d.Backup {
				r.Backups[i].Drill = &BackupDrill{ID: d.ID, RTO: float64(d.RTO)}
			}
		}
	}
}

// MissedRTO tells whether the newest drill took longer than the objective.
func (r Report) MissedRTO() bool {
	return r.RTOTarget > 0 && r.Drill != nil && r.Drill.RTO != nil && *r.Drill.RTO > r.RTOTarget
}

// judgeDrill looks at the newest drill. That there is none is no risk by itself.
func (r Report) judgeDrill(c Commands) []finding {
	switch d := r.Drill; {
	case d == nil:
		return nil
	case d.Result == repository.DrillFailed:
		return []finding{{verdict: AtRisk, Cause: Cause{
			What: fmt.Sprintf("the newest drill, %s, failed (%s): %s", d.ID, d.Phase, d.Failure), Since: &d.Started, Fix: c.Drill,
		}}}
	case r.MissedRTO():
		return []finding{{verdict: AtRisk, Cause: Cause{
			What: fmt.Sprintf("a restore takes %s by the newest drill, the objective is %s", seconds(*d.RTO), seconds(r.RTOTarget)), Since: &d.Started, Fix: c.Drill,
		}}}
	}
	return nil
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(100 * time.Millisecond)
}
