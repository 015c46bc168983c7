package repository

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/wal"
)

// Parts of the format: never changed.
const (
	drillsFolder = "drills/"
	drillSuffix  = ".json"
	namesSuffix  = "-names.zst"
)

const (
	drillLimit     = 1 << 20 // bytes of a report
	mostDrillText  = 4 << 10 // bytes of a text in it
	mostDrillItems = 1000    // checks, notes
)

// DrillResult says how a drill ended.
type DrillResult string

// The results. They are parts of the format.
const (
	DrillPassed DrillResult = "passed" // restored, opened, and every check was right
	DrillFailed DrillResult = "failed"
)

// DrillPhase is a part of a drill.
type DrillPhase string

// The phases, in order. They are parts of the format.
const (
	DrillPlan   DrillPhase = "plan"
	DrillFetch  DrillPhase = "fetch"
	DrillReplay DrillPhase = "replay"
	DrillOpen   DrillPhase = "open"
	DrillVerify DrillPhase = "verify"
)

// CheckResult is what one check of a drill came to.
type CheckResult string

// The results. They are parts of the format.
const (
	CheckPassed  CheckResult = "passed"
	CheckFailed  CheckResult = "failed"
	CheckOff     CheckResult = "off"     // the cluster has none of what is checked, such as page checksums
	CheckSkipped CheckResult = "skipped" // not asked for, or its program is not there
)

// The kinds of checks. They are parts of the format; a reader shows one that it does not know as it is.
const (
	CheckPages   = "pages"   // every page checksum, as pg_checksums or the server says
	CheckAmcheck = "amcheck" // tables and indexes, as pg_amcheck says
	CheckSQL     = "sql"     // a query of the user's and what it must answer
)

// What checked, of pages, and how much, of tables. They are parts of the format.
const (
	ByChecksums  = "pg_checksums" // the program, on the files of the stopped server
	ByBaseBackup = "base_backup"  // the running server, as it does for a base backup
	BySample     = "sample"       // of tables and their indexes: some of them, drawn at random
)

// Objective names what a drill is judged by.
type Objective string

// The objectives. They are parts of the format.
const (
	ObjectiveRPO Objective = "rpo"
	ObjectiveRTO Objective = "rto"
)

// Seconds is a length of time, to the millisecond.
type Seconds float64

// InSeconds returns d in seconds.
func InSeconds(d time.Duration) Seconds { return Seconds(d.Round(time.Millisecond).Seconds()) }

// Duration returns the same as a time.Duration.
func (s Seconds) Duration() time.Duration {
	return time.Duration(float64(s) * float64(time.Second)).Round(time.Millisecond)
}

// Drill is the report of a drill, FORMAT.md section 11: a restore that was carried out, measured and checked. What a drill that failed did not get
// to is zero.
type Drill struct {
	Format   int          `json:"format"`
	ID       string       `json:"id"` // the time it began
	SystemID wal.SystemID `json:"system_id"`
	Started  time.Time    `json:"started"` // clock of the host of the drill
	Ended    time.Time    `json:"ended"`
	Host     string       `json:"host"`
	Writer   string       `json:"writer"` // version of pgark
	// Repository is the name of the one that was restored from: "primary" or a copy's. Where several were read as one it is all their names with + between.
	Repository string `json:"repository"`
	// Sources are the repositories that were read as one, in the order in which they were asked; nil where one was read alone. Substitutes
	// are objects that one of them gave after others that hold it damaged or not at all: some of Substituted.
	Sources     []string          `json:"sources,omitempty"`
	Substitutes []DrillSubstitute `json:"substitutes,omitempty"`
	Substituted int               `json:"substituted,omitzero"`

	Result DrillResult `json:"result"`
	// Phase and Failure say where and why a drill failed, Failure for a person.
	Phase   DrillPhase `json:"phase,omitzero"`
	Failure string     `json:"failure,omitzero"`

	Target DrillTarget `json:"target"`
	// Backup is the id of the base backup, PGVersionNum its server's version, ServerVersion that of the programs that recovered, such as "17.6".
	Backup        string `json:"backup,omitzero"`
	PGVersionNum  int    `json:"pg_version_num,omitzero"`
	ServerVersion string `json:"server_version,omitzero"`
	// Timeline is the one recovery went along. StartLSN to Until is the WAL it needed.
	Timeline wal.TimelineID `json:"timeline,omitzero"`
	StartLSN wal.LSN        `json:"start_lsn,omitzero"`
	Until    wal.LSN        `json:"until_lsn,omitzero"`
	// LastCommit is the last commit that was applied; nil if there was none after the base backup.
	LastCommit *DrillCommit `json:"last_commit,omitempty"`

	Plan   DrillPlanned  `json:"plan,omitzero"`
	Fetch  DrillFetched  `json:"fetch"`
	Replay DrillReplayed `json:"replay"`
	Open   DrillOpened   `json:"open"`
	// RTO is from the decision to restore to a server that accepts connections: planning, fetch, replay and open. The checks come after it.
	RTO Seconds `json:"rto_seconds,omitzero"`
	// CoveredUntil is up to when it is proved that every commit is in what was restored, and DataLoss how long before the target that is: at
	// least this much a disaster at that moment would have cost. nil: not known.
	CoveredUntil time.Time `json:"covered_until,omitzero"`
	DataLoss     *Seconds  `json:"data_loss_seconds,omitempty"`

	Checks []DrillCheck `json:"checks,omitempty"`
	// RPOTarget and RTOTarget are the objectives that were configured, 0 where none was. Missed are those that were not met.
	RPOTarget Seconds     `json:"rpo_objective_seconds,omitzero"`
	RTOTarget Seconds     `json:"rto_objective_seconds,omitzero"`
	Missed    []Objective `json:"missed,omitempty"`

	Notes []string `json:"notes,omitempty"`
	// Names is the object with the names of relations, beside the report; nil if there is none.
	Names *NamesObject `json:"names,omitempty"`
}

// DrillSubstitute is an object that did not come from the first repository asked.
type DrillSubstitute struct {
	Object string `json:"object"` // its key
	From   string `json:"from"`   // the repository that gave it
	Reason string `json:"reason"` // what the others hold of it, for a person
}

// mostSubstitutes is how many a report names.
const mostSubstitutes = 50

// NoteSubstitutes writes into the report what came from elsewhere than the repository asked first.
func (d *Drill) NoteSubstitutes(list []Substitute, all int) {
	d.Substitutes, d.Substituted = nil, all
	for _, one := range list[:min(len(list), mostSubstitutes)] {
		d.Substitutes = append(d.Substitutes, DrillSubstitute{Object: string(one.Key), From: one.Source, Reason: DrillText(one.Reason())})
	}
}

// NamesObject is what the report says of the object with the names.
type NamesObject struct {
	StoredObject

	Plain     int64 `json:"plain"` // bytes
	Relations int   `json:"relations"`
	// Encrypted says that the object is; size and hash are those of what is stored.
	Encrypted bool `json:"encrypted,omitzero"`
}

func (o *NamesObject) valid() bool {
	most := maxStored(o.Plain)
	if o.Encrypted {
		most = encryption.SealedSize(encryption.MaxHeader, most)
	}
	return o.Plain > 0 && o.Plain <= namesLimit && o.Size > 0 && o.Size <= most && o.Relations >= 0
}

// DrillTarget is what a drill was to restore.
type DrillTarget struct {
	// Asked is "random", "latest" or "time".
	Asked string `json:"asked"`
	// Time is the instant; of the end of the archive, when the drill looked for that.
	Time time.Time `json:"time"`
	// Latest says that it was the end of the archive, asked for or drawn.
	Latest bool `json:"latest,omitzero"`
}

// DrillCommit is a transaction's end.
type DrillCommit struct {
	XID  wal.XID   `json:"xid"`
	Time time.Time `json:"time"` // to the microsecond, by the server's clock
	LSN  wal.LSN   `json:"lsn"`  // start of its record
}

// DrillPlanned is how long it took to decide what is restored. Reports of before this was measured have 0.
type DrillPlanned struct {
	Seconds Seconds `json:"seconds,omitzero"`
}

// DrillFetched is the time it took to lay a base backup down, durable.
type DrillFetched struct {
	Seconds Seconds `json:"seconds"`
	Files   int64   `json:"files"`
	Bytes   int64   `json:"bytes"`  // of the files
	Stored  int64   `json:"stored"` // bytes of the backup in the repository
}

// DrillReplayed is the time from the start of the server until recovery reached its stop, WAL fetched on the way.
type DrillReplayed struct {
	Seconds  Seconds `json:"seconds"`
	Segments int     `json:"segments"`
	Bytes    uint64  `json:"bytes"` // of WAL
}

// DrillOpened is the time from there until the server accepted connections.
type DrillOpened struct {
	Seconds Seconds `json:"seconds"`
}

// DrillCheck is one check of what was restored.
type DrillCheck struct {
	Kind   string      `json:"kind"`
	Name   string      `json:"name,omitzero"` // of a SQL check
	Result CheckResult `json:"result"`
	// Count is how much was checked, of the unit that the kind has: pages, relations.
	Count int64 `json:"count,omitzero"`
	// By says what checked pages, or that relations are a sample, and Bytes how many bytes of files it read where it does not count pages.
	By    string `json:"by,omitzero"`
	Bytes int64  `json:"bytes,omitzero"`
	// Database, Want and Got are of SQL checks.
	Database string `json:"database,omitzero"`
	Want     string `json:"want,omitzero"`
	Got      string `json:"got,omitzero"`
	// Detail says more, for a person.
	Detail  string  `json:"detail,omitzero"`
	Seconds Seconds `json:"seconds,omitzero"`
}

// Rates are what a drill measured, for the estimate of the next restore.
type Rates struct {
	Fetch  float64       // bytes of files a second, laid down and durable
	Replay float64       // bytes of WAL a second
	Open   time.Duration // from the stop to the end of the RTO
}

// Rates returns what the drill measured. ok is false if it did not get to the open server, or took no time that could be measured.
func (d *Drill) Rates() (r Rates, ok bool) {
	if d.RTO <= 0 || d.Fetch.Seconds <= 0 || d.Replay.Seconds <= 0 || d.Fetch.Bytes <= 0 || d.Replay.Bytes == 0 {
		return Rates{}, false
	}
	return Rates{
		Fetch:  float64(d.Fetch.Bytes) / float64(d.Fetch.Seconds),
		Replay: float64(d.Replay.Bytes) / float64(d.Replay.Seconds),
		Open:   max(0, d.RTO-d.Plan.Seconds-d.Fetch.Seconds-d.Replay.Seconds).Duration(),
	}, true
}

// ErrNoDrill means that the repository was reached and holds no report of such a drill.
var ErrNoDrill = errors.New("no such drill in the repository")

var errDrillField = errors.New("field out of range")

// NewDrillID returns the id of a drill that began at t: "20261121T024000Z".
func NewDrillID(t time.Time) string { return stamp(t) }

// Validate returns an error that names the first field that cannot be.
func (d *Drill) Validate() error {
	bad := func(what string, v any) error { return fmt.Errorf("%w: %s %v", errDrillField, what, v) }
	if _, err := parseStamp(d.ID); err != nil {
		return bad("id", err)
	}
	for name, at := range map[string]time.Time{"started": d.Started, "ended": d.Ended, "target": d.Target.Time} {
		if year := at.UTC().Year(); year < 1970 || year > 9999 { // what JSON can hold
			return bad("year of "+name, year)
		}
	}
	switch {
	case d.Format < 1:
		return bad("format", d.Format)
	case d.SystemID == 0:
		return bad("system identifier", 0)
	case d.Result != DrillPassed && d.Result != DrillFailed:
		return bad("result", fmt.Sprintf("%q", d.Result))
	case len(d.Sources) > mostDrillItems || len(d.Substitutes) > mostDrillItems || d.Substituted < len(d.Substitutes):
		return bad("number of substitutes", len(d.Substitutes))
	case len(d.Checks) > mostDrillItems || len(d.Notes) > mostDrillItems || len(d.Missed) > mostDrillItems:
		return bad("number of checks or notes", max(len(d.Checks), len(d.Notes)))
	case d.Names != nil && !d.Names.valid():
		return bad("size of names", d.Names.Size)
	}
	for _, text := range d.texts() {
		if len(text) > mostDrillText || !utf8.ValidString(text) {
			return bad("length of a text", len(text))
		}
	}
	return nil
}

// texts returns all that is free text.
func (d *Drill) texts() []string {
	list := append([]string{d.Host, d.Writer, d.Repository, string(d.Phase), d.Failure, d.Target.Asked, d.Backup, d.ServerVersion}, d.Notes...)
	list = append(list, d.Sources...)
	for _, s := range d.Substitutes {
		list = append(list, s.Object, s.From, s.Reason)
	}
	for _, c := range d.Checks {
		list = append(list, c.Kind, c.Name, string(c.Result), c.By, c.Database, c.Want, c.Got, c.Detail)
	}
	return list
}

// DrillText returns s as a report can hold it: what is no UTF-8 is replaced, what is too long cut off.
func DrillText(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= mostDrillText {
		return s
	}
	const end = "…"
	return strings.ToValidUTF8(s[:mostDrillText-len(end)], "") + end
}

// encode returns the content of the report: indented JSON whose last line is the SHA-256 of all lines before it.
func (d *Drill) encode() ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	text, err := sealRecord(d)
	if err == nil && len(text) > drillLimit {
		return nil, fmt.Errorf("%w: %d bytes of report", errDrillField, len(text))
	}
	return text, err
}

// parseDrill reads the content of a report, verifies its hash and validates it. Fields it does not know are passed over.
func parseDrill(text []byte) (Drill, error) {
	if err := checkRecordSum(text); err != nil {
		return Drill{}, err
	}
	var d Drill
	if err := json.Unmarshal(text, &d); err != nil {
		return Drill{}, err
	}
	if d.Format > Format {
		return Drill{}, &FormatError{Got: d.Format, Known: Format}
	}
	return d, d.Validate()
}
