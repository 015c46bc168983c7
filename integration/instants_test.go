package integration_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/wal"
)

// soakNumber reads a number that the long forms set, as `make soak INSTANTS=50` does.
func soakNumber(t testing.TB, name string, short uint64) uint64 {
	t.Helper()
	v, ok := os.LookupEnv("PGARK_TEST_" + name)
	if !ok || v == "" {
		return short
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("PGARK_TEST_%s: %v", name, err)
	}
	return n
}

// seed is drawn anew in each run, printed, and given again by PGARK_TEST_SEED.
func seed(t testing.TB) uint64 {
	t.Helper()
	n := soakNumber(t, "SEED", uint64(time.Now().UnixNano())%1_000_000)
	t.Logf("seed %d", n)
	return n
}

// TestRestoreInstants guards I21, I23 and I24: whatever instant is asked for, the restored cluster holds exactly the commits before the first
// transaction end past it in WAL order, on every major. The short form takes the stores by turns, the long one both on each major.
func TestRestoreInstants(t *testing.T) {
	t.Parallel()
	for i, v := range postgrestest.Versions(t) {
		kinds := []storeKind{onFile, onS3}
		if os.Getenv("PGARK_TEST_INSTANTS") == "" {
			kinds = kinds[i%2:][:1]
		}
		for _, kind := range kinds {
			t.Run(v.String()+"/"+string(kind), func(t *testing.T) {
				t.Parallel()
				testInstants(t, v, kind, wal.DefaultSegmentSize)
			})
		}
	}
}

// TestRestoreSegmentSizes is the same with the smallest usual segments and with large ones.
func TestRestoreSegmentSizes(t *testing.T) {
	for _, size := range []wal.SegmentSize{1 << 20, 64 << 20} {
		t.Run(fmt.Sprint(size>>20, "MB"), func(t *testing.T) {
			t.Parallel()
			testInstants(t, postgrestest.Need(t, 17), onFile, size)
		})
	}
}

func testInstants(t *testing.T, v postgrestest.Version, kind storeKind, size wal.SegmentSize) {
	seed := seed(t)
	s := newSite(t, v, kind, postgrestest.Options{SegmentSize: size})
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)

	l := newLedger(t.Context(), t, s.server.ConnString(), 6, seed)
	begin := s.backups(t)[0]
	ctx, stop := context.WithTimeout(t.Context(), 6*time.Second)
	defer stop()
	var group errgroup.Group
	var points []restorePoint
	group.Go(func() (err error) {
		points, err = makePoints(t.Context(), s.server.ConnString(), "once", "twice", "twice")
		return err
	})
	if err := errors.Join(l.run(ctx), group.Wait()); err != nil {
		t.Fatal(err)
	}
	final, err := readState(t.Context(), s.server.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	end := s.waitArchived(t)
	agent.stop(t)
	ends := s.truth(t, end)
	t.Logf("%d transfers, %d transaction ends, %d inversions", len(final.rows), len(ends), inversions(ends))
	if len(final.rows) < 200 {
		t.Fatalf("only %d transfers: the load was no load", len(final.rows))
	}
	for i, target := range drawTargets(ends, points, begin.stop(t), seed, soakNumber(t, "INSTANTS", 10)) {
		if !t.Run(fmt.Sprintf("%02d %s", i, target.name), func(t *testing.T) { s.check(t, target, ends, final) }) {
			return
		}
	}
}

// restorePoint is where a restore point lies: the LSN is the end of its record.
type restorePoint struct {
	name string
	lsn  wal.LSN
}

// makePoints makes restore points of these names, one each second.
func makePoints(ctx context.Context, conn string, names ...string) ([]restorePoint, error) {
	c, err := pgx.Connect(ctx, conn)
	if err != nil {
		return nil, err
	}
	defer hangUp(ctx, c)
	var points []restorePoint
	for _, name := range names {
		wait(ctx, time.Second)
		var text string
		if err := c.QueryRow(ctx, "select pg_create_restore_point($1)::text", name).Scan(&text); err != nil {
			return nil, err
		}
		lsn, err := wal.ParseLSN(text)
		if err != nil {
			return nil, err
		}
		points = append(points, restorePoint{name, lsn})
	}
	return points, nil
}

// truth reads the server's own WAL up to end.
func (s *site) truth(t testing.TB, end wal.LSN) []txEnd {
	t.Helper()
	if s.server.Version.Major < 15 { // has no pg_walinspect
		return truthFromFiles(t, s.server.DataDir, end)
	}
	ends, err := truth(t.Context(), s.server.ConnString(), s.oldestWAL(t), end)
	if err != nil {
		t.Fatal(err)
	}
	return ends
}

// oldestWAL is where the WAL begins that the server still has: all since initdb but the first segments, for wal_keep_size is far above what the
// test writes. PostgreSQL's decoder looks for the first record from there by itself.
func (s *site) oldestWAL(t testing.TB) wal.LSN {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.server.DataDir, "pg_wal", "00000001*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no WAL: %v", err)
	}
	id, err := s.segmentSize.ParseFileName(filepath.Base(slices.Min(files)))
	if err != nil {
		t.Fatal(err)
	}
	return s.segmentSize.Start(id.Number) + longHeader
}

// longHeader is the length of the first page's header of a segment (SizeOfXLogLongPHD, xlog_internal.h).
const longHeader = 40

// instant is one target: the flags that ask for it and the cut that it means.
type instant struct {
	name  string
	flags []string
	cut   cut
}

func utcStamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999999Z") }

// drawTargets draws n targets that lie after the backup: random times, times at and between commits, at inversions and where two are equal, xids, LSNs and
// restore points, of which one name is there twice: the first one counts.
func drawTargets(ends []txEnd, points []restorePoint, after wal.LSN, seed, n uint64) []instant {
	rng := rand.New(rand.NewPCG(seed, 7))
	from := 0
	for ends[from].start < after {
		from++
	}
	from += 5
	draw := func() int { return from + rng.IntN(len(ends)-from-1) }
	var targets []instant
	for i := 1; i < len(ends) && len(targets) < 2; i++ {
		if i > from && ends[i].time.Before(ends[i-1].time) {
			targets = append(targets, atTime("inversion", ends[i].time))
		}
	}
	for i := from + 1; i < len(ends) && len(targets) < 4; i++ {
		if e := ends[i]; e.time.Equal(ends[i-1].time) {
			targets = append(targets, atTime("two at one time", e.time), instant{
				name: "before two at one time", flags: []string{"--to", utcStamp(e.time), "--before"}, cut: untilBeforeTime(e.time),
			})
		}
	}
	for _, p := range points[:2] { // "once", and the first "twice"
		targets = append(targets, instant{name: "restore point " + p.name, flags: []string{"--to-name", p.name}, cut: beforeLSN(p.lsn)})
	}
	for uint64(len(targets)) < n {
		e := ends[draw()]
		switch rng.IntN(8) {
		case 5:
			targets = append(targets, instant{name: "LSN", flags: []string{"--to-lsn", e.start.String()}, cut: untilLSN(e.start)})
		case 0:
			targets = append(targets, atTime("at a transaction's end", e.time))
		case 1:
			targets = append(targets, instant{
				name: "before a transaction's end", flags: []string{"--to", utcStamp(e.time), "--before"}, cut: untilBeforeTime(e.time),
			})
		case 2:
			targets = append(targets, instant{
				name: "xid", flags: []string{"--to-xid", fmt.Sprint(e.xid)}, cut: untilXID(e.xid),
			})
		case 3:
			targets = append(targets, instant{
				name: "before an xid", flags: []string{"--to-xid", fmt.Sprint(e.xid), "--before"}, cut: beforeXID(e.xid),
			})
		case 4:
			targets = append(targets, instant{
				name: "LSN, exclusive", flags: []string{"--to-lsn", e.end.String(), "--before"}, cut: beforeLSN(e.end),
			})
		default:
			first, last := ends[from].time, ends[len(ends)-1].time
			targets = append(targets, atTime("random time", first.Add(time.Duration(rng.Int64N(int64(last.Sub(first)))))))
		}
	}
	return append(targets, instant{name: "latest", flags: []string{"--to", "latest"}, cut: toTheEnd()})
}

func atTime(name string, at time.Time) instant {
	at = at.Truncate(time.Microsecond)
	return instant{name: name, flags: []string{"--to", utcStamp(at)}, cut: untilTime(at)}
}

// check restores one target and compares the rows with the truth.
func (s *site) check(t *testing.T, target instant, ends []txEnd, final state) {
	t.Helper()
	if err := s.holds(t, target, ends, final); err != nil {
		t.Error(err)
	}
}

// holds restores one target and says what differs from the truth.
func (s *site) holds(t *testing.T, target instant, ends []txEnd, final state) error {
	t.Helper()
	r, o := s.restore(t.Context(), t, target.flags...)
	if o.code != 0 {
		t.Fatalf("restore %v: exit %d\n%s%s", target.flags, o.code, o.stdout, o.stderr)
	}
	defer r.stop(t)
	got, err := readState(t.Context(), r.conn)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(compareRows(got.rows, expected(ends, final.rows, target.cut)), got.sound())
	if got.scratch != 0 {
		err = errors.Join(err, fmt.Errorf("unlogged table has %d rows, want 0", got.scratch))
	}
	if err != nil {
		return fmt.Errorf("restore %v: %w\n%s", target.flags, err, o.stdout)
	}
	return nil
}
