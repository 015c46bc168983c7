package agent

import (
	"maps"
	"testing"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/limit"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/retry"
	"github.com/pgark/pgark/verify"
)

// TestPauses: of each job that the configuration schedules it is told how far two runs lie apart at most; a job that is not held by itself has none.
func TestPauses(t *testing.T) {
	configured := func(text string) config.Cluster {
		t.Helper()
		c, err := config.Load(config.Sources{Text: "clusters:\n  main:\n    repo: file:///a\n" + text})
		if err != nil {
			t.Fatal(err)
		}
		return c.Clusters[0]
	}
	const hour = time.Hour
	for text, want := range map[string]map[status.JobKind]time.Duration{
		"": {status.JobBackup: 24 * hour},
		"    backup: { schedule: '0 2 * * 1-5' }\n    drill: { dir: /drill, schedule: '@weekly' }\n    verify: { schedule: '@every 6h' }\n    retain: { window: 14d }\n": {
			status.JobBackup: 72 * hour, status.JobDrill: 7 * 24 * hour, status.JobVerify: 6 * hour, status.JobPrune: 24 * hour,
		},
		"    backup: { schedule: off }\n    drill: { dir: /drill, schedule: off }\n": {},
	} {
		v := NewVitals(configured(text))
		if got := v.Pauses(); !maps.Equal(got, want) {
			t.Errorf("%s: got %v", text, got)
		}
	}
	v := NewVitals(configured(""))
	v.Reconfigure(configured("    backup: { schedule: '@hourly' }\n"))
	if got := v.Pauses()[status.JobBackup]; got != hour {
		t.Errorf("after a reload: %v", got)
	}
}

// TestWatchVersions: whether a bucket keeps versions is asked of it; what it does not say now stays as it was, what it may not be asked is not known, and nothing is
// asked where the configuration does without.
func TestWatchVersions(t *testing.T) {
	bucket := memory.New()
	one := place{name: "primary", url: "s3://bucket/main", store: &Store{Store: limit.Wrap(retry.New(bucket, retry.Options{MaxElapsed: 1}), limit.Options{})}}
	c := config.Cluster{Name: "main", Repo: config.Repo{URL: one.url}}
	v := NewVitals(c)
	told := func() string {
		v.lookForVersions(t.Context(), one)
		switch kept := v.Live().Repositories[0].Versioned; {
		case kept == nil:
			return "unknown"
		case *kept:
			return "kept"
		}
		return "lost"
	}
	if got := told(); got != "lost" {
		t.Errorf("a bucket that never kept versions: %s", got)
	}
	bucket.KeepVersions()
	if got := told(); got != "kept" {
		t.Errorf("a bucket that keeps versions: %s", got)
	}
	bucket.Fail(memory.Versioning, "", 1, storage.ErrUnavailable)
	if got := told(); got != "kept" {
		t.Errorf("a bucket that does not answer: %s", got)
	}
	bucket.Fail(memory.Versioning, "", 1, storage.ErrDenied)
	if got := told(); got != "unknown" {
		t.Errorf("a bucket that may not be asked: %s", got)
	}
	if !v.wantsVersions(one) {
		t.Error("the bucket is not asked")
	}
	c.Repo.Unversioned = "primary"
	v.Reconfigure(c)
	if v.wantsVersions(one) {
		t.Error("it is asked of a bucket that need not keep versions")
	}
	if v.wantsVersions(place{name: "primary", url: "file:///a"}) {
		t.Error("it is asked of a folder")
	}
}

// TestVerifiedSoundOrNot: damage that was found and not put right is told until a verification finds nothing wrong; a repository that could not be read is neither.
func TestVerifiedSoundOrNot(t *testing.T) {
	a := &activity{}
	at := time.Date(2026, 11, 20, 3, 0, 0, 0, time.UTC)
	note := func(after time.Duration, failure string, damage ...verify.Damage) status.LiveVerified {
		a.noteVerified(verify.Report{Ended: at.Add(after), Repositories: []verify.Verified{{Name: "primary", Error: failure}}, Damage: damage})
		var l status.Live
		a.fill(&l)
		return l.Verified[0]
	}
	damaged := verify.Damage{Repository: "primary", Kind: verify.Missing}
	healed := damaged
	healed.Healed = true
	if v := note(0, ""); v.Sound == nil || !v.Sound.Equal(at) || v.Unsound != nil {
		t.Errorf("nothing wrong: %+v", v)
	}
	if v := note(time.Hour, "", damaged); v.Unsound == nil || !v.Unsound.Equal(at.Add(time.Hour)) || !v.Sound.Equal(at) {
		t.Errorf("damage: %+v", v)
	}
	if v := note(2*time.Hour, "away"); !v.Unsound.Equal(at.Add(time.Hour)) || !v.Sound.Equal(at) {
		t.Errorf("not read: %+v", v)
	}
	if v := note(3*time.Hour, "", healed); !v.Sound.Equal(at.Add(3*time.Hour)) || v.Damaged["missing"] != 2 {
		t.Errorf("put right: %+v", v)
	}
}
