package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Drill says how restores are tried.
type Drill struct {
	// Dir is the folder in which sandboxes are made; "" leaves it to the command line, and no drill is held by itself.
	Dir string
	// Schedule is a cron expression as that of a Backup, read in its timezone; "off" schedules nothing.
	Schedule string
	// Target is DrillRandom or DrillLatest.
	Target string
	// From is what is restored from: DrillEach, DrillAny, or the name of one repository.
	From string
	// Amcheck says how many tables are checked, with their indexes: AmcheckAll, AmcheckSample, or Off.
	Amcheck string
	// Checks are asked of the restored cluster. SQL is the path of a file of them, if it is not "".
	Checks []Check
	SQL    string
}

// How many tables drills check.
const (
	AmcheckAll    = "all"
	AmcheckSample = "sample"
)

// What a drill restores.
const (
	DrillRandom = "random"
	DrillLatest = "latest"
)

// What drills restore from, where it is not one repository's name. No copy has such a name.
const (
	// DrillEach is one repository alone, each in its turn.
	DrillEach = "each"
	// DrillAny is all of them read as one, as a restore reads them.
	DrillAny = "any"
)

// Objectives are what a cluster is judged by; 0 is none.
type Objectives struct{ RPO, RTO time.Duration }

func defaultDrill() Drill {
	return Drill{Schedule: "0 3 * * *", Target: DrillRandom, From: DrillEach, Amcheck: AmcheckAll}
}

func drillKeys() []Key {
	return []Key{
		{
			Path: "objectives.rpo", Env: "PGARK_RPO", Doc: "how much time of commits a disaster may cost: status and drills are judged by it, 1s to 24h; 0, the default: drills by nothing, status by 30s",
			set: func(_ *Config, c *Cluster, v string) error { return setObjective(&c.Objectives.RPO, v) },
			get: func(_ Config, c Cluster) string { return FormatDuration(c.Objectives.RPO) },
		},
		{
			Path: "objectives.rto", Env: "PGARK_RTO", Doc: "how long it may take until a restored server accepts connections: drills are judged by it, and status by the newest, 1s to 720h; 0, the default, is no objective",
			set: func(_ *Config, c *Cluster, v string) error { return setObjective(&c.Objectives.RTO, v) },
			get: func(_ Config, c Cluster) string { return FormatDuration(c.Objectives.RTO) },
		},
		{
			Path: "drill.dir", Env: "PGARK_DRILL_DIR", Doc: "absolute folder in which drills restore the cluster, with room for it; empty, the default: no drill is held by itself, and `pgark drill run` needs --dir",
			set: func(_ *Config, c *Cluster, v string) error { return setFolder(&c.Drill.Dir, v) },
			get: func(_ Config, c Cluster) string { return c.Drill.Dir },
		},
		{
			Path: "drill.schedule", Env: "PGARK_DRILL_SCHEDULE", Doc: "when the agent holds drills, where drill.dir is set: cron expression as backup.schedule's, in backup.timezone, or off; 0 3 * * * by default",
			set: func(_ *Config, c *Cluster, v string) error { return setCron(&c.Drill.Schedule, v) },
			get: func(_ Config, c Cluster) string { return c.Drill.Schedule },
		},
		{
			Path: "drill.target", Env: "PGARK_DRILL_TARGET", Doc: "random (default): any instant of the window, one time in four the newest; or latest",
			set: func(_ *Config, c *Cluster, v string) error {
				return oneOf(&c.Drill.Target, v, DrillRandom, DrillLatest)
			},
			get: func(_ Config, c Cluster) string { return c.Drill.Target },
		},
		{
			Path: "drill.from", Env: "PGARK_DRILL_FROM", Doc: "what drills restore from: each (default): the agent's from one repository alone, each in its turn; any: from all of them, as a restore does; or primary, or a copy's name: from it alone",
			set: func(_ *Config, c *Cluster, v string) error { c.Drill.From = v; return nil },
			get: func(_ Config, c Cluster) string { return c.Drill.From },
		},
		{
			Path: "drill.where", Env: "PGARK_DRILL_WHERE", Doc: "where drills restore: local, on the agent's host; this version knows no other place",
			set: func(_ *Config, _ *Cluster, v string) error { return CheckWhere(v) },
			get: func(Config, Cluster) string { return whereLocal },
		},
		{
			Path: "drill.checks.amcheck", Env: "PGARK_DRILL_AMCHECK",
			Doc: "which tables drills check with pg_amcheck, where it is there, and their indexes: all (default); sample: a tenth of them, others each time; or off",
			set: func(_ *Config, c *Cluster, v string) error { return setAmcheck(&c.Drill.Amcheck, v) },
			get: func(_ Config, c Cluster) string { return c.Drill.Amcheck },
		},
		sqlKey(),
	}
}

const whereLocal = "local"

// CheckWhere returns why drills cannot be held at a place. A container or a pod is no place that pgark enters: it is one in which it may run.
func CheckWhere(v string) error {
	if v == whereLocal {
		return nil
	}
	return fmt.Errorf("%q: drills are held on the host that pgark runs on (local); for another, run `pgark drill run` there, as in a container or a job of Kubernetes with the server's programs", v)
}

// setAmcheck takes true and false for all and off too.
func setAmcheck(to *string, v string) error {
	switch v {
	case "true":
		v = AmcheckAll
	case "false":
		v = Off
	}
	return oneOf(to, v, AmcheckAll, AmcheckSample, Off)
}

func setObjective(to *time.Duration, v string) error {
	d, err := ParseDuration(v)
	if err != nil {
		return err
	}
	if d != 0 && (d < time.Second || d > 30*24*time.Hour) {
		return fmt.Errorf("%s is out of range: want 1s to 720h, or 0 for none", v)
	}
	*to = d
	return nil
}

var errRelative = errors.New("want an absolute path")

func setFolder(to *string, v string) error {
	if v != "" && !filepath.IsAbs(v) {
		return fmt.Errorf("%q: %w", v, errRelative)
	}
	*to = v
	return nil
}
