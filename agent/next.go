package agent

import (
	"slices"
	"time"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/status"
)

// nextJobs is when the schedules of a cluster name each job next after now, the soonest first.
func nextJobs(c config.Cluster, now time.Time) []status.Next {
	var all []status.Next
	add := func(kind status.JobKind, schedule string, held bool) {
		if !held || schedule == "" || schedule == config.Off {
			return
		}
		plan, err := backup.ParseSchedule(schedule, c.Backup.Timezone)
		if err != nil {
			return // config refuses it, and an agent too
		}
		if at := plan.Next(now); !at.IsZero() {
			all = append(all, status.Next{Kind: kind, At: at})
		}
	}
	add(status.JobBackup, c.Backup.Schedule, true)
	add(status.JobDrill, c.Drill.Schedule, c.Drill.Dir != "")
	add(status.JobVerify, c.Verify.Schedule, true)
	add(status.JobPrune, c.Retain.Schedule, c.Retain.Window > 0)
	slices.SortStableFunc(all, func(a, b status.Next) int { return a.At.Compare(b.At) })
	return all
}
