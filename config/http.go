package config

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
)

// HTTP says where an agent answers traffic managers. The zero value answers nobody.
type HTTP struct {
	// Listen is host:port; "" opens no port.
	Listen string
	// WebConfigFile is the path of a web configuration file as Prometheus' exporters take it; "" is neither TLS nor passwords.
	WebConfigFile string
	// Profiles says that profiles of the process are answered too, to whom the page is shown.
	Profiles bool
}

func httpKeys() []Key {
	return []Key{
		{
			Path: "http.listen", Env: "PGARK_HTTP_LISTEN",
			Doc: "host:port on which the agent answers traffic managers, like 127.0.0.1:9868 ([HEALTH.md](HEALTH.md)); empty, the default: it opens no port",
			set: func(c *Config, _ *Cluster, v string) error { return setListen(&c.HTTP.Listen, v) },
			get: func(c Config, _ Cluster) string { return c.HTTP.Listen },
		},
		{
			Path: "http.web_config_file", Env: "PGARK_HTTP_WEB_CONFIG_FILE",
			Doc: "TLS and basic authentication there: a web configuration file as Prometheus' exporters take it; empty, the default: neither",
			set: func(c *Config, _ *Cluster, v string) error { return setWebConfig(&c.HTTP.WebConfigFile, v) },
			get: func(c Config, _ Cluster) string { return c.HTTP.WebConfigFile },
		},
		{
			Path: "http.pprof", Env: "PGARK_HTTP_PPROF",
			Doc: "true answers `go tool pprof` at /debug/pprof/, to whoever may see the page; false, the default, does not",
			set: func(c *Config, _ *Cluster, v string) error { return setBool(&c.HTTP.Profiles, v) },
			get: func(c Config, _ Cluster) string { return strconv.FormatBool(c.HTTP.Profiles) },
		},
	}
}

func setListen(to *string, v string) error {
	if v != "" {
		_, port, err := net.SplitHostPort(v)
		if err != nil {
			return fmt.Errorf("%q: want host:port, like 127.0.0.1:9868", v)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%q: want a port of 1 to 65535", v)
		}
	}
	*to = v
	return nil
}

func setWebConfig(to *string, v string) error {
	if v != "" && !filepath.IsAbs(v) {
		return fmt.Errorf("%q: %w", v, errRelative)
	}
	*to = v
	return nil
}

// completeHTTP returns what is wrong with the listener once all is read.
func completeHTTP(c Config) faults {
	if c.HTTP.Listen != "" {
		return nil
	}
	var f faults
	for _, one := range []struct {
		key string
		set bool
	}{{"http.web_config_file", c.HTTP.WebConfigFile != ""}, {"http.pprof", c.HTTP.Profiles}} {
		if one.set {
			f = append(f, Fault{File: c.File, Key: one.key, Message: "needs http.listen beside it: where to answer, like 127.0.0.1:9868"})
		}
	}
	return f
}
