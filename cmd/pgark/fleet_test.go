package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
)

// sea is a fleet whose agents only tell when they begin and end.
type sea struct {
	fleet
	log      bytes.Buffer
	mu       sync.Mutex
	told     []string
	next     config.Config
	fault    error
	limited  int
	crewed   []int
	failures map[string]error
}

func newSea() *sea {
	s := &sea{failures: map[string]error{}}
	s.fleet = fleet{
		read: func() (config.Config, []config.Cluster, error) { return s.next, s.next.Clusters, s.fault },
		run: func(ctx context.Context, _ config.Config, c config.Cluster) error {
			s.tell("+" + c.Name + " " + c.Slot)
			if err := s.failures[c.Name]; err != nil {
				return err
			}
			<-ctx.Done()
			s.tell("-" + c.Name)
			return nil
		},
		limit: func(config.Config) { s.limited++ }, level: func(config.Config) {},
		crew:    func(_ config.Config, clusters []config.Cluster) { s.crewed = append(s.crewed, len(clusters)) },
		explain: (&program{interrupted: func() os.Signal { return nil }}).explain, reloads: &agent.Reloads{}, logger: slog.New(slog.NewTextHandler(&s.log, nil)), now: time.Now,
	}
	return s
}

func (s *sea) tell(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, what)
}

func clustersOf(names ...string) config.Config {
	var c config.Config
	for _, name := range names {
		name, slot, _ := strings.Cut(name, "/")
		c.Clusters = append(c.Clusters, config.Cluster{Name: name, Slot: slot})
	}
	return c
}

// sails runs the fleet with a configuration, sends hangups each after what the function does, and ends it.
func (s *sea) sails(t *testing.T, first config.Config, before ...func()) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hangups, ended := make(chan os.Signal), make(chan error, 1)
	go func() { ended <- s.sail(ctx, first, first.Clusters, hangups) }()
	synctest.Wait()
	for _, change := range before {
		change()
		hangups <- syscall.SIGHUP
		synctest.Wait()
	}
	cancel()
	return <-ended
}

func TestReloadExchangesWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSea()
		var first []string
		err := s.sails(t, clustersOf("a/1"), func() { s.next = clustersOf("a/1") }, func() {
			first = append(first, s.told...)
			s.next = clustersOf("a/2", "b/1")
		}, func() { s.next = clustersOf("b/1") })
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(s.crewed, []int{1, 2, 1}) {
			t.Errorf("what answers for clusters was told of %v, want 1, 2 and 1 of them", s.crewed)
		}
		if got := strings.Join(first, ","); got != "+a 1" {
			t.Errorf("nothing changed, and got %s", got)
		}
		if got := strings.Join(s.told[:3], ","); got != "+a 1,-a,+a 2" && got != "+a 1,-a,+b 1" {
			t.Errorf("got %s: the old agent must have ended before the new one begins", got)
		}
		if got := strings.Join(s.told, ","); !strings.Contains(got, "+a 2") || strings.Count(got, "+b 1") != 1 || strings.Count(got, "-a") != 2 {
			t.Errorf("got %s", got)
		}
		if last, ok := s.reloads.Last(); !ok || last.Err != nil {
			t.Errorf("the last reload: %+v, %t", last, ok)
		}
	})
}

// TestFaultyReloadChangesNothing: the agents go on, the log says so loudly, and the state shows it until a good one comes.
func TestFaultyReloadChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSea()
		var during agent.Reload
		err := s.sails(t, clustersOf("a/1"), func() { s.fault = errors.New("slot: no such key") }, func() {
			during, _ = s.reloads.Last()
			s.fault, s.next = nil, clustersOf("a/1")
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.told, ","); got != "+a 1,-a" {
			t.Errorf("got %s", got)
		}
		if during.Err == nil || !strings.Contains(s.log.String(), "level=ERROR msg=\"the configuration was read anew and has faults: the old one stays in force\"") {
			t.Errorf("a fault is not told: %v\n%s", during.Err, s.log.String())
		}
		if last, _ := s.reloads.Last(); last.Err != nil {
			t.Errorf("a good reload is not told: %v", last.Err)
		}
	})
}

func TestReloadOfLimitsAndOfWhatNeedsARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSea()
		if err := s.sails(t, clustersOf("a/1"), func() {
			s.next = clustersOf("a/1")
			s.next.Limits.Upload, s.next.HTTP.Listen, s.next.Log.Format = 1, "127.0.0.1:1", "json"
		}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.told, ","); got != "+a 1,-a,+a 1,-a" || s.limited != 1 {
			t.Errorf("got %s, %d limits", got, s.limited)
		}
		for _, want := range []string{"http: was changed, and needs a restart", "log.format was changed, and needs a restart"} {
			if !strings.Contains(s.log.String(), want) {
				t.Errorf("the log does not say %q:\n%s", want, s.log.String())
			}
		}
	})
}

// TestOneFailureLeavesTheOthers: an agent for which it would not help to begin again stays ended until a reload, and the others go on.
func TestOneFailureLeavesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSea()
		s.failures["b"] = &codeError{code: exitLocked, cause: errors.New("fenced"), fix: "stop the clone"}
		s.next = clustersOf("a/1", "b/1")
		var before string
		err := s.sails(t, clustersOf("a/1", "b/1"), func() {
			time.Sleep(time.Hour)
			before = strings.Join(s.told, ",")
			delete(s.failures, "b")
		})
		if err != nil {
			t.Fatalf("it was ended well, and got %v", err)
		}
		if before != "+a 1,+b 1" && before != "+b 1,+a 1" {
			t.Errorf("got %s before the reload", before)
		}
		if after := s.told[2:]; after[0] != "+b 1" || len(after) != 3 {
			t.Errorf("got %v after the reload", after)
		}
		for _, want := range []string{"level=ERROR", "cluster=b", "err=fenced", "code=11", `fix="stop the clone"`, "begins again when the configuration is read anew"} {
			if !strings.Contains(s.log.String(), want) {
				t.Errorf("the log does not say %q:\n%s", want, s.log.String())
			}
		}
	})
}

// TestFailedAgentBeginsAgain beside others, when that may help.
func TestFailedAgentBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSea()
		s.failures["b"] = errors.New("something broke")
		s.next = clustersOf("a/1", "b/1")
		err := s.sails(t, clustersOf("a/1", "b/1"), func() { time.Sleep(3*againAfter + time.Second) })
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(strings.Join(s.told, ","), "+b 1"); n != 4 {
			t.Errorf("b began %d times, want 4: %v", n, s.told)
		}
	})
}

// TestLastFailureEndsTheFleet: when nothing goes on any more the process ends with the error of the last, which tells the supervisor whether to start it anew.
func TestLastFailureEndsTheFleet(t *testing.T) {
	for _, names := range [][]string{{"b/1"}, {"b/1", "c/1"}} {
		synctest.Test(t, func(t *testing.T) {
			s := newSea()
			want := &codeError{code: exitLocked, cause: errors.New("fenced")}
			s.failures["b"], s.failures["c"] = want, want
			ended := make(chan error, 1)
			c := clustersOf(names...)
			go func() { ended <- s.sail(t.Context(), c, c.Clusters, nil) }()
			if err := <-ended; !errors.Is(err, want) {
				t.Errorf("%v: got %v, want %v", names, err, want)
			}
		})
	}
}
