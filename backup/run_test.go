package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// files makes files of these sizes.
func files(folder string, sizes ...int64) []fakeFile {
	all := []fakeFile{{path: folder, kind: repository.TypeDir}}
	for i, size := range sizes {
		all = append(all, fakeFile{path: fmt.Sprintf("%s/%d", folder, i), kind: repository.TypeFile, size: size})
	}
	return all
}

func manyFiles(n int, size int64) []int64 { return slices.Repeat([]int64{size}, n) }

// durable is a WaitDurable that finds everything durable at once.
func durable(context.Context, wal.TimelineID, wal.LSN) error { return nil }

func TestRun(t *testing.T) {
	const kib, mib = 1 << 10, 1 << 20
	spaces := newSource(files("base/5", 8*kib, 300*kib)...)
	spaces.start.Tablespaces = []repository.Tablespace{{OID: 16400, Path: "/srv/one"}, {OID: 16401, Path: "/srv/\xff"}}
	spaces.archives = append([]fakeArchive{
		{tablespace: 16400, files: files("PG_15_202209061", 3*mib, 1, 0)},
		{tablespace: 16401}, // it was dropped while the server looked
	}, spaces.archives...)
	links := newSource(append(files("base/5", 8*kib), fakeFile{path: "pg_tblspc/16400", kind: repository.TypeLink, text: "/srv/one"})...)
	links.start.Tablespaces = []repository.Tablespace{{OID: 16400, Path: "/srv/one"}}
	links.archives = append([]fakeArchive{{tablespace: 16400, files: files("PG_15_202209061", 5)}}, links.archives...)

	thousands := 3000
	if testing.Short() {
		thousands = 500
	}

	for name, test := range map[string]struct {
		src   *fakeSource
		codec compression.Codec
		packs int
	}{
		"empty cluster":   {newSource(), nil, 1},
		"borders":         {newSource(files("base/5", 0, 1, 511, 512, 513, 256*kib-1, 256*kib, 256*kib+1, mib-1, mib, mib+1, 2*mib+500)...), nil, 1},
		"s2":              {newSource(files("base/5", 0, 1, 511, 256*kib, mib+1)...), compression.S2(), 1},
		"thousands":       {newSource(files("base/5", manyFiles(thousands, 900)...)...), nil, 1},
		"more than fit":   {newSource(files("base/5", manyFiles(repository.PackFiles+5, 0)...)...), nil, 2},
		"tablespaces":     {spaces, nil, 3},
		"tablespace link": {links, nil, 2},
		"odd names":       {newSource(fakeFile{path: "base/5/\xff\xfe \n\"", kind: repository.TypeFile, size: 5}), nil, 1},
		"dotted":          {newSource(fakeFile{path: "./pg_wal/archive_status", kind: repository.TypeDir}), nil, 1},
	} {
		if name == "more than fit" && testing.Short() {
			continue // the cutter's own test has the same border
		}
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, memory.New())
			var last backup.Progress
			b, err := backup.Run(t.Context(), test.src, c, backup.Options{
				Codec: test.codec, WaitDurable: durable, Writer: "pgark test", Labels: map[string]string{"why": "test"},
				Progress: func(p backup.Progress) {
					if p.Done < last.Done || p.Stored < last.Stored {
						t.Errorf("progress went back from %+v to %+v", last, p)
					}
					last = p
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			checkBackup(t, c, b, test.src)
			all, err := c.Backups(t.Context())
			if err != nil || len(all) != 1 || all[0].ID != b.ID {
				t.Errorf("backups: got %v, %v", all, err)
			}
			r, err := c.OpenBackup(t.Context(), b)
			if err != nil || len(r.Packs()) != test.packs {
				t.Errorf("packs: got %d, %v, want %d", len(r.Packs()), err, test.packs)
			}
			if last.Phase != backup.PhaseCommit || last.Total != test.src.start.Total || last.Done <= b.Plain {
				t.Errorf("last progress: got %+v for %d bytes", last, b.Plain)
			}
		})
	}
}

func TestRunRecord(t *testing.T) {
	src := newSource(files("base/5", 100, 200)...)
	c := newCluster(t, memory.New())
	called := time.Now()
	b, err := backup.Run(t.Context(), src, c, backup.Options{WaitDurable: durable, Writer: "pgark test", KeptUntil: modified})
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(b.PGVersionNum, b.CatalogVersion, b.Timeline, b.StartLSN, b.StopLSN, b.Started.Format(time.RFC3339), b.Label,
		b.Checksums, b.Files, b.Plain, b.Codec, b.Writer, b.KeptUntil.Equal(modified), b.Type, b.SegmentSize)
	want := fmt.Sprint(150018, 202209061, wal.TimelineID(1), startLSN, stopLSN, "2026-11-21T02:39:59Z", "test",
		"verified", 4, 100+200+len(label())+8192, "zstd", "pgark test", true, "full", segment)
	if got != want {
		t.Errorf("record: got %s, want %s", got, want)
	}
	// An instant before the end is no instant of this backup, however short before it is.
	if b.Stopped.Before(called) || b.Stopped.After(time.Now().Add(time.Millisecond)) || b.Stopped.Before(b.Started) || b.Stored == 0 {
		t.Errorf("record: started %v, stopped %v, stored %d", b.Started, b.Stopped, b.Stored)
	}
	// Nor is it one by the server's clock, of which the times of transactions are; ours may be behind.
	src = newSource(files("base/5", 100, 200)...)
	src.stop.Time = called.Add(time.Hour).Truncate(time.Millisecond)
	if b, err = backup.Run(t.Context(), src, c, backup.Options{WaitDurable: durable}); err != nil || !b.Stopped.Equal(src.stop.Time) {
		t.Errorf("record: stopped %v, %v, the server says %v", b.Stopped, err, src.stop.Time)
	}
}

// The server's log_timezone may be any; its abbreviation tells the two hours of an autumn night apart.
func TestRunStartTime(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"2026-11-21 02:39:59 UTC":  "2026-11-21T02:39:59Z",
		"2026-11-21 02:39:59 CET":  "2026-11-21T01:39:59Z",
		"2026-07-21 02:39:59 CEST": "2026-07-21T00:39:59Z",
		"2026-10-25 02:39:59 CEST": "2026-10-25T00:39:59Z",
		"2026-10-25 02:39:59 CET":  "2026-10-25T01:39:59Z",
		"2026-11-21 02:39:59 EST":  "", // not the zone the server said
		"soon":                     "",
	} {
		t.Run(text, func(t *testing.T) {
			src := newSource()
			src.start.Location = berlin
			src.archives[0].files[0].text = strings.Replace(label(), "2026-11-21 02:39:59 UTC", text, 1)
			before := time.Now().Truncate(time.Second)
			b, err := backup.Run(t.Context(), src, newCluster(t, memory.New()), backup.Options{WaitDurable: durable})
			if err != nil {
				t.Fatal(err)
			}
			if want == "" { // then it is our clock
				if b.Started.Before(before) || b.Started.After(time.Now()) {
					t.Errorf("started: got %v, want about %v", b.Started, before)
				}
			} else if got := b.Started.Format(time.RFC3339); got != want {
				t.Errorf("started: got %s, want %s", got, want)
			}
		})
	}
}

// What the server says of its page checksums is kept; a failure is loud and the backup stays.
func TestRunPageChecksums(t *testing.T) {
	for _, verdict := range []repository.Checksums{repository.ChecksumsVerified, repository.ChecksumsOff, repository.ChecksumsFailed} {
		t.Run(string(verdict), func(t *testing.T) {
			src := newSource(files("base/5", 8192)...)
			src.stop.Checksums = verdict
			failed := verdict == repository.ChecksumsFailed
			if failed {
				src.stop.ChecksumFailures = 7
			}
			c := newCluster(t, memory.New())
			b, err := backup.Run(t.Context(), src, c, backup.Options{WaitDurable: durable})
			if errors.Is(err, backup.ErrPageChecksums) != failed || (err != nil) != failed {
				t.Errorf("got %v", err)
			}
			if b.Checksums != verdict || b.ChecksumFailures != src.stop.ChecksumFailures {
				t.Errorf("record: got %s, %d", b.Checksums, b.ChecksumFailures)
			}
			checkBackup(t, c, b, src)
		})
	}
}

// TestRunRefuses changes one thing that the server says or sends; no backup comes of it, and nothing stays.
func TestRunRefuses(t *testing.T) {
	drop := func(lines []string, name string) []string {
		return slices.DeleteFunc(lines, func(l string) bool { return strings.Contains(l, name) })
	}
	replace := func(name, from, to string) func([]string) []string {
		return func(lines []string) []string {
			for i, l := range lines {
				if strings.Contains(l, name) {
					lines[i] = strings.Replace(l, from, to, 1)
				}
			}
			return lines
		}
	}
	content, timeline, member := new(*backup.ContentError), new(*backup.TimelineError), new(*backup.MemberError)
	for name, test := range map[string]struct {
		change func(*fakeSource)
		as     any
		text   string
	}{
		"file not in manifest": {func(s *fakeSource) { s.manifest = func(l []string) []string { return drop(l, "base/5/1") } }, content, "base/5/1"},
		"file not sent": {func(s *fakeSource) {
			s.manifest = func(l []string) []string { return append(l, strings.Replace(l[1], "base/5/0", "base/5/x", 1)) }
		}, content, "base/5/x"},
		"label not in manifest": {func(s *fakeSource) { s.manifest = func(l []string) []string { return drop(l, "backup_label") } }, content, "backup_label"},
		"size":                  {func(s *fakeSource) { s.manifest = replace("base/5/0", `"Size": 100`, `"Size": 101`) }, content, "size: got 100 bytes, manifest says 101"},
		"CRC32C": {func(s *fakeSource) {
			s.manifest = replace("base/5/0", `"Checksum": "`, `"Checksum": "00000000", "x": "`)
		}, content, "CRC32C"},
		"manifest cut":             {func(s *fakeSource) { m := s.makeManifest(); s.stop.Manifest = m[:len(m)-1] }, nil, "backup_manifest"},
		"manifest changed":         {func(s *fakeSource) { m := s.makeManifest(); m[60] ^= 1; s.stop.Manifest = m }, nil, "backup_manifest"},
		"manifest empty":           {func(s *fakeSource) { s.stop.Manifest = []byte{} }, nil, "backup_manifest"},
		"manifest of other WAL":    {func(s *fakeSource) { s.stop.Manifest = s.makeManifest(); s.stop.LSN++ }, content, "needs WAL"},
		"timeline":                 {func(s *fakeSource) { s.stop.Timeline = 2 }, timeline, "timeline changed from 00000001 to 00000002"},
		"stop before start":        {func(s *fakeSource) { s.stop.LSN = startLSN - 1 }, nil, "before start"},
		"other system":             {func(s *fakeSource) { s.start.SystemID++ }, nil, "system identifier"},
		"begin fails":              {func(s *fakeSource) { s.beginErr = errors.New("no walsender") }, nil, "no walsender"},
		"finish fails":             {func(s *fakeSource) { s.finishErr = errors.New("promoted") }, nil, "promoted"},
		"archive missing":          {func(s *fakeSource) { s.start.Tablespaces = []repository.Tablespace{{OID: 16400, Path: "/srv"}} }, nil, "16400"},
		"archive unknown":          {func(s *fakeSource) { s.archives = append(s.archives, fakeArchive{tablespace: 16400}) }, nil, "2 archives"},
		"archive twice":            {func(s *fakeSource) { s.archives = append(s.archives, s.archives[0]) }, nil, "twice"},
		"no data directory":        {func(s *fakeSource) { s.archives = nil }, nil, "base"},
		"file twice":               {func(s *fakeSource) { f := s.archives[0].files; s.archives[0].files = append(f, f[3]) }, content, "twice"},
		"no label":                 {func(s *fakeSource) { s.archives[0].files = s.archives[0].files[1:] }, content, "backup_label"},
		"label of other start":     {func(s *fakeSource) { s.archives[0].files[0].text = strings.Replace(label(), "2000028", "2000030", 1) }, content, "backup_label"},
		"label unreadable":         {func(s *fakeSource) { s.archives[0].files[0].text = "x" }, nil, "backup_label"},
		"no control file":          {func(s *fakeSource) { f := s.archives[0].files; s.archives[0].files = f[:len(f)-1] }, content, "pg_control"},
		"control file of other":    {func(s *fakeSource) { s.lastFile().text = string(control(systemID+1, 1)) }, content, "pg_control"},
		"control file torn":        {func(s *fakeSource) { s.lastFile().text = "x" + string(control(systemID, 1))[1:] }, content, "pg_control"},
		"control file huge":        {func(s *fakeSource) { s.lastFile().text = ""; s.lastFile().size = 1 << 30 }, member, "pg_control"},
		"control file a directory": {func(s *fakeSource) { *s.lastFile() = fakeFile{path: "global/pg_control", kind: repository.TypeDir} }, member, "pg_control"},
		"link elsewhere": {func(s *fakeSource) {
			*s.lastFile() = fakeFile{path: "base/5/2", kind: repository.TypeLink, text: "/etc"}
		}, member, "link"},
		"link of no tablespace": {func(s *fakeSource) {
			s.archives[0].files = append(s.archives[0].files, fakeFile{path: "pg_tblspc/16400", kind: repository.TypeLink, text: "/etc"})
		}, nil, "link"},
		"hostile path": {func(s *fakeSource) { s.lastFile().path = "../pg_control" }, member, "pg_control"},
	} {
		t.Run(name, func(t *testing.T) {
			store := memory.New()
			c := newCluster(t, store)
			before := store.Keys()
			src := newSource(files("base/5", 100, 300<<10)...)
			test.change(src)
			_, err := backup.Run(t.Context(), src, c, backup.Options{WaitDurable: durable})
			if err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want %q", err, test.text)
			}
			if test.as != nil && !errors.As(err, test.as) {
				t.Errorf("got %v, want a %T", err, test.as)
			}
			if after := store.Keys(); !slices.Equal(before, after) || len(store.Uploads()) > 0 {
				t.Errorf("left behind: %v, %v", after, store.Uploads())
			}
		})
	}
}

// lastFile is pg_control.
func (s *fakeSource) lastFile() *fakeFile {
	f := s.archives[0].files
	return &f[len(f)-1]
}

// The record comes after the WAL: as long as that is awaited there is no backup.
func TestRunRecordIsLast(t *testing.T) {
	c := newCluster(t, memory.New())
	asked := false
	_, err := backup.Run(t.Context(), newSource(), c, backup.Options{
		WaitDurable: func(ctx context.Context, tli wal.TimelineID, lsn wal.LSN) error {
			asked = true
			if tli != 1 || lsn != stopLSN {
				t.Errorf("asked for %s on %s", lsn, tli)
			}
			if all, err := c.Backups(ctx); err != nil || len(all) != 0 {
				t.Errorf("a backup is there before its WAL: %v, %v", all, err)
			}
			return nil
		},
	})
	if err != nil || !asked {
		t.Errorf("got %v, asked %v", err, asked)
	}
}

func TestRunWaitsForWAL(t *testing.T) {
	wait := errors.New("the archiver has stopped")
	for name, test := range map[string]struct {
		options backup.Options
		wal     []wal.Range // puts [Start, End) after a minute each
		want    error
		atMost  time.Duration
	}{
		"durable, and there":    {backup.Options{WaitDurable: durable}, []wal.Range{{Start: 0x2000000, End: stopLSN}}, nil, time.Second},
		"waiting fails":         {backup.Options{WaitDurable: func(context.Context, wal.TimelineID, wal.LSN) error { return wait }}, nil, wait, time.Second},
		"durable, start lacks":  {backup.Options{WaitDurable: durable}, []wal.Range{{Start: 0x2100000, End: stopLSN}}, backup.ErrWALMissing, time.Second},
		"durable, nothing":      {backup.Options{WaitDurable: durable}, nil, backup.ErrWALMissing, time.Second},
		"durable never":         {backup.Options{WaitDurable: func(ctx context.Context, _ wal.TimelineID, _ wal.LSN) error { <-ctx.Done(); return ctx.Err() }}, nil, backup.ErrWALMissing, 6*time.Hour + time.Second},
		"looks itself":          {backup.Options{}, []wal.Range{{Start: 0x2000000, End: stopLSN}}, nil, time.Second},
		"comes in parts":        {backup.Options{}, []wal.Range{{}, {Start: 0x2000000, End: 0x2100000}, {Start: 0x2100000, End: stopLSN}}, nil, 3*time.Minute + 15*time.Second},
		"parts out of order":    {backup.Options{}, []wal.Range{{Start: 0x2200000, End: stopLSN}, {Start: 0x2000000, End: 0x2100000}, {Start: 0x2100000, End: 0x2200000}}, nil, 3*time.Minute + 15*time.Second},
		"start never came":      {backup.Options{}, []wal.Range{{Start: 0x2100000, End: stopLSN}}, backup.ErrWALMissing, 6 * time.Minute},
		"nothing ever":          {backup.Options{}, nil, backup.ErrWALMissing, 6*time.Hour + time.Second},
		"nothing within a time": {backup.Options{WALTimeout: time.Minute}, nil, backup.ErrWALMissing, time.Minute + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory.New()
				c := emptyCluster(t, store)
				src := newSource()
				began := time.Now()
				if len(test.wal) > 0 {
					putWAL(t, c, test.wal[0].Start, test.wal[0].End)
					go func() {
						for _, r := range test.wal[1:] {
							time.Sleep(time.Minute)
							putWAL(t, c, r.Start, r.End)
						}
					}()
				}
				_, err := backup.Run(t.Context(), src, c, test.options)
				if !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
				if took := time.Since(began); took > test.atMost {
					t.Errorf("took %v, want at most %v", took, test.atMost)
				}
				if all, err := c.Backups(t.Context()); err != nil || (len(all) == 1) != (test.want == nil) {
					t.Errorf("backups: got %d, %v", len(all), err)
				}
			})
		})
	}
}

func TestRunLock(t *testing.T) {
	lock := &backup.Lock{}
	c := newCluster(t, memory.New())
	var second error
	_, err := backup.Run(t.Context(), newSource(), c, backup.Options{Lock: lock, WaitDurable: func(ctx context.Context, _ wal.TimelineID, _ wal.LSN) error {
		_, second = backup.Run(ctx, newSource(), c, backup.Options{Lock: lock, WaitDurable: durable})
		return nil
	}})
	if err != nil || !errors.Is(second, backup.ErrRunning) {
		t.Errorf("first: got %v; second: got %v, want ErrRunning", err, second)
	}
	if _, err := backup.Run(t.Context(), newSource(), c, backup.Options{Lock: lock, WaitDurable: durable}); err != nil {
		t.Errorf("after the first: got %v", err)
	}
}

// Several backups within a second get ids of their own, up to a few.
func TestRunSameSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, memory.New())
		for range 5 {
			if _, err := backup.Run(t.Context(), newSource(), c, backup.Options{WaitDurable: durable}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := backup.Run(t.Context(), newSource(), c, backup.Options{WaitDurable: durable}); !errors.Is(err, repository.ErrBackupExists) {
			t.Errorf("sixth in a second: got %v, want ErrBackupExists", err)
		}
		if all, err := c.Backups(t.Context()); err != nil || len(all) != 5 {
			t.Errorf("backups: got %d, %v", len(all), err)
		}
	})
}

// A read that fails in the middle of the stream leaves nothing.
func TestRunSourceFails(t *testing.T) {
	step := int64(8 << 20)
	if testing.Short() {
		step = 1 << 20
	}
	for n := range int64(6) {
		store := memory.New()
		c := newCluster(t, store)
		before := len(store.Keys())
		src := newSource(files("base/5", 100, 300<<10, 3<<20, 5*step)...)
		src.cut = n * step
		_, err := backup.Run(t.Context(), src, c, backup.Options{WaitDurable: durable})
		if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("cut at %d: got %v", src.cut, err)
		}
		if len(store.Keys()) != before || len(store.Uploads()) > 0 {
			t.Errorf("cut at %d: left behind %v, %v", src.cut, store.Keys(), store.Uploads())
		}
	}
}
