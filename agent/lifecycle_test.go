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
	"github.com/pgark/pgark/wal"
)

func clusterFor(window time.Duration, archive config.Archive) config.Cluster {
	c := config.Cluster{Backup: config.Backup{Schedule: "0 2 * * *", Timezone: "UTC"}, Retain: config.Retain{Window: window, Grace: day, MinBackups: 2}}
	c.Repo.Archive = archive
	return c
}

func TestNeedOf(t *testing.T) {
	c := clusterFor(14*day, config.Archive{After: 60 * day, Class: "GLACIER"})
	c.Retain.Weekly, c.Retain.Yearly = 8, 7
	// The window, a day to the base backup before it and one to the spare before that, a day of grace, and one to be sure.
	if got, want := needOf(c), (lifecycleNeed{window: 18, keep: 7 * 366, older: 17, archive: 60, class: "GLACIER"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	c.Repo.Lock = storage.Lock{Mode: storage.Governance, For: 40 * day}
	if got := needOf(c).older; got != 40 {
		t.Errorf("locked for 40 days: old versions stay %d days", got)
	}
	if got := needOf(clusterFor(0, config.Archive{})); got.window != 0 || got.older != olderDays {
		t.Errorf("kept for ever: got %+v", got)
	}
	var early *ArchiveError
	if err := checkArchive(clusterFor(14*day, config.Archive{After: 17 * day, Class: "GLACIER"})); !errors.As(err, &early) || early.Least != 18 {
		t.Errorf("within the window: got %v, want an ArchiveError that names 18 days", err)
	}
	if err := checkArchive(clusterFor(14*day, config.Archive{After: 18 * day, Class: "GLACIER"})); err != nil {
		t.Errorf("after the window: got %v", err)
	}
	weekly := clusterFor(30*day, config.Archive{After: 31 * day, Class: "GLACIER"})
	weekly.Backup.Schedule = "0 2 * * 0"
	if err := checkArchive(weekly); !errors.As(err, &early) || early.Least != 46 { // 30 + 7 + 7 + 1, and one to be sure
		t.Errorf("base backups once a week: got %v, want an ArchiveError that names 46 days", err)
	}
}

func TestJudgeLifecycle(t *testing.T) {
	const id = wal.SystemID(7)
	clusters := []wal.SystemID{id}
	archive := func(days int, prefix storage.Key, larger int64) storage.LifecycleRule {
		return storage.LifecycleRule{ID: "cold", Enabled: true, Prefix: prefix, Larger: larger, Moves: []storage.LifecycleMove{{After: storage.Age{Days: days}, Class: "GLACIER", Archive: true}}}
	}
	expire := func(days int) storage.LifecycleRule {
		return storage.LifecycleRule{ID: "gone", Enabled: true, Expires: &storage.Age{Days: days}}
	}
	older := func(days int, archived bool) storage.LifecycleRule {
		return storage.LifecycleRule{ID: "old", Enabled: true, OlderMoves: []storage.LifecycleMove{{After: storage.Age{Days: days}, Class: "DEEP_ARCHIVE", Archive: archived}}}
	}
	on := time.Date(2030, 1, 2, 0, 0, 0, 0, time.UTC)
	window := lifecycleNeed{window: 17, keep: 100, older: 17, versions: true}
	ever := lifecycleNeed{older: 30, versions: true}
	cold := lifecycleNeed{window: 17, older: 17, archive: 60, class: "GLACIER", versions: true}
	for _, tt := range []struct {
		name  string
		need  lifecycleNeed
		extra storage.LifecycleRule // beside those that pgark prints for a bucket without archives
		want  []string              // verdict and a part
	}{
		{"what we print", window, storage.LifecycleRule{}, nil},
		{"removes the window", window, expire(16), []string{`error lifecycle rule "gone" removes objects after 16 days, and the window needs them for up to 17`}},
		{"removes all one day", window, storage.LifecycleRule{ID: "gone", Enabled: true, Expires: &storage.Age{On: on}}, []string{`error lifecycle rule "gone" removes objects on 2030-01-02`}},
		{"removes the calendar", window, expire(99), []string{"error base backups of the calendar are kept for 100 days"}},
		{"removes what is pinned", window, expire(100), []string{"warning pinned base backups"}},
		{"removes what is kept for ever", ever, expire(3650), []string{"error all is to be kept"}},
		{"is off", window, storage.LifecycleRule{ID: "gone", Expires: &storage.Age{Days: 1}}, nil},
		{"is for others", window, storage.LifecycleRule{ID: "gone", Enabled: true, Tagged: true, Expires: &storage.Age{Days: 1}}, nil},
		{"archives the window", window, archive(16, "7/backups/", 1<<20), []string{`error lifecycle rule "cold" archives objects after 16 days that a restore may need at once for up to 17`}},
		{"archives after it", window, archive(17, "7/backups/", 1<<20), nil},
		{"archives WAL", window, archive(17, "", 1<<20), []string{"warning archives WAL too"}},
		{"archives records", window, archive(17, "7/backups/", 128<<10), []string{"warning records of base backups"}},
		{"archives what is kept for ever", ever, archive(90, "7/backups/", 1<<20), []string{"warning waits until they are thawed"}},
		{"a class that can be read", window, storage.LifecycleRule{ID: "ia", Enabled: true, Moves: []storage.LifecycleMove{{Class: "STANDARD_IA"}}}, nil},
		{"old versions go too soon", window, storage.LifecycleRule{ID: "old", Enabled: true, OlderDays: 3}, []string{`warning lifecycle rule "old" removes what was deleted or put over after 3 days`}},
		{"removes at once", window, expire(0), []string{`error lifecycle rule "gone" removes objects at once`}},
		{"archives at once", window, archive(0, "7/backups/", 1<<20), []string{`error lifecycle rule "cold" archives objects at once`}},
		{"archives what is large enough for the store", window, storage.LifecycleRule{
			ID: "cold", Enabled: true, Prefix: "7/backups/", Moves: []storage.LifecycleMove{{After: storage.Age{Days: 17}, Class: "GLACIER", Archive: true, Larger: 128<<10 - 1}},
		}, []string{"warning records of base backups"}},
		{"archives old versions too soon", window, older(16, true), []string{`warning lifecycle rule "old" archives what was deleted or put over after 16 days: --as-of`}},
		{"archives old versions", window, older(17, true), nil},
		{"moves old versions where they can be read", window, older(0, false), nil},
		{"no archive", cold, storage.LifecycleRule{}, []string{"warning no lifecycle rule moves base backups of 7 to GLACIER"}},
		{"archive of another", cold, archive(60, "8/backups/", 1<<20), []string{"warning no lifecycle rule moves base backups of 7 to GLACIER"}},
		{"archive", cold, archive(60, "7/backups/", 1<<20), nil},
	} {
		clean := tt.need
		clean.archive = 0
		got := tt.need.judge(append(clean.rules(clusters), tt.extra), clusters)
		if len(got) != len(tt.want) {
			t.Errorf("%s: got %+v, want %v", tt.name, got, tt.want)
			continue
		}
		for i, f := range got {
			verdict, text, _ := strings.Cut(tt.want[i], " ")
			if string(f.Verdict) != verdict || !strings.Contains(f.Text, text) || f.Fix == "" {
				t.Errorf("%s: got %+v, want %s", tt.name, f, tt.want[i])
			}
		}
	}
	if got := window.judge(nil, clusters); len(got) != 2 {
		t.Errorf("no rules: got %+v, want that uploads and old versions stay for ever", got)
	}
	if got := cold.judge(cold.rules(clusters), clusters); len(got) != 0 {
		t.Errorf("all that is printed: got %+v", got)
	}
}

// A check names the rule of the bucket that would remove what is needed, and says of a store without rules that it does not tell.
func TestCheckLifecycle(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	server.CreateBucket(t, "bucket")
	proxy := storagetest.StartProxy(t, server)
	glacier := storagetest.NewGlacier()
	glacier.SetLifecycle("<Rule><ID>tidy</ID><Filter><Prefix>main/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>10</Days></Expiration></Rule>")
	proxy.Add(storagetest.Rule{Fault: glacier.Fault()})
	store, err := OpenStore(t.Context(), server.URL("bucket", "main"), StoreOptions{Patience: Brief})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	if _, err := repository.Create(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		proxy.URL("bucket", "main"):  `error lifecycle rule "tidy" removes objects after 10 days, and the window needs them`,
		server.URL("bucket", "main"): "pending the store does not tell whether it removes",
	} {
		c := clusterFor(14*day, config.Archive{})
		c.Repo.URL = url
		var got []string
		if err := Check(t.Context(), c, CheckOptions{Only: []string{"storage"}}, func(f Finding) { got = append(got, string(f.Verdict)+" "+f.Text) }); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("got\n%s\nwant %s", strings.Join(got, "\n"), want)
		}
	}
}
