package archiver

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/pgark/pgark/wal"
)

// State says what the archiver is doing.
type State string

// The states of an archiver.
const (
	Connecting State = "connecting" // to the server, or finding where to go on
	CatchingUp State = "catching up"
	Streaming  State = "streaming"
	Waiting    State = "waiting" // to connect again, after Error
	Stopping   State = "stopping"
	Stopped    State = "stopped"
	Fenced     State = "fenced" // Error tells why; a person must act
)

// Position is a place in the history of a cluster.
type Position struct {
	Timeline wal.TimelineID
	LSN      wal.LSN
}

// Status is a snapshot of an archiver.
type Status struct {
	State    State
	Since    time.Time // when State began
	Error    string    // the last error of the connection; "" once it streams
	Attempts int       // to connect, since it last streamed
	AwayFrom time.Time // since when it does not stream; zero while it does

	SystemID wal.SystemID // 0 until a server was reached
	Slot     string

	Received  Position
	Durable   Position  // every byte before it is in the repository, or recorded there as lost
	Lost      wal.LSN   // where WAL was lost and no base backup was taken since: nothing behind it can be restored yet; 0 if none was
	ServerEnd wal.LSN   // end of the server's WAL, as far as it said
	Behind    time.Time // when the oldest byte that is not durable came; zero if there is none

	// CoveredUntil is as CoverageTime by this host's clock, to a tenth of a second, as of the server's last word; zero if nothing is known
	// since Run began.
	CoveredUntil time.Time
	Turned       time.Time // when the loop of a stream last turned: four times a second while it streams

	LastCommit     time.Time // of the last durable transaction end; zero if none was seen
	LastCommitXID  wal.XID
	CoverageTime   time.Time // the archive holds all that the server had then, by the server's clock
	BytesReceived  uint64
	BytesStored    uint64
	Segments       uint64 // objects put
	Pieces         uint64
	StoreError     string    // what the store last refused; "" once a put succeeded
	StoreErrorFrom time.Time // since when
	Stored         time.Time // when the repository last took an object; zero if it took none since Run began
}

// Restorable returns the end of the WAL that can be restored, as far as that
// depends on gaps: Durable, or where WAL was lost before it.
func (s Status) Restorable() Position {
	at := s.Durable
	if s.Lost != 0 {
		at.LSN = min(at.LSN, s.Lost)
	}
	return at
}

// progress is the archiver's status, and who waits for it to move.
type progress struct {
	log *slog.Logger

	mu      sync.Mutex
	status  Status
	history wal.History   // of Durable.Timeline
	told    [2]string     // state and error that the log was told last
	moved   chan struct{} // closed when Durable moves or the archiver ends
	err     error         // why it ended
}

func newProgress(log *slog.Logger, slot string) *progress {
	return &progress{
		log: log, moved: make(chan struct{}),
		status: Status{State: Connecting, Since: time.Now(), AwayFrom: time.Now(), Slot: slot},
	}
}

// update changes the status.
func (p *progress) update(change func(*Status)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.status)
}

// enter changes the state and tells the log, if it is another one.
func (p *progress) enter(state State, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.status
	if s.State == Stopping && (state == Streaming || state == CatchingUp) {
		return // an upload of the tail has ended; that streams no more
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if s.State != state {
		s.State, s.Since = state, time.Now()
	}
	switch {
	case state == Streaming || state == CatchingUp:
		s.Attempts, s.AwayFrom = 0, time.Time{}
	case s.AwayFrom.IsZero():
		s.AwayFrom = time.Now()
	}
	// While it tries again the cause stays to be seen.
	if err != nil || state != Connecting {
		s.Error = text
	}
	if now := [2]string{string(state), text}; state != Connecting && p.told != now {
		p.told = now
		p.tell(state, err)
	}
}

// tell logs one change of state. Called with mu held.
func (p *progress) tell(state State, err error) {
	attrs := []any{
		"state", string(state), "system_id", p.status.SystemID.String(),
		"tli", uint32(p.status.Durable.Timeline), "lsn", p.status.Durable.LSN.String(),
	}
	switch state {
	case Fenced:
		p.log.Error("archiver is fenced", append(attrs, "err", err)...)
	case Waiting:
		p.log.Warn("archiver lost the server", append(attrs, "err", err)...)
	case Connecting, CatchingUp, Streaming, Stopping, Stopped:
		p.log.Info("archiver changed state", attrs...)
	}
}

// durable moves the durable position.
func (p *progress) durable(h wal.History, lsn wal.LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := Position{Timeline: h.Timeline, LSN: lsn}
	if p.status.Durable == at {
		return
	}
	p.status.Durable, p.history = at, h
	close(p.moved)
	p.moved = make(chan struct{})
}

// end says that nothing moves any more.
func (p *progress) end(err error) {
	state := Stopped
	if err != nil {
		state = Fenced
	}
	p.enter(state, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = ErrStopped
	if err != nil {
		p.err = fmt.Errorf("%w: %w", ErrStopped, err)
	}
	close(p.moved)
	p.moved = make(chan struct{})
}

// Status returns a snapshot. It is safe for concurrent use.
func (a *Archiver) Status() Status {
	a.progress.mu.Lock()
	defer a.progress.mu.Unlock()
	return a.progress.status
}

// Durable returns the position before which every byte is in the repository.
// Its timeline is 0 until a server was reached. It is safe for concurrent use.
func (a *Archiver) Durable() Position { return a.Status().Durable }

// WaitDurable returns nil when every byte of timeline tli before lsn is in the
// repository, or recorded there as lost. It returns ErrStopped, with the cause, when Run has ended before,
// and an error when the server has left the timeline before lsn. It is safe
// for concurrent use.
func (a *Archiver) WaitDurable(ctx context.Context, tli wal.TimelineID, lsn wal.LSN) error {
	for {
		done, moved, err := a.progress.reached(tli, lsn)
		if done || err != nil {
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait until timeline %d is durable to %s: %w", tli, lsn, context.Cause(ctx))
		}
	}
}

func (p *progress) reached(tli wal.TimelineID, lsn wal.LSN) (bool, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.status.Durable
	switch {
	case at.Timeline == tli && at.LSN >= lsn:
		return true, nil, nil
	case at.Timeline > tli && p.history.Contains(tli):
		// A timeline is left only when it is durable to its end.
		end, _ := p.history.SwitchOf(tli)
		if lsn > end {
			return false, nil, fmt.Errorf("timeline %d ended at %s, before %s", tli, end, lsn)
		}
		return true, nil, nil
	case p.err != nil:
		return false, nil, fmt.Errorf("wait until timeline %d is durable to %s: %w", tli, lsn, p.err)
	}
	return false, p.moved, nil
}
