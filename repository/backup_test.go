package repository_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

const backupID = "20261121T024000Z"

var modTime = time.Date(2026, 11, 21, 2, 40, 0, 0, time.UTC)

func TestBackupRoundTrip(t *testing.T) {
	for _, codec := range []compression.Codec{compression.Zstd(), compression.S2()} {
		t.Run(codec.Name(), func(t *testing.T) {
			if testing.Short() && codec.Name() == compression.Zstd().Name() {
				t.Skip("-short takes the codec that the other tests do not")
			}
			c, store := cluster(t)
			rec, tars, err := writeBackup(t, c, codec, dataDirectory())
			if err != nil {
				t.Fatal(err)
			}
			if uploads := store.Uploads(); len(uploads) != 0 {
				t.Errorf("uploads are left: %v", uploads)
			}
			all, err := c.Backups(t.Context())
			if err != nil || len(all) != 1 {
				t.Fatalf("got %v, %v", all, err)
			}
			if got, want := fmt.Sprintf("%+v", all[0]), fmt.Sprintf("%+v", rec); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if all[0].Tablespaces[0].Path != "/srv/ts \xfe" {
				t.Errorf("got path %q", all[0].Tablespaces[0].Path)
			}
			var files, plain, stored int64
			for _, m := range append(dataDirectory(), file("x", 700)) {
				if m.kind == repository.TypeFile {
					files, plain = files+1, plain+int64(len(m.content))
				}
			}
			for _, k := range store.Keys() {
				if strings.Contains(string(k), backupID) && !strings.HasSuffix(string(k), "record.json") {
					stored += int64(len(store.Bytes(k)))
				}
			}
			if rec.Files != files || rec.Plain != plain || rec.Stored != stored {
				t.Errorf("got %d files, %d plain, %d stored, want %d, %d, %d", rec.Files, rec.Plain, rec.Stored, files, plain, stored)
			}
			if err := readBackup(t, c, all[0], tars); err != nil {
				t.Fatal(err)
			}
			deleteBackup(t, store)
			if keys := store.Keys(); len(keys) != 1 {
				t.Errorf("left: %v", keys)
			}
		})
	}
}

// TestOrders: the record is the last that is put.
func TestOrders(t *testing.T) {
	c, store := cluster(t)
	if _, _, err := writeBackup(t, c, compression.Zstd(), smallDirectory()); err != nil {
		t.Fatal(err)
	}
	writes := func() []memory.Call {
		return slices.DeleteFunc(store.Calls(), func(call memory.Call) bool {
			return call.Op == memory.Get || call.Op == memory.List || call.Op == memory.Stat
		})
	}
	calls := writes()
	if last := calls[len(calls)-1]; last.Op != memory.Put || !strings.HasSuffix(string(last.Key), "/record.json") {
		t.Errorf("last write: %+v", last)
	}
}

// deleteBackup deletes all objects of the backup of writeBackup.
func deleteBackup(t *testing.T, store *memory.Store) {
	t.Helper()
	for _, key := range store.Keys() {
		if !strings.Contains(string(key), "/"+backupID+"/") {
			continue
		}
		if err := store.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBackupCorruption cuts and flips each object of a backup at many places, with -short at fewer that are drawn. No reading gives wrong bytes.
func TestBackupCorruption(t *testing.T) {
	c, store := cluster(t)
	_, tars, err := writeBackup(t, c, compression.Zstd(), smallDirectory())
	if err != nil {
		t.Fatal(err)
	}
	read := func() error {
		all, err := c.Backups(t.Context())
		if err != nil {
			return err
		}
		if len(all) != 1 {
			return fmt.Errorf("%d backups", len(all))
		}
		if err := readBackup(t, c, all[0], tars); err != nil {
			return err
		}
		b, err := c.OpenBackup(t.Context(), all[0])
		if err != nil {
			return err
		}
		return b.VerifyIndex(t.Context())
	}
	if err := read(); err != nil {
		t.Fatal(err)
	}
	for _, key := range store.Keys() {
		if key == "pgark.json" {
			continue
		}
		body := store.Bytes(key)
		step, at := max(1, len(body)/40), 0
		if testing.Short() {
			step = max(1, len(body)/12)
			at = rand.IntN(step)
		}
		for ; at < len(body); at += step {
			flipped := bytes.Clone(body)
			flipped[at] ^= 1 << (at % 8)
			for what, broken := range map[string][]byte{"cut": body[:at], "flipped": flipped} {
				store.Replace(key, broken)
				var corrupt *repository.CorruptError
				if err := read(); !errors.As(err, &corrupt) {
					t.Errorf("%s %s at %d: got %v, want a *CorruptError", key, what, at, err)
				}
			}
		}
		store.Replace(key, append(bytes.Clone(body), 0))
		// Readers of ranges cannot see bytes behind: index and manifest. They do no harm.
		if err := read(); err == nil && !strings.HasSuffix(string(key), "index.zst") && !strings.HasSuffix(string(key), "manifest.zst") {
			t.Errorf("%s with a byte behind: not seen", key)
		}
		store.Replace(key, body)
	}
}

// TestBackupsThatCannotBeRead: they do not hide the others.
func TestBackupsThatCannotBeRead(t *testing.T) {
	c, store := cluster(t)
	if _, _, err := writeBackup(t, c, compression.Zstd(), smallDirectory()); err != nil {
		t.Fatal(err)
	}
	prefix := storage.Key(system.String()) + "/backups/"
	good := store.Bytes(prefix + backupID + "/record.json")
	store.Replace(prefix+"20261120T000000Z/record.json", good) // of another id
	store.Replace(prefix+"20261119T000000Z/record.json", []byte("{}"))
	store.Replace(prefix+"20261118T000000Z/base-00001.tar.zst", []byte("no record"))
	store.Replace(prefix+"junk/record.json", good)
	store.Replace(prefix+"a", good)
	got, err := c.Backups(t.Context())
	var corrupt *repository.CorruptError
	if len(got) != 1 || got[0].ID != backupID || !errors.As(err, &corrupt) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, id := range []string{"20261118T000000Z", "x", "../x"} {
		if _, err := c.Backup(t.Context(), id); !errors.Is(err, repository.ErrNoBackup) {
			t.Errorf("%s: got %v, want ErrNoBackup", id, err)
		}
	}
	if size, err := openCluster(t, store).SegmentSize(t.Context()); err != nil || size != 16*mib {
		t.Errorf("segment size from a backup: got %d, %v", size, err)
	}
	store.Fail(memory.Get, "*/record.json", 0, storage.ErrUnavailable)
	if _, err := c.Backups(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

func TestBackupWriterRefuses(t *testing.T) {
	c, store := cluster(t)
	start := startBackup(nil)
	store.Replace(storage.Key(system.String())+"/backups/"+backupID+"/base-00001.tar.zst", []byte("left over"))
	if _, err := c.NewBackup(t.Context(), start); !errors.Is(err, repository.ErrBackupExists) {
		t.Errorf("id in use: got %v, want ErrBackupExists", err)
	}
	for name, change := range map[string]func(*repository.BackupStart){
		"id":       func(s *repository.BackupStart) { s.ID = "today" },
		"timeline": func(s *repository.BackupStart) { s.Timeline = 0 },
		"segment":  func(s *repository.BackupStart) { s.SegmentSize = 1 },
		"part":     func(s *repository.BackupStart) { s.PartSize = 1 << 20 },
		"uploads":  func(s *repository.BackupStart) { s.Uploads = -1 },
	} {
		s := startBackup(nil)
		s.ID = "20261122T000000Z"
		change(&s)
		if _, err := c.NewBackup(t.Context(), s); err == nil {
			t.Errorf("%s: got nil", name)
		}
	}
	start.ID = "20261123T000000Z"
	w, err := c.NewBackup(t.Context(), start)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.NewPack("../base"); err == nil {
		t.Error("archive ../base: got nil")
	}
	frame := compression.Zstd().NewEncoder().EncodeFrame(nil, make([]byte, 1024))
	bad := map[string]repository.File{
		"path":          {Path: "/etc/passwd", Type: repository.TypeFile},
		"outside":       {Path: "a", Type: repository.TypeFile, Size: 1025},
		"frame":         {Path: "a", Type: repository.TypeFile, Size: 1, Frame: 1},
		"link":          {Path: "pg_wal", Type: repository.TypeLink, Link: "/srv/wal"},
		"empty and not": {Path: "a", Type: repository.TypeFile, Offset: 4},
	}
	for name, f := range bad {
		s := start
		w, err := c.NewBackup(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		p, err := w.NewPack("base")
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Frame(t.Context(), frame, 1024); err != nil {
			t.Fatal(err)
		}
		p.File(f)
		if err := p.Close(t.Context()); err == nil {
			t.Errorf("%s: got nil", name)
		}
		if _, err := w.NewPack("base"); err == nil {
			t.Errorf("%s: the writer lives on after an error", name)
		}
		if _, err := w.Commit(t.Context(), record(), manifest()); err == nil {
			t.Errorf("%s: committed after an error", name)
		}
	}
	p, err := w.NewPack("base")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context(), record(), manifest()); err == nil {
		t.Error("commit with an open pack: got nil")
	}
	if err := p.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Frame(t.Context(), frame, 1024); err == nil {
		t.Error("frame after abort: got nil")
	}
}

// TestLinkMustBeDeclared: a link to a tablespace that the record does not have.
func TestLinkMustBeDeclared(t *testing.T) {
	c, store := cluster(t)
	w, err := c.NewBackup(t.Context(), startBackup(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writePack(t, w, "base", compression.Zstd(), smallDirectory()[:5]); err != nil {
		t.Fatal(err)
	}
	if _, err := writePack(t, w, "base", compression.Zstd(), []member{{path: "pg_tblspc/16400", kind: repository.TypeLink, link: "/etc"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context(), record(), manifest()); err == nil {
		t.Error("got nil")
	}
	if slices.ContainsFunc(store.Keys(), func(k storage.Key) bool { return strings.HasSuffix(string(k), "record.json") }) {
		t.Error("there is a record")
	}
}
