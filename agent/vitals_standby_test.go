package agent

import (
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/standby"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// TestStandbyLookRequests bounds what each look at a standby asks of the archive: it comes every five seconds, day and night (docs/CONFIGURATION.md).
func TestStandbyLookRequests(t *testing.T) {
	store := memory.New()
	r, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	const system, size, end = wal.SystemID(7312345678901234567), wal.DefaultSegmentSize, wal.LSN(3*wal.DefaultSegmentSize) + 8192
	cluster := r.Cluster(system)
	for at := wal.LSN(size); at < end; at = size.End(size.Number(at)) {
		o := repository.WALObject{SystemID: system, Timeline: 1, SegmentSize: size, Kind: repository.KindSegment, Range: wal.Range{Start: at, End: min(end, size.End(size.Number(at)))}}
		if o.Range.End == end {
			o.Kind = repository.KindPiece
		}
		e, err := repository.NewWALEncoder(compression.Zstd()).Encode(o, make([]byte, o.Range.Len()))
		if err == nil {
			err = cluster.PutWAL(t.Context(), e)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	follower, err := standby.NewFollower(t.Context(), cluster, standby.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := &following{}
	f.archive.Store(&followed{cluster, follower})
	requests := func() (n int) {
		for _, op := range []memory.Op{memory.Get, memory.Stat, memory.List} {
			n += store.Count(op, "*")
		}
		return n
	}
	before := requests()
	archive := f.archiveOf(t.Context(), standby.Standing{SystemID: system, InRecovery: true, Timeline: 1, Replayed: end})
	if archive == nil || archive.End != end {
		t.Fatalf("got %+v, want an archive that ends at %s", archive, end)
	}
	if got := requests() - before; got > 6 {
		t.Errorf("a look at a standby that has all took %d requests, want 6 at most", got)
	}
}
