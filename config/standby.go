package config

import "fmt"

// Standby says what the agent's server is, and how it follows if it is a standby.
type Standby struct {
	// Role is RoleSource or RoleFollow.
	Role string
	// From is the repository that is followed, by its name or URL; "" takes all of them, read as one.
	From string
	// Dir is the standby's data directory; "" leaves it to the command line.
	Dir string
	// SocketDir is the folder of the socket on which the standbys of the host are served.
	SocketDir string
	// Hooks are run when the standby has taken over.
	Hooks []Hook
}

// What an agent's server is.
const (
	// RoleSource is a server that is archived.
	RoleSource = "source"
	// RoleFollow is a standby that follows the archive, and is archived once it was promoted.
	RoleFollow = "follow"
)

// SocketDir is where a follower serves standbys if it is told no other folder.
const SocketDir = "/run/pgark"

func defaultStandby() Standby { return Standby{Role: RoleSource, SocketDir: SocketDir} }

func standbyKeys() []Key {
	return []Key{
		{
			Path: "standby.role", Env: "PGARK_STANDBY_ROLE",
			Doc: "source (default): the agent archives its server; follow: its server is a standby, to which it streams what comes to the archive, and which it archives once it was promoted",
			set: func(_ *Config, c *Cluster, v string) error { return oneOf(&c.Standby.Role, v, RoleSource, RoleFollow) },
			get: func(_ Config, c Cluster) string { return c.Standby.Role },
		},
		{
			Path: "standby.from", Env: "PGARK_STANDBY_FROM", Doc: "the repository that a standby follows: primary, a copy's name, or a URL; empty, the default: all of them, read as one",
			set: func(_ *Config, c *Cluster, v string) error { c.Standby.From = v; return nil },
			get: func(_ Config, c Cluster) string { return c.Standby.From },
		},
		{
			Path: "standby.dir", Env: "PGARK_STANDBY_DIR", Doc: "absolute path of the standby's data directory, for `pgark standby create` without --into; empty by default",
			set: func(_ *Config, c *Cluster, v string) error { return setFolder(&c.Standby.Dir, v) },
			get: func(_ Config, c Cluster) string { return c.Standby.Dir },
		},
		{
			Path: "standby.socket_dir", Env: "PGARK_STANDBY_SOCKET_DIR", Doc: "absolute folder of the socket on which the standbys of this host are served; /run/pgark by default",
			set: func(_ *Config, c *Cluster, v string) error { return setSocketDir(&c.Standby.SocketDir, v) },
			get: func(_ Config, c Cluster) string { return c.Standby.SocketDir },
		},
		hooksKey(),
	}
}

// longestSocketDir leaves room for the socket's name in the 107 bytes that Linux has for its path (unix(7)).
const longestSocketDir = 107 - len("/.s.PGSQL.65535.lock")

func setSocketDir(to *string, v string) error {
	if len(v) > longestSocketDir {
		return fmt.Errorf("%q: a socket's path may be 107 bytes long: want a folder of %d at most", v, longestSocketDir)
	}
	if v == "" {
		v = SocketDir
	}
	return setFolder(to, v)
}

// completeStandby returns what is wrong with a repository that is to be followed.
func completeStandby(file string, c Cluster) faults {
	if c.Standby.From == "" || c.Repo.URL == "" {
		return nil
	}
	if _, err := c.From(c.Standby.From); err != nil {
		return faults{{File: file, Key: "clusters." + c.Name + ".standby.from", Message: fmt.Sprintf("%q is neither primary nor the name or URL of a copy", c.Standby.From)}}
	}
	return nil
}
