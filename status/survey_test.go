package status_test

import (
	"errors"
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// TestSurveyUnreadable: damaged records are told of, and hide nothing else. A store that does not answer is no damage.
func TestSurveyUnreadable(t *testing.T) {
	store := memory.New()
	r, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	c := r.Cluster(7)
	piece := repository.WALObject{
		SystemID: 7, Timeline: 1, SegmentSize: 1 << 20, Kind: repository.KindPiece, Range: wal.Range{Start: 0x300000, End: 0x300100},
	}
	e, err := repository.NewWALEncoder(compression.Zstd()).Encode(piece, make([]byte, 0x100))
	if err == nil {
		err = c.PutWAL(t.Context(), e)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := c.PutHistory(t.Context(), 2, []byte("1\t0/500\tno recovery target specified\n")); err != nil {
		t.Fatal(err)
	}
	for _, key := range []storage.Key{
		"7/backups/20261120T130000Z/record.json",
		"7/gaps/00000001-0000000000400000-0000000000500000.json",
		"7/beats/20261120T130000Z-00000001-0000000000200000",
		"7/sync/20261120T130000Z-in.json",
	} {
		store.Replace(key, []byte("{"))
	}
	f, err := status.Survey(t.Context(), c, status.Options{})
	if err != nil || len(f.Unreadable) != 4 || len(f.Histories) != 1 || len(f.Spans) != 1 {
		t.Errorf("got %+v, %v, want four records that cannot be read, and the history and the WAL", f, err)
	}
	store.Fail(memory.Get, "*/record.json", 0, storage.ErrUnavailable)
	if _, err := status.Survey(t.Context(), c, status.Options{}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}
