package config

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

const prefix = "PGARK_"

// programVariables are read by the program and not by the configuration.
func programVariables() []string {
	return []string{"PGARK_CONFIG", "PGARK_CLUSTER", "PGARK_FORCE_TTY", "PGARK_NO_INPUT"}
}

// parseEnvironment turns the form of os.Environ into a map; later entries win.
func parseEnvironment(environ []string) map[string]string {
	env := map[string]string{}
	for _, entry := range environ {
		// An empty variable of ours counts as not set: that is how one is switched off in a compose file.
		if name, value, ok := strings.Cut(entry, "="); ok && (value != "" || !strings.HasPrefix(name, prefix)) {
			env[name] = value
		}
	}
	return env
}

// overlay lays the PGARK_ variables over c: PGARK_CLUSTERS_<NAME>_<KEY> for any cluster, the
// shorthands for the selected one. Every variable may end in _FILE: then the value is the
// content of the file it names. A variable that means nothing is a fault, except those that
// Kubernetes and Docker make for a service whose name begins with pgark.
func overlay(c *Config, env map[string]string, selected string) faults {
	var f faults
	var names []string
	for name := range env {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	link := regexp.MustCompile(`_SERVICE_(HOST|PORT)(_|$)|_PORT(_[0-9]+_(TCP|UDP)(_|$)|$)|^PGARK_(TEST|DEMO)_`)
	for _, name := range names {
		if slices.Contains(programVariables(), name) || link.MatchString(name) {
			continue
		}
		if err := overlayOne(c, name, env[name], selected); err != nil {
			err.Key = name
			f = append(f, *err)
		}
	}
	return f
}

func overlayOne(c *Config, name, value, selected string) *Fault {
	key, cluster, err := findVariable(c, name, selected)
	if base, ok := strings.CutSuffix(name, "_FILE"); err != nil && ok {
		if key, cluster, err = findVariable(c, base, selected); err == nil {
			content, readErr := os.ReadFile(value)
			if readErr != nil {
				return &Fault{Message: readErr.Error()}
			}
			value = strings.TrimSpace(string(content))
		}
	}
	if err != nil {
		return err
	}
	if setErr := key.set(c, cluster, value); setErr != nil {
		return &Fault{Message: setErr.Error()}
	}
	return nil
}

// findVariable returns the key that a variable means, and the cluster it is for: nil for a
// global key.
func findVariable(c *Config, name, selected string) (Key, *Cluster, *Fault) {
	var known []string
	for _, k := range GlobalKeys() {
		if k.Env == name {
			return k, nil, nil
		}
		known = append(known, k.Env)
	}
	for _, k := range ClusterKeys() {
		if k.Env == name {
			cluster := c.pick(selected)
			if cluster == nil {
				return Key{}, nil, &Fault{Message: "the file has several clusters: use " + longName("<NAME>", k)}
			}
			return k, cluster, nil
		}
		known = append(known, k.Env)
		for i := range c.Clusters {
			long := longName(c.Clusters[i].Name, k)
			if long == name {
				return k, &c.Clusters[i], nil
			}
			known = append(known, long)
		}
	}
	return Key{}, nil, &Fault{
		Message:    fmt.Sprintf("this version knows no variable %s", name),
		Suggestion: Nearest(name, slices.Concat(known, programVariables())),
	}
}

// longName is the variable of a cluster's key: PGARK_CLUSTERS_MAIN_REPO_URL.
func longName(cluster string, k Key) string {
	if cluster != "<NAME>" {
		cluster = strings.ToUpper(strings.ReplaceAll(cluster, "-", "_"))
	}
	return prefix + "CLUSTERS_" + cluster + "_" + strings.ToUpper(strings.ReplaceAll(k.Path, ".", "_"))
}

// LongEnv is the variable of a cluster's key where there are several clusters: PGARK_CLUSTERS_MAIN_REPO_URL.
func (k Key) LongEnv(cluster string) string { return longName(cluster, k) }

// Default is what k is where nobody sets it, as one would write it in the file.
func (k Key) Default() string {
	plain := defaults(DefaultCluster)
	return k.get(Config{Log: Log{Format: "auto"}, Telemetry: defaultTelemetry()}, plain)
}
