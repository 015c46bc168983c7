package integration_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// verified is what `pgark verify -o json` says.
type verified struct {
	Verdict string `json:"verdict"`
	Damage  []struct {
		Repository string   `json:"repository"`
		Class      string   `json:"class"`
		Key        string   `json:"key"`
		Elsewhere  []string `json:"elsewhere"`
		Healed     bool     `json:"healed"`
		Error      string   `json:"error"`
	} `json:"damage"`
	Risks []struct {
		From      time.Time `json:"from"`
		Elsewhere []string  `json:"elsewhere"`
	} `json:"risks"`
	Notes        []string          `json:"notes"`
	Unusable     []json.RawMessage `json:"unusable_backups"`
	Repositories []struct {
		Read       int64  `json:"read_objects"`
		Unrecorded string `json:"unrecorded"`
	} `json:"repositories"`
}

func (s *site) verify(t *testing.T, code int, flags ...string) verified {
	t.Helper()
	o := s.tool.run(t.Context(), append(append([]string{"verify"}, flags...), "-o", "json")...)
	var v verified
	if err := json.Unmarshal([]byte(o.stdout), &v); err != nil || o.code != code {
		t.Fatalf("verify %v: exit %d, want %d; %v\n%s%s", flags, o.code, code, err, o.stdout, o.stderr)
	}
	return v
}

// TestVerifyRepairs guards D1: objects of a real archive are damaged behind the S3 server's back, one of each class. verify names each of them and
// nothing else, neither does the agent's own verification find anything before, --repair puts them right from the copy, and the bucket keeps what lay there. Then the repaired repository alone gives back every row.
func TestVerifyRepairs(t *testing.T) {
	t.Parallel()
	runsRunbooks(t)
	s := newSite(t, postgrestest.Need(t, 15), onS3, postgrestest.Options{})
	far, _ := newBucket(t, s.s3, "pgark-dr", "main")
	dr := filepath.Join(s.s3.Dir(), "pgark-dr", "main")
	s.tool.env = append(s.tool.env, "PGARK_REPO="+s.url, "PGARK_COPIES=dr="+far, "PGARK_REQUIRED=all", "PGARK_VERIFY_SCHEDULE=@every 2s")
	agent := s.tool.start(t, "run")
	s.waitBackup(t)
	s.server.Exec(t, "create table t (n int)")
	// While the agent archives nothing is damaged: pieces become segments, and the copy is a moment behind.
	var load errgroup.Group
	load.Go(func() error {
		for range 4 {
			s.server.Exec(t, "insert into t select generate_series(1, 1000)")
			s.server.Exec(t, "select pg_switch_wal()")
		}
		return nil
	})
	for range 2 {
		if v := s.verify(t, 0, "--deep"); v.Verdict != "sound" {
			t.Errorf("while the agent archives: got %+v", v)
		}
	}
	if err := load.Wait(); err != nil {
		t.Fatal(err)
	}
	s.server.Exec(t, "insert into t values (7)")
	s.waitArchived(t)
	eventually(t, time.Minute, "the agent to verify by itself", func() bool {
		return strings.Contains(agent.output(), "verification found nothing wrong")
	})
	agent.stop(t)
	if strings.Contains(agent.output(), "verification found damage") || strings.Contains(agent.output(), "could not be verified") {
		t.Error("the agent found damage where there was none")
	}
	for _, folder := range []string{s.folder, dr} { // as if an hour had passed: what is newer may be on its way
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				err = os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if v := s.verify(t, 0); v.Verdict != "sound" || v.Repositories[0].Read < 10 || v.Repositories[0].Unrecorded != "" {
		t.Fatalf("before: got %+v", v)
	}

	segments := objects(t, s.folder, "wal/00000001/*.zst")
	want := []string{
		objects(t, s.folder, "backups/*/base-*.tar.zst")[0], objects(t, s.folder, "backups/*/index.zst")[0],
		objects(t, s.folder, "backups/*/record.json")[0], segments[0], segments[1], segments[2],
	}
	spoil(t, want[0], flipped)
	spoil(t, want[1], func(b []byte) []byte { return b[:len(b)/2] })
	spoil(t, want[2], flipped)
	spoil(t, want[3], func([]byte) []byte { return nil })
	spoil(t, want[4], flipped)
	if err := os.Remove(want[5]); err != nil {
		t.Fatal(err)
	}
	damaged, err := os.ReadFile(want[0])
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range want {
		want[i] = strings.TrimPrefix(path, s.folder+"/")
	}
	slices.Sort(want)

	v := s.verify(t, 3)
	var named []string
	for _, d := range v.Damage {
		named = append(named, d.Key)
		if d.Repository != "primary" || !slices.Equal(d.Elsewhere, []string{"dr"}) || d.Healed {
			t.Errorf("got %+v", d)
		}
	}
	slices.Sort(named)
	if !slices.Equal(named, want) {
		t.Errorf("named %v, want %v", named, want)
	}
	if len(v.Risks) == 0 || len(v.Unusable) != 1 || !slices.Equal(v.Risks[0].Elsewhere, []string{"dr"}) || time.Since(v.Risks[0].From) > time.Hour {
		t.Errorf("got %+v", v)
	}

	if o := s.tool.page(t, "damage", "look", ""); o.code != 3 || !strings.Contains(o.stdout, "DAMAGE") || !strings.Contains(o.stdout, "RISK") {
		t.Errorf("as the runbook looks: exit %d, want 3\n%s%s", o.code, o.stdout, o.stderr)
	}
	s.tool = s.tool.with("PGARK_REPO=" + s.as(t, "repairer"))
	o := s.tool.given("verify", "-o json").page(t, "damage", "repair", "")
	v = verified{}
	if err := json.Unmarshal([]byte(o.stdout), &v); err != nil || o.code != 3 {
		t.Fatalf("repair: exit %d, want 3; %v\n%s%s", o.code, err, o.stdout, o.stderr)
	}
	for _, d := range v.Damage {
		if !d.Healed {
			t.Errorf("not healed: %+v", d)
		}
	}
	if v.Verdict != "healed" || len(v.Risks)+len(v.Unusable) != 0 {
		t.Errorf("got %+v", v)
	}
	if v = s.verify(t, 0, "--deep"); v.Verdict != "sound" {
		t.Errorf("afterwards: got %+v", v)
	}
	s.tool.did(t, "damage", "trust", "", "NAME=dr") // there is nothing left to choose
	kept := false
	err = filepath.WalkDir(filepath.Join(filepath.Dir(s.s3.Dir()), "versions"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			b, errRead := os.ReadFile(path)
			kept, err = kept || string(b) == string(damaged), errRead
		}
		return err
	})
	if err != nil || !kept {
		t.Errorf("the damaged pack is no version in the bucket: %v", err)
	}

	if err := os.RemoveAll(dr); err != nil { // so that nothing comes from there
		t.Fatal(err)
	}
	s.tool.env = append(s.tool.env, "PGARK_COPIES=", "PGARK_REQUIRED=primary")
	r, o := s.restore(t.Context(), t)
	if o.code != 0 {
		t.Fatalf("restore: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if got := query(t, r.conn, "select count(*)::text from t"); got != "4001" {
		t.Errorf("restored %s rows, want 4001", got)
	}
}
