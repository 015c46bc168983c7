package walsender

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pgark/pgark/wal"
)

// errUnsupported says that a command is none of those that are understood.
var errUnsupported = errors.New("not supported: WAL from an archive has no slots, settings or databases")

// The commands, of src/backend/replication/repl_gram.y.
type (
	identifySystem  struct{}
	timelineHistory struct{ timeline wal.TimelineID }
	// startReplication has timeline 0 where the client names none: the newest one is meant.
	startReplication struct {
		timeline wal.TimelineID
		start    wal.LSN
	}
)

// parseCommand reads one command of the replication grammar. A slot in START_REPLICATION is passed over: an
// archive keeps WAL for whoever comes.
func parseCommand(text string) (any, error) {
	words := strings.Fields(strings.TrimSuffix(strings.TrimSpace(text), ";"))
	if len(words) == 0 {
		return nil, errUnsupported
	}
	switch name, rest := strings.ToUpper(words[0]), words[1:]; {
	case name == "IDENTIFY_SYSTEM" && len(rest) == 0:
		return identifySystem{}, nil
	case name == "TIMELINE_HISTORY" && len(rest) == 1:
		tli, err := parseTimeline(rest[0])
		return timelineHistory{tli}, err
	case name == "START_REPLICATION":
		return parseStart(rest)
	}
	return nil, errUnsupported
}

// parseStart reads what follows START_REPLICATION.
func parseStart(words []string) (c startReplication, err error) {
	if len(words) > 1 && strings.EqualFold(words[0], "SLOT") {
		words = words[2:]
	}
	if len(words) > 0 && strings.EqualFold(words[0], "PHYSICAL") {
		words = words[1:]
	}
	switch {
	case len(words) == 3 && strings.EqualFold(words[1], "TIMELINE"):
		if c.timeline, err = parseTimeline(words[2]); err != nil {
			return c, err
		}
	case len(words) != 1:
		return c, errUnsupported
	}
	c.start, err = wal.ParseLSN(words[0])
	return c, err
}

// parseTimeline reads a timeline in decimal.
func parseTimeline(text string) (wal.TimelineID, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("timeline %q: want a number from 1", text)
	}
	return wal.TimelineID(n), nil
}
