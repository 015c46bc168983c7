package restore_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// tablespace writes a record that makes one.
func (m *walMaker) tablespace(oid uint32, path string) wal.Range {
	return m.record(5, 0, 7, append(binary.LittleEndian.AppendUint32(nil, oid), path+"\x00"...))
}

// upTo writes records that leave n bytes of segment number, n divisible by 8.
func (m *walMaker) upTo(number wal.SegmentNumber, n wal.LSN) {
	left := func() int { return int(m.size.End(number) - (m.pos()+7)&^7) }
	for left() > wal.PageSize/2 {
		m.filler(7, min(50_000, left()-wal.PageSize/4)-200) // room for the headers of its pages
	}
	m.filler(7, left()-int(n)-29) // of the record
}

// made is an archive of segments 2 to 4, in which a tablespace is made at path: by a record that begins before bytes before the end of segment 3, or within segment 3
// if that is 0.
func made(t *testing.T, path string, before wal.LSN) (storage.Store, *restore.Plan, wal.Range) {
	t.Helper()
	store := memory.New()
	repo, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	m := newWALMaker(lsn(2))
	for m.pos() < lsn(3) {
		m.filler(7, 50_000)
	}
	if before > 0 {
		m.upTo(3, before)
		if got := lsn(4) - (m.pos()+7)&^7; got != before {
			t.Fatalf("%d bytes of segment 3 are left, want %d", got, before)
		}
	}
	at := m.tablespace(16400, path)
	for m.pos() < lsn(5) {
		m.filler(7, 50_000)
	}
	m.archive(t, repo.Cluster(fakeSystem), nil, nil)
	return store, &restore.Plan{
		Backup: repository.Backup{SegmentSize: mib}, Until: lsn(5), Timeline: 1,
		Legs: []restore.Leg{{Timeline: 1, Range: wal.Range{Start: lsn(2), End: lsn(5)}, Segments: 3}},
	}, at
}

// labelled puts a backup_label into a data directory: replay begins at start, by the checkpoint at checkpoint.
func labelled(t *testing.T, dir string, start, checkpoint wal.LSN) {
	t.Helper()
	text := fmt.Sprintf("START WAL LOCATION: %s (file %s)\nCHECKPOINT LOCATION: %s\nBACKUP METHOD: streamed\nBACKUP FROM: standby\nSTART TIME: 2026-11-22 05:00:00 UTC\nLABEL: x\nSTART TIMELINE: 1\n",
		start, name(1, mib.Number(start)), checkpoint)
	if err := os.WriteFile(filepath.Join(dir, "backup_label"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTablespaceBeforeTheBackup: a base backup of a standby begins within a segment. What was made before is in the backup, and has its new place.
func TestTablespaceBeforeTheBackup(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	store, plan, at := made(t, missing, 0)
	fetch := func(start wal.LSN) error {
		data := recovering(t)
		labelled(t, data, start, start)
		_, err := restore.Fetch(t.Context(), opener(store), name(1, 3), filepath.Join(data, "pg_wal", "RECOVERYXLOG"), plan.FetchOptions())
		return err
	}
	if err := fetch(at.End); err != nil {
		t.Errorf("made before replay begins: %v", err)
	}
	var e *restore.TablespaceError
	if err := fetch(at.Start); !errors.As(err, &e) {
		t.Errorf("made where replay begins: got %v, want it refused", err)
	}
}

// TestTablespaceLabelLies: a server begins where the checkpoint says, whatever the label says beside it.
func TestTablespaceLabelLies(t *testing.T) {
	store := memory.New()
	repo, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	m := newWALMaker(lsn(2))
	first := m.filler(7, 50_000)
	checkpoint := make([]byte, 88)
	binary.LittleEndian.PutUint64(checkpoint, uint64(first.Start))
	binary.LittleEndian.PutUint32(checkpoint[8:], 1)
	at := m.record(0, 0x10, 0, checkpoint)
	for m.pos() < lsn(3) {
		m.filler(7, 50_000)
	}
	m.archive(t, repo.Cluster(fakeSystem), nil, nil)
	fetch := func(start wal.LSN) error {
		data := recovering(t)
		labelled(t, data, start, at.Start)
		_, err := restore.Fetch(t.Context(), opener(store), name(1, 2), filepath.Join(data, "pg_wal", "RECOVERYXLOG"), restore.FetchOptions{})
		return err
	}
	if err := fetch(first.Start); err != nil {
		t.Errorf("an honest label: %v", err)
	}
	var e *restore.CorruptFileError
	if err := fetch(at.Start); !errors.As(err, &e) {
		t.Errorf("a label that lies: got %v, want it refused", err)
	}
}

// recovering is a data directory without a server.
func recovering(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	err := errors.Join(os.MkdirAll(filepath.Join(dir, "pg_wal"), 0o700), os.MkdirAll(filepath.Join(dir, "pg_tblspc"), 0o700),
		os.WriteFile(filepath.Join(dir, "PG_VERSION"), []byte("15\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestTablespaceTakesNothingOver: replay of a tablespace that was made after the base backup would empty what a server has there. A server that recovers is given the
// record only where the folder is free or its own, whichever segment holds which part of it, and whether it was read ahead or not.
func TestTablespaceTakesNothingOver(t *testing.T) {
	type folder struct{ path, data string }
	tests := []struct {
		name    string
		prepare func(f folder) error
		options func(f folder, o *restore.FetchOptions)
		allowed bool
	}{
		{name: "missing", prepare: func(folder) error { return nil }},
		{name: "of another server", prepare: func(f folder) error { return os.MkdirAll(filepath.Join(f.path, "PG_15_202209061"), 0o700) }},
		{name: "no folder", prepare: func(f folder) error { return os.WriteFile(f.path, nil, 0o600) }},
		{name: "empty", prepare: func(f folder) error { return os.Mkdir(f.path, 0o700) }, allowed: true},
		{name: "its own", prepare: func(f folder) error {
			return errors.Join(os.MkdirAll(filepath.Join(f.path, "PG_15_202209061"), 0o700), os.Symlink(f.path, filepath.Join(f.data, "pg_tblspc", "16400")))
		}, allowed: true},
		{
			name: "of the cluster that is replaced", prepare: func(f folder) error { return os.MkdirAll(filepath.Join(f.path, "PG_15_202209061"), 0o700) },
			options: func(f folder, o *restore.FetchOptions) { o.Replaces = []string{f.path} }, allowed: true,
		},
		{
			name: "outside of a sandbox", prepare: func(f folder) error { return os.Mkdir(f.path, 0o700) },
			options: func(f folder, o *restore.FetchOptions) { o.Within = f.data },
		},
		{
			name: "within a sandbox", prepare: func(f folder) error { return os.Mkdir(f.path, 0o700) },
			options: func(f folder, o *restore.FetchOptions) { o.Within = filepath.Dir(f.path) }, allowed: true,
		},
		{
			name: "beside a sandbox", prepare: func(f folder) error { return os.Mkdir(f.path, 0o700) },
			options: func(f folder, o *restore.FetchOptions) { o.Within = f.path[:len(f.path)-1] },
		},
	}
	for _, before := range []wal.LSN{0, 8, 16, 24, 40} { // whole, in its header, in its path
		for _, test := range tests {
			for _, ahead := range []int{0, 2} {
				if border := before > 0 || ahead > 0; border && test.name != "missing" && test.name != "empty" {
					continue // the folder is judged in one way only
				}
				t.Run(fmt.Sprintf("%d/%s/%d", before, test.name, ahead), func(t *testing.T) {
					t.Parallel()
					f := folder{path: filepath.Join(t.TempDir(), "fast"), data: recovering(t)}
					if err := test.prepare(f); err != nil {
						t.Fatal(err)
					}
					store, plan, at := made(t, f.path, before)
					o := plan.FetchOptions()
					o.Ahead = ahead
					if test.options != nil {
						test.options(f, &o)
					}
					var refused error
					for n := wal.SegmentNumber(2); n < 5 && refused == nil; n++ {
						asked := filepath.Join(f.data, "pg_wal", "RECOVERYXLOG")
						_, err := restore.Fetch(t.Context(), opener(store), name(1, n), asked, o)
						if err == nil { // the server keeps it under its name
							err = os.Rename(asked, filepath.Join(f.data, "pg_wal", name(1, n)))
						}
						refused = err
					}
					var e *restore.TablespaceError
					switch {
					case test.allowed && refused != nil:
						t.Errorf("refused: %v", refused)
					case test.allowed:
					case !errors.As(refused, &e):
						t.Fatalf("got %v, want a tablespace refused", refused)
					case e.OID != 16400 || e.Path != f.path || e.At != at.Start:
						t.Errorf("got %+v, want tablespace 16400 in %s at %s", e, f.path, at.Start)
					}
				})
			}
		}
	}
}

// TestTablespaceAhead: what a supervised server takes without another look was looked through in the order of replay.
func TestTablespaceAhead(t *testing.T) {
	for _, before := range []wal.LSN{0, 8, 16, 24, 40} {
		for _, free := range []bool{false, true} {
			path, data := filepath.Join(t.TempDir(), "fast"), recovering(t)
			if free {
				if err := os.Mkdir(path, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			store, plan, at := made(t, path, before)
			cluster, err := opener(store)(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			prefetch, err := restore.NewPrefetch(plan, data, restore.RecoverOptions{})
			if err != nil {
				t.Fatal(err)
			}
			err = prefetch.Run(t.Context(), cluster)
			var e *restore.TablespaceError
			if refused := errors.As(err, &e); refused == free || err != nil && !refused {
				t.Errorf("%d bytes before the border, free %t: got %v", before, free, err)
			}
			for n := wal.SegmentNumber(2); n < 5; n++ {
				ready, err := filepath.Glob(filepath.Join(data, "pg_wal", "pgark-spool-*", name(1, n)+".????????"))
				if err != nil {
					t.Fatal(err)
				}
				// The record is whole with the segment of its last byte. Behind it nothing may be ready that goes on with it.
				if want := free || n < mib.Number(at.End-1); want != (len(ready) == 1) && n <= mib.Number(at.End-1) {
					t.Errorf("%d bytes before the border, free %t: segment %d ready: %v, want %t", before, free, n, ready, want)
				}
			}
			prefetch.Remove()
		}
	}
}

// TestTablespaceByHand: who asks for a segment outside of a cluster gets it.
func TestTablespaceByHand(t *testing.T) {
	store, plan, _ := made(t, filepath.Join(t.TempDir(), "missing"), 0)
	if got, err := restore.Fetch(t.Context(), opener(store), name(1, 3), filepath.Join(t.TempDir(), "segment"), plan.FetchOptions()); err != nil || got != restore.FetchFound {
		t.Errorf("got %v, %v", got, err)
	}
}
