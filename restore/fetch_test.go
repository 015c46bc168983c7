package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/storage/s3"
	"github.com/pgark/pgark/storage/storagetest"
	"github.com/pgark/pgark/wal"
)

// fetched is an archive to fetch from: timeline 1 has segments 2 to 4 and a
// part of 5, timeline 2 left it in segment 4 and has 4 to 6, 6 in part.
// Segment 8 on timeline 1 lies behind a hole.
type fetched struct {
	one []byte // from the start of segment 2
	two []byte // from the start of segment 4
}

const historyTwo = "1\t0/480000\tno recovery target specified\n"

func newFetched(t testing.TB, c *repository.Cluster) *fetched {
	t.Helper()
	f := &fetched{}
	one := newWALMaker(lsn(2))
	for one.pos() < lsn(5.5) {
		one.filler(7, 50_000)
	}
	one.archive(t, c, map[wal.LSN]bool{lsn(5.125): true, lsn(5.25): true}, nil)
	f.one = one.bytes
	if err := c.PutHistory(t.Context(), 2, []byte(historyTwo)); err != nil {
		t.Fatal(err)
	}
	two := newWALMaker(lsn(4))
	two.tli = 2
	two.bytes = bytes.Clone(one.bytes[lsn(4)-lsn(2) : lsn(4.5)-lsn(2)])
	two.bytes = append(two.bytes, make([]byte, lsn(6.25)-two.pos())...)
	archiveRaw(t, c, 2, lsn(4), two.bytes)
	f.two = two.bytes
	archiveRaw(t, c, 1, lsn(8), make([]byte, mib))
	return f
}

// archiveRaw puts bytes that need not be WAL.
func archiveRaw(t testing.TB, c *repository.Cluster, tli wal.TimelineID, start wal.LSN, b []byte) {
	t.Helper()
	encoder := repository.NewWALEncoder(compression.Zstd())
	for len(b) > 0 {
		n := min(len(b), int(mib))
		o := repository.WALObject{
			SystemID: fakeSystem, Timeline: tli, SegmentSize: mib, Kind: repository.KindSegment,
			Range: wal.Range{Start: start, End: start + wal.LSN(n)},
		}
		if n < int(mib) {
			o.Kind = repository.KindPiece
		}
		e, err := encoder.Encode(o, b[:n])
		if err != nil {
			t.Fatal(err)
		}
		if err := c.PutWAL(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		b, start = b[n:], start+wal.LSN(n)
	}
}

// opener opens the made-up cluster in a store anew, as each call of wal fetch does.
func opener(store storage.Store) func(context.Context) (*repository.Cluster, error) {
	return func(ctx context.Context) (*repository.Cluster, error) {
		r, err := repository.Open(ctx, store)
		if err != nil {
			return nil, err
		}
		return r.Cluster(fakeSystem), nil
	}
}

func name(tli wal.TimelineID, segment wal.SegmentNumber) string {
	return mib.FileName(wal.SegmentID{Timeline: tli, Number: segment})
}

// padded is a file of a segment that begins with b.
func padded(b []byte) []byte {
	return append(bytes.Clone(b[:min(len(b), int(mib))]), make([]byte, max(0, int(mib)-len(b)))...)
}

func TestFetch(t *testing.T) {
	store := memory.New()
	repo, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	f := newFetched(t, repo.Cluster(fakeSystem))
	from := func(n float64) []byte { return f.one[lsn(n)-lsn(2):] }
	until := func(n float64, tli wal.TimelineID) restore.FetchOptions {
		return restore.FetchOptions{Until: lsn(n), Timeline: tli}
	}
	cut := func(b []byte, n wal.LSN) []byte { return padded(b[:n]) }
	const absent, failed = 1, 200
	tests := []struct {
		name string
		file string
		o    restore.FetchOptions
		code int
		want []byte
	}{
		{"a complete segment", name(1, 2), restore.FetchOptions{}, 0, padded(from(2))},
		{"one in pieces, with more behind a hole", name(1, 5), restore.FetchOptions{}, failed, nil},
		{"one in pieces, as the plan needs it", name(1, 5), until(5.4, 1), 0, cut(from(5), lsn(0.4))},
		{"one in pieces, the plan needs more", name(1, 5), until(5.9, 1), failed, nil},
		{"the last of its timeline, in part", name(2, 6), restore.FetchOptions{}, 0, padded(f.two[lsn(6)-lsn(4):])},
		{"past the end of its timeline", name(2, 7), restore.FetchOptions{}, absent, nil},
		{"in a hole", name(1, 6), restore.FetchOptions{}, failed, nil},
		{"in a hole, past the plan", name(1, 6), until(6, 1), absent, nil},
		{"past the last segment", name(1, 9), restore.FetchOptions{}, absent, nil},
		{"before its timeline began", name(2, 3), restore.FetchOptions{}, absent, nil},
		{"of a timeline that is not there", name(3, 5), restore.FetchOptions{}, absent, nil},
		{"before the archive begins", name(1, 1), restore.FetchOptions{}, failed, nil},
		{"complete, cut where the plan ends", name(1, 3), until(3.5, 1), 0, cut(from(3), lsn(0.5))},
		{"ends with the plan", name(1, 3), until(4, 1), 0, padded(from(3))},
		{"starts where the plan ends", name(1, 4), until(4, 1), absent, nil},
		{"the plan needs what is gone", name(2, 7), until(7.5, 2), failed, nil},
		{"the parent's copy, that the plan does not need", name(1, 7), until(7.5, 2), failed, nil},
		{"history", "00000002.history", restore.FetchOptions{}, 0, []byte(historyTwo)},
		{"history past the plan", "00000002.history", until(4, 1), 0, []byte(historyTwo)},
		{"no history", "00000003.history", restore.FetchOptions{}, absent, nil},
		{"history of timeline 1, which has none", "00000001.history", restore.FetchOptions{}, absent, nil},
		{"partial", name(1, 5) + ".partial", restore.FetchOptions{}, absent, nil},
		{"backup history", name(1, 5) + ".00000028.backup", restore.FetchOptions{}, absent, nil},
		{"no name", "", restore.FetchOptions{}, failed, nil},
		{"not a WAL file", "backup_manifest", restore.FetchOptions{}, failed, nil},
		{"a path", "../../etc/passwd", restore.FetchOptions{}, failed, nil},
		{"history of timeline 0", "00000000.history", restore.FetchOptions{}, failed, nil},
		{"timeline 0", name(0, 2), restore.FetchOptions{}, failed, nil},
	}
	for _, tt := range tests {
		for _, ahead := range []int{0, 2} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, ahead), func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "RECOVERYXLOG")
				o := tt.o
				o.Ahead = ahead
				result, err := restore.Fetch(t.Context(), opener(store), tt.file, path, o)
				if got := restore.ExitCode(result, err, false); got != tt.code {
					t.Fatalf("got exit code %d (%v), want %d", got, err, tt.code)
				}
				got, err := os.ReadFile(path)
				if tt.code == 0 && (err != nil || !bytes.Equal(got, tt.want)) {
					t.Errorf("got %d bytes, %v, that differ from the %d wanted", len(got), err, len(tt.want))
				}
				if tt.code != 0 && err == nil {
					t.Error("a file was made")
				}
				if left, _ := filepath.Glob(filepath.Join(dir, "*.pgark-*")); len(left) > 0 {
					t.Errorf("left behind: %q", left)
				}
			})
		}
	}
}

func TestFetchExitCode(t *testing.T) {
	tests := []struct {
		result restore.FetchResult
		err    error
		want   int
		there  int // where a standby asks
	}{
		{restore.FetchFound, nil, 0, 0},
		{restore.FetchAbsent, nil, 1, 1},
		{0, nil, 200, 200},
		{99, nil, 200, 200},
		{restore.FetchFound, errors.New("x"), 200, 1},
		{restore.FetchAbsent, errors.New("x"), 200, 1},
	}
	for _, tt := range tests {
		for standby, want := range map[bool]int{false: tt.want, true: tt.there} {
			if got := restore.ExitCode(tt.result, tt.err, standby); got != want {
				t.Errorf("ExitCode(%d, %v, %v) = %d, want %d", tt.result, tt.err, standby, got, want)
			}
		}
	}
}

// A timeline that has WAL and no history file is no reason to think that there
// is no such timeline.
func TestFetchHistoryMissing(t *testing.T) {
	store := memory.New()
	repo, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	archiveRaw(t, repo.Cluster(fakeSystem), 5, lsn(2), make([]byte, 100))
	result, err := restore.Fetch(t.Context(), opener(store), "00000005.history", filepath.Join(t.TempDir(), "x"), restore.FetchOptions{})
	if err == nil {
		t.Errorf("got result %d, want an error", result)
	}
}

// Whatever call to the store fails, and however: never absence, and never a
// file that is not whole.
func TestFetchEachCallFails(t *testing.T) {
	store := memory.New()
	repo, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	newFetched(t, repo.Cluster(fakeSystem))
	for _, file := range []string{name(1, 2), name(2, 6), name(2, 7), name(1, 9), "00000002.history", "00000003.history", name(1, 5) + ".partial"} {
		right, err := restore.Fetch(t.Context(), opener(store), file, filepath.Join(t.TempDir(), "x"), restore.FetchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, fault := range []error{storage.ErrDenied, storage.ErrUnavailable, context.DeadlineExceeded} {
			for n := 1; ; n++ {
				bad := store.Clone()
				bad.Fail(memory.Any, "", n, fault)
				path := filepath.Join(t.TempDir(), "x")
				result, err := restore.Fetch(t.Context(), opener(bad), file, path, restore.FetchOptions{Ahead: 1})
				if err == nil && result != right {
					t.Errorf("%s, %v in call %d: got result %d, want %d", file, fault, n, result, right)
				}
				if exists(t, path) != (err == nil && result == restore.FetchFound) {
					t.Errorf("%s, %v in call %d: file made: %t", file, fault, n, exists(t, path))
				}
				if err == nil && len(bad.Calls()) < n {
					break
				}
				if n > 50 {
					t.Fatal("no end of calls")
				}
			}
		}
	}
}

// What one call reads ahead the next one takes without asking the store, and
// a file there that was changed is not taken.
func TestFetchAhead(t *testing.T) {
	store := memory.New()
	repo, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	f := newFetched(t, repo.Cluster(fakeSystem))
	dir := t.TempDir()
	path := filepath.Join(dir, "RECOVERYXLOG")
	o := restore.FetchOptions{Until: lsn(5.4), Timeline: 1, SegmentSize: mib, Ahead: 3}
	fetch := func(open func(context.Context) (*repository.Cluster, error), n wal.SegmentNumber) error {
		t.Helper()
		result, err := restore.Fetch(t.Context(), open, name(1, n), path, o)
		if err == nil && result != restore.FetchFound {
			t.Fatalf("segment %d: got result %d", n, result)
		}
		return err
	}
	if err := fetch(opener(store), 2); err != nil {
		t.Fatal(err)
	}
	closed := func(context.Context) (*repository.Cluster, error) { return nil, errors.New("the store is asked") }
	if err := fetch(closed, 3); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, padded(f.one[mib:])) {
		t.Errorf("got %d bytes that differ, %v", len(got), err)
	}
	if err := fetch(closed, 3); err == nil {
		t.Error("a file was taken twice")
	}
	// The last one is cut where the plan ends.
	if err := fetch(closed, 5); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, padded(f.one[lsn(5)-lsn(2):lsn(5.4)-lsn(2)])) {
		t.Errorf("got %d bytes that differ, %v", len(got), err)
	}
	// A file that something changed is read from the store instead.
	if err := fetch(opener(store), 2); err != nil {
		t.Fatal(err)
	}
	spooled, err := filepath.Glob(filepath.Join(dir, "pgark-spool-*", name(1, 3)+".????????"))
	if err != nil || len(spooled) != 1 {
		t.Fatalf("got %q, %v", spooled, err)
	}
	if err := os.WriteFile(spooled[0], make([]byte, mib), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fetch(closed, 3); err == nil {
		t.Error("a changed file was taken")
	}
	if err := fetch(opener(store), 3); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, padded(f.one[mib:])) {
		t.Error("got other bytes than those of the archive")
	}
	// Another plan does not take what was read for this one.
	o.Until = lsn(5.3)
	if err := fetch(closed, 4); err == nil {
		t.Error("a file of another plan was taken")
	}
	// The server asks for a history file behind its timeline: recovery is over.
	o.Until = lsn(5.4)
	if _, err := restore.Fetch(t.Context(), opener(store), "00000003.history", path, o); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "pgark-spool-*40*")); len(left) > 1 {
		t.Errorf("left behind: %q", left)
	}
}

// Prefetch feeds a server that asks for one segment after the other, by Fetch or by the command of a supervised one.
func TestPrefetch(t *testing.T) {
	store := memory.New()
	repo, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	f := newFetched(t, repo.Cluster(fakeSystem))
	plan := &restore.Plan{
		Backup: repository.Backup{SegmentSize: mib}, Until: lsn(5.4), Timeline: 1,
		Legs: []restore.Leg{{Timeline: 1, Range: wal.Range{Start: lsn(2), End: lsn(5.4)}, Segments: 4}},
	}
	const path = "pg_wal/RECOVERYXLOG"
	ways := map[string]func(ctx context.Context, dir, name string) error{
		"Fetch": func(ctx context.Context, dir, name string) error {
			result, err := restore.Fetch(ctx, opener(store), name, filepath.Join(dir, path), plan.FetchOptions())
			if err == nil && result != restore.FetchFound {
				err = fmt.Errorf("got %d", result)
			}
			return err
		},
		"command": func(ctx context.Context, dir, name string) error {
			for ctx.Err() == nil { // a server's command would wait in Fetch
				if code := shell(ctx, t, dir, take(plan, name, path, "exit 200")); code != 200 {
					return nil
				}
			}
			return ctx.Err()
		},
	}
	for way, get := range ways {
		t.Run(way, func(t *testing.T) {
			dir := t.TempDir()
			stale := filepath.Join(dir, "pg_wal", fmt.Sprintf("pgark-spool-%s-%s", plan.Timeline, plan.Until.Hex()), name(1, 3)+".00000000")
			if err := errors.Join(os.MkdirAll(filepath.Dir(stale), 0o700), os.WriteFile(stale, []byte("of a restore before a crash"), 0o600)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			done := make(chan error, 1)
			prefetch, err := restore.NewPrefetch(plan, dir, restore.RecoverOptions{})
			if err != nil {
				t.Fatal(err)
			}
			go func() { done <- prefetch.Run(ctx, repo.Cluster(fakeSystem)) }()
			for n := wal.SegmentNumber(2); n < 6; n++ {
				if err := get(ctx, dir, name(1, n)); err != nil {
					t.Fatalf("segment %d: %v", n, err)
				}
				start, end := mib.Start(n)-lsn(2), min(mib.End(n), plan.Until)-lsn(2)
				if got, _ := os.ReadFile(filepath.Join(dir, path)); !bytes.Equal(got, padded(f.one[start:end])) {
					t.Errorf("segment %d: got other bytes than those of the archive", n)
				}
			}
			if err := <-done; err != nil {
				t.Errorf("got error %v", err)
			}
		})
	}
	// What is not ready is the other command's to answer, in its words (I22).
	for _, code := range []int{0, 1, 200} {
		if got := shell(t.Context(), t, t.TempDir(), take(plan, name(1, 3), path, fmt.Sprintf("exit %d", code))); got != code {
			t.Errorf("got exit code %d, want %d", got, code)
		}
	}
}

// slowSegment is a store that gives one object only when it may.
type slowSegment struct {
	storage.Store

	suffix string
	may    chan struct{}
}

func (s *slowSegment) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	if strings.HasSuffix(string(key), s.suffix) {
		select {
		case <-s.may:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.Store.Get(ctx, key, span)
}

// TestPrefetchLate: that the server had to wait is known (I30).
func TestPrefetchLate(t *testing.T) {
	store := &slowSegment{memory.New(), name(1, 3) + ".zst", make(chan struct{})}
	repo, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	newFetched(t, repo.Cluster(fakeSystem))
	plan := &restore.Plan{
		Backup: repository.Backup{SegmentSize: mib}, Until: lsn(5), Timeline: 1,
		Legs: []restore.Leg{{Timeline: 1, Range: wal.Range{Start: lsn(2), End: lsn(5)}, Segments: 3}},
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	prefetch, err := restore.NewPrefetch(plan, dir, restore.RecoverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	g.Go(func() error { return prefetch.Run(ctx, repo.Cluster(fakeSystem)) })
	for shell(ctx, t, dir, take(plan, name(1, 2), "pg_wal/RECOVERYXLOG", "exit 1")) != 0 {
		if ctx.Err() != nil {
			t.Fatal("the first segment is not read ahead")
		}
	}
	g.Go(func() error {
		_, err := restore.Fetch(ctx, opener(store), name(1, 3), filepath.Join(dir, "pg_wal", "RECOVERYXLOG"), plan.FetchOptions())
		return err
	})
	asked := filepath.Join(dir, "pg_wal", fmt.Sprintf("pgark-spool-%s-%s", plan.Timeline, plan.Until.Hex()), "asked")
	for got := []byte(nil); string(got) != name(1, 3) && ctx.Err() == nil; {
		got, _ = os.ReadFile(asked)
	}
	close(store.may)
	if err := g.Wait(); err != nil || prefetch.Late() != 1 {
		t.Errorf("got %d segments late, %v, want 1", prefetch.Late(), err)
	}
}

// take is the restore_command of a supervised server for one file.
func take(plan *restore.Plan, name, path, otherwise string) string {
	return strings.NewReplacer("%f", name, "%p", path).Replace(restore.TakeCommand(plan, otherwise))
}

// shell runs a restore_command as a server would whose data directory is dir, and returns its exit code.
func shell(ctx context.Context, t testing.TB, dir, command string) int {
	t.Helper()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Dir = dir
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

// TestFetchFromS3 guards the truth table of restore_command (I22): whatever the
// store or the network does, recovery is never told that WAL has ended.
func TestFetchFromS3(t *testing.T) {
	server := storagetest.StartServer(t)
	server.CreateBucket(t, "pgark")
	server.Setenv(t)
	proxy := storagetest.StartProxy(t, server)
	open := func() storage.Store {
		store, err := s3.Open(t.Context(), s3.Options{Bucket: "pgark", Prefix: "main", Endpoint: proxy.Endpoint(), Region: "us-east-1"})
		if err != nil {
			t.Fatal(err)
		}
		return retry.New(store, retry.Options{
			MinWait: time.Millisecond, MaxWait: 10 * time.Millisecond, MaxElapsed: 200 * time.Millisecond,
			AttemptTimeout: 300 * time.Millisecond,
		})
	}
	repo, err := repository.Create(t.Context(), open())
	if err != nil {
		t.Fatal(err)
	}
	f := newFetched(t, repo.Cluster(fakeSystem))
	faults := map[string]storagetest.Fault{
		"down": storagetest.Cut(), "answer lost": storagetest.Lose(), "hangs": storagetest.Hang(),
		"503": storagetest.Answer(503, "SlowDown"), "500": storagetest.Answer(500, "InternalError"), "403": storagetest.Answer(403, "AccessDenied"),
		"expired": storagetest.Answer(403, "ExpiredToken"), "404 bucket": storagetest.Answer(404, "NoSuchBucket"),
		"404": storagetest.Answer(404, "NoSuchKey"), "200 with an error": storagetest.Answer(200, "InternalError"),
		"cut short": storagetest.Truncate(100), "a flipped bit": storagetest.FlipBit(200), "301": storagetest.Answer(301, "PermanentRedirect"),
	}
	files := map[string]string{
		"complete": name(1, 2), "pieces": name(2, 6), "history": "00000002.history", "absent": name(2, 7), "no history": "00000003.history",
	}
	for what, fault := range faults {
		for _, op := range []storagetest.Op{storagetest.Get, storagetest.List} {
			for kind, file := range files {
				t.Run(fmt.Sprintf("%s/%s/%s", what, op, kind), func(t *testing.T) {
					remove := proxy.Add(storagetest.Rule{Op: op, Fault: fault})
					defer remove()
					path := filepath.Join(t.TempDir(), "RECOVERYXLOG")
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					result, err := restore.Fetch(ctx, opener(open()), file, path, restore.FetchOptions{Until: lsn(6.25), Timeline: 2})
					code := restore.ExitCode(result, err, false)
					if code == 1 && !strings.Contains(kind, "absent") && !strings.Contains(kind, "no history") {
						t.Fatalf("got exit code 1: recovery would end")
					}
					if code == 0 && kind == "complete" {
						if got, _ := os.ReadFile(path); !bytes.Equal(got, padded(f.one)) {
							t.Error("got other bytes than those of the archive")
						}
					}
					if (code == 0) != exists(t, path) {
						t.Errorf("exit code %d, file made: %t", code, exists(t, path))
					}
				})
			}
		}
	}
	t.Run("slow", func(t *testing.T) {
		remove := proxy.Add(storagetest.Rule{Op: storagetest.Get, Fault: storagetest.Delay(100 * time.Millisecond)})
		defer remove()
		path := filepath.Join(t.TempDir(), "RECOVERYXLOG")
		result, err := restore.Fetch(t.Context(), opener(open()), name(1, 2), path, restore.FetchOptions{})
		if err != nil || result != restore.FetchFound {
			t.Errorf("got %d, %v", result, err)
		}
	})
	t.Run("another bucket", func(t *testing.T) {
		server.CreateBucket(t, "empty")
		store, err := s3.Open(t.Context(), s3.Options{Bucket: "empty", Prefix: "main", Endpoint: proxy.Endpoint(), Region: "us-east-1"})
		if err != nil {
			t.Fatal(err)
		}
		result, err := restore.Fetch(t.Context(), opener(store), name(1, 2), filepath.Join(t.TempDir(), "x"), restore.FetchOptions{})
		if !errors.Is(err, repository.ErrNoRepository) {
			t.Errorf("got %d, %v, want ErrNoRepository", result, err)
		}
	})
}
