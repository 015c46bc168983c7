package agent_test

import (
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/recall"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/storagetest"
	"github.com/pgark/pgark/verify"
)

// bucket is a repository of every class of objects in a real server's bucket, and its contents when it was right.
type bucket struct {
	server *storagetest.Server
	c      config.Cluster
	right  map[storage.Key]string
}

func newBucket(t *testing.T) *bucket {
	t.Helper()
	b := &bucket{server: storagetest.StartServer(t), right: map[storage.Key]string{}}
	b.server.CreateBucket(t, "bucket")
	b.server.Setenv(t)
	b.c = config.Cluster{Repo: config.Repo{URL: b.server.URL("bucket", "main")}}
	root := os.DirFS("../repository/testdata/v1/repository")
	if err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(root, path)
		b.right[storage.Key(path)] = string(body)
		b.server.PutObject(t, "bucket", "main/"+path, body)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return b
}

// calm returns an instant after all that was put, and before all that is put from now on.
func calm() time.Time {
	now := time.Now().Truncate(time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for time.Since(now) < 1050*time.Millisecond { // the store tells time to the second, by the clock of its file system, which is some milliseconds behind
		<-tick.C
	}
	return now
}

// contents are all objects of the repository as it is, or was.
func (b *bucket) contents(t *testing.T, asOf time.Time) map[storage.Key]string {
	t.Helper()
	s, err := agent.OpenStore(t.Context(), b.c.Repo.URL, agent.StoreOptions{Patience: agent.Brief, AsOf: asOf})
	if err != nil {
		t.Fatal(err)
	}
	found := map[storage.Key]string{}
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		body, err := storage.ReadAll(t.Context(), s, info.Key, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		found[info.Key] = string(body)
	}
	return found
}

func (b *bucket) undelete(t *testing.T, o recall.Options) agent.Undeleted {
	t.Helper()
	all, err := agent.Undelete(t.Context(), b.c, agent.StoreOptions{Patience: agent.Brief}, o)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

func (b *bucket) verdict(t *testing.T, asOf time.Time) verify.Report {
	t.Helper()
	r, err := agent.Verify(t.Context(), b.c, 0, agent.StoreOptions{Patience: agent.Brief, AsOf: asOf}, verify.Options{Deep: true, Forget: true, Since: time.Hour, Jobs: 4})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestUndelete guards T2 and I36 at a real server: every object of the repository is deleted, and then others are put over objects of every class. As of before, all of it is there; a look
// changes nothing; and then the repository is what it was, byte by byte, and verifies as before.
func TestUndelete(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for the seconds of a real server")
	}
	b := newBucket(t)
	sound := b.verdict(t, time.Time{})
	before := calm()
	for key := range b.right {
		b.server.DeleteObject(t, "bucket", "main/"+string(key))
	}
	if now := b.contents(t, time.Time{}); len(now) > 0 {
		t.Fatalf("not deleted: %v", now)
	}
	if then := b.contents(t, before); !maps.Equal(then, b.right) {
		t.Errorf("as of before: %d objects, want %d", len(then), len(b.right))
	}
	if got := b.verdict(t, before); got.Verdict != sound.Verdict || len(got.Damage) != len(sound.Damage) {
		t.Errorf("as of before: %s, %v, was %s", got.Verdict, got.Damage, sound.Verdict)
	}
	want := int64(len(b.right))
	if r := b.undelete(t, recall.Options{At: before}); r.Lost.Objects != want || r.Back.Objects != 0 || len(b.contents(t, time.Time{})) != 0 {
		t.Errorf("looking: %+v", r)
	}
	for range 2 {
		if r := b.undelete(t, recall.Options{At: before, Act: true}); r.Lost.Objects != want || r.Back.Objects != want {
			t.Errorf("brought back: %+v, want %d", r, want)
		}
	}
	if now := b.contents(t, time.Time{}); !maps.Equal(now, b.right) {
		t.Errorf("brought back: %d objects, want %d", len(now), len(b.right))
	}

	before = calm()
	bodies := []string{"", "garbage", b.right["pgark.json"]}
	n := 0
	for key := range b.right {
		if key != repository.MarkerKey {
			b.server.PutObject(t, "bucket", "main/"+string(key), []byte(bodies[n%3]))
			n++
		}
	}
	b.firstVersions(t)
	b.server.PutObject(t, "bucket", "main/pgark.json", []byte("{}\n"))
	if then := b.contents(t, before); !maps.Equal(then, b.right) {
		t.Errorf("as of before: %d objects, want %d", len(then), len(b.right))
	}
	if r := b.undelete(t, recall.Options{At: before, Act: true}); r.Back.Objects != want {
		t.Errorf("brought back: %+v, want %d", r, want)
	}
	if now := b.contents(t, time.Time{}); !maps.Equal(now, b.right) {
		t.Error("what was put over is not right again")
	}
	if got := b.verdict(t, time.Time{}); got.Verdict != sound.Verdict || len(got.Damage) != len(sound.Damage) {
		t.Errorf("%s, %v, was %s", got.Verdict, got.Damage, sound.Verdict)
	}
	b.server.SuspendVersioning(t, "bucket")
	if got := b.verdict(t, before); !slices.ContainsFunc(got.Notes, func(n string) bool { return strings.Contains(n, "versioning is or was suspended") }) {
		t.Errorf("with versioning suspended: %q", got.Notes)
	}
}

// firstVersions reads as of now, when all is damaged: what proves itself comes from the first versions, and it is said so. A plain reader gets nothing.
func (b *bucket) firstVersions(t *testing.T) {
	t.Helper()
	o := agent.StoreOptions{Patience: agent.Brief}
	plain, store, err := agent.OpenRepository(t.Context(), b.c, o)
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := agent.SelectCluster(t.Context(), plain, 0)
	if err != nil {
		t.Fatal(err)
	}
	if backups, err := cluster.Backups(t.Context()); err == nil || len(backups) > 0 {
		t.Errorf("a plain reader got %d backups, %v", len(backups), err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	o.AsOf = time.Now()
	r, sources, err := agent.OpenSources(t.Context(), b.c, o)
	if err != nil {
		t.Fatal(err)
	}
	if cluster, err = agent.SelectCluster(t.Context(), r, 0); err != nil {
		t.Fatal(err)
	}
	backups, err := cluster.Backups(t.Context())
	if err != nil || len(backups) != 1 {
		t.Fatalf("got %d backups, %v", len(backups), err)
	}
	list, _ := sources.Substitutes()
	if len(list) != 1 || list[0].Source != config.Primary+agent.FirstVersions || list[0].Key != cluster.RecordObject(backups[0].ID).Key {
		t.Errorf("got %v", list)
	}
	if err := sources.Close(); err != nil {
		t.Error(err)
	}
}
