package main

import (
	"errors"
	"fmt"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/notify"
)

// triedFact is what came of a test message, in JSON.
type triedFact struct {
	Target string `json:"target"`
	Sent   bool   `json:"sent"`
	Error  string `json:"error,omitempty"`
}

var errNotNotified = errors.New("a test message did not arrive")

// tryNotify sends a test message to each target of a cluster.
func tryNotify(s *session) error {
	c, err := s.clusterWith("")
	if err != nil {
		return err
	}
	if c.Notify.To == "" {
		return &codeError{code: exitUsage, cause: fmt.Errorf("cluster %s tells nobody", c.Name), fix: "set notify.to; docs/NOTIFICATIONS.md says how"}
	}
	n, err := notify.New(notifyOptions(c, &agent.Options{Logger: s.log}), &notify.Memory{})
	if err != nil {
		return err
	}
	facts, missed := []triedFact{}, false
	for _, one := range n.Try(s.ctx) {
		fact := triedFact{Target: one.Target, Sent: one.Err == nil}
		if one.Err != nil {
			fact.Error, missed = one.Err.Error(), true
		}
		facts = append(facts, fact)
	}
	if s.json {
		err = s.printJSON(facts)
	} else {
		for _, f := range facts {
			verdict, text := agent.Good, f.Target+"   took a test message"
			if !f.Sent {
				verdict, text = agent.Bad, f.Error
			}
			s.printf("%s %s\n", s.sign(verdict), text)
		}
		if c.Notify.Heartbeat != "" {
			s.note("the heartbeat was left alone: it says that all is well")
		}
	}
	if err == nil && missed {
		err = &codeError{code: exitFailed, cause: errNotNotified, fix: "see that the URL is right, and that this host reaches it"}
	}
	return err
}
