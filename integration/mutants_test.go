package integration_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/archiver/archivertest"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestMutants proves that the suite can fail: a pgark with one fault put in (build tag mutants) is found out by the scenario and the oracle that are
// there for that fault, while the true one passes them.
func TestMutants(t *testing.T) {
	t.Parallel()
	for _, m := range []struct {
		mutant string
		store  storeKind
		// scenario returns what it found wrong.
		scenario func(t *testing.T, s *site) error
	}{
		{"confirm-on-receive", onS3, storeHangsUnderWrites},
		{"exit-1-on-store-error", onS3, storeFailsDuringRecovery},
		{"skip-overlap-check", onFile, serverWritesOtherBytes},
		{"time-filter-instead-of-prefix", onFile, restoreAtInversion},
	} {
		t.Run(m.mutant, func(t *testing.T) {
			t.Parallel()
			t.Run("absent", func(t *testing.T) {
				if err := m.scenario(t, newSite(t, postgrestest.Need(t, 15), m.store, postgrestest.Options{})); err != nil {
					t.Error(err)
				}
			})
			t.Run("present", func(t *testing.T) {
				bin, err := buildMutants()
				if err != nil {
					t.Fatal(err)
				}
				s := newSite(t, postgrestest.Need(t, 15), m.store, postgrestest.Options{})
				s.tool = s.tool.with("PGARK_TEST_MUTANT=" + m.mutant)
				s.tool.bin = bin
				err = m.scenario(t, s)
				if err == nil {
					t.Error("the suite does not find the fault")
				}
				t.Logf("found: %v", err)
			})
		})
	}
}

// storeHangsUnderWrites judges the wires while a store answers nothing and the server writes.
func storeHangsUnderWrites(t *testing.T, s *site) error {
	recording := archivertest.NewRecording(s.segmentSize, "main")
	proxy := storagetest.StartProxy(t, s.s3)
	s.tool, s.url = s.throughWire(newWire(t, s.address(), recording)), proxy.URL("pgark", "main")
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	s.server.Exec(t, "create table t (n int)")
	s.waitArchived(t)
	defer proxy.Add(storagetest.Rule{Op: storagetest.Put, Path: "*/wal/*", Fault: storagetest.Hang()})()
	s.server.Exec(t, "insert into t select generate_series(1, 10000)")
	told := func() (n int) {
		for _, e := range recording.Events() {
			if e.Kind == archivertest.Told {
				n++
			}
		}
		return n
	}
	before := told()
	eventually(t, time.Minute, "the agent to tell the server something", func() bool { return told() > before+2 })
	agent.kill()
	recordStore(recording, "main", proxy, "pgark")
	_, err := archivertest.Judge(recording)
	return err
}

// storeFailsDuringRecovery lets a server recover by restore_command alone, without a target that would be missed, while the store refuses a segment.
func storeFailsDuringRecovery(t *testing.T, s *site) error {
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	s.server.Exec(t, "create table t (n int)")
	for n := range 4 {
		s.server.Exec(t, fmt.Sprintf("insert into t values (%d)", n))
		s.server.Exec(t, "select pg_switch_wal()")
	}
	s.waitArchived(t)
	agent.stop(t)
	proxy := storagetest.StartProxy(t, s.s3)
	dir := filepath.Join(postgrestest.TempDir(t), "restored")
	s.tool.must(t.Context(), t, "restore", "--into", dir, "--bin-dir", s.server.Version.BinDir, "--yes", proxy.URL("pgark", "main"))
	auto := filepath.Join(dir, "postgresql.auto.conf")
	raw, err := os.ReadFile(auto)
	if err != nil {
		t.Fatal(err)
	}
	kept := ""
	for line := range strings.Lines(string(raw)) {
		if !strings.HasPrefix(line, "recovery_target") {
			kept += line
		}
	}
	if err := os.WriteFile(auto, []byte(kept), 0o600); err != nil {
		t.Fatal(err)
	}
	setRestoreCommand(t, auto, strings.Replace(restoreCommandOf(t, auto), "wal fetch ", "wal fetch --timeout 3s ", 1))
	refused := s.segmentSize.FileName(s.segmentSize.Segment(1, s.backups(t)[0].stop(t)+2*0x1000000))
	defer proxy.Add(storagetest.Rule{
		Name: "refused", Op: storagetest.Get, Path: "*" + refused + "*", Fault: storagetest.Answer(403, "AccessDenied"),
	})()
	opened, log := s.recovers(t, dir, 40*time.Second)
	met := 0
	for _, c := range proxy.Calls() {
		if c.Fault == "refused" {
			met++
		}
	}
	if met == 0 {
		t.Fatalf("nobody asked for segment %s:\n%s", refused, log)
	}
	if opened {
		return fmt.Errorf("the server opened, though segment %s was refused", refused)
	}
	return nil
}

// serverWritesOtherBytes sets a server back and lets it write past the end of the archive, so that nothing but the bytes tells.
func serverWritesOtherBytes(t *testing.T, s *site) error {
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	s.server.Exec(t, "create table t (text text)")
	s.waitArchived(t)
	old := s.server.DataDir + ".old"
	s.server.Stop(t, postgrestest.Fast)
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", s.server.DataDir, old).CombinedOutput(); err != nil {
		t.Fatalf("copy the data directory: %v\n%s", err, out)
	}
	s.server.Start(t)
	s.server.Exec(t, "insert into t select repeat('a', 200) from generate_series(1, 5000)")
	s.waitArchived(t)
	agent.kill()
	s.server.Remove(t)
	if err := os.Rename(old, s.server.DataDir); err != nil {
		t.Fatal(err)
	}
	s.server.Start(t)
	s.server.Exec(t, "insert into t select repeat('b', 200) from generate_series(1, 20000)")
	at := s.flushed(t)
	agent = s.tool.start(t, "run", s.url)
	var spliced error
	eventually(t, time.Minute, "the agent to refuse, or to archive what the server has", func() bool {
		select {
		case <-agent.done:
			return true
		default:
		}
		if s.server.Text(t, "select count(*) from pg_stat_replication where application_name like 'pgark%' and flush_lsn >= '"+at.String()+"'") == "1" {
			spliced = fmt.Errorf("WAL up to %s of a server that was set back was archived behind other bytes", at)
		}
		return spliced != nil
	})
	if spliced != nil {
		return spliced
	}
	if code := agent.cmd.ProcessState.ExitCode(); code != exitFenced && code != exitOtherHistory {
		return fmt.Errorf("the agent ended with %d:\n%s", code, agent.output())
	}
	return nil
}

// restoreAtInversion restores to the time of a commit that comes later in WAL than one with a later time.
func restoreAtInversion(t *testing.T, s *site) error {
	agent := s.tool.start(t, "run", s.url)
	s.waitBackup(t)
	l := newLedger(t.Context(), t, s.server.ConnString(), 16, seed(t))
	for range 15 {
		load, stop := context.WithTimeout(t.Context(), 3*time.Second)
		err := l.run(load)
		stop()
		if err != nil {
			t.Fatal(err)
		}
		final, err := readState(t.Context(), s.server.ConnString())
		if err != nil {
			t.Fatal(err)
		}
		ends := s.truth(t, s.waitArchived(t))
		made := map[uint32]bool{}
		for _, xid := range final.rows {
			made[uint32(xid)] = true
		}
		for i := 1; i < len(ends); i++ {
			if made[ends[i].xid] && made[ends[i-1].xid] && ends[i].time.Before(ends[i-1].time) {
				agent.stop(t)
				return s.holds(t, atTime("inversion", ends[i].time), ends, final)
			}
		}
	}
	return errors.New("no two commits were out of order: the scenario tests nothing")
}
