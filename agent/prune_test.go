package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/memory"
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

// TestHoldOn guards I34: what was laid down is held for the server that recovers from it later, unless nothing was.
func TestHoldOn(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		hold func(context.Context, config.Cluster, string, StoreOptions, func() error) error
		err  error
		left int
	}{
		"it recovers itself": {Hold, nil, 0}, "others recover": {HoldOn, nil, 1}, "nothing was laid down": {HoldOn, broken, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := config.Cluster{Name: "main", Required: config.Primary, Repo: config.Repo{URL: "file://" + t.TempDir()}}
			store, err := OpenStore(t.Context(), c.Repo.URL, StoreOptions{})
			if err != nil {
				t.Fatal(err)
			}
			r, err := repository.Create(t.Context(), store)
			if err == nil {
				err = r.Cluster(7).PutHistory(t.Context(), 2, []byte("1\t0/2800000\tpromoted\n"))
			}
			if err != nil {
				t.Fatal(err)
			}
			holds := func() (n int) {
				for o, err := range r.Cluster(7).Stock(t.Context()) {
					if err != nil {
						t.Fatal(err)
					}
					if _, is := repository.HoldOf(o); is {
						n++
					}
				}
				return n
			}
			err = test.hold(t.Context(), c, "restore", StoreOptions{}, func() error {
				if n := holds(); n != 1 {
					t.Errorf("%d holds meanwhile", n)
				}
				return test.err
			})
			if n := holds(); !errors.Is(err, test.err) || n != test.left {
				t.Errorf("got %v, %d holds", err, n)
			}
		})
	}
}
