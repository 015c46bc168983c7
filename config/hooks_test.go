package config_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/config"
)

func TestHooks(t *testing.T) {
	const head = "clusters:\n  main:\n    repo: file:///a\n    standby:\n      hooks:\n"
	want := []config.Hook{{Run: []string{"/etc/pgark/dns", "--to", "here"}, Timeout: time.Minute}, {Run: []string{"/bin/true"}, Timeout: 30 * time.Second}}
	file := write(t, head+"        - { run: [/etc/pgark/dns, --to, here], timeout: 1m }\n        - run: [/bin/true]\n")
	c, err := config.Load(config.Sources{File: file})
	if err != nil || !reflect.DeepEqual(c.Clusters[0].Standby.Hooks, want) {
		t.Fatalf("got %+v, %v", c.Clusters, err)
	}
	for _, k := range config.ClusterKeys() { // what is shown can be given back
		if k.Path != "standby.hooks" {
			continue
		}
		text := k.Value(c, c.Clusters[0])
		again, err := config.Load(config.Sources{File: write(t, "clusters:\n  main:\n    repo: file:///a\n"), Environment: []string{k.Env + "=" + text}})
		if err != nil || !reflect.DeepEqual(again.Clusters[0].Standby.Hooks, want) {
			t.Errorf("%s: got %+v, %v", text, again.Clusters, err)
		}
	}
	for text, says := range map[string]string{
		"        - { run: [dns] }\n":                              "absolute path",
		"        - { run: [] }\n":                                 "absolute path",
		"        - { run: [/bin/true], timeout: soon }\n":         "timeout",
		"        - { run: [/bin/true], timeout: 2h }\n":           "out of range",
		"        - { run: [/bin/true], shell: yes }\n":            "want a list",
		"        - { run: /bin/true }\n":                          "want a list",
		"        - { run: [/bin/true], timeout: 30s, extra: 1}\n": "want a list",
	} {
		if _, err := config.Load(config.Sources{File: write(t, head+text)}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %q", text, err, says)
		}
	}
}
