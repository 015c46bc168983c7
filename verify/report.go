package verify

import (
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Kind says what is wrong with an object.
type Kind string

// The kinds.
const (
	// Damaged objects are not what was written: another length, another hash, another object under the key.
	Damaged Kind = "damaged"
	// Missing objects should be there and are not.
	Missing Kind = "missing"
	// Different objects are whole by all that they say of themselves, and another repository holds another content.
	Different Kind = "differs"
	// Unreadable objects are listed, and the store does not give their bytes, although it answers.
	Unreadable Kind = "unreadable"
)

// Damage is one object of one repository that is not right.
type Damage struct {
	// Repository is its name in the configuration.
	Repository string           `json:"repository"`
	Kind       Kind             `json:"kind"`
	Class      repository.Class `json:"class"`
	Key        storage.Key      `json:"key"`
	Reason     string           `json:"reason"`
	// Timeline, Start and End are the WAL in it, or that is missing; zero for what is no WAL.
	Timeline wal.TimelineID `json:"timeline,omitzero"`
	Start    wal.LSN        `json:"start_lsn,omitzero"`
	End      wal.LSN        `json:"end_lsn,omitzero"`
	// Backup is the id of the base backup that it belongs to.
	Backup string `json:"backup,omitempty"`
	// Harmless says that nothing needs the object: a whole segment holds the bytes of a piece.
	Harmless bool `json:"harmless,omitempty"`
	// Elsewhere are the repositories that hold it right, as far as is known.
	Elsewhere []string `json:"elsewhere"`
	// Healed says that it was put right, from HealedFrom. What lay there is kept as an older version.
	Healed     bool   `json:"healed"`
	HealedFrom string `json:"healed_from,omitempty"`
	// Error says why it was not healed although that was asked for.
	Error string `json:"error,omitempty"`

	object repository.Object
	pack   *repository.PackTable // of a pack
	backup repository.Backup     // of index, manifest and packs
	hole   bool                  // WAL that no object of this repository holds
}

// Risk is a range of instants that one repository alone cannot bring back, although its backups and WAL should.
type Risk struct {
	Repository string         `json:"repository"`
	Timeline   wal.TimelineID `json:"timeline"`
	Start      wal.LSN        `json:"start_lsn"`
	End        wal.LSN        `json:"end_lsn"`
	// From is the last commit before it, which can be restored; nil where there is none, or that is not known.
	From *time.Time `json:"from,omitempty"`
	// Until is the end of the base backup behind which can be restored again; nil where there is none.
	Until *time.Time `json:"until,omitempty"`
	// Elsewhere are the repositories that bring back all of it.
	Elsewhere []string `json:"elsewhere"`
}

// Unusable is a base backup that one repository alone cannot restore.
type Unusable struct {
	Repository string   `json:"repository"`
	Backup     string   `json:"backup"`
	Reasons    []string `json:"reasons"`
	// Elsewhere are the repositories that can.
	Elsewhere []string `json:"elsewhere"`
}

// Verified is what was done in one repository.
type Verified struct {
	Name       string `json:"name"`
	Repository string `json:"repository"` // URL, without secrets
	// Error says why it was not verified, or not to the end.
	Error string `json:"error,omitempty"`
	// Listed are the objects that were there, Read those that were read in this run, with their bytes. The rest was read within the period.
	Listed    int64 `json:"listed_objects"`
	Read      int64 `json:"read_objects"`
	ReadBytes int64 `json:"read_bytes"`
	// Unrecorded says why what was read is not recorded, so that the next run reads it again; empty where it is.
	Unrecorded string `json:"unrecorded,omitempty"`

	// Err is Error as it came, for the caller to explain.
	Err error `json:"-"`
}

// Verdict is what a verification comes to.
type Verdict string

// The verdicts, the best first.
const (
	// Sound says that nothing is wrong.
	Sound Verdict = "sound"
	// Healed says that what was wrong was put right.
	Healed Verdict = "healed"
	// Impaired says that something is wrong in a repository, and another holds it right, or nothing needs it.
	Impaired Verdict = "impaired"
	// Lost says that something is wrong that no repository is known to hold right.
	Lost Verdict = "lost"
)

// Report is what was verified and found.
type Report struct {
	Cluster  string       `json:"cluster"`
	SystemID wal.SystemID `json:"system_id"`
	Began    time.Time    `json:"began"`
	Ended    time.Time    `json:"ended"`
	// Deep says that all was read; otherwise what no verification had read for Since seconds.
	Deep  bool    `json:"deep"`
	Since float64 `json:"since_seconds"`

	Verdict      Verdict    `json:"verdict"`
	Repositories []Verified `json:"repositories"`
	Damage       []Damage   `json:"damage"`
	// Unusable and Risks say what that means, for what was not healed.
	Unusable []Unusable `json:"unusable_backups"`
	Risks    []Risk     `json:"risks"`
	// Notes are what a person should know besides.
	Notes []string `json:"notes"`
}

// judge sets the verdict.
func (r *Report) judge() {
	r.Verdict = Sound
	worse := func(v Verdict) {
		rank := map[Verdict]int{Sound: 0, Healed: 1, Impaired: 2, Lost: 3}
		if rank[v] > rank[r.Verdict] {
			r.Verdict = v
		}
	}
	for _, d := range r.Damage {
		switch {
		case d.Healed:
			worse(Healed)
		case d.Harmless || len(d.Elsewhere) > 0:
			worse(Impaired)
		default:
			worse(Lost)
		}
	}
	for _, u := range r.Unusable {
		worse(Impaired)
		if len(u.Elsewhere) == 0 {
			worse(Lost)
		}
	}
	for _, k := range r.Risks {
		worse(Impaired)
		if len(k.Elsewhere) == 0 {
			worse(Lost)
		}
	}
	for _, p := range r.Repositories {
		if p.Error != "" {
			worse(Impaired)
		}
	}
}
