package agent

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
)

// TestFencesAreAskedEverywhere guards I5: whoever took over may have reached only one repository, and that may be one to which the agent never writes.
func TestFencesAreAskedEverywhere(t *testing.T) {
	primary := postgres.System{ID: 42, Timeline: 1, Flush: 0x6000000}
	history := []byte("1\t0/5000000\tno recovery target specified\n")
	var fenced *repository.FencedError
	var timeline *archiver.TimelineError
	for name, test := range map[string]struct {
		in   int // the repository that says something; -1: none
		do   func(*repository.Cluster) error
		want func(error) bool
	}{
		"nowhere": {-1, nil, func(err error) bool { return err == nil }},
		"fence in a copy": {1, func(c *repository.Cluster) error {
			return c.PutFence(t.Context(), repository.Fence{Timeline: 1, Number: 1, Change: repository.FenceUp, Time: time.Now(), Host: "far"})
		}, func(err error) bool { return errors.As(err, &fenced) && fenced.Repository == "b" }},
		"fence in one that the bucket fills": {2, func(c *repository.Cluster) error {
			return c.PutFence(t.Context(), repository.Fence{Timeline: 1, Number: 1, Change: repository.FenceUp, Time: time.Now(), Host: "far"})
		}, func(err error) bool { return errors.As(err, &fenced) && fenced.Repository == "c" }},
		"of another timeline": {1, func(c *repository.Cluster) error {
			return c.PutFence(t.Context(), repository.Fence{Timeline: 2, Number: 1, Change: repository.FenceUp, Time: time.Now(), Host: "far"})
		}, func(err error) bool { return err == nil }},
		"another timeline in a copy": {
			1, func(c *repository.Cluster) error { return c.PutHistory(t.Context(), 2, history) },
			func(err error) bool {
				return errors.As(err, &timeline) && timeline.Archive == 2 && timeline.Switch == 0x5000000
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := config.Cluster{Copies: []config.Copy{{Name: "b"}, {Name: "c", ByBucket: true}, {Name: "d", ByBucket: true}}}
			var folders []string
			for range 4 {
				folders = append(folders, filepath.Join(t.TempDir(), "ark"))
			}
			c.Repo.URL = "file://" + folders[0]
			for i := range c.Copies {
				c.Copies[i].URL = "file://" + folders[i+1]
			}
			stores, err := openPlaces(t.Context(), c, StoreOptions{Patience: Brief})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stores.Close() }()
			for i, one := range stores.all[:3] { // the last holds no repository yet
				r, err := repository.Create(t.Context(), one.store)
				if err != nil {
					t.Fatal(err)
				}
				if i == test.in {
					if err := test.do(r.Cluster(primary.ID)); err != nil {
						t.Fatal(err)
					}
				}
			}
			f := newFences(stores, slog.New(slog.DiscardHandler))
			for range 2 {
				if err := f.ask(t.Context(), primary); !test.want(err) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

// TestFencesWithoutAnAnswer: a repository that does not answer is told once, and keeps no other from being heard.
func TestFencesWithoutAnAnswer(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "ark")
	c := config.Cluster{Copies: []config.Copy{{Name: "b", URL: "file://" + folder + "/b"}}}
	c.Repo.URL = "file://" + folder + "/a"
	stores, err := openPlaces(t.Context(), c, StoreOptions{Patience: Brief})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stores.Close() }()
	for _, one := range stores.all {
		if _, err := repository.Create(t.Context(), one.store); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(folder+"/b/pgark.json", []byte("no marker"), 0o600); err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	f := newFences(stores, slog.New(slog.NewTextHandler(&logged, nil)))
	for range 2 {
		if err := f.ask(t.Context(), postgres.System{ID: 42, Timeline: 1}); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(logged.String(), "asked again"); n != 1 || !strings.Contains(logged.String(), "repo=b") {
		t.Errorf("logged:\n%s", logged.String())
	}
}
