package config_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/config"
)

// TestNotify: lists in the file, texts in the environment, and the same settings of both.
func TestNotify(t *testing.T) {
	want := config.Notify{
		Heartbeat: "https://hc.example/uuid", HeartbeatEvery: 30 * time.Second, On: "gap,rpo_missed", To: "webhook+https://ops.example/a webhook+http://ops.example/b",
		Secret: "0123456789abcdef", RemindEvery: 0,
	}
	file := "clusters:\n  main:\n    repo: file:///r\n    notify:\n      heartbeat: https://hc.example/uuid\n      heartbeat_every: 30s\n      on: [gap, rpo_missed]\n" +
		"      to:\n        - webhook+https://ops.example/a\n        - !env HOOK\n      secret: 0123456789abcdef\n      remind_every: 0\n"
	for name, from := range map[string]config.Sources{
		"file": {Text: file, Environment: []string{"HOOK=webhook+http://ops.example/b"}},
		"environment": {Repo: "file:///r", Environment: []string{
			"PGARK_NOTIFY_HEARTBEAT=https://hc.example/uuid", "PGARK_NOTIFY_HEARTBEAT_EVERY=30s", "PGARK_NOTIFY_ON=gap, rpo_missed",
			"PGARK_NOTIFY_TO=webhook+https://ops.example/a webhook+http://ops.example/b", "PGARK_CLUSTERS_MAIN_NOTIFY_SECRET=0123456789abcdef", "PGARK_NOTIFY_REMIND_EVERY=0",
		}},
	} {
		c, err := config.Load(from)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := c.Clusters[0].Notify; got != want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
		}
	}
	c, err := config.Load(config.Sources{Repo: "file:///r"})
	if err != nil || c.Clusters[0].Notify.Any() || c.Clusters[0].Notify.Kinds() != nil {
		t.Errorf("by default nobody is told: got %+v, %v", c.Clusters[0].Notify, err)
	}
}

// TestNotifyFaults: each fault has its line and says what is wanted, and no fault shows what is secret.
func TestNotifyFaults(t *testing.T) {
	const canary = "T0PS3CRETcanary"
	for _, test := range []struct{ text, want string }{
		{"heartbeat: ftp://hc/" + canary, `unknown scheme "ftp"`},
		{"heartbeat: https:///" + canary, "no host"},
		{"heartbeat_every: 1s", "10s to 24h"},
		{"remind_every: 1m", "10m to 30d, or 0 for never"},
		{"on: [rpo_mised]\n      to: [\"webhook+https://ops/" + canary + "\"]", `"rpo_mised" is no event; there are rpo_missed, rto_missed`},
		{"on: [gap]", "needs notify.to beside it"},
		{"to: [\"webhook+ftp://" + canary + "\"]", `unknown scheme "ftp"`},
		{"to: [webhook+https://ok/" + canary + ", [x]]", "want a single value"},
		{"to: nobody://" + canary, `unknown scheme "nobody"`},
		{"secret: abc\n      to: [\"webhook+https://ops/" + canary + "\"]", "3 characters: want 16 or more"},
	} {
		_, err := config.Load(config.Sources{Text: "clusters:\n  main:\n    repo: file:///r\n    notify:\n      " + test.text + "\n"})
		var faulty *config.Error
		if !errors.As(err, &faulty) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.text, err, test.want)
			continue
		}
		for _, f := range faulty.Faults {
			if said := f.String() + f.Excerpt(); strings.Contains(said, canary) || strings.Contains(said, "abc") {
				t.Errorf("%s: it is shown in\n%s", test.text, said)
			}
			if f.Line == 0 && !strings.Contains(f.Message, "beside it") {
				t.Errorf("%s: no line in %v", test.text, f)
			}
		}
	}
}
