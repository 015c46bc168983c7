package status_test

import (
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

// TestJudgeArchive: without a server to ask, an archive that goes on is protected, and one that has stood still is not, however idle the server was.
func TestJudgeArchive(t *testing.T) {
	report := func(after time.Duration) status.Report {
		f := status.Facts{
			Backups: []repository.Backup{taken(1, 0x100, 0x200)}, Spans: []status.Span{span(1, 0, 0x900, 5)},
			Beat: &repository.Beat{Timeline: 1, LSN: 0x900, Time: minute(10)},
		}
		r := status.Make(f, minute(10).Add(after))
		r.JudgeArchive(status.Commands{})
		return r
	}
	if r := report(8 * time.Second); r.Verdict != status.Protected || r.RPO == nil || *r.RPO != 8 {
		t.Errorf("a beat ago: %s, %v, %v", r.Verdict, r.RPO, r.Causes)
	}
	if r := report(2 * time.Minute); r.Verdict != status.AtRisk || len(r.Causes) != 1 || r.Causes[0].Since == nil {
		t.Errorf("two minutes ago: %s, %v", r.Verdict, r.Causes)
	}
	none := status.Make(status.Facts{}, minute(1))
	if none.JudgeArchive(status.Commands{}); none.Verdict != status.Unprotected {
		t.Errorf("no base backup: %s", none.Verdict)
	}
}
