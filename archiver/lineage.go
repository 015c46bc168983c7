package archiver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// lineage is where a server comes from, held against the archive.
type lineage struct {
	history wal.History
	missing []historyFile // that the archive lacks, oldest first
	// restored is set if one of the timelines that are missing was begun by a recovery to a target.
	restored *RestoredError
}

// historyFile is a timeline history file, its very bytes.
type historyFile struct {
	timeline wal.TimelineID
	raw      []byte
}

// readLineage reads the server's history and those of its ancestors, and compares them with the archived ones. It writes nothing. It returns a
// *HistoryError if they differ.
func readLineage(ctx context.Context, conn Conn, cluster *repository.Cluster, tli wal.TimelineID) (lineage, error) {
	l := lineage{history: wal.History{Timeline: tli}}
	if tli == 1 {
		return l, nil
	}
	h, raw, err := conn.TimelineHistory(ctx, tli)
	if err != nil {
		return lineage{}, err
	}
	l.history = h
	for i, begun := range h.Parents {
		f := historyFile{timeline: tli, raw: raw}
		if i+1 < len(h.Parents) {
			if f, err = ancestor(ctx, conn, h, raw, i+1); err != nil {
				return lineage{}, err
			}
		}
		known, err := f.archived(ctx, cluster)
		if err != nil {
			return lineage{}, err
		}
		if known {
			continue
		}
		l.missing = append(l.missing, f)
		if l.restored == nil && !promoted(begun) {
			l.restored = &RestoredError{SystemID: cluster.SystemID(), Timeline: f.timeline, Switch: begun}
		}
	}
	return l, nil
}

// ancestor returns the history file of the parent h.Parents[i] of h, whose own file is raw. A server made from a base backup may lack it; then it is taken from raw.
func ancestor(ctx context.Context, conn Conn, h wal.History, raw []byte, i int) (historyFile, error) {
	tli := h.Parents[i].Timeline
	_, own, err := conn.TimelineHistory(ctx, tli)
	if errors.Is(err, postgres.ErrNoHistory) {
		own, err = cutHistory(h, raw, i)
	}
	return historyFile{timeline: tli, raw: own}, err
}

// cutHistory returns the history file of h.Parents[i], which is not the first, from that of h. A server begins the file of a new timeline with the
// bytes of its parent's, and appends a line feed and the line of the parent (writeTimeLineHistory, src/backend/access/transam/timeline.c).
func cutHistory(h wal.History, raw []byte, i int) ([]byte, error) {
	want := wal.History{Timeline: h.Parents[i].Timeline, Parents: h.Parents[:i]}
	at, switches := 0, 0
	for line := range bytes.Lines(raw) {
		if text := bytes.TrimSpace(line); len(text) > 0 && text[0] != '#' {
			if switches == i {
				break
			}
			switches++
		}
		at += len(line)
	}
	own, _ := bytes.CutSuffix(raw[:at], []byte("\n"))
	got, err := wal.ParseHistory(want.Timeline, own)
	if err != nil || !sameSwitches(got, want) {
		return nil, fmt.Errorf("history of timeline %d is not in that of timeline %d", want.Timeline, h.Timeline)
	}
	return bytes.Clone(own), nil
}

// archived reports whether the archive holds the file. It returns a *HistoryError if it holds another one, which a second reading shows too:
// history files have no checksum.
func (f historyFile) archived(ctx context.Context, cluster *repository.Cluster) (bool, error) {
	theirs, raw, err := cluster.History(ctx, f.timeline)
	if err == nil && !bytes.Equal(raw, f.raw) {
		first := raw
		if theirs, raw, err = cluster.History(ctx, f.timeline); err == nil && !bytes.Equal(raw, f.raw) && !bytes.Equal(raw, first) {
			return false, fmt.Errorf("history of timeline %s: %w: two readings differ", f.timeline, storage.ErrUnavailable)
		}
	}
	if errors.Is(err, repository.ErrNoWAL) {
		return false, nil
	}
	if err != nil || bytes.Equal(raw, f.raw) {
		return err == nil, err
	}
	ours, err := wal.ParseHistory(f.timeline, f.raw)
	if err != nil {
		return false, err
	}
	return false, &HistoryError{Server: ours, Archive: theirs}
}

func sameSwitches(a, b wal.History) bool {
	return slices.EqualFunc(a.Parents, b.Parents, func(x, y wal.Switch) bool { return x.Timeline == y.Timeline && x.At == y.At })
}

// promoted reports whether a timeline was begun by a promotion. A recovery to a target writes the target there instead
// (getRecoveryStopReason, src/backend/access/transam/xlogrecovery.c, 14 to 18; never translated).
func promoted(s wal.Switch) bool { return strings.HasPrefix(s.Reason, "no recovery target specified") }

// put puts the missing files up to that of timeline tli, oldest first. Those of younger timelines wait until the server was
// compared with all that is archived before them.
func (l *lineage) put(ctx context.Context, cluster *repository.Cluster, tli wal.TimelineID) error {
	for _, f := range l.missing {
		if f.timeline > tli {
			return nil
		}
		if err := cluster.PutHistory(ctx, f.timeline, f.raw); err != nil {
			return err
		}
	}
	return nil
}
