package restore_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// TestFetchForStandby gives a standby the end of the archive once for each time that it grew, and costs one list where it did not.
func TestFetchForStandby(t *testing.T) {
	store := memory.New()
	r, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	c := r.Cluster(fakeSystem)
	all := make([]byte, 3*mib)
	for i := range all {
		all[i] = byte(i >> 8)
	}
	archiveRaw(t, c, 1, lsn(2), all[:mib])
	archiveRaw(t, c, 1, lsn(3), all[mib:mib+5000])
	dir := t.TempDir()
	ask := func(segment wal.SegmentNumber) restore.FetchResult {
		t.Helper()
		// The server keeps what it was given under its own name.
		asked := filepath.Join(dir, "RECOVERYXLOG")
		result, err := restore.Fetch(t.Context(), opener(store), name(1, segment), asked, restore.FetchOptions{SegmentSize: mib, Ahead: 2, Standby: true})
		if err != nil {
			t.Fatal(err)
		}
		if result == restore.FetchFound {
			if err := os.Rename(asked, filepath.Join(dir, name(1, segment))); err != nil {
				t.Fatal(err)
			}
		}
		return result
	}
	holds := func(segment wal.SegmentNumber, n int) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name(1, segment)))
		from := (int(segment) - 2) * int(mib)
		if err != nil || !bytes.Equal(b, padded(all[from:from+n])) {
			t.Errorf("segment %d: %d bytes, %v, want %d of the archive", segment, len(b), err, n)
		}
	}
	for _, segment := range []wal.SegmentNumber{2, 3} {
		if got := ask(segment); got != restore.FetchFound {
			t.Fatalf("segment %d: got %d", segment, got)
		}
	}
	holds(2, int(mib))
	holds(3, 5000)
	gets := store.Count(memory.Get, "*")
	for range 3 {
		if got := ask(3); got != restore.FetchAbsent {
			t.Errorf("nothing came: got %d", got)
		}
	}
	if n := store.Count(memory.Get, "*/wal/*") - gets; n > 0 {
		t.Errorf("%d objects were read where nothing came", n)
	}
	archiveRaw(t, c, 1, lsn(3)+5000, all[mib+5000:mib+6000])
	if got := ask(3); got != restore.FetchFound {
		t.Errorf("1000 bytes came: got %d", got)
	}
	holds(3, 6000)
	if err := os.Remove(filepath.Join(dir, name(1, 3))); err != nil {
		t.Fatal(err)
	}
	if got := ask(3); got != restore.FetchFound {
		t.Errorf("the standby has it no more: got %d", got)
	}
	holds(3, 6000)
	archiveRaw(t, c, 1, lsn(3), all[mib:2*mib])
	archiveRaw(t, c, 1, lsn(4), all[2*mib:2*mib+1])
	if got := ask(3); got != restore.FetchFound {
		t.Errorf("the segment is whole: got %d", got)
	}
	holds(3, int(mib))
	if got := ask(4); got != restore.FetchFound {
		t.Errorf("the next one began: got %d", got)
	}
	holds(4, 1)
	if got := ask(5); got != restore.FetchAbsent {
		t.Errorf("the end: got %d", got)
	}
}
