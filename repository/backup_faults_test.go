package repository_test

import (
	"archive/tar"
	"bytes"
	"slices"
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

// TestEachStorageCallFails makes each call of a backup fail, or lose its answer, in turn. Then there is no visible backup or a correct one, and
// the same again succeeds after the failed one was removed.
func TestEachStorageCallFails(t *testing.T) {
	small := smallDirectory()
	large := append(smallDirectory(), noise("base/4", storage.MinPart+mib/4)) // more than a part
	step := 1
	if testing.Short() {
		step = 24
	}
	for _, mode := range []string{"fail", "lose"} {
		for op, members := range map[memory.Op][]member{memory.Any: small, memory.Begin: large, memory.Part: large, memory.Commit: large} {
			if testing.Short() && op != memory.Any && (mode == "lose") != (op == memory.Commit) {
				continue
			}
			if testing.Short() && op != memory.Any { // the first call of each kind
				if !storageCallFails(t, mode, op, 1, members) || t.Failed() {
					t.Errorf("%s of a call of %q", mode, op)
				}
				continue
			}
			nth := 1
			for ; storageCallFails(t, mode, op, nth, members); nth += step {
				if t.Failed() {
					t.Fatalf("%s of call %d of %q", mode, nth, op)
				}
			}
			if want := map[memory.Op]int{memory.Any: 8, memory.Begin: 2, memory.Part: 3, memory.Commit: 2}[op]; nth < want {
				t.Errorf("only %d calls of %q", nth, op)
			}
		}
	}
}

// storageCallFails lets the nth call fail; it returns false if there were not as many.
func storageCallFails(t *testing.T, mode string, op memory.Op, nth int, members []member) bool {
	t.Helper()
	c, store := cluster(t)
	store.Reset()
	if mode == "fail" {
		store.Fail(op, "", nth, errScripted)
	} else {
		store.LoseResponse(op, "", nth)
	}
	rec, tars, err := writeBackup(t, c, compression.Zstd(), members)
	calls := store.Count(op, "")
	// Of an upload whose answer is lost nobody knows the id: the store's lifecycle rule removes it.
	beginLost := mode == "lose" && slices.ContainsFunc(store.Calls(), func(call memory.Call) bool {
		return call.Op == memory.Begin && call.Err != nil
	})
	store.Reset()
	if err == nil {
		if err := readBackup(t, c, rec, tars); err != nil {
			t.Errorf("said to be written: %v", err)
		}
		return calls >= nth
	}
	if uploads := store.Uploads(); len(uploads) != 0 && !beginLost {
		t.Errorf("uploads are left: %v", uploads)
	}
	visible, err := c.Backups(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, b := range visible {
		if err := readBackup(t, c, b, packTars(members)); err != nil {
			t.Errorf("a visible backup: %v", err)
		}
	}
	deleteBackup(t, store)
	if rec, tars, err = writeBackup(t, c, compression.Zstd(), members); err != nil {
		t.Errorf("again: %v", err)
	} else if err := readBackup(t, c, rec, tars); err != nil {
		t.Errorf("again: %v", err)
	}
	return true
}

// packTars returns the tar files of writeBackup without writing a backup.
func packTars(members []member) [][]byte {
	var tars [][]byte
	half := len(members) / 2
	for _, part := range [][]member{members[:half], members[half:], {file("PG_15_202209061/5/1", 700)}} {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		for _, m := range part {
			h := &tar.Header{Name: m.path, Mode: 0o600, Size: int64(len(m.content)), ModTime: modTime, Typeflag: tar.TypeReg, Format: tar.FormatGNU}
			switch m.kind {
			case repository.TypeDir:
				h.Typeflag, h.Mode = tar.TypeDir, 0o700
			case repository.TypeLink:
				h.Typeflag, h.Linkname = tar.TypeSymlink, m.link
			case repository.TypeFile:
			}
			_ = tw.WriteHeader(h)
			_, _ = tw.Write(m.content)
		}
		_ = tw.Close()
		tars = append(tars, b.Bytes())
	}
	return tars
}

// TestLostRecordAnswer: whether the record was written is not known. The backup's data must stay, for it may be visible.
func TestLostRecordAnswer(t *testing.T) {
	c, store := cluster(t)
	store.LoseResponse(memory.Put, "*/record.json", 1)
	if _, _, err := writeBackup(t, c, compression.Zstd(), smallDirectory()); !storage.Retryable(err) {
		t.Fatalf("got %v, want a retryable error", err)
	}
	all, err := c.Backups(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("got %v, %v", all, err)
	}
	if err := readBackup(t, c, all[0], packTars(smallDirectory())); err != nil {
		t.Error(err)
	}
}
