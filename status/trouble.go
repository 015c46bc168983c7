package status

import (
	"fmt"
	"time"
)

// Outage is since when something does not answer as it should.
type Outage struct {
	Since time.Time `json:"since"`
	// Tries are those since then, all in vain.
	Tries uint64 `json:"tries"`
	// Error is that of the last one; "" where none has ended yet.
	Error string `json:"error,omitempty"`
}

// Troubles are what keeps an agent from its work, as it knows by itself.
type Troubles struct {
	// Server says since when nothing streams from the server.
	Server *Outage `json:"server_away,omitempty"`
	// Refusing are the repositories that take nothing of what is put, the primary first.
	Refusing []Refusal `json:"refusing,omitempty"`
	// LastCommit is the time of the last transaction end that is durable, by the server's clock.
	LastCommit *time.Time `json:"last_durable_commit,omitempty"`
}

// Refusal is a repository that takes nothing of what is put.
type Refusal struct {
	Outage

	Name string `json:"name"`
}

// Troubles are what l knows of; nil if nothing keeps the agent from its work.
func (l Live) Troubles() *Troubles {
	t := Troubles{Server: l.Away, LastCommit: l.LastCommit}
	for _, r := range l.Repositories {
		if r.Refusing != nil {
			t.Refusing = append(t.Refusing, Refusal{*r.Refusing, r.Name})
		}
	}
	if t.Server == nil && len(t.Refusing) == 0 {
		return nil
	}
	return &t
}

// serverAway is since when the agent receives nothing; nil if that is not known.
func (r Report) serverAway() *time.Time {
	if r.Troubles == nil || r.Troubles.Server == nil {
		return nil
	}
	return &r.Troubles.Server.Since
}

// stalled says why nothing newer has become durable though a program holds the slot.
func (r Report) stalled(slot *Slot) Cause {
	if r.Troubles != nil && len(r.Troubles.Refusing) > 0 {
		first := r.Troubles.Refusing[0]
		return Cause{What: fmt.Sprintf("repository %s takes nothing from the agent (%d tries): %s", first.Name, first.Tries, first.Error), Since: &first.Since}
	}
	return Cause{
		What:  fmt.Sprintf("a program holds slot %s, but nothing newer has become durable: the repository refuses or is slow, or it is not an agent of this repository", slot.Name),
		Since: r.RecoverableUntil,
	}
}
