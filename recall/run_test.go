package recall_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/recall"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/storage/retry"
)

// archive is a repository of small objects, and the clock of its store.
type archive struct {
	*memory.Store

	now time.Time
}

var (
	began = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	keys  = []storage.Key{
		"7/backups/20261121T020000Z/backup_manifest.zst", "7/backups/20261121T020000Z/base-00001.tar.zst", "7/backups/20261121T020000Z/index.zst",
		"7/backups/20261121T020000Z/record.json", "7/wal/00000001/000000010000000000000001.zst",
		"7/wal/00000001/000000010000000000000002.part/0000000002000000-0000000002000100.zst", "7/drills/20261121T030000Z.json", "7/wal/00000002.history", "pgark.json",
	}
)

func newArchive(t *testing.T) *archive {
	t.Helper()
	a := &archive{Store: memory.New(), now: began}
	a.KeepVersions()
	a.SetClock(func() time.Time { return a.now })
	for _, key := range keys {
		if err := a.Put(t.Context(), key, []byte("of "+key)); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []storage.Key{"7/holds/x", "beside/pgark.json", "7/not-ours"} { // what nobody brings back
		if err := a.Put(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
	a.now = began.Add(time.Hour)
	for key := range all(t, a) {
		if key == "7/drills/20261121T030000Z.json" {
			a.Overwrite(key, []byte("garbage"))
		} else if err := a.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	a.now = a.now.Add(time.Hour)
	return a
}

func all(t *testing.T, s storage.Store) map[storage.Key]string {
	t.Helper()
	found := map[storage.Key]string{}
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		body, err := storage.ReadAll(t.Context(), s, info.Key, 1000)
		if err != nil {
			t.Fatal(err)
		}
		found[info.Key] = string(body)
	}
	return found
}

func (a *archive) isBack(t *testing.T) {
	t.Helper()
	found := all(t, a)
	for _, key := range keys {
		if found[key] != "of "+string(key) {
			t.Errorf("%s: got %q", key, found[key])
		}
	}
	if len(found) != len(keys) {
		t.Errorf("got %d objects, want %d: %v", len(found), len(keys), found)
	}
}

func TestRun(t *testing.T) {
	a := newArchive(t)
	o := recall.Options{At: began.Add(time.Minute)}
	before := all(t, a)
	r, err := recall.Run(t.Context(), a, o)
	if err != nil || r.Lost.Objects != int64(len(keys)) || r.Back.Objects != 0 || r.First == nil || !r.First.Equal(began.Add(time.Hour)) {
		t.Errorf("looking: got %+v, %v", r, err)
	}
	if after := all(t, a); len(after) != len(before) || a.Count(memory.Renew, "") > 0 {
		t.Errorf("looking changed something: %v", after)
	}
	o.Act = true
	for range 2 { // the second finds all of it back
		if r, err = recall.Run(t.Context(), a, o); err != nil || r.Lost.Objects != int64(len(keys)) || r.Back != r.Lost {
			t.Errorf("got %+v, %v", r, err)
		}
		a.isBack(t)
	}
	if n := a.Count(memory.Renew, ""); n != len(keys) {
		t.Errorf("%d versions were put on top, want %d", n, len(keys))
	}
	if n := a.Count(memory.Remove, "") + a.Count(memory.Put, "") - len(keys) - 3; n != 0 {
		t.Errorf("%d other changes", n)
	}
	if got := a.Older("7/drills/20261121T030000Z.json"); len(got) != 2 || string(got[1]) != "garbage" {
		t.Errorf("what was put over is not kept: %q", got)
	}
}

// TestRunBrokenOff guards that a run which fails at any call, or whose answer is lost, leaves nothing that the next one does not put right; and that no record comes
// back before what it names.
func TestRunBrokenOff(t *testing.T) {
	boom := errors.New("boom")
	o := recall.Options{At: began.Add(time.Minute), Act: true}
	for nth := 1; ; nth++ {
		a := newArchive(t)
		a.Reset()
		if nth%2 == 0 {
			a.Fail(memory.Any, "", nth, boom)
		} else {
			a.LoseResponse(memory.Any, "", nth)
		}
		_, err := recall.Run(t.Context(), a, o)
		there := all(t, a.Clone())
		if _, record := there["7/backups/20261121T020000Z/record.json"]; record {
			for _, key := range keys[:3] {
				if there[key] == "" {
					t.Errorf("call %d: the record came back before %s", nth, key)
				}
			}
		}
		a.Reset()
		if r, err := recall.Run(t.Context(), a, o); err != nil || r.Back.Objects != int64(len(keys)) {
			t.Errorf("call %d: again: %+v, %v", nth, r, err)
		}
		a.isBack(t)
		if err == nil {
			if nth < 10 {
				t.Errorf("only %d calls failed", nth)
			}
			return
		}
	}
}

// TestRunRefused guards that a store without older versions is not taken for one where nothing was lost.
func TestRunRefused(t *testing.T) {
	for _, s := range []storage.Store{memory.New(), struct{ storage.Store }{memory.New()}} {
		if _, err := recall.Run(t.Context(), retry.New(s, retry.Options{}), recall.Options{At: began}); !errors.Is(err, storage.ErrNoVersions) {
			t.Errorf("got %v, want ErrNoVersions", err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := recall.Run(ended, newArchive(t), recall.Options{At: began, Act: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
}

// TestRunFollowed guards that a beat and an expiry record which pgark replaced stay away, and that no noise or forged record under a newer name keeps one away that a thief deleted.
func TestRunFollowed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		since func(a *archive, c *repository.Cluster, beat repository.Beat, let repository.Expiry) error
		lost  int64
	}{
		{"pgark put newer ones", func(a *archive, c *repository.Cluster, beat repository.Beat, let repository.Expiry) error {
			beat.Time = beat.Time.Add(time.Hour)
			return errors.Join(c.PutBeat(t.Context(), beat), c.PutExpiry(t.Context(), let, repository.Expiry{Time: a.now, Drills: []string{"20261121T030000Z"}}))
		}, 0},
		{"a thief put noise", func(a *archive, _ *repository.Cluster, _ repository.Beat, _ repository.Expiry) error {
			for key := range all(t, a) {
				if err := a.Delete(t.Context(), key); err != nil {
					return err
				}
			}
			return errors.Join(a.Put(t.Context(), "7/beats/20271121T100000Z-00000001-0000000002000000", []byte("{}")),
				a.Put(t.Context(), "7/expired/20271121T100000Z-00000000.json", []byte("{}")))
		}, 3},
		{"a thief put a record that names nothing", func(a *archive, c *repository.Cluster, _ repository.Beat, _ repository.Expiry) error {
			for key := range all(t, a) {
				if strings.HasPrefix(string(key), "7/expired/") {
					if err := a.Delete(t.Context(), key); err != nil {
						return err
					}
				}
			}
			return c.PutExpiry(t.Context(), repository.Expiry{}, repository.Expiry{Time: a.now})
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &archive{Store: memory.New(), now: began}
			a.KeepVersions()
			a.SetClock(func() time.Time { return a.now })
			if _, err := repository.Create(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			c := repository.Unchecked(a).Cluster(7)
			beat := repository.Beat{Time: began, Timeline: 1, LSN: 0x2000000}
			if err := errors.Join(c.PutBeat(t.Context(), beat), c.PutExpiry(t.Context(), repository.Expiry{}, repository.Expiry{Time: began, Backups: []string{"20261101T020000Z"}})); err != nil {
				t.Fatal(err)
			}
			let, err := c.Expiry(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			before := all(t, a)
			a.now = began.Add(time.Hour)
			if err := tt.since(a, c, beat, let); err != nil {
				t.Fatal(err)
			}
			now := len(all(t, a))
			a.now = a.now.Add(time.Hour)
			r, err := recall.Run(t.Context(), a, recall.Options{At: began.Add(time.Minute), Act: true})
			if err != nil || r.Lost.Objects != tt.lost || r.Back != r.Lost {
				t.Errorf("got %+v, %v; want %d objects back", r, err, tt.lost)
			}
			after := all(t, a)
			for key, body := range before {
				if tt.lost > 0 && after[key] != body {
					t.Errorf("%s: got %q", key, after[key])
				}
			}
			if len(after) != now+int(tt.lost) {
				t.Errorf("%d objects, had %d, and %d were lost: %v", len(after), now, tt.lost, after)
			}
		})
	}
}
