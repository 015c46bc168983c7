package main

import (
	"fmt"
	"time"

	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/syncmode"
)

// printSync says what commits may rely on; nothing where they neither wait for the archive nor are to.
func (s *session) printSync(r status.Report) {
	if r.Sync == nil {
		return
	}
	sync := *r.Sync
	words := map[syncmode.State]string{
		syncmode.In:         s.paint("in", "32") + s.dot() + "no commit returns before it is durable here",
		syncmode.Shared:     "shared" + s.dot() + "a commit may return with another's confirmation alone",
		syncmode.Out:        s.paint("OUT", "1;31") + s.dot() + "commits return before they are durable",
		syncmode.Refused:    s.paint("REFUSED", "1;31") + s.dot() + "synchronous_commit = remote_apply: such commits wait for ever",
		syncmode.NotWaiting: s.paint("NOT WAITING", "1;31") + s.dot() + "synchronous_commit = " + sync.Commit,
		syncmode.Off:        "not known",
	}[sync.State]
	if sync.Since != nil {
		words += fmt.Sprintf("%ssince %s", s.dot(), instant(*sync.Since))
	}
	s.row("sync", "%s", words)
	names := fmt.Sprintf("synchronous_standby_names = '%s', the agent is %s", sync.StandbyNames, sync.Application)
	if sync.DegradeAfter > 0 {
		names += ", steps out after " + elapsed(time.Duration(sync.DegradeAfter*float64(time.Second)))
	}
	s.row("", "%s", names)
}
