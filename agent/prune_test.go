package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/limit"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/storagetest"
	"github.com/pgark/pgark/wal"
)

// TestPruneNeedsThePrimary: nothing is let go in what the configuration calls a copy unless the primary shows that it is one: the primary may have been emptied, and the
// copy be all that is left, or it may be the repository of another cluster.
func TestPruneNeedsThePrimary(t *testing.T) {
	for name, test := range map[string]struct {
		primary bool
		want    error
	}{
		"no primary": {false, errNoPrimary}, "another's": {true, errNoAgreement},
	} {
		t.Run(name, func(t *testing.T) {
			c := config.Cluster{Name: "main", Required: config.Primary, Backup: config.Backup{Timezone: "UTC"}, Retain: config.Retain{Window: time.Hour}}
			c.Repo.URL, c.Copies = "file://"+t.TempDir(), []config.Copy{{Name: "dr", URL: "file://" + t.TempDir()}}
			for _, url := range []string{c.Repo.URL, c.Copies[0].URL} {
				if url == c.Repo.URL && !test.primary {
					continue
				}
				store, err := OpenStore(t.Context(), url, StoreOptions{})
				if err == nil {
					_, err = repository.Create(t.Context(), store)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			report, err := Prune(t.Context(), c, StoreOptions{Patience: Brief}, PruneOptions{Remove: true})
			if err != nil || len(report.Repositories) != 2 || !errors.Is(report.Repositories[1].Err, test.want) {
				t.Errorf("got %+v, %v", report.Repositories, err)
			}
		})
	}
}

// TestRenewWithoutThePrimary: where the primary is lost, or everything is kept for ever, or a record is forged, what is there comes under lock all the same, also what was stored before.
func TestRenewWithoutThePrimary(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	for _, bucket := range []string{"lost", "copy"} {
		server.CreateBucket(t, bucket)
	}
	server.LockBucket(t, "copy", "", 0)
	c := config.Cluster{Name: "main", Required: config.Primary, Backup: config.Backup{Timezone: "UTC"}, Retain: config.Retain{Schedule: "0 5 * * *"}}
	c.Repo.URL = server.URL("lost", "main")
	c.Copies = []config.Copy{{Name: "dr", URL: server.URL("copy", "main")}}
	store, err := OpenStore(t.Context(), c.Copies[0].URL, StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := repository.Create(t.Context(), store)
	if err == nil {
		err = r.Cluster(7).PutPin(t.Context(), repository.Pin{Backup: "20261121T024000Z", Number: 1, Change: repository.Pinned, Time: time.Now()})
	}
	if err == nil {
		err = store.Put(t.Context(), "7/pins/20261121T024000Z-00002.json", []byte("forged"))
	}
	if err != nil {
		t.Fatal(err)
	}
	if plan, err := parsePruning(c); err != nil || plan != nil {
		t.Errorf("nothing to remove and no locks: %v, %v", plan, err)
	}
	c.Copies[0].Lock = storage.Lock{Mode: storage.Governance, For: time.Hour}
	if plan, err := parsePruning(c); err != nil || plan == nil {
		t.Errorf("locks with everything kept for ever: no run, %v", err)
	}
	for run, extended := range []int{3, 0} {
		report, err := Prune(t.Context(), c, StoreOptions{Patience: Brief}, PruneOptions{Remove: true})
		if err != nil {
			t.Fatal(err)
		}
		dr := report.Repositories[1]
		if !errors.Is(dr.Err, errNoPrimary) || dr.Locks == nil || dr.Locks.Asked != 3 || dr.Locks.Extended != extended || dr.Locks.Failed > 0 {
			t.Errorf("run %d: %+v, locks %+v", run, dr, dr.Locks)
		}
	}
	report, err := Prune(t.Context(), c, StoreOptions{Patience: Brief}, PruneOptions{})
	if err != nil || report.Repositories[1].Locks != nil {
		t.Errorf("a run that only shows: %+v, %v", report.Repositories[1].Locks, err)
	}
}

// TestRenewPutOverAtTheStore guards T2: somebody who may write put noise over a repository's objects. When the locks that its own versions had would have ended, nobody can remove these, and as of before they are
// read as they were.
func TestRenewPutOverAtTheStore(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits until a lock would have ended")
	}
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	server.LockBucket(t, "bucket", "", 0)
	c := config.Cluster{Name: "main", Required: config.Primary, Backup: config.Backup{Timezone: "UTC"}}
	c.Repo.URL, c.Repo.Lock = server.URL("bucket", "main"), storage.Lock{Mode: storage.Governance, For: 4 * time.Second}
	store, err := OpenStore(t.Context(), c.Repo.URL, StoreOptions{Lock: c.Repo.Lock})
	if err != nil {
		t.Fatal(err)
	}
	r, err := repository.Create(t.Context(), store)
	if err == nil {
		err = r.Cluster(7).PutPin(t.Context(), repository.Pin{Backup: "20261121T024000Z", Number: 1, Change: repository.Pinned, Time: time.Now()})
	}
	if err != nil {
		t.Fatal(err)
	}
	ends := time.Now().Add(c.Repo.Lock.For)
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(1050 * time.Millisecond))) // S3 dates versions to the second
	before := time.Now().Add(-time.Second)
	const pin = "7/pins/20261121T024000Z-00001.json"
	first := map[storage.Key]string{repository.MarkerKey: "", pin: ""}
	for key := range first {
		info, err := store.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		first[key] = info.Version
		server.PutObject(t, "bucket", "main/"+string(key), []byte("noise"))
	}
	c.Repo.Lock.For = time.Hour
	report, err := Prune(t.Context(), c, StoreOptions{Patience: Brief}, PruneOptions{Remove: true})
	if l := report.Repositories[0].Locks; err != nil || l == nil || l.Asked != 2 || l.Extended != 2 || l.Failed > 0 {
		t.Fatalf("got %+v, %v", l, err)
	}
	time.Sleep(time.Until(ends.Add(2 * time.Second)))
	for v, err := range storage.Versions(t.Context(), store, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if _, ours := first[v.Key]; !ours || v.Current {
			continue
		}
		first[v.Key] = v.Version
		if status := server.DeleteVersion(t, "/bucket/main/"+string(v.Key), v.Version); status != http.StatusForbidden {
			t.Errorf("%s: whoever has all keys removes the first version: status %d", v.Key, status)
		}
	}
	was, err := OpenStore(t.Context(), c.Repo.URL, StoreOptions{AsOf: before})
	if err != nil {
		t.Fatal(err)
	}
	then, err := repository.Open(t.Context(), was)
	if err != nil || then.Marker() != r.Marker() {
		t.Fatalf("as of before: %v", err)
	}
	if pins, err := then.Cluster(7).Pins(t.Context()); err != nil || len(pins) != 1 {
		t.Errorf("as of before: pins %v, %v", pins, err)
	}
}

// TestPinComesLate: a backup that retention has begun to let go is not said to be kept.
func TestPinComesLate(t *testing.T) {
	store := memory.New()
	r, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	c := r.Cluster(wal.SystemID(7))
	const goes, other = "20261121T024000Z", "20261122T024000Z"
	if err := c.PutExpiry(t.Context(), repository.Expiry{}, repository.Expiry{Backups: []string{goes}}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		backup string
		change repository.PinChange
		want   error
	}{{goes, repository.Pinned, errGoes}, {goes, repository.Unpinned, nil}, {other, repository.Pinned, nil}} {
		done, taken := pinIn(t.Context(), []*repository.Cluster{c}, []string{"primary"}, repository.Pin{Backup: test.backup, Change: test.change, Time: time.Now()})
		if taken || len(done) != 1 || !errors.Is(done[0].Err, test.want) {
			t.Errorf("%s of %s: got %+v", test.change, test.backup, done)
		}
	}
}

// TestHold guards I34: while somebody reads all is held that is kept, then what is named and nothing else; and what others go on with stays held.
func TestHold(t *testing.T) {
	broken := errors.New("broken")
	reads := repository.Reads{Backup: "20261121T024000Z", Timeline: 2, WAL: wal.Range{Start: 0x2000028, End: 0x3000000}}
	for name, test := range map[string]struct {
		left, back bool
		err        error
		want       int
	}{
		"it recovers itself": {false, false, nil, 0}, "others recover": {true, false, nil, 1}, "nothing was laid down": {false, false, broken, 0},
		"broken off while it recovers": {true, false, broken, 1}, "it has recovered": {true, true, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := config.Cluster{Name: "main", Required: config.Primary, Repo: config.Repo{URL: "file://" + t.TempDir()}}
			store, err := OpenStore(t.Context(), c.Repo.URL, StoreOptions{})
			if err != nil {
				t.Fatal(err)
			}
			r, err := repository.Create(t.Context(), store)
			for _, id := range []wal.SystemID{7, 8} {
				if err == nil {
					err = r.Cluster(id).PutHistory(t.Context(), 2, []byte("1\t0/2800000\tpromoted\n"))
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			holds := func(id wal.SystemID) (all []repository.Reads) {
				for o, err := range r.Cluster(id).Holds(t.Context()) {
					if err != nil {
						t.Fatal(err)
					}
					h, err := r.Cluster(id).Hold(t.Context(), o)
					if err != nil || h.Why != "restore" || h.Ends().Before(time.Now().Add(2*24*time.Hour)) {
						t.Errorf("got %+v, %v", h, err)
					}
					all = append(all, h.Reads)
				}
				return all
			}
			err = Hold(t.Context(), c, "restore", StoreOptions{}, func(h *Holding) error {
				if a, b := holds(7), holds(8); !slices.Equal(a, []repository.Reads{{}}) || !slices.Equal(b, a) {
					t.Errorf("before the plan: %+v, %+v", a, b)
				}
				if held := h.Name(t.Context(), 7, reads); len(held.Goes)+len(held.Unheld) > 0 {
					t.Errorf("got %+v", held)
				}
				if a, b := holds(7), holds(8); !slices.Equal(a, []repository.Reads{reads}) || len(b) > 0 {
					t.Errorf("with the plan: %+v, %+v", a, b)
				}
				h.Leave(test.left)
				if test.back {
					h.Leave(false)
				}
				return test.err
			})
			if n := len(holds(7)); !errors.Is(err, test.err) || n != test.want {
				t.Errorf("got %v, %d holds", err, n)
			}
		})
	}
}

// TestHoldComesLate: who begins to read what retention has begun to let go is told.
func TestHoldComesLate(t *testing.T) {
	c := config.Cluster{Name: "main", Required: config.Primary, Repo: config.Repo{URL: "file://" + t.TempDir()}}
	store, err := OpenStore(t.Context(), c.Repo.URL, StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := repository.Create(t.Context(), store)
	if err == nil {
		err = r.Cluster(7).PutHistory(t.Context(), 2, []byte("1\t0/2800000\tpromoted\n"))
	}
	if err == nil {
		err = r.Cluster(7).PutExpiry(t.Context(), repository.Expiry{}, repository.Expiry{
			Backups: []string{"20261121T024000Z"}, WAL: []repository.Stretch{
				{Timeline: 1, Range: wal.Range{Start: 0x1000000, End: 0x3000000}}, {Timeline: 1, Range: wal.Range{Start: 0x7000000, End: 0x9000000}},
			},
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		reads repository.Reads
		want  []string
	}{
		"the backup":                      {repository.Reads{Backup: "20261121T024000Z", Timeline: 1, WAL: wal.Range{Start: 0x5000028, End: 0x6000000}}, []string{"primary"}},
		"its WAL":                         {repository.Reads{Backup: "20261122T024000Z", Timeline: 1, WAL: wal.Range{Start: 0x2000028, End: 0x6000000}}, []string{"primary"}},
		"WAL that its timeline came from": {repository.Reads{Backup: "20261122T024000Z", Timeline: 2, WAL: wal.Range{Start: 0x2000028, End: 0x6000000}}, []string{"primary"}},
		"WAL of a timeline that it left":  {repository.Reads{Backup: "20261122T024000Z", Timeline: 2, WAL: wal.Range{Start: 0x2800000, End: 0x9000000}}, nil},
		"WAL whose history is not known":  {repository.Reads{Backup: "20261122T024000Z", Timeline: 3, WAL: wal.Range{Start: 0x7000028, End: 0x9000000}}, []string{"primary"}},
		"none of it":                      {repository.Reads{Backup: "20261122T024000Z", Timeline: 1, WAL: wal.Range{Start: 0x3000028, End: 0x6000000}}, nil},
	} {
		err := Hold(t.Context(), c, "restore", StoreOptions{}, func(h *Holding) error {
			if got := h.Name(t.Context(), 7, test.reads); !slices.Equal(got.Goes, test.want) || len(got.Unheld) > 0 {
				t.Errorf("%s: got %+v, want %v", name, got, test.want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestHoldIsNotLeft: a hold whose put or end got no answer is ended with the others.
func TestHoldIsNotLeft(t *testing.T) {
	for name, fail := range map[string]func(*memory.Store){
		"put":   func(s *memory.Store) { s.LoseResponse(memory.Put, "*/holds/*", 2) },
		"ended": func(s *memory.Store) { s.Fail(memory.Delete, "*/holds/*", 1, context.DeadlineExceeded) },
	} {
		store := memory.New()
		r, err := repository.Create(t.Context(), store)
		if err == nil {
			err = r.Cluster(7).PutHistory(t.Context(), 2, []byte("1\t0/2800000\tpromoted\n"))
		}
		if err != nil {
			t.Fatal(err)
		}
		one := place{name: "primary", url: "s3://b/main", store: &Store{Store: limit.Wrap(store, limit.Options{})}}
		h := &Holding{stores: &places{all: []place{one}}, made: map[string][]madeHold{}, unheld: map[string]error{}}
		fail(store)
		for range 3 {
			h.put(t.Context(), holdPatience, everywhere)
		}
		h.end(t.Context())
		for o, err := range r.Cluster(7).Holds(t.Context()) {
			t.Errorf("%s: %s is left, %v", name, o.Key, err)
		}
	}
}

// TestHoldNotTaken: that a repository does not take a hold is told, with the reason; it is tried again for as long as somebody reads there.
func TestHoldNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := config.Cluster{Name: "main", Required: config.Primary, Repo: config.Repo{URL: "file://" + dir}}
		store, err := OpenStore(t.Context(), c.Repo.URL, StoreOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := repository.Create(t.Context(), store)
		if err == nil {
			err = r.Cluster(7).PutHistory(t.Context(), 2, []byte("1\t0/2800000\tpromoted\n"))
		}
		inTheWay := filepath.Join(dir, "7", "holds")
		if err == nil {
			err = os.WriteFile(inTheWay, nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		reads := repository.Reads{Backup: "20261121T024000Z", Timeline: 1, WAL: wal.Range{Start: 0x2000028, End: 0x3000000}}
		held := func() (n int) {
			for o, err := range r.Cluster(7).Holds(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if h, err := r.Cluster(7).Hold(t.Context(), o); err == nil && h.Reads == reads {
					n++
				}
			}
			return n
		}
		err = Hold(t.Context(), c, "restore", StoreOptions{Patience: Brief}, func(h *Holding) error {
			if got := h.Name(t.Context(), 7, reads); len(got.Unheld) != 1 || got.Unheld[0].Repository != config.Primary || got.Unheld[0].Err == nil {
				t.Errorf("got %+v", got)
			}
			if err := os.Remove(inTheWay); err != nil {
				return err
			}
			time.Sleep(2 * holdRetry)
			synctest.Wait()
			if n := held(); n != 1 {
				t.Errorf("%d holds while it is read", n)
			}
			return nil
		})
		if n := held(); err != nil || n != 0 {
			t.Errorf("got %v, %d holds", err, n)
		}
	})
}

// TestPruneMadeUp: a run that was missed while no agent ran is made up for once one has run for a while, however rare runs are; one that was made is not made again, nor before the agent has
// run for that long.
func TestPruneMadeUp(t *testing.T) {
	const day, week = 24 * time.Hour, 7 * 24 * time.Hour
	for name, test := range map[string]struct {
		last time.Duration // of the newest expiry record before the start, a Saturday; 0: none
		want []time.Duration
	}{
		"missed":                       {9 * day, []time.Duration{makeUpAfter, 29 * time.Hour, week + 29*time.Hour}},
		"made in time":                 {5 * day, []time.Duration{29 * time.Hour, week + 29*time.Hour}},
		"never, or nothing was to go":  {0, []time.Duration{makeUpAfter, 29 * time.Hour, week + 29*time.Hour}},
		"by a clock that is far ahead": {-99 * day, []time.Duration{29 * time.Hour, week + 29*time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plan, err := parsePruning(config.Cluster{Retain: config.Retain{Schedule: "0 5 * * 0", Window: time.Hour}})
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now() // midnight, a Saturday, in a bubble
				r, err := repository.Create(t.Context(), memory.New())
				if err != nil {
					t.Fatal(err)
				}
				cluster := r.Cluster(7)
				if test.last != 0 {
					if err := cluster.PutExpiry(t.Context(), repository.Expiry{}, repository.Expiry{Time: start.Add(-test.last), Backups: []string{"20261121T024000Z"}}); err != nil {
						t.Fatal(err)
					}
				}
				var runs []time.Duration
				s := &jobSchedule{plan: plan, tell: func(_ context.Context, err error) { t.Error(err) }}
				s.look = func(ctx context.Context) (time.Time, bool, error) {
					last, err := lastPruned(ctx, cluster, s)
					return last, true, err
				}
				s.do = func(context.Context) error {
					runs = append(runs, time.Since(start).Truncate(time.Minute))
					return nil
				}
				ctx, cancel := context.WithTimeout(t.Context(), 13*day)
				defer cancel()
				if err := s.run(ctx); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(runs, test.want) {
					t.Errorf("ran at %v, want %v", runs, test.want)
				}
			})
		})
	}
}

// TestTellPruned: what another host's run overtook is no error in the log; what failed is.
func TestTellPruned(t *testing.T) {
	for name, test := range map[string]struct {
		report retention.RepositoryReport
		want   string
	}{
		"overtaken": {retention.RepositoryReport{Error: "changed", Changed: true}, "level=INFO"},
		"failed":    {retention.RepositoryReport{Error: "access denied"}, "level=ERROR"},
		"pruned":    {retention.RepositoryReport{DeletedObjects: 1}, "level=INFO"},
	} {
		var log strings.Builder
		tellPruned(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), retention.Report{Repositories: []retention.RepositoryReport{test.report}})
		if !strings.Contains(log.String(), test.want) {
			t.Errorf("%s: got %s", name, log.String())
		}
	}
}

// refusing is a store that does not list its uploads.
type refusing struct{ err error }

func (r refusing) StaleUploads(context.Context, time.Time) ([]storage.StaleUpload, error) {
	return nil, r.err
}

func (r refusing) DropUpload(context.Context, storage.StaleUpload) error { return r.err }

// TestSweepDenied: that uploads could not be looked for is said, where the store has any.
func TestSweepDenied(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{{storage.ErrDenied, storage.ErrDenied.Error()}, {errors.ErrUnsupported, ""}} {
		var report retention.RepositoryReport
		if err := sweep(t.Context(), refusing{test.err}, time.Now(), PruneOptions{Remove: true}, &report); err != nil || report.UploadsError != test.want {
			t.Errorf("got %q, %v, want %q", report.UploadsError, err, test.want)
		}
	}
}
