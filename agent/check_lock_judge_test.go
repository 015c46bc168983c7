package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestLockThatIsIgnored: what the store says of an object that was just put counts, not what was sent.
func TestLockThatIsIgnored(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Now()
	lock := storage.Lock{Mode: storage.Governance, For: 14 * day}
	for name, test := range map[string]struct {
		trip trip
		want Verdict
	}{
		"heeded":                {trip{lock: storage.Governance, until: now.Add(14 * day)}, Good},
		"by the stricter mode":  {trip{lock: storage.Compliance, until: now.Add(14 * day)}, Good},
		"for longer":            {trip{lock: storage.Governance, until: now.Add(20 * day)}, Good},
		"ignored":               {trip{}, Bad},
		"for less":              {trip{lock: storage.Governance, until: now.Add(13 * day)}, Bad},
		"without Object Lock":   {trip{lockErr: storage.ErrNoLock}, Bad},
		"no right to see it":    {trip{lockErr: storage.ErrDenied}, Warning},
		"the store has a fault": {trip{lockErr: storage.ErrUnavailable}, Bad},
	} {
		if f := judgeSent(lock, test.trip, now); f.Verdict != test.want || f.Verdict == Bad && f.Err == nil {
			t.Errorf("%s: %+v, want %s", name, f, test.want)
		}
	}
	strict := storage.Lock{Mode: storage.Compliance, For: 14 * day}
	if f := judgeSent(strict, trip{lock: storage.Governance, until: now.Add(14 * day)}, now); f.Verdict != Bad || !errors.Is(f.Err, storage.ErrNoLock) {
		t.Errorf("a laxer mode: %+v", f)
	}
}

// TestCheckWhoRenews: check tells of what was there before the locks and of locks that nobody makes longer. Locks that are longer than those given now may be so because
// somebody made them longer, or because they were put when lock.for was: it says so, and warns of nothing.
func TestCheckWhoRenews(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	server.LockBucket(t, "bucket", "", 0)
	url := server.URL("bucket", "main")
	store, err := OpenStore(t.Context(), url, StoreOptions{})
	if err == nil {
		_, err = repository.Create(t.Context(), store)
	}
	if err != nil {
		t.Fatal(err)
	}
	check := func(schedule string) (warned []string) {
		loaded, err := config.Load(config.Sources{Repo: url, Environment: []string{
			"PGARK_LOCK_MODE=governance", "PGARK_LOCK_FOR=21d", "PGARK_RETAIN_SCHEDULE=" + schedule,
		}})
		if err == nil {
			err = Check(t.Context(), loaded.Clusters[0], CheckOptions{Only: []string{"storage"}}, func(f Finding) {
				if strings.Contains(f.Text, "lock") && f.Verdict != Good {
					warned = append(warned, f.Text+" | "+f.Fix)
				}
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		return warned
	}
	const bare, off, apart = "1 are under no lock", "retain.schedule is off", "up to 31d apart, and should be 1w at most"
	expect := func(schedule string, want ...string) {
		t.Helper()
		got := check(schedule)
		if len(got) != len(want) {
			t.Errorf("%s: %q", schedule, got)
			return
		}
		for i, text := range want {
			if !strings.Contains(got[i], text) || !strings.Contains(got[i], "pgark prune --yes") {
				t.Errorf("%s: %q, want %q and a fix", schedule, got[i], text)
			}
		}
	}
	expect("0 5 * * *", bare)
	expect("off", bare, off)
	c := config.Cluster{Name: "main", Required: config.Primary, Backup: config.Backup{Timezone: "UTC"}}
	c.Repo = config.Repo{URL: url, Lock: storage.Lock{Mode: storage.Governance, For: 21 * 24 * time.Hour}}
	if _, err := Prune(t.Context(), c, StoreOptions{Patience: Brief}, PruneOptions{Remove: true}); err != nil {
		t.Fatal(err)
	}
	expect("0 5 * * *")
	expect("off", off)
	expect("0 5 1 * *", apart)

	store, err = OpenStore(t.Context(), url, StoreOptions{Lock: storage.Lock{Mode: storage.Governance, For: 30 * 24 * time.Hour}})
	if err == nil {
		err = store.Put(t.Context(), "7710800954764158004/backups/20261121T020000Z/record.json", []byte("{}"))
	}
	if err != nil {
		t.Fatal(err)
	}
	expect("0 5 * * *")
	expect("off", "some are longer than 3w, by a run elsewhere or because they were made so")
}

// TestCheckCopyByBucket: of a copy that the bucket makes check says that somebody else must make its locks longer.
func TestCheckCopyByBucket(t *testing.T) {
	var found []Finding
	k := &check{report: func(f Finding) { found = append(found, f) }}
	p := &checkedPlace{place: place{name: "dr", byBucket: true}}
	k.lockByBucket(p)
	if len(found) > 0 {
		t.Errorf("without a lock: %+v", found)
	}
	p.lock = storage.Lock{Mode: storage.Governance, For: time.Hour}
	if k.lockByBucket(p); len(found) != 1 || !strings.Contains(found[0].Fix, "pgark prune --yes --from dr") {
		t.Errorf("got %+v", found)
	}
}
