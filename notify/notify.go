// Package notify tells people when a cluster stops being safe, and when it is safe again: by messages to a webhook or a chat, and by a heartbeat that stops.
//
// What is told is judged from facts that the agent has anyway; nobody is asked for it. conditions.go says what holds of the facts, journal.go when that is worth a
// message, objectives.go whether every objective is met: all three are pure. The rest carries messages. Nothing here can hold up archiving: what cannot be
// delivered is dropped, counted and logged. docs/NOTIFICATIONS.md describes it to its users, docs/notification.schema.json what a webhook gets.
package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pgark/pgark/health"
	"github.com/pgark/pgark/status"
)

// Kind is what a message is about.
type Kind string

// The kinds. Their words are part of the interface.
const (
	// RPOMissed: more commits would be lost with the server now than the objective allows, or that is not known.
	RPOMissed Kind = "rpo_missed"
	// RTOMissed: the newest drill that passed took longer than the objective allows.
	RTOMissed Kind = "rto_missed"
	// Gap: WAL was lost, and no base backup has ended the gap yet.
	Gap Kind = "gap"
	// BackupFailed: the newest attempt at a base backup failed.
	BackupFailed Kind = "backup_failed"
	// DrillFailed: the newest drill failed, or could not be held.
	DrillFailed Kind = "drill_failed"
	// VerifyFailed: the newest verification found damage, or could not be made.
	VerifyFailed Kind = "verify_failed"
	// CopyBehind: a copy lacks what the others hold, or cannot be used. There is one for each copy.
	CopyBehind Kind = "copy_behind"
	// RepoDown: a repository does not answer, or refuses. There is one for each repository.
	RepoDown Kind = "repo_down"
	// SlotNearLimit: the WAL that the server keeps for the slot comes near a limit, or has passed it.
	SlotNearLimit Kind = "slot_near_limit"
)

// Kinds returns all kinds, in the order in which the documentation has them.
func Kinds() []Kind {
	return []Kind{RPOMissed, RTOMissed, Gap, BackupFailed, DrillFailed, VerifyFailed, CopyBehind, RepoDown, SlotNearLimit}
}

// ParseKind reads a kind.
func ParseKind(text string) (Kind, error) {
	if k := Kind(text); slices.Contains(Kinds(), k) {
		return k, nil
	}
	var words []string
	for _, k := range Kinds() {
		words = append(words, string(k))
	}
	return "", fmt.Errorf("%q is no event; there are %s", text, strings.Join(words, ", "))
}

// Facts are what is known of one cluster at one time. What is not known is absent.
type Facts struct {
	// Live and Health are what its agent knows by itself.
	Live   status.Live
	Health health.Facts
	// Report is the last look at its repositories and server; nil before the first one succeeded, and where the last one failed.
	Report *status.Report
	// RTOTarget is the objective for the time that a restore takes; 0 where there is none.
	RTOTarget time.Duration
}

// State says where an event stands.
type State string

// The states. Their words are part of the interface.
const (
	// Begun: it began to hold.
	Begun State = "begun"
	// Lasts: it holds still. Said now and then.
	Lasts State = "lasts"
	// Ended: it holds no more.
	Ended State = "ended"
	// Test: somebody tries whether messages arrive.
	Test State = "test"
)

// Message is what is told of an event. Its JSON is what a webhook gets; docs/notification.schema.json is its schema, to which only keys are added.
type Message struct {
	// Version is that of the schema: 1.
	Version int `json:"version"`
	// ID is the same in all messages of one event; of a drill that failed also after the agent was started anew.
	ID    string `json:"id"`
	Event Kind   `json:"event"`
	State State  `json:"state"`
	// Cluster is the name in the configuration, Host that of the agent's host.
	Cluster string `json:"cluster"`
	Host    string `json:"host,omitempty"`
	// Repository is the name of that which the event is about; absent where it is about the cluster.
	Repository string `json:"repository,omitempty"`
	// Time is when the message was made, Since when the event began as far as is known.
	Time  time.Time `json:"time"`
	Since time.Time `json:"since"`
	// Text says in words what it is; Fix what to look at first.
	Text string `json:"text"`
	Fix  string `json:"fix,omitempty"`
	// AfterStart says that the agent began shortly before: an agent before it may have told the same.
	AfterStart bool `json:"after_start,omitempty"`
}

// messageVersion is that of the schema.
const messageVersion = 1

// idOf is the same for the same event.
func idOf(cluster string, c Condition, since time.Time) string {
	text := fmt.Appendf(nil, "%s\n%s\n%s\n%d", cluster, c.Kind, c.Repository, since.Unix())
	if c.About != "" {
		text = fmt.Appendf(text, "\n%s", c.About)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// Title is the message in a line.
func (m Message) Title() string {
	about := m.Cluster
	if m.Repository != "" {
		about += " (" + m.Repository + ")"
	}
	switch m.State {
	case Test:
		return "pgark " + about + ": a test"
	case Ended:
		return fmt.Sprintf("pgark %s: %s ended", about, m.Event)
	case Lasts:
		return fmt.Sprintf("pgark %s: %s lasts", about, m.Event)
	case Begun:
	}
	return fmt.Sprintf("pgark %s: %s", about, m.Event)
}

// String is the message for a person, in a few lines.
func (m Message) String() string {
	text := m.Title() + "\n" + m.Text
	if m.State != Test {
		text += "\nsince " + m.Since.UTC().Format("2006-01-02 15:04:05Z")
	}
	if m.Host != "" {
		text += "\nhost " + m.Host
	}
	if m.Fix != "" && m.State != Ended {
		text += "\nlook " + m.Fix
	}
	return text
}
