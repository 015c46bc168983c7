package telemetry

import "go.opentelemetry.io/otel/attribute"

// Name is the name of a span. docs/TELEMETRY.md lists all of them, and a test compares it with Spans. A name keeps its meaning.
type Name string

// The spans that begin a trace, or go on with one that the caller of a command began.
const (
	Backup  Name = "backup"
	Restore Name = "restore"
	Drill   Name = "drill"
	Verify  Name = "verify"
	Prune   Name = "prune"
	Copy    Name = "copy"
	Upload  Name = "wal.upload"
)

// Put is the span of one repository that took what is uploaded.
const Put Name = "wal.put"

// The phases of jobs that have a name nowhere else.
const (
	// Mirror is a base backup's way to one copy.
	Mirror = "mirror"
	// Plan, Fetch, Replay, Open and Check are those of a restore and of a drill, File the last one of a drill.
	Plan   = "plan"
	Fetch  = "fetch"
	Replay = "replay"
	Open   = "open"
	Check  = "verify"
	File   = "file"
)

// Phase is the name of the span of one phase of a job.
func (n Name) Phase(phase string) Name { return n + Name("."+phase) }

// Attribute is one fact of a span.
type Attribute = attribute.KeyValue

// Key is the name of an attribute, and makes attributes: Cluster.String("main").
type Key = attribute.Key

// Attributes. Those of OpenTelemetry's own have its names
// (https://opentelemetry.io/docs/specs/semconv/registry/attributes/); the others mean what the keys of the log mean.
const (
	Cluster     Key = "pgark.cluster"
	SystemID    Key = "pgark.system_id"
	Repo        Key = "pgark.repo"
	Timeline    Key = "pgark.timeline"
	LSN         Key = "pgark.lsn"
	EndLSN      Key = "pgark.end_lsn"
	Bytes       Key = "pgark.bytes"
	StoredBytes Key = "pgark.stored_bytes"
	Files       Key = "pgark.files"
	Objects     Key = "pgark.objects"
	Damaged     Key = "pgark.damaged"
	Retries     Key = "pgark.retries"
	BackupID    Key = "pgark.backup"
	DrillID     Key = "pgark.drill"
	Result      Key = "pgark.result"
	RTO         Key = "pgark.rto"

	DBSystem      Key = "db.system.name"
	ServerAddress Key = "server.address"
	ServerPort    Key = "server.port"
	ErrorType     Key = "error.type"
)

// PostgreSQL is what DBSystem says of every server that is archived.
const PostgreSQL = "postgresql"

// Meaning describes an attribute, for the page that lists them.
type Meaning struct {
	Key  Key
	Text string
}

// Attributes are all that spans may have, in the order of the page.
func Attributes() []Meaning {
	return []Meaning{
		{Cluster, "the cluster's name in the configuration"},
		{SystemID, "its system identifier"},
		{Repo, "the repository's name: `primary`, or a copy's"},
		{Timeline, "the timeline, a number"},
		{LSN, "where the WAL begins, like `16/B374D848`"},
		{EndLSN, "where it ends"},
		{Bytes, "size before it was compressed; of `verify`, what was read; of `prune` and `copy`, as stored"},
		{StoredBytes, "size as stored"},
		{Files, "files laid down or stored"},
		{Objects, "objects read, removed or copied"},
		{Damaged, "objects that are not right"},
		{Retries, "attempts that failed"},
		{BackupID, "the base backup's id"},
		{DrillID, "the drill's id"},
		{Result, "of a drill `passed` or `failed`; of a verification `sound`, `healed`, `impaired` or `lost`"},
		{RTO, "how long the restore of a drill took, seconds"},
		{DBSystem, "`postgresql`"},
		{ServerAddress, "host of the server, or the folder of its socket, where there is one server"},
		{ServerPort, "its port"},
		{ErrorType, "on each span that failed: the class of the error"},
	}
}

// Kind describes the spans of one name.
type Kind struct {
	Name Name
	// Parent is the name of the span above it; empty for one that may begin a trace.
	Parent Name
	Text   string
	// Has are the attributes that it may have besides ErrorType, which each may have.
	Has []Key
}

// Spans are all that there are, in the order of the page.
func Spans() []Kind {
	where := []Key{DBSystem, ServerAddress, ServerPort}
	job := func(more ...Key) []Key { return append([]Key{Cluster, SystemID}, more...) }
	list := []Kind{
		{Backup, "", "a base backup, by `pgark backup` or the agent's schedule", append(job(BackupID, Timeline, LSN, EndLSN, Bytes, StoredBytes, Files), where...)},
		{Backup.Phase("begin"), Backup, "the server makes its checkpoint", nil},
		{Backup.Phase("copy"), Backup, "files are read, compressed and stored", nil},
		{Backup.Phase("wal"), Backup, "the WAL up to the stop LSN is awaited; by `pgark backup` before the first phase too, until an agent is seen at work", nil},
		{Backup.Phase("commit"), Backup, "index and record are written", nil},
		{Backup.Phase(Mirror), Backup, "of `pgark backup`: the way to one copy", []Key{Repo}},
		{Restore, "", "`pgark restore`, and `standby create`, which lays down alike", job(BackupID, Timeline, LSN, EndLSN, Bytes, Files)},
	}
	for _, above := range []struct {
		name Name
		what string
	}{{Restore, "restore"}, {Drill, "drill"}} {
		if above.name == Drill {
			list = append(list, Kind{Drill, "", "`pgark drill run`, also the agent's", job(DrillID, BackupID, Timeline, LSN, EndLSN, Bytes, Files, Result, RTO)})
		}
		list = append(list,
			Kind{above.name.Phase(Plan), above.name, "what is restored is chosen, and the place is looked at", nil},
			Kind{above.name.Phase(Fetch), above.name, "the base backup is laid down", nil},
			Kind{above.name.Phase(Replay), above.name, "the server starts and replays WAL", nil},
			Kind{above.name.Phase(Open), above.name, "the target is reached; until the server accepts connections and has proved it", nil},
			Kind{above.name.Phase(Check), above.name, "what was restored is checked", nil},
		)
	}
	return append(list,
		Kind{Drill.Phase(File), Drill, "the report is written into the repositories", nil},
		Kind{Verify, "", "`pgark verify`, also the agent's", job(Objects, Bytes, Damaged, Result)},
		Kind{Prune, "", "`pgark prune`, also the agent's", []Key{Cluster, Objects, Bytes}},
		Kind{Copy, "", "a copy is brought up to date, by the agent or `pgark repo copy`", []Key{Cluster, Repo, Objects, Bytes}},
		Kind{Upload, "", "one batch of WAL, until it is durable as `required` says", job(Timeline, LSN, EndLSN, Bytes, StoredBytes, Retries)},
		Kind{Put, Upload, "the attempt by which one repository took it; also one that failed", []Key{Repo, StoredBytes}},
	)
}
