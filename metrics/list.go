package metrics

// Metric is what is told of one metric to who reads it.
type Metric struct {
	// Unit is that of its value, for docs/METRICS.md: s (a time since 1970, or a length of time), B, 1, USD, or LSN: bytes since the beginning of the cluster's WAL.
	Unit    string
	Help    string
	Counter bool
	Labels  []string
}

// The metrics that have no samples of their own.
const (
	buildInfo        = "pgark_build_info"
	reloadSuccessful = "pgark_config_last_reload_successful"
	uploadDuration   = "pgark_wal_upload_duration_seconds"
)

// List returns every metric by its name.
func List() map[string]Metric { return list() }

func helpOf(name string) string { return list()[name].Help }

func list() map[string]Metric {
	cluster, repo := []string{"cluster"}, []string{"cluster", "repo"}
	gauge := func(unit, help string, labels ...string) Metric {
		if labels == nil {
			labels = cluster
		}
		return Metric{Unit: unit, Help: help, Labels: labels}
	}
	counter := func(unit, help string, labels ...string) Metric {
		m := gauge(unit, help, labels...)
		m.Counter = true
		return m
	}
	return map[string]Metric{
		buildInfo:        {Unit: "1", Help: "Always 1; version and revision of the program.", Labels: []string{"version", "revision"}},
		reloadSuccessful: {Unit: "1", Help: "Whether the configuration was taken over when it was read last (1 or 0)."},

		"pgark_protected":                             gauge("1", "Whether the archive is up to date and all of it can be restored (1 or 0)."),
		"pgark_leader":                                gauge("1", "Whether this agent is the one that archives the cluster (1 or 0); absent where it follows the archive for a standby."),
		"pgark_objective_seconds":                     gauge("s", "The objective for the data that may be lost (rpo), for the time that a restore may take (rto), and for how far back every instant stays restorable (window).", "cluster", "objective"),
		"pgark_recoverable_from_timestamp_seconds":    gauge("s", "The first instant that can be restored."),
		"pgark_recoverable_until_timestamp_seconds":   gauge("s", "An instant up to which all that the server had can be restored. It moves on while the server is idle too."),
		"pgark_recovery_gaps":                         gauge("1", "Gaps in the recovery window, the one that no base backup ended yet among them."),
		"pgark_wal_flush_lsn_bytes":                   gauge("LSN", "End of the WAL on the server, as far as it said."),
		"pgark_wal_durable_lsn_bytes":                 gauge("LSN", "End of the WAL that the primary repository holds; where there are copies, as of the last look at it.", repo...),
		"pgark_wal_received_bytes_total":              counter("B", "WAL that the server sent since the agent began."),
		"pgark_wal_stored_bytes_total":                counter("B", "Objects of WAL that a repository took since the agent began, as stored.", repo...),
		uploadDuration:                                {Unit: "s", Help: "How long a repository took for an object of WAL, without attempts that failed (a native histogram).", Labels: repo},
		"pgark_slot_retained_bytes":                   gauge("B", "WAL that the server keeps for the replication slot."),
		"pgark_slot_limit_bytes":                      gauge("B", "The nearest limit of the WAL that the slot may keep; absent where there is none."),
		"pgark_slot_active":                           gauge("1", "Whether a program receives from the slot (1 or 0); absent where the role may not see it."),
		"pgark_backup_last_success_timestamp_seconds": gauge("s", "When the newest good base backup ended.", "cluster", "type"),
		"pgark_backup_last_failure_timestamp_seconds": gauge("s", "When a base backup of this agent failed last."),
		"pgark_backup_last_duration_seconds":          gauge("s", "How long the newest good base backup took."),
		"pgark_backup_last_size_bytes":                gauge("B", "Size of the cluster in the newest good base backup."),
		"pgark_backup_last_stored_bytes":              gauge("B", "The same, as stored."),
		"pgark_backup_progress_ratio":                 gauge("1", "How much of the base backup that is being taken is stored (0 to 1); absent while none is, or its size is not known."),
		"pgark_copy_durable_lsn_bytes":                gauge("LSN", "End of the WAL that a copy holds, as of the last look at it.", repo...),
		"pgark_copy_until_timestamp_seconds":          gauge("s", "The newest instant that can be restored from a copy alone, as of the last look at it.", repo...),
		"pgark_drill_last_success_timestamp_seconds":  gauge("s", "When the newest drill that passed began."),
		"pgark_drill_last_passed":                     gauge("1", "Whether the newest drill passed (1 or 0)."),
		"pgark_drill_rto_seconds":                     gauge("s", "How long the restore of the newest drill that passed took (total), and of that fetch, replay and open.", "cluster", "phase"),
		"pgark_drill_data_loss_seconds":               gauge("s", "How long before the target of the newest drill that passed all is proved to be there."),
		"pgark_verify_last_success_timestamp_seconds": gauge("s", "When the last verification of this agent ended that found nothing wrong in a repository.", repo...),
		"pgark_verify_errors_total":                   counter("1", "Objects that verifications of this agent found not to be right.", "cluster", "repo", "kind"),
		"pgark_standby_replayed_timestamp_seconds":    gauge("s", "An instant by which all that the primary had committed is on the standby."),
		"pgark_standby_connected":                     gauge("1", "Whether something streams to the standby (1 or 0)."),
		"pgark_verify_last_failure_timestamp_seconds": gauge("s", "When the last verification of this agent ended that found damage in a repository and did not put it right.", repo...),
		"pgark_job_interval_seconds":                  gauge("s", "The longest time between two runs that the schedule of a job names: backup, drill, verify or prune; absent where it has none.", "cluster", "kind"),
		"pgark_repo_versioning_enabled":               gauge("1", "Whether a repository's bucket keeps versions (1 or 0); absent where that is not known, and where repo.unversioned does without.", repo...),
		"pgark_repo_up":                               gauge("1", "Whether a repository answered the last request (1 or 0).", repo...),
		"pgark_repo_stored_bytes":                     gauge("B", "What a repository holds of the cluster, as of the last look at it.", "cluster", "repo", "kind"),
		"pgark_repo_cost_usd_month":                   gauge("USD", "What the repositories are reckoned to cost a month, all together, as of the last look; absent where that is not known (pgark repo cost)."),
		"pgark_repo_request_errors_total":             counter("1", "Requests that failed, those that were made again among them.", "cluster", "repo", "op", "code"),
		"pgark_notify_failures_total":                 counter("1", "Notifications that were given up since the process began, and pings of the heartbeat that did not arrive."),
		"pgark_look_timestamp_seconds":                gauge("s", "When repositories and server were looked at last for what is not known without that."),
	}
}
