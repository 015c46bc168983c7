package status_test

import (
	"strings"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

// drilled is a drill at minute n of the backup that was taken at minute base.
func drilled(n, base int, result repository.DrillResult, rto repository.Seconds) repository.Drill {
	return repository.Drill{
		ID: minute(n).Format("20060102T150405Z"), Started: minute(n), Result: result, Phase: repository.DrillVerify, Failure: "check orders: no",
		Backup: minute(base).Format("20060102T150405Z"), RTO: rto, Fetch: repository.DrillFetched{Bytes: 100},
	}
}

// TestDrills: the newest drill is told of, each backup of the newest that passed with it, and what is wrong is a risk.
func TestDrills(t *testing.T) {
	const passed, failed = repository.DrillPassed, repository.DrillFailed
	facts := status.Facts{
		Backups: []repository.Backup{taken(1, 0x100, 0x200), taken(60, 0x300, 0x400)},
		Spans:   []status.Span{span(1, 0, 0x900, 119)},
	}
	for _, test := range []struct {
		name      string
		drills    []repository.Drill
		objective float64
		proved    [2]string // by which drill
		cause     string
	}{
		{"none", nil, 60, [2]string{}, ""},
		{"passed", []repository.Drill{drilled(2, 1, passed, 30), drilled(61, 60, passed, 50)}, 60, [2]string{"20261120T000200Z", "20261120T010100Z"}, ""},
		{"the newest failed", []repository.Drill{drilled(2, 1, passed, 30), drilled(61, 60, failed, 50)}, 60, [2]string{"20261120T000200Z", ""}, "failed (verify): check orders: no"},
		{"one failed before", []repository.Drill{drilled(2, 1, failed, 30), drilled(3, 1, passed, 30)}, 60, [2]string{"20261120T000300Z", ""}, ""},
		{"too slow", []repository.Drill{drilled(61, 60, passed, 61)}, 60, [2]string{"", "20261120T010100Z"}, "takes 1m1s by the newest drill, the objective is 1m0s"},
		{"slow without an objective", []repository.Drill{drilled(61, 60, passed, 9999)}, 0, [2]string{"", "20261120T010100Z"}, ""},
		{"of a backup that has expired", []repository.Drill{drilled(61, 50, passed, 1)}, 60, [2]string{}, ""},
	} {
		facts.Drills = test.drills
		r := status.Make(facts, minute(119))
		r.RTOTarget = test.objective
		r.Judge(commands)
		for i, want := range test.proved {
			got := ""
			if d := r.Backups[i].Drill; d != nil {
				got = d.ID
			}
			if got != want {
				t.Errorf("%s: backup %d is proved by %q, want %q", test.name, i, got, want)
			}
		}
		if n := len(test.drills); (r.Drill == nil) != (n == 0) || n > 0 && r.Drill.ID != test.drills[n-1].ID {
			t.Errorf("%s: got %+v", test.name, r.Drill)
		}
		cause := ""
		for _, c := range r.Causes {
			if c.Fix == commands.Drill {
				cause = c.What
			}
		}
		if (cause == "") != (test.cause == "") || !strings.Contains(cause, test.cause) {
			t.Errorf("%s: got cause %q, want %q", test.name, cause, test.cause)
		}
		if strip := r.Strip(status.ASCII); strings.HasPrefix(strip, "*") != (test.proved[0] != "") || strings.Contains(strip[1:], "*") != (test.proved[1] != "") {
			t.Errorf("%s: got %s", test.name, strip)
		}
	}
}
