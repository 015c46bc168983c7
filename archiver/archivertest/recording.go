package archivertest

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/pgark/pgark/wal"
)

// Kind is what an Event tells of.
type Kind string

// The kinds of events.
const (
	// Stream is START_REPLICATION with a slot: Timeline and LSN. One without a slot asks what WAL the server has, and confirms none.
	Stream Kind = "stream"
	// Told is a standby status update: Write, Flush and Apply.
	Told Kind = "told"
	// Held says that the client learned that a store holds Key: its create was acknowledged, or a read or a list showed it.
	Held Kind = "held"
	// Deleted says that Key is to be deleted: when the request was sent, whatever came of it.
	Deleted Kind = "deleted"
)

// Event is one message on one of the wires.
type Event struct {
	At   time.Duration `json:"at"` // since the recording began
	Kind Kind          `json:"kind"`

	// Of the server's wire. Conn tells its connections apart.
	Conn     int            `json:"conn,omitempty"`
	Timeline wal.TimelineID `json:"tli,omitempty"`
	LSN      wal.LSN        `json:"lsn,omitempty"`
	Write    wal.LSN        `json:"write,omitempty"`
	Flush    wal.LSN        `json:"flush,omitempty"`
	Apply    wal.LSN        `json:"apply,omitempty"`

	// Of a store's wire.
	Repository string `json:"repo,omitempty"`
	Key        string `json:"key,omitempty"` // below the repository's root
}

// Recording is what went over the wires while a cluster was archived from the very beginning. It is safe for concurrent use.
type Recording struct {
	// SegmentSize of the cluster, in bytes.
	SegmentSize wal.SegmentSize `json:"segment_size"`
	// Required are the repositories that must hold what the server is told to be flushed.
	Required []string `json:"required"`

	began  time.Time
	mu     sync.Mutex
	events []Event
}

// NewRecording begins a recording now.
func NewRecording(size wal.SegmentSize, required ...string) *Recording {
	return &Recording{SegmentSize: size, Required: required, began: time.Now()}
}

// Add adds an event that happens now.
func (r *Recording) Add(e Event) { r.AddAt(time.Now(), e) }

// AddAt adds an event that happened at a time of this process's clock.
func (r *Recording) AddAt(at time.Time, e Event) {
	e.At = at.Sub(r.began)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// Since is the place of a time in the recording.
func (r *Recording) Since(at time.Time) time.Duration { return at.Sub(r.began) }

// Events returns what was recorded, in the order of time.
func (r *Recording) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	sorted := slices.Clone(r.events)
	slices.SortStableFunc(sorted, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	return sorted
}

// Encode writes the recording as lines of JSON: first its parameters, then the events.
func (r *Recording) Encode(w io.Writer) error {
	out := json.NewEncoder(w)
	if err := out.Encode(r); err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	for _, e := range r.Events() {
		if err := out.Encode(e); err != nil {
			return fmt.Errorf("write recording: %w", err)
		}
	}
	return nil
}

// Decode reads what Encode wrote.
func Decode(in io.Reader) (*Recording, error) {
	r := &Recording{}
	lines := json.NewDecoder(bufio.NewReader(in))
	if err := lines.Decode(r); err != nil {
		return nil, fmt.Errorf("read recording: %w", err)
	}
	for lines.More() {
		var e Event
		if err := lines.Decode(&e); err != nil {
			return nil, fmt.Errorf("read event %d of the recording: %w", len(r.events)+1, err)
		}
		r.events = append(r.events, e)
	}
	return r, nil
}
