package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Hook is a command that is run when a standby has taken over: it points names and addresses to it.
type Hook struct {
	// Run is the program, with an absolute path, and its arguments. No shell reads them.
	Run []string
	// Timeout is when it is killed, with all that it started.
	Timeout time.Duration
}

const (
	defaultHookTimeout = 30 * time.Second
	mostHookTimeout    = time.Hour
)

// hookText is a Hook as it is written.
type hookText struct {
	Run     []string `json:"run"               yaml:"run"`
	Timeout string   `json:"timeout,omitempty" yaml:"timeout"`
}

func (t hookText) hook() (Hook, error) {
	h := Hook{Run: t.Run, Timeout: defaultHookTimeout}
	if len(t.Run) == 0 || !filepath.IsAbs(t.Run[0]) {
		return Hook{}, errors.New("run: want a list whose first word is the absolute path of a program")
	}
	if t.Timeout == "" {
		return h, nil
	}
	var err error
	if h.Timeout, err = ParseDuration(t.Timeout); err != nil {
		return Hook{}, fmt.Errorf("timeout: %w", err)
	}
	if h.Timeout <= 0 || h.Timeout > mostHookTimeout {
		return Hook{}, fmt.Errorf("timeout %s is out of range: want 1s to 1h", t.Timeout)
	}
	return h, nil
}

func (c *Cluster) setHooks(texts []hookText) error {
	c.Standby.Hooks = nil
	for i, text := range texts {
		h, err := text.hook()
		if err != nil {
			return fmt.Errorf("hook %d: %w", i+1, err)
		}
		c.Standby.Hooks = append(c.Standby.Hooks, h)
	}
	return nil
}

// hooksKey is a list in the file, and the same in JSON elsewhere.
func hooksKey() Key {
	return Key{
		Path: "standby.hooks", Env: "PGARK_STANDBY_HOOKS",
		Doc: "commands for `pgark standby promote` to run when the server has taken over: a list of `run` (absolute path and arguments, no shell) and `timeout` (30s); " +
			"their environment is PATH and PGARK_ variables that say what happened; as a variable the same in JSON",
		set: func(_ *Config, c *Cluster, v string) error {
			var texts []hookText
			if v != "" {
				d := json.NewDecoder(strings.NewReader(v))
				d.DisallowUnknownFields()
				if err := d.Decode(&texts); err != nil {
					return fmt.Errorf(`want JSON like [{"run":["/etc/pgark/dns"],"timeout":"30s"}]: %w`, err)
				}
			}
			return c.setHooks(texts)
		},
		get: func(_ Config, c Cluster) string {
			var texts []hookText
			for _, h := range c.Standby.Hooks {
				texts = append(texts, hookText{h.Run, FormatDuration(h.Timeout)})
			}
			if len(texts) == 0 {
				return ""
			}
			b, err := json.Marshal(texts)
			if err != nil {
				return ""
			}
			return string(b)
		},
	}
}

// hooks reads the list in the file.
func (r *reader) hooks(list *ast.SequenceNode, s scope) {
	label := s.label("standby.hooks")
	var texts []hookText
	if err := yaml.NodeToValue(list, &texts, yaml.Strict()); err != nil {
		r.fault(list.GetToken(), label, "want a list: - { run: [/path/to/program, argument], timeout: 30s }: "+yaml.FormatError(err, false, false))
		return
	}
	if err := s.cluster.setHooks(texts); err != nil {
		r.fault(list.GetToken(), label, err.Error())
	}
}
