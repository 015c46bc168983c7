package integration_test

import (
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// TestRestoreIdleToNow: a quiet database writes no WAL, and "as it is now" has to work all the same: the coverage beat of the agent proves that
// nothing came after the last commit. Without an agent the same question is refused, because nobody can know.
func TestRestoreIdleToNow(t *testing.T) {
	for _, v := range []postgrestest.Version{postgrestest.Need(t, 14), postgrestest.Need(t, 18)} {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, v, onFile, postgrestest.Options{})
			agent := s.tool.start(t, "run", s.url)
			s.waitBackup(t)
			s.server.Exec(t, "create table quiet as select generate_series(1, 100) g")
			s.waitArchived(t)
			s.server.Exec(t, "checkpoint")
			now := utcStamp(time.Now())
			eventually(t, time.Minute, "the agent to prove that nothing came since", func() bool {
				return s.tool.run(t.Context(), "restore", "--to", now, "--dry-run", s.url).code == 0
			})
			r, o := s.restore(t.Context(), t, "--to", now)
			if o.code != 0 {
				t.Fatalf("restore: exit %d\n%s%s", o.code, o.stdout, o.stderr)
			}
			if got := query(t, r.conn, "select count(*)::text from quiet"); got != "100" {
				t.Errorf("got %s rows, want 100", got)
			}
			agent.kill()
			later := utcStamp(time.Now().Add(time.Second))
			wait(t.Context(), 1100*time.Millisecond) // a time in the future would be refused for that
			if o := s.tool.run(t.Context(), "restore", "--to", later, "--dry-run", s.url); o.code != 4 {
				t.Errorf("a time that nobody watched: exit %d, want 4\n%s%s", o.code, o.stdout, o.stderr)
			}
		})
	}
}
