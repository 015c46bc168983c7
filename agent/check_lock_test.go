package agent_test

import (
	"strings"
	"testing"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/storage/storagetest"
)

// TestCheckLock: check says how objects come under the lock that is configured, and whether it lasts as long as they are needed, and prints what mends it.
func TestCheckLock(t *testing.T) {
	server := storagetest.StartServer(t)
	server.Setenv(t)
	for _, bucket := range []string{"none", "off", "two-weeks", "month"} {
		server.CreateBucket(t, bucket)
	}
	server.LockBucket(t, "off", "", 0)
	server.LockBucket(t, "two-weeks", "GOVERNANCE", 14)
	server.LockBucket(t, "month", "GOVERNANCE", 30)
	const mends = `"Rule":{"DefaultRetention":{"Mode":"GOVERNANCE","Days":`
	for _, test := range []struct {
		bucket, span string
		schedule     string
		window       string
		verdicts     map[agent.Verdict]string // what one of each says, and its fix
	}{
		{"none", "21d", "0 2 */2 * *", "14d", map[agent.Verdict]string{agent.Bad: "no Object Lock, and governance 21d is configured for it" + mends + "21}"}},
		{"off", "21d", "0 2 */2 * *", "14d", map[agent.Verdict]string{agent.Good: "governance 21d, sent with each object; the bucket's own default is none"}},
		{"two-weeks", "21d", "0 2 */2 * *", "14d", map[agent.Verdict]string{agent.Good: "sent with each object; the bucket's own default is governance 14d"}},
		{"month", "21d", "0 2 */2 * *", "14d", map[agent.Verdict]string{agent.Good: "governance 30d, by the bucket itself: this credential needs no right"}},
		{"month", "30d", "0 2 * * 0", "14d", map[agent.Verdict]string{agent.Good: "governance 30d, by the bucket itself"}},
		{"two-weeks", "14d", "0 2 */2 * *", "14d", map[agent.Verdict]string{
			agent.Good: "by the bucket itself", agent.Warning: "locks of 2w end while objects are needed, for up to 19d: retain.window is 2w, with a grace of 1d, and base backups are up to 2d apart" + mends + "20}",
		}},
		{"off", "1h", "off", "1d", map[agent.Verdict]string{agent.Good: "governance 1h0m0s, sent", agent.Warning: "needed, for up to 2d"}},
		{"off", "1h", "0 2 * * *", "0", map[agent.Verdict]string{
			agent.Good: "governance 1h0m0s, sent", agent.Warning: "locks of 1h may end before they are made longer: runs of retain.schedule are up to 1d apart, and should be 30m at most",
		}},
		{"off", "4d", "0 2 * * *", "0", map[agent.Verdict]string{agent.Good: "governance 4d, sent"}},
		{"off", "21d", "off", "14d", map[agent.Verdict]string{agent.Good: "governance 21d, sent"}},
	} {
		loaded, err := config.Load(config.Sources{Repo: server.URL(test.bucket, "main"), Environment: []string{
			"PGARK_LOCK_MODE=governance", "PGARK_LOCK_FOR=" + test.span, "PGARK_BACKUP_SCHEDULE=" + test.schedule, "PGARK_RETAIN_WINDOW=" + test.window,
		}})
		if err != nil {
			t.Fatal(err)
		}
		found := map[agent.Verdict]string{}
		err = agent.Check(t.Context(), loaded.Clusters[0], agent.CheckOptions{Only: []string{"storage"}}, func(f agent.Finding) {
			if strings.Contains(f.Text, "lock") || strings.Contains(f.Text, "Lock") {
				found[f.Verdict] += f.Text + f.Fix
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != len(test.verdicts) {
			t.Errorf("%s, %s: found %v", test.bucket, test.span, found)
		}
		for verdict, want := range test.verdicts {
			text, fix, _ := strings.Cut(want, mends)
			if got := found[verdict]; !strings.Contains(got, text) || fix != "" && !strings.Contains(got, mends+fix) {
				t.Errorf("%s, %s: %s is %q, want %q and %q", test.bucket, test.span, verdict, got, text, fix)
			}
		}
	}
}
