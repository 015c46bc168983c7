package metrics

// slotAlerts are about the WAL that the server keeps for the agent.
func slotAlerts() []Alert {
	const share = "pgark_slot_retained_bytes / pgark_slot_limit_bytes"
	after := func(seconds string) string {
		return "predict_linear(pgark_slot_retained_bytes[15m], " + seconds + ") / pgark_slot_limit_bytes"
	}
	return []Alert{
		{
			Name: "PgarkSlotNearLimit", For: "1m", Severity: Critical,
			Expr:    "max by (cluster) (" + share + ") > 0.8\n  or max by (cluster) (" + after("3600") + ") > 1 and max by (cluster) (" + share + ") > 0.1",
			Summary: "Cluster {{ $labels.cluster }}: the slot is at its limit, or will be within the hour",
			Description: "The server keeps WAL that is not archived, and comes to max_slot_wal_keep_size, to slot.keep_max, or to the end of its disk. At a limit that WAL is lost and the recovery window" +
				" gets a gap; on a full disk PostgreSQL stops.",
			Next: "pgark status --cluster {{ $labels.cluster }}; it says what keeps the WAL from being archived, and how much time is left",
			Page: "runbooks/slot-near-limit.md",
		},
		{
			Name: "PgarkSlotFilling", For: "15m", Severity: Warning,
			Expr:        "max by (cluster) (" + after("6 * 3600") + ") > 1 and max by (cluster) (" + share + ") > 0.1",
			Summary:     "Cluster {{ $labels.cluster }}: the slot reaches its limit within six hours",
			Description: "WAL is written faster than the archive takes it, or the archive takes none. If that goes on, WAL is lost or the disk is full by then.",
			Next:        "pgark status --cluster {{ $labels.cluster }}",
			Page:        "runbooks/slot-near-limit.md",
		},
	}
}

// backupAlerts are about base backups.
func backupAlerts() []Alert {
	const newest = "max by (cluster) (pgark_backup_last_success_timestamp_seconds)"
	const failed = "max by (cluster) (pgark_backup_last_failure_timestamp_seconds)"
	return []Alert{
		{
			Name: "PgarkNoBackup", For: "1h", Severity: Critical,
			Expr: lookedAt + " unless on (cluster) pgark_backup_last_success_timestamp_seconds\n" +
				"  unless on (cluster) pgark_backup_progress_ratio",
			Summary:     "There is no base backup of cluster {{ $labels.cluster }}: nothing can be restored",
			Description: "The repositories hold no base backup that is good, and none is being taken. WAL alone restores nothing.",
			Next:        "pgark backup --cluster {{ $labels.cluster }} --wait",
			Page:        page("PgarkNoBackup"),
		},
		{
			Name: "PgarkBackupTooOld", For: "10m", Severity: Critical,
			Expr:    "time() - " + newest + " > on (cluster) 1.25 * " + pause("backup") + " + 3600",
			Summary: "The newest base backup of cluster {{ $labels.cluster }} is {{ $value | humanizeDuration }} old",
			Description: "A base backup was due by backup.schedule, and there is no newer one. Everything can still be restored, and a restore replays more and more WAL: the RTO grows. A backup whose" +
				" pages have wrong checksums does not count.",
			Next: "pgark status --cluster {{ $labels.cluster }}; then pgark backup --cluster {{ $labels.cluster }} --wait",
			Page: page("PgarkBackupTooOld"),
		},
		{
			Name: "PgarkBackupFailed", For: "10m", Severity: Warning,
			Expr: failed + " and on (cluster) " + lookedAt + "\n" +
				"  unless on (cluster) (" + newest + " >= on (cluster) " + failed + ")",
			Summary:     "The last base backup of cluster {{ $labels.cluster }} failed",
			Description: "The agent tries again by itself, at most an hour later each time, and none has succeeded since. Its log says why.",
			Next:        "journalctl -u pgark -g 'base backup failed'; then pgark backup --cluster {{ $labels.cluster }} --wait",
			Page:        page("PgarkBackupFailed"),
		},
	}
}

// drillAlerts are about restores that were tried.
func drillAlerts() []Alert {
	const newest = "max by (cluster) (pgark_drill_last_success_timestamp_seconds)"
	return []Alert{
		{
			Name: "PgarkDrillFailed", For: "10m", Severity: Critical,
			Expr:    "min by (cluster) (pgark_drill_last_passed) == 0",
			Summary: "The last restore drill of cluster {{ $labels.cluster }} failed",
			Description: "A restore was tried, and it did not come to a server that is right: the archive may not restore. It may also be the drill's host: its disk, its memory, its server programs." +
				" The report says which.",
			Next: "pgark drill list --cluster {{ $labels.cluster }}; then pgark drill show ID",
			Page: "runbooks/drill.md",
		},
		{
			// Where the agent holds none, others may, such as a timer: those are measured by a month.
			Name: "PgarkDrillTooOld", For: "10m", Severity: Critical,
			Expr:        "time() - " + newest + " > on (cluster) (2 * " + pause("drill") + " or on (cluster) 0 * " + newest + " + 35 * 86400)",
			Summary:     "The last drill of cluster {{ $labels.cluster }} that passed is {{ $value | humanizeDuration }} ago",
			Description: "Nobody knows whether the archive of today restores, nor how long that takes. Two drills were due by drill.schedule, or there was none in 35 days where none is scheduled.",
			Next:        "pgark drill run --cluster {{ $labels.cluster }}",
			Page:        "runbooks/drill.md",
		},
		{
			Name: "PgarkNeverDrilled", For: "2d", Severity: Warning,
			Expr:        lookedAt + " unless on (cluster) pgark_drill_last_success_timestamp_seconds",
			Summary:     "A restore of cluster {{ $labels.cluster }} was never tried",
			Description: "No drill has passed, or all records of it are gone. A backup that was never restored is a hope. Set drill.dir, and the agent holds a drill each night.",
			Next:        "pgark drill run --cluster {{ $labels.cluster }} --dir /var/lib/pgark/drill",
			Page:        "runbooks/drill.md",
		},
		{
			Name: "PgarkRTOMissed", For: "10m", Severity: Warning,
			Expr:        "max by (cluster) (pgark_drill_rto_seconds{phase=\"total\"}) > on (cluster) max by (cluster) (pgark_objective_seconds{objective=\"rto\"})",
			Summary:     "A restore of cluster {{ $labels.cluster }} takes {{ $value | humanizeDuration }}, longer than the objective",
			Description: "The newest drill that passed took longer than objectives.rto. More frequent base backups leave less WAL to replay; a standby takes over in seconds.",
			Next:        "pgark drill show, of the newest in pgark drill list --cluster {{ $labels.cluster }}; it says which phase took how long",
			Page:        "runbooks/drill.md",
		},
	}
}

// elsewhereAlerts are about what lies in other places: copies and standbys.
func elsewhereAlerts() []Alert {
	// A copy is told of when it is looked at, every five minutes, and its age counts then.
	const behind = "min by (cluster, repo) (-(pgark_copy_until_timestamp_seconds - on (cluster, instance, job) group_left () pgark_look_timestamp_seconds))"
	return []Alert{
		{
			// Copies that the bucket makes have no pgark_repo_up, for the agent writes to none of them; S3 may take minutes for an object.
			Name: "PgarkCopyBehind", For: "10m", Severity: Warning,
			Expr: "(" + behind + " and on (cluster, repo) pgark_repo_up)\n    > on (cluster) group_left () (2 * " + rpo + " + 60)\n" +
				"  or (" + behind + " unless on (cluster, repo) pgark_repo_up) > 900",
			Summary: "Copy {{ $labels.repo }} of cluster {{ $labels.cluster }} is {{ $value | humanizeDuration }} behind",
			Description: "If the primary's region is lost now, this much is lost with it. The copy's bucket is away or refuses, or the line is too slow. The agent brings it up to date when it answers." +
				" Where PgarkRPOMissed is told too, nothing is archived at all: begin there.",
			Next: "pgark check --cluster {{ $labels.cluster }} --only storage",
			Page: "runbooks/bucket-lost.md",
		},
		{
			Name: "PgarkStandbyBehind", For: "5m", Severity: Warning,
			Expr:        "max by (cluster, instance) (timestamp(pgark_standby_replayed_timestamp_seconds) - pgark_standby_replayed_timestamp_seconds) > 300",
			Summary:     "The standby beside {{ $labels.instance }} is {{ $value | humanizeDuration }} behind cluster {{ $labels.cluster }}",
			Description: "A takeover would have to replay this much first, as far as it is in the archive. The standby is stuck before a gap or on another timeline, replays too slowly, or its archive is behind.",
			Next:        "pgark standby status --cluster {{ $labels.cluster }}, on the standby's host",
			Page:        "runbooks/region-lost.md",
		},
		{
			Name: "PgarkStandbyStuck", For: "10m", Severity: Warning,
			Expr: "max by (cluster, instance) (pgark_standby_connected) == 0\n" +
				"  or max by (cluster, instance) (pgark_standby_connected) unless on (cluster, instance) pgark_standby_replayed_timestamp_seconds",
			Summary:     "The standby beside {{ $labels.instance }} receives nothing of cluster {{ $labels.cluster }}",
			Description: "The standby does not answer, nothing streams to it, or it is not known how far it is. It falls behind until that is mended.",
			Next:        "pgark standby status --cluster {{ $labels.cluster }}, on the standby's host",
			Page:        "runbooks/region-lost.md",
		},
	}
}

// repositoryAlerts are about repositories and what lies in them.
func repositoryAlerts() []Alert {
	const sound = "max by (cluster, repo) (max_over_time(pgark_verify_last_success_timestamp_seconds[2d]))"
	const unsound = "max by (cluster, repo) (max_over_time(pgark_verify_last_failure_timestamp_seconds[2d]))"
	return []Alert{
		{
			Name: "PgarkRepoDown", For: "5m", Severity: Warning,
			Expr:        "max by (cluster, repo) (max_over_time(pgark_repo_up[2m])) == 0",
			Summary:     "Repository {{ $labels.repo }} of cluster {{ $labels.cluster }} does not answer",
			Description: "No request to it has succeeded for minutes. If too few of the others are left, nothing becomes durable: then PgarkRPOMissed follows, and the server keeps the WAL.",
			Next:        "pgark check --cluster {{ $labels.cluster }} --only storage",
			Page:        "runbooks/bucket-lost.md",
		},
		{
			Name: "PgarkRepoRefuses", For: "5m", Severity: Warning,
			Expr:    "sum by (cluster, repo, code) (increase(pgark_repo_request_errors_total{op=~\"put|list\", code=~\"denied|expired|skewed|no_bucket\"}[5m])) > 0",
			Summary: "Repository {{ $labels.repo }} of cluster {{ $labels.cluster }} refuses requests: {{ $labels.code }}",
			Description: "denied: a policy or a key was changed; expired: the credential is not renewed; skewed: the clock of the agent's host is wrong; no_bucket: the bucket is gone. Waiting does not" +
				" mend any of these.",
			Next: "pgark check --cluster {{ $labels.cluster }} --only storage; for denied, pgark repo policy prints what the credential needs",
			Page: "runbooks/bucket-lost.md",
		},
		{
			Name: "PgarkVersioningOff", For: "15m", Severity: Warning,
			Expr:    "min by (cluster, repo) (pgark_repo_versioning_enabled) == 0",
			Summary: "The bucket of repository {{ $labels.repo }} of cluster {{ $labels.cluster }} keeps no versions",
			Description: "What is deleted or put over there is lost at once, by whose hand ever. If versioning was on, somebody with the owner's rights suspended it: find out who. Where it is meant" +
				" so, say it in repo.unversioned.",
			Next: "pgark check --cluster {{ $labels.cluster }} --only storage; it prints the command that turns versioning on",
			Page: "runbooks/bucket-lost.md",
		},
		{
			Name: "PgarkVerifyErrors", Severity: Critical,
			Expr:    unsound + " unless on (cluster, repo) (" + sound + " > on (cluster, repo) " + unsound + ")",
			Summary: "Repository {{ $labels.repo }} of cluster {{ $labels.cluster }} holds damaged objects",
			Description: "A verification found objects that are damaged, missing or not what another repository holds, and did not put them right. No restore uses them; which instants are at risk" +
				" the command says. This ends with the next verification that finds nothing wrong.",
			Next: "pgark verify --cluster {{ $labels.cluster }} --repair; without a copy that is right, pgark verify says what is lost",
			Page: "runbooks/damage.md",
		},
		{
			Name: "PgarkVerifyTooOld", For: "10m", Severity: Warning,
			Expr:        "time() - " + sound + " > on (cluster) group_left () 2 * " + pause("verify"),
			Summary:     "Repository {{ $labels.repo }} of cluster {{ $labels.cluster }} was last found right {{ $value | humanizeDuration }} ago",
			Description: "Verifications are scheduled, and none has found this repository right for twice as long as lies between two of them.",
			Next:        "pgark verify --cluster {{ $labels.cluster }}",
			Page:        "runbooks/damage.md",
		},
	}
}
