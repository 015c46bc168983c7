package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/syncmode"
	"github.com/pgark/pgark/wal"
)

// waitingServer is a server whose commits may wait for an archive, and that archive. The test holds mu but while it lets time pass.
type waitingServer struct {
	t        *testing.T
	mu       sync.Mutex
	settings syncmode.Settings
	flush    wal.LSN
	slot     postgres.Slot
	status   archiver.Status
	demand   bool
	looks    int
	alters   []string
	refuse   error // of each alter
	deaf     bool  // alter has no effect
	away     error // of each look

	store   *memory.Store
	log     bytes.Buffer
	commits *commits
	stop    context.CancelFunc
	done    chan struct{}
}

const waitingID wal.SystemID = 7

// Status implements archive.
func (s *waitingServer) Status() archiver.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// FlushOnDemand implements archive.
func (s *waitingServer) FlushOnDemand(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.demand = on
}

// Write takes what is logged.
func (s *waitingServer) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(line)
}

// pass lets time pass.
func (s *waitingServer) pass(d time.Duration) {
	s.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
	s.mu.Lock()
}

func newWaitingServer(t *testing.T) *waitingServer {
	t.Helper()
	s := &waitingServer{t: t, flush: 0x1000, store: memory.New(), settings: syncmode.Settings{Commit: "on", Application: "pgark"}}
	s.status = archiver.Status{State: archiver.Streaming}
	s.durable()
	s.backUp()
	s.mu.Lock()
	return s
}

const waitingRecord storage.Key = "7/backups/20261121T024000Z/record.json"

// backUp puts the record of a base backup.
func (s *waitingServer) backUp() {
	s.t.Helper()
	b := repository.Backup{
		Format: 1, ID: "20261121T024000Z", Type: "full", SystemID: waitingID, SegmentSize: 16 << 20, Timeline: 1, StartLSN: 0x1000, StopLSN: 0x1001,
		Checksums: repository.ChecksumsVerified, Codec: "zstd", Started: time.Now(), Stopped: time.Now(),
	}
	b.Index.Size, b.Index.Top.Size, b.Manifest.Size = 1000, 500, 1000
	text, err := b.Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	s.store.Replace(waitingRecord, text)
}

// durable makes all that was flushed durable.
func (s *waitingServer) durable() { s.status.Durable = archiver.Position{Timeline: 1, LSN: s.flush} }

// start runs an agent with a policy.
func (s *waitingServer) start(p syncmode.Policy) {
	s.t.Helper()
	logger := slog.New(slog.NewTextHandler(s, nil))
	s.commits = &commits{
		archive: s, policy: p, logger: logger, journal: newJournal(logger),
		look: func(context.Context) (serverLook, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.looks++
			if s.away != nil {
				return serverLook{}, s.away
			}
			return serverLook{s.settings, s.slot, postgres.System{ID: waitingID, Timeline: 1, Flush: s.flush}}, nil
		},
		alter: func(_ context.Context, names string) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.alters = append(s.alters, names)
			if s.refuse == nil && !s.deaf {
				s.settings.Names = names
			}
			return s.refuse
		},
	}
	s.commits.open(s.cluster())
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{}, 2)
	s.stop, s.done = cancel, done
	for _, run := range []func(context.Context) error{s.commits.run, s.commits.journal.run} {
		go func() {
			if err := run(ctx); err != nil {
				s.t.Error(err)
			}
			done <- struct{}{}
		}()
	}
}

func (s *waitingServer) finish() {
	s.stop()
	s.mu.Unlock()
	<-s.done
	<-s.done
	s.mu.Lock()
}

func (s *waitingServer) cluster() *repository.Cluster {
	s.t.Helper()
	r, err := repository.Create(context.Background(), s.store)
	if err != nil {
		s.t.Fatal(err)
	}
	return r.Cluster(waitingID)
}

// records are the names of the records, oldest first.
func (s *waitingServer) records() string {
	var names []string
	for _, key := range s.store.Keys() {
		if _, name, ok := strings.Cut(string(key), "/sync/"); ok {
			names = append(names, strings.TrimSuffix(name[len("20060102T150405Z-"):], ".json"))
		}
	}
	return strings.Join(names, " ")
}

func (s *waitingServer) newest() repository.SyncEvent {
	s.t.Helper()
	e, _, err := s.cluster().NewestSyncEvent(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

// said counts how often the log says something.
func (s *waitingServer) said(words string) int { return strings.Count(s.log.String(), words) }

var degrading = syncmode.Policy{Names: "pgark", DegradeAfter: 30 * time.Second}

// What others set is followed: pieces on demand while commits wait, and a record of each change.
func TestCommitsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWaitingServer(t)
		s.start(syncmode.Policy{})
		s.pass(time.Minute)
		if s.demand || s.records() != "" || s.looks > 14 {
			t.Errorf("nobody waits: demand %v, records %q, %d looks", s.demand, s.records(), s.looks)
		}
		s.settings.Names = "pgark"
		s.pass(6 * time.Second)
		if !s.demand || s.records() != "" {
			t.Errorf("one look: demand %v, records %q", s.demand, s.records())
		}
		s.flush = 0x2000
		s.pass(time.Minute)
		if e := s.newest(); s.records() != "in" || e.LSN != 0x2000 || e.Actor != repository.ByServer || e.Names != "pgark" {
			t.Errorf("in: records %q, %+v", s.records(), e)
		}
		s.settings.Commit = "local"
		s.pass(time.Minute)
		if e := s.newest(); s.demand || s.records() != "in out" || e.LSN != 0x1000 || !strings.Contains(e.Cause, "synchronous_commit = local") {
			t.Errorf("out: demand %v, records %q, %+v", s.demand, s.records(), e)
		}
		s.finish()
		if len(s.alters) != 0 {
			t.Errorf("the agent altered the setting to %q", s.alters)
		}
		if s.said("no commit returns") != 1 || s.said("synchronous_commit=local") != 1 {
			t.Errorf("log:\n%s", s.log.String())
		}
	})
}

// Stepping in, out and in again, the store away meanwhile: the records come when it is back.
func TestCommitsDegrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWaitingServer(t)
		s.start(degrading)
		s.pass(20 * time.Second)
		if s.settings.Names != "pgark" || s.records() != "in" || s.newest().Actor != repository.ByAgent {
			t.Fatalf("names %q, records %q", s.settings.Names, s.records())
		}
		release := s.store.Hang(memory.Any, "*/sync/*")
		s.flush = 0x5000
		s.status.StoreError = "no answer from the store"
		from := time.Now()
		for s.settings.Names != "" && time.Since(from) < time.Hour {
			s.pass(time.Second)
		}
		if took := time.Since(from); took < 30*time.Second || took > 33*time.Second {
			t.Errorf("stepped out after %s", took)
		}
		out := time.Now()
		s.pass(time.Hour)
		s.durable()
		s.status.StoreError = ""
		release()
		s.pass(time.Minute)
		if s.settings.Names != "pgark" || s.records() != "in out in" {
			t.Errorf("names %q, records %q", s.settings.Names, s.records())
		}
		s.finish()
		if n := s.said("stepped out of synchronous mode"); n != 1 || s.said("level=ERROR") != 1 || s.said("no confirmation for 30s: no answer from the store") != 1 {
			t.Errorf("log:\n%s", s.log.String())
		}
		for _, key := range s.store.Keys() {
			if strings.Contains(string(key), "-out.json") && !strings.Contains(string(key), out.UTC().Format("20060102T1504")) {
				t.Errorf("stepped out at %s, recorded as %s", out, key)
			}
		}
		if len(s.alters) != 3 {
			t.Errorf("altered to %q", s.alters)
		}
	})
}

// An agent that dies while it is out: the next one finds that, records what the first could not, and steps in.
func TestCommitsAfterADeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWaitingServer(t)
		s.start(degrading)
		s.pass(20 * time.Second)
		s.store.Hang(memory.Any, "*/sync/*")
		s.flush = 0x5000
		s.pass(time.Minute)
		s.finish()
		s.store.Reset()
		if s.settings.Names != "" || s.records() != "in" {
			t.Fatalf("names %q, records %q", s.settings.Names, s.records())
		}
		s.start(degrading)
		s.pass(time.Minute)
		if s.settings.Names != "" || s.records() != "in out" {
			t.Errorf("behind: names %q, records %q", s.settings.Names, s.records())
		}
		s.durable()
		s.pass(time.Minute)
		if s.settings.Names != "pgark" || s.records() != "in out in" {
			t.Errorf("caught up: names %q, records %q", s.settings.Names, s.records())
		}
		s.finish()
	})
}

// What the agent may not do, or does without effect, is told once and tried on.
func TestCommitsThatCannotBeLet(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*waitingServer)
		says  string
	}{
		"refused":   {func(s *waitingServer) { s.refuse = errors.New("permission denied") }, "step out: permission denied"},
		"no effect": {func(s *waitingServer) { s.deaf = true }, "stands on the server's command line"},
		"others":    {func(s *waitingServer) { s.settings.Names = "2 (pgark, s1)" }, "names others too"},
		"unread":    {func(s *waitingServer) { s.settings.Names = "a b" }, "want a comma"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newWaitingServer(t)
				s.start(degrading)
				s.pass(20 * time.Second)
				test.spoil(s)
				s.flush = 0x5000
				s.pass(10 * time.Minute)
				s.finish()
				if n := s.said(test.says); n != 1 {
					t.Errorf("told %d times:\n%s", n, s.log.String())
				}
				if strings.Contains(s.records(), "out") && s.settings.Names != "a b" {
					t.Errorf("records %q although commits still wait", s.records())
				}
			})
		})
	}
}

// Under remote_apply the log says so as an error, once, with the fix.
func TestCommitsUnderRemoteApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWaitingServer(t)
		s.settings.Names, s.settings.Commit = "pgark", "remote_apply"
		s.start(syncmode.Policy{})
		s.pass(time.Hour)
		s.finish()
		if s.said("level=ERROR") != 1 || s.said("ALTER SYSTEM SET synchronous_commit = on") != 1 || s.records() != "" {
			t.Errorf("records %q, log:\n%s", s.records(), s.log.String())
		}
	})
}

// A store that refuses records is asked again.
func TestJournalTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWaitingServer(t)
		s.settings.Names = "pgark"
		s.start(syncmode.Policy{})
		for nth := range 3 {
			s.store.Fail(memory.Any, "*/sync/*", nth+1, errors.New("denied"))
		}
		s.pass(10 * time.Minute)
		s.finish()
		if s.records() != "in" || s.said("trying again") == 0 {
			t.Errorf("records %q, log:\n%s", s.records(), s.log.String())
		}
	})
}

// A server that cannot be asked for a while is told of once; a restart is not.
func TestCommitsCannotBeSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWaitingServer(t)
		s.settings.Names = "pgark"
		s.start(syncmode.Policy{})
		for _, length := range []time.Duration{30 * time.Second, 10 * time.Minute, 10 * time.Minute} {
			s.away = errors.New("no walsender is free")
			s.pass(length)
			if !s.demand && s.looks > 20 {
				t.Error("what was known was forgotten")
			}
			s.away = nil
			s.pass(30 * time.Second)
		}
		s.finish()
		if n := s.said("cannot be read"); n != 2 {
			t.Errorf("told %d times, want twice:\n%s", n, s.log.String())
		}
	})
}

// TestCommitsThatAnotherAgentConfirms guards I13: an agent that waits for the slot, because another one streams from it, knows nothing of what that one
// made durable but what the slot tells. It does not let commits go that are confirmed; when the other one confirms no more, it does.
func TestCommitsThatAnotherAgentConfirms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWaitingServer(t)
		s.settings.Names = "pgark"
		s.status = archiver.Status{State: archiver.Waiting, Error: "replication slot is in use"}
		s.start(degrading)
		for range 300 {
			s.flush += 0x100
			s.slot = postgres.Slot{Exists: true, RestartLSN: s.flush, Timeline: 1}
			s.pass(time.Second)
		}
		if len(s.alters) != 0 {
			t.Fatalf("commits were let go although all were confirmed: set to %q\n%s", s.alters, s.log.String())
		}
		s.flush += 0x100
		s.pass(40 * time.Second)
		if s.settings.Names != "" || s.said("stepped out") != 1 {
			t.Errorf("commits hang: names %q\n%s", s.settings.Names, s.log.String())
		}
		s.finish()
	})
}

// TestJournalBesideAnother: another agent recorded something else under the same second. The records that follow are put all the same.
func TestJournalBesideAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWaitingServer(t)
		c := s.cluster()
		j := newJournal(slog.New(slog.NewTextHandler(s, nil)))
		j.open(c)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- j.run(ctx) }()
		event := func(change repository.SyncChange, cause string) repository.SyncEvent {
			return repository.SyncEvent{Change: change, Time: time.Now(), Timeline: 1, LSN: 0x1000, Actor: repository.ByServer, Cause: cause}
		}
		j.add(event(repository.SyncIn, ""))
		s.pass(time.Minute)
		if err := c.PutSyncEvent(t.Context(), event(repository.SyncOut, "seen by another")); err != nil {
			t.Fatal(err)
		}
		j.add(event(repository.SyncOut, "seen here"))
		s.pass(time.Hour)
		j.add(event(repository.SyncIn, ""))
		s.pass(time.Hour)
		if s.records() != "in out in" {
			t.Errorf("records %q, log:\n%s", s.records(), s.log.String())
		}
		cancel()
		s.mu.Unlock()
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.mu.Lock()
	})
}

// TestCommitsBeforeTheFirstBackup guards I13: what is durable cannot be restored before there is a base backup, so the agent does not step in.
func TestCommitsBeforeTheFirstBackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWaitingServer(t)
		if err := s.store.Delete(t.Context(), waitingRecord); err != nil {
			t.Fatal(err)
		}
		s.start(degrading)
		s.pass(10 * time.Minute)
		if s.settings.Names != "" || s.said("when there is a base backup") != 1 || s.said("level=ERROR") != 0 {
			t.Errorf("names %q, log:\n%s", s.settings.Names, s.log.String())
		}
		s.backUp()
		s.pass(30 * time.Second)
		if s.settings.Names != "pgark" || s.records() != "in" {
			t.Errorf("behind the backup: names %q, records %q", s.settings.Names, s.records())
		}
		s.finish()
	})
}
