package docker_test

import (
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// composed is what of compose.yaml is judged; keys that are not here are no fault.
type composed struct {
	Services map[string]service
	Volumes  map[string]any
}

type service struct {
	Image       string
	Build       *struct{ Context, Dockerfile, Target string }
	Environment map[string]string
	Volumes     []string
	Ports       []string
	DependsOn   map[string]any `yaml:"depends_on"`
	StopGrace   string         `yaml:"stop_grace_period"`
	ReadOnly    bool           `yaml:"read_only"`
}

func TestComposition(t *testing.T) {
	text, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c composed
	if err := yaml.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgres", "pgark", "s3-eu", "s3-us", "standby", "pgark-standby", "prometheus", "grafana", "load"} {
		if _, ok := c.Services[name]; !ok {
			t.Errorf("no service %s", name)
		}
	}
	_, stages := dockerfile(t)
	for name, s := range c.Services {
		if !pinned.MatchString(s.Image) && s.Build == nil {
			t.Errorf("%s: image %q: want a version", name, s.Image)
		}
		if s.Build != nil {
			found := false
			for _, stage := range stages {
				found = found || stage.name == s.Build.Target
			}
			if !found || s.Build.Context != ".." || s.Build.Dockerfile != "docker/Dockerfile" {
				t.Errorf("%s: build %+v", name, *s.Build)
			}
		}
		for _, volume := range s.Volumes {
			from, _, _ := strings.Cut(volume, ":")
			if strings.HasPrefix(from, ".") {
				if _, err := os.Stat(from); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if _, ok := c.Volumes[from]; !ok {
				t.Errorf("%s: no volume %s", name, from)
			}
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to the network", name, port)
			}
		}
		for other := range s.DependsOn {
			if _, ok := c.Services[other]; !ok {
				t.Errorf("%s depends on %s, which is not there", name, other)
			}
		}
	}
	region := func(service, key string) string { return c.Services[service].Environment[key] }
	if !strings.Contains(region("pgark", "PGARK_REPO"), "s3-eu") || !strings.Contains(region("pgark", "PGARK_COPIES"), "s3-us") {
		t.Errorf("the agent writes to %q and %q", region("pgark", "PGARK_REPO"), region("pgark", "PGARK_COPIES"))
	}
	if repo := region("standby", "PGARK_REPO"); !strings.Contains(repo, "s3-us") || strings.Contains(repo, "s3-eu") {
		t.Errorf("the standby lives on %q: want the second region alone", repo)
	}
	if agent := c.Services["pgark"]; !agent.ReadOnly || agent.StopGrace == "" {
		t.Errorf("the agent: %+v", agent)
	}
}
