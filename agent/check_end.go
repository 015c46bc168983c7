package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// markerTimeout is how long the agent may take to make durable what the server has flushed.
const markerTimeout = 15 * time.Second

// endToEnd proves that WAL which the server has can be read back from the store: through the agent
// where one archives this cluster, and by hand where none does yet.
func (k *check) endToEnd(ctx context.Context) {
	marker, plain, err := k.receive(ctx)
	if err != nil {
		k.bad(SectionEndToEnd, fmt.Errorf("receive WAL: %w", err))
		return
	}
	began := time.Now()
	for _, p := range k.places {
		if !p.writes {
			continue
		}
		cluster, archived, err := k.archived(ctx, p, marker.Timeline)
		switch {
		case err != nil:
			k.bad(SectionEndToEnd, p.says(err))
		case archived:
			k.throughAgent(ctx, p, cluster, found{marker, plain, began})
		default:
			k.byHand(ctx, p, found{marker, plain, began})
		}
	}
}

// found is WAL that the server had at an instant.
type found struct {
	marker

	plain []byte
	at    time.Time
}

// marker is WAL that was read from the server to be found again.
type marker struct {
	wal.Range

	Timeline wal.TimelineID
}

// receive reads the server's WAL from the start of the segment that it writes, without a slot.
func (k *check) receive(ctx context.Context) (marker, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, markerTimeout)
	defer cancel()
	conn, err := k.server.connect(ctx)
	if err != nil {
		return marker{}, nil, err
	}
	defer hangUp(ctx, conn)
	system, err := conn.System(ctx)
	if err != nil {
		return marker{}, nil, err
	}
	m := marker{wal.Range{Start: system.SegmentSize.Floor(system.Flush - 1), End: system.Flush}, system.Timeline}
	if err := conn.StartReplication(ctx, postgres.Start{Timeline: m.Timeline, LSN: m.Start}); err != nil {
		return marker{}, nil, err
	}
	var plain []byte
	for uint64(len(plain)) < m.Len() {
		message, err := conn.Receive(ctx)
		if err != nil {
			return marker{}, nil, err
		}
		switch message := message.(type) {
		case *postgres.Data:
			plain = append(plain, message.Bytes...)
		case *postgres.Keepalive:
		case *postgres.EndOfTimeline:
			return marker{}, nil, fmt.Errorf("timeline %d ended at %s", uint32(m.Timeline), message.At)
		}
	}
	return m, plain[:m.Len()], nil
}

// archived tells whether an agent has archived WAL of this cluster and timeline before.
func (k *check) archived(ctx context.Context, p *checkedPlace, tli wal.TimelineID) (*repository.Cluster, bool, error) {
	r, err := k.open(ctx, p.store)
	if errors.Is(err, repository.ErrNoRepository) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	cluster := r.Cluster(k.system.ID)
	timelines, err := cluster.Timelines(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, t := range timelines {
		if t == tli {
			return cluster, true, nil
		}
	}
	return cluster, false, nil
}

// throughAgent waits until the agent has made the marker durable, and compares what it stored.
func (k *check) throughAgent(ctx context.Context, p *checkedPlace, cluster *repository.Cluster, m found) {
	w := follower{cluster: cluster, stall: markerTimeout}
	if err := w.wait(ctx, m.Timeline, m.End); err != nil {
		k.bad(SectionEndToEnd, p.says(err))
		return
	}
	durable := time.Since(m.at)
	if k.keys.Identities.Empty() && !k.keys.Recipients.Empty() {
		k.durable(p, durable, "marker %s durable after %s, encrypted to %d public keys; this host has no private key to read it back with",
			m.End, round(durable), k.keys.Recipients.Count())
		return
	}
	got, err := cluster.ReadSegment(ctx, k.system.SegmentSize, k.system.SegmentSize.Segment(m.Timeline, m.Start))
	if err != nil {
		k.bad(SectionEndToEnd, p.says(fmt.Errorf("read back %s: %w", m.End, err)))
		return
	}
	if uint64(len(got)) < m.Len() || !bytes.Equal(got[:m.Len()], m.plain) {
		k.bad(SectionEndToEnd, fmt.Errorf("%sthe repository holds other WAL than the server before %s on timeline %d: %w",
			p.label, m.End, uint32(m.Timeline), ErrOtherWAL))
		return
	}
	k.durable(p, durable, "marker %s durable after %s, read back identical (%d bytes)", m.End, round(durable), len(m.plain))
}

// ErrOtherWAL says that the repository and the server disagree on bytes that both have.
var ErrOtherWAL = errors.New("two histories in one repository")

// byHand stores the marker's bytes as they are, reads them back and deletes them: no agent works
// yet, and what is not the agent's must not stay in the archive.
func (k *check) byHand(ctx context.Context, p *checkedPlace, m found) {
	if !k.keys.Recipients.Empty() { // the server's WAL lies nowhere in clear, not for a moment
		sum := sha256.Sum256(m.plain)
		m.plain = bytes.Repeat(sum[:], len(m.plain)/len(sum)+1)[:len(m.plain)]
	}
	trip, err := p.roundTrip(ctx, storage.ProbeKey+"-wal", m.plain)
	if err != nil {
		k.bad(SectionEndToEnd, p.says(err))
		return
	}
	k.durable(p, trip.put, "marker %s durable after %s, read back identical (%d bytes)", m.End, round(trip.put), len(m.plain))
	k.report(Finding{Section: SectionEndToEnd, Verdict: Pending, Text: p.label + "no agent archives this cluster yet", Fix: "pgark run"})
}
