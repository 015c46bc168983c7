package agent

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/telemetry"
	"github.com/pgark/pgark/telemetry/otlptest"
	"github.com/pgark/pgark/wal"
)

// traced returns a context below which spans are exported to r, and what exports those that are held.
func traced(t *testing.T, r *otlptest.Receiver) (ctx context.Context, flush func()) {
	t.Helper()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL)
	e := telemetry.Start(t.Context(), telemetry.Options{Environment: os.Environ()})
	flush = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		e.Close(ctx)
	}
	t.Cleanup(flush)
	return e.Into(t.Context()), flush
}

// walObject is an object of WAL as the archiver has it when it puts one.
func walObject(n int) *repository.EncodedWAL {
	e := &repository.EncodedWAL{Key: storage.Key(fmt.Sprintf("7423474350493388827/wal/00000001/0000000100000000000000%02X.zst", n)), Body: []byte("stored")}
	e.Header.SystemID, e.Header.Timeline, e.Header.Plain = 7423474350493388827, 1, 1<<20
	e.Header.Range = wal.Range{Start: wal.LSN(n) << 24, End: wal.LSN(n+1) << 24}
	return e
}

// TestUploadSpans: a batch of WAL is one span, with what was put and how often it was tried, and below it is each attempt at each repository, also of one
// that took it after the batch was durable.
func TestUploadSpans(t *testing.T) {
	r := otlptest.NewReceiver(t)
	ctx, flush := traced(t, r)
	u := newUploadSpans(ctx, "main")
	inner := memory.New()
	refusals := 2
	counted := 0
	see := u.of(ctx, "primary", func(retry.Attempt) { counted++ })
	store := retry.New(&reluctant{Store: inner, left: &refusals}, retry.Options{MinWait: time.Millisecond, Observe: see})

	e := walObject(3)
	putting, ended := u.put(ctx, e)
	if err := store.Put(putting, e.Key, e.Body); err != nil {
		t.Fatal(err)
	}
	if err := store.Put(putting, "7423474350493388827/beats/x", []byte("no WAL")); err != nil {
		t.Fatal(err)
	}
	ended(nil)
	u.of(ctx, "dr", nil)(retry.Attempt{Op: "put", Key: e.Key, Size: 6, Took: time.Second})
	// Another is given up, and one that nobody knows is no span.
	lost := walObject(4)
	_, ended = u.put(ctx, lost)
	see(retry.Attempt{Op: "put", Key: lost.Key, Err: fmt.Errorf("put: %w", storage.ErrDenied)})
	ended(fmt.Errorf("put: %w", storage.ErrDenied))
	see(retry.Attempt{Op: "put", Key: walObject(5).Key})
	flush()

	uploads := r.Named(telemetry.Upload)
	if len(uploads) != 2 || len(r.Named(telemetry.Put)) != 5 {
		t.Fatalf("got %+v", r.Spans())
	}
	want := "map[pgark.bytes:1048576 pgark.cluster:main pgark.end_lsn:0/4000000 pgark.lsn:0/3000000 pgark.retries:2 pgark.stored_bytes:6 pgark.system_id:7423474350493388827 pgark.timeline:1]"
	if got := fmt.Sprint(uploads[0].Attributes); got != want || uploads[0].Failed || uploads[0].Parent != "" {
		t.Errorf("got %+v, want %s", uploads[0], want)
	}
	if !uploads[1].Failed || uploads[1].Status != "put: access denied" || uploads[1].Attributes["pgark.retries"] != "1" {
		t.Errorf("got %+v", uploads[1])
	}
	var seen []string
	for _, s := range r.Named(telemetry.Put) {
		if s.Parent == uploads[0].ID {
			seen = append(seen, fmt.Sprint(s.Attributes["pgark.repo"], " ", s.Failed))
		}
	}
	if !slices.Equal(seen, []string{"primary true", "primary true", "primary false", "dr false"}) {
		t.Errorf("attempts %v", seen)
	}
	if counted != 6 {
		t.Errorf("%d attempts were counted, want 6", counted)
	}
	if strays := r.Strays(); len(strays) > 0 {
		t.Errorf("not listed: %v", strays)
	}
}

// reluctant refuses the first puts of WAL.
type reluctant struct {
	storage.Store

	left *int
}

func (s *reluctant) Put(ctx context.Context, key storage.Key, body []byte) error {
	if *s.left > 0 {
		*s.left--
		return fmt.Errorf("put: %w", storage.ErrUnavailable)
	}
	return s.Store.Put(ctx, key, body)
}

// TestUploadsAreForgotten: however many there are, and however long the agent runs, only the newest are remembered.
func TestUploadsAreForgotten(t *testing.T) {
	ctx, _ := traced(t, otlptest.NewReceiver(t))
	u := newUploadSpans(ctx, "main")
	for i := range 3 * mostUploads {
		e := walObject(i)
		e.Key += storage.Key(fmt.Sprint(i))
		_, ended := u.put(ctx, e)
		ended(nil)
	}
	if len(u.known) != mostUploads || len(u.order) != mostUploads {
		t.Errorf("%d and %d are remembered", len(u.known), len(u.order))
	}
}

// TestUploadsCostNothingWhenOff: where nothing is exported, an upload calls and keeps nothing that it did not before.
func TestUploadsCostNothingWhenOff(t *testing.T) {
	u := newUploadSpans(t.Context(), "main")
	if u != nil || u.putting() != nil {
		t.Fatal("spans are made where none is exported")
	}
	if u.of(t.Context(), "primary", nil) != nil {
		t.Error("attempts are told to somebody")
	}
	count := 0
	see := u.of(t.Context(), "primary", func(retry.Attempt) { count++ })
	key := walObject(1).Key
	if n := testing.AllocsPerRun(100, func() { see(retry.Attempt{Op: "put", Key: key, Size: 6, Took: time.Second}) }); n != 0 || count == 0 {
		t.Errorf("%.0f allocations, %d calls", n, count)
	}
}

// TestBackupSpans: a base backup is one span with its phases below it, and says what was taken from where.
func TestBackupSpans(t *testing.T) {
	r := otlptest.NewReceiver(t)
	ctx, flush := traced(t, r)
	srv, err := newServer(config.Cluster{Postgres: "host=db.internal port=5433 password=hunter22"})
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	inner, span := beginBackup(ctx, "main", srv)
	if !telemetry.On(inner) {
		t.Error("nothing is exported below it")
	}
	progress := span.watch(func(backup.Progress) { told++ })
	for _, phase := range []backup.Phase{backup.PhaseBegin, backup.PhaseCopy, backup.PhaseCopy, backup.PhaseWAL, backup.PhaseCommit} {
		progress(backup.Progress{Phase: phase})
	}
	span.end(repository.Backup{ID: "20261122T100000Z", SystemID: 7, Timeline: 2, StartLSN: 0x2000028, StopLSN: 0x3000000, Plain: 30, Stored: 10, Files: 3}, nil)
	_, failed := beginBackup(ctx, "main", srv)
	failed.watch(func(backup.Progress) {})(backup.Progress{Phase: backup.PhaseCopy})
	failed.end(repository.Backup{}, backup.ErrRunning)
	flush()
	all := r.Named(telemetry.Backup)
	if told != 5 || len(all) != 2 {
		t.Fatalf("told %d, got %+v", told, r.Spans())
	}
	want := "map[db.system.name:postgresql pgark.backup:20261122T100000Z pgark.bytes:30 pgark.cluster:main pgark.end_lsn:0/3000000 pgark.files:3 pgark.lsn:0/2000028 " +
		"pgark.stored_bytes:10 pgark.system_id:7 pgark.timeline:2 server.address:db.internal server.port:5433]"
	if got := fmt.Sprint(all[0].Attributes); got != want || all[0].Failed {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := fmt.Sprint(r.Below(all[0])); got != "[backup.begin backup.copy backup.wal backup.commit]" {
		t.Errorf("phases %s", got)
	}
	if !all[1].Failed || len(r.Below(all[1])) != 1 {
		t.Errorf("got %+v", all[1])
	}
	if strays := r.Strays(); len(strays) > 0 {
		t.Errorf("not listed: %v", strays)
	}
}
