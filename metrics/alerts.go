package metrics

// Severity says how soon a person is needed.
type Severity string

const (
	// Critical wakes somebody: data may be lost, or may be lost already, before the morning.
	Critical Severity = "critical"
	// Warning is for the next working day: nothing is lost yet, and one more fault would lose it.
	Warning Severity = "warning"
)

// Alert is one alerting rule. Its texts are templates of Prometheus.
type Alert struct {
	Name string
	// Cluster is the one that it is about, where Expr does not tell; empty elsewhere.
	Cluster string
	// Expr is PromQL; it has a sample for each thing that is wrong.
	Expr string
	// For is how long that must last, in Prometheus's units; empty is not at all.
	For      string
	Severity Severity
	// Summary is one line for a pager; Description says what it means, and Next the command to run first.
	Summary, Description, Next string
	// Page is where more is said, below docs.
	Page string
}

// Expressions that several alerts are made of.
//
// An age is measured when it was scraped and not when the rule is evaluated: a sample is up to a scrape interval old by then, which would count as time
// that is not protected, and is more than many an objective.
const (
	// behindNow is how much time of commits would be lost. Of several agents the one that knows most counts.
	behindNow = `min by (cluster) (timestamp(pgark_recoverable_until_timestamp_seconds) - pgark_recoverable_until_timestamp_seconds)`
	// lookedAt has a sample for each cluster whose last look at repositories and server succeeded: without one it is not known which backups and drills there are.
	lookedAt = `max by (cluster) (pgark_look_timestamp_seconds)`
	// unbacked has a sample for each cluster that has no base backup yet: PgarkNoBackup is about those.
	unbacked = `(pgark_look_timestamp_seconds unless on (cluster) pgark_backup_last_success_timestamp_seconds)`
	// rpo is the objective.
	rpo = `max by (cluster) (pgark_objective_seconds{objective="rpo"})`
)

// pause is the longest time between two runs of a job.
func pause(kind string) string {
	return `max by (cluster) (pgark_job_interval_seconds{kind="` + kind + `"})`
}

// Absent is the alert that is made for each cluster by its name.
const Absent = "PgarkAbsent"

// Cluster is one that a configuration names.
type Cluster struct {
	Name string
	// Follows says that the agent there only follows the archive, for a standby.
	Follows bool
}

// Alerts returns the rules for these clusters. Without any, a cluster that vanishes is told of for a day, as far as it was there before; one that was
// never there, and one that has been away for longer, only names tell.
func Alerts(clusters ...Cluster) []Alert {
	var all []Alert
	for _, part := range [][]Alert{absent(clusters), agentAlerts(), exposureAlerts(), slotAlerts(), backupAlerts(), drillAlerts(), elsewhereAlerts(), repositoryAlerts()} {
		all = append(all, part...)
	}
	return all
}

func absent(clusters []Cluster) []Alert {
	one := Alert{
		Name: Absent, For: "5m", Severity: Critical,
		Expr:    "group by (cluster) (present_over_time(pgark_leader[1d])) unless on (cluster) pgark_leader",
		Summary: "No agent tells of cluster {{ $labels.cluster }}",
		Description: "Prometheus hears nothing of this cluster: its agent or its host is gone, or cannot be scraped. Whether commits are archived is not known; the server keeps " +
			"WAL for the agent until the slot's limit.",
		Next: "systemctl status pgark, on the agent's host; pgark status, from any host that reaches the repository",
		Page: "runbooks/agent-down.md",
	}
	if len(clusters) == 0 {
		return []Alert{one}
	}
	var all []Alert
	for _, c := range clusters {
		one.Cluster, one.Expr = c.Name, "absent(pgark_leader{cluster="+quoted(c.Name)+"})"
		if c.Follows { // until its standby takes over there is no leader; what every agent tells is the objective
			one.Expr = "absent(pgark_objective_seconds{cluster=" + quoted(c.Name) + ", objective=\"rpo\"})"
		}
		all = append(all, one)
	}
	return all
}

// agentAlerts are about agents.
func agentAlerts() []Alert {
	return []Alert{
		{
			Name: "PgarkAgentGone", For: "10m", Severity: Warning,
			Expr:    "group by (instance, job) (present_over_time(pgark_build_info[1d])) unless on (instance, job) pgark_build_info",
			Summary: "Agent {{ $labels.instance }} is gone",
			Description: "An agent that was there within the last day cannot be scraped any more. If another one archives its clusters nothing is lost, but none takes over when that one " +
				"fails. After a day this is not told any more.",
			Next: "systemctl status pgark, on that host",
			Page: "runbooks/agent-down.md",
		},
		{
			Name: "PgarkNotStreaming", For: "5m", Severity: Warning,
			Expr:    "max by (cluster) (pgark_leader) == 0",
			Summary: "No agent receives WAL of cluster {{ $labels.cluster }}",
			Description: "An agent is there, and no WAL comes to it: PostgreSQL does not answer or refuses it, another program holds the slot, or the agent stopped because another server " +
				"took over. New commits are not archived.",
			Next: "pgark status --cluster {{ $labels.cluster }}; it names the cause",
			Page: "runbooks/agent-down.md",
		},
		{
			Name: "PgarkTwoLeaders", For: "3m", Severity: Critical,
			Expr:    "sum by (cluster) (pgark_leader) > 1",
			Summary: "{{ $value }} agents archive cluster {{ $labels.cluster }} at once",
			Description: "Two agents receive WAL: two servers may take writes under one name (split brain), or one configuration runs twice. pgark fences one of the servers where their " +
				"histories part; what is committed on that one is not archived.",
			Next: "pgark status --cluster {{ $labels.cluster }}; then ask each server: select pg_is_in_recovery(), timeline_id from pg_control_checkpoint()",
			Page: "runbooks/region-lost.md",
		},
		{
			Name: "PgarkConfigReloadFailed", For: "1m", Severity: Warning,
			Expr:        "min by (instance, job) (pgark_config_last_reload_successful) == 0",
			Summary:     "Agent {{ $labels.instance }} did not take its new configuration",
			Description: "The configuration was read again and has a fault. The agent goes on with the old one, and will not start with the new one.",
			Next:        "pgark config validate, on that host",
			Page:        page("PgarkConfigReloadFailed"),
		},
		{
			Name: "PgarkLookFailed", For: "15m", Severity: Warning,
			Expr:    "max by (cluster) (pgark_leader) unless on (cluster) (" + lookedAt + " > time() - 1800)",
			Summary: "The repositories of cluster {{ $labels.cluster }} cannot be looked at",
			Description: "The agent could not list its repositories for half an hour. Base backups, drills, copies and gaps are not known meanwhile, and the alerts about them are silent." +
				" WAL may be archived all the same.",
			Next: "pgark status --cluster {{ $labels.cluster }}; pgark check --cluster {{ $labels.cluster }} --only storage",
			Page: "runbooks/bucket-lost.md",
		},
	}
}

// exposureAlerts are about what would be lost now.
func exposureAlerts() []Alert {
	return []Alert{
		{
			Name: "PgarkRPOMissed", For: "1m", Severity: Critical,
			Expr:    behindNow + " > on (cluster) 2 * " + rpo,
			Summary: "Cluster {{ $labels.cluster }}: {{ $value | humanizeDuration }} of commits would be lost now",
			Description: "Nothing newer is durable in the archive, and that is more than twice the objective. The server, the agent or the repository is away or too slow. The server keeps " +
				"the WAL until the slot's limit, so nothing is lost while the server lives.",
			Next: "pgark status --cluster {{ $labels.cluster }}; it names cause and fix",
			Page: "runbooks/agent-down.md",
		},
		{
			Name: "PgarkRPOUnknown", For: "5m", Severity: Critical,
			Expr: "max by (cluster) (pgark_leader) unless on (cluster) pgark_recoverable_until_timestamp_seconds\n" +
				"  unless on (cluster) " + unbacked,
			Summary: "Cluster {{ $labels.cluster }}: how much would be lost is not known",
			Description: "The agent runs and knows of no instant that can be restored: it has not reached the repository since it began, or WAL was lost and no base backup was taken since." +
				" Take it for unprotected.",
			Next: "pgark status --cluster {{ $labels.cluster }}",
			Page: "runbooks/agent-down.md",
		},
		{
			Name: "PgarkNotProtected", For: "15m", Severity: Warning,
			Expr:    "max by (cluster) (pgark_protected) == 0 unless on (cluster) " + unbacked,
			Summary: "Cluster {{ $labels.cluster }} is at risk",
			Description: "The verdict of pgark status has not been PROTECTED for a quarter of an hour. Another alert may say why; this one also stands for what has no alert of its own," +
				" such as commits that no longer wait for the archive, or a record that cannot be read.",
			Next: "pgark status --cluster {{ $labels.cluster }}; it names each cause with its fix",
			Page: page("PgarkNotProtected"),
		},
		{
			// For: what one look found in passing, while pieces of WAL were put side by side, is gone at the next.
			Name: "PgarkGap", Severity: Warning, For: "10m",
			Expr:    "max by (cluster) (pgark_recovery_gaps) > on (cluster) min by (cluster) (min_over_time(pgark_recovery_gaps[6h]))",
			Summary: "WAL of cluster {{ $labels.cluster }} was lost: {{ $value }} gaps in the recovery window",
			Description: "The server removed WAL before it was archived. Instants inside the gap cannot be restored, and nothing after it before the base backup that the agent takes at once is done." +
				" This alert ends by itself after six hours; the gap stays in the window.",
			Next: "pgark list --cluster {{ $labels.cluster }}; it shows from when to when, and the base backup that ends it",
			Page: "runbooks/slot-near-limit.md",
		},
		{
			Name: "PgarkWindowCut", Severity: Critical,
			Expr: "max by (cluster) (pgark_recoverable_from_timestamp_seconds) > on (cluster) min by (cluster) (min_over_time(pgark_recoverable_from_timestamp_seconds[1d]))\n" +
				"  unless on (cluster) (time() - max by (cluster) (pgark_recoverable_from_timestamp_seconds) >= on (cluster) max by (cluster) (pgark_objective_seconds{objective=\"window\"}))",
			Summary: "Cluster {{ $labels.cluster }} can be restored less far back than yesterday",
			Description: "The recovery window begins later than it did, and is shorter than retain.window: base backups or WAL are gone that pgark would have kept. Somebody deleted them, or a rule of the" +
				" bucket did. In a bucket that keeps versions they can be brought back.",
			Next: "pgark repo undelete --cluster {{ $labels.cluster }}; without --yes it only tells what the bucket still holds",
			Page: "runbooks/bucket-lost.md",
		},
		{
			Name: "PgarkClockDiffers", For: "5m", Severity: Warning,
			Expr:        "max by (cluster) (pgark_recoverable_until_timestamp_seconds - timestamp(pgark_recoverable_until_timestamp_seconds)) > 30",
			Summary:     "Clocks differ: the newest commit of cluster {{ $labels.cluster }} lies {{ $value | humanizeDuration }} in the future",
			Description: "The clock of the server, of the agent's host or of Prometheus is wrong. How much would be lost cannot be told, and a restore to a time may stop at another commit than you mean.",
			Next:        "timedatectl status, on each of the hosts",
			Page:        page("PgarkClockDiffers"),
		},
	}
}
