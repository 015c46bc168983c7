package config

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgark/pgark/backup"
	"github.com/pgark/pgark/syncmode"
)

// Key is one setting: how it is written in the file, in the environment, and what it does.
type Key struct {
	// Path is relative to clusters.<name> for a cluster's keys, otherwise to the file's root.
	Path string
	// Env is the shorthand variable: it means the only cluster, or the one selected.
	Env string
	// Doc says in one line what the key does, its unit and its default.
	Doc string
	// Secret says that its value is one: it is never printed.
	Secret bool

	set func(*Config, *Cluster, string) error
	get func(Config, Cluster) string
}

// GlobalKeys returns the keys at the root of the file.
func GlobalKeys() []Key {
	return append([]Key{
		{
			Path: "log.level", Env: "PGARK_LOG_LEVEL", Doc: "debug, info, warn or error; info by default",
			set: func(c *Config, _ *Cluster, v string) error { return setLevel(c, v) },
			get: func(c Config, _ Cluster) string { return strings.ToLower(c.Log.Level.String()) },
		},
		{
			Path: "log.format", Env: "PGARK_LOG_FORMAT", Doc: "auto (text on a terminal, otherwise json), text or json",
			set: func(c *Config, _ *Cluster, v string) error { return oneOf(&c.Log.Format, v, "auto", "text", "json") },
			get: func(c Config, _ Cluster) string { return c.Log.Format },
		},
	}, slices.Concat(limitKeys(), httpKeys(), telemetryKeys())...)
}

// ClusterKeys returns the keys below clusters.<name>.
func ClusterKeys() []Key {
	return slices.Concat(archiveKeys(), repoLimitKeys(), classKeys(), archiveClassKeys(), priceKeys(), lockKeys(), encryptionKeys(), drillKeys(), verifyKeys(), retainKeys(), standbyKeys(), notifyKeys())
}

// archiveKeys are those of what archives, drillKeys those of what tries restores.
func archiveKeys() []Key {
	return []Key{
		{
			Path: "postgres", Env: "PGARK_POSTGRES", Doc: "connection string, URI or keywords as libpq takes them; empty: the PG* variables",
			set: func(_ *Config, c *Cluster, v string) error { c.Postgres = v; return nil },
			get: func(_ Config, c Cluster) string { return c.Postgres },
		},
		{
			Path: "slot.name", Env: "PGARK_SLOT_NAME", Doc: "physical replication slot; pgark by default",
			set: func(_ *Config, c *Cluster, v string) error { return setSlot(c, v) },
			get: func(_ Config, c Cluster) string { return c.Slot },
		},
		{
			Path: "slot.on_standbys", Env: "PGARK_SLOT_ON_STANDBYS", Doc: "true (default): with several hosts in postgres, keep the slot on their standbys too, so that a failover leaves no hole; or false",
			set: func(_ *Config, c *Cluster, v string) error { return setBool(&c.StandbySlots, v) },
			get: func(_ Config, c Cluster) string { return strconv.FormatBool(c.StandbySlots) },
		},
		{
			Path: "slot.keep_max", Env: "PGARK_SLOT_KEEP_MAX",
			Doc: "how much WAL the slot may keep on the server, 100MB or more, like 64GB; 0, the default: only the server's max_slot_wal_keep_size limits it",
			set: func(_ *Config, c *Cluster, v string) error { return setKeepMax(c, v) },
			get: func(_ Config, c Cluster) string { return FormatSize(c.Keep.Max) },
		},
		{
			Path: "slot.on_limit", Env: "PGARK_SLOT_ON_LIMIT",
			Doc: "what happens there: alert (default) tells in log and status; drop drops the slot too, so that the server goes on: what was not archived is a gap then",
			set: func(_ *Config, c *Cluster, v string) error { return oneOf(&c.Keep.OnLimit, v, Alert, Drop) },
			get: func(_ Config, c Cluster) string { return c.Keep.OnLimit },
		},
		{
			Path: "repo.url", Env: "PGARK_REPO", Doc: "s3://bucket/prefix?region=… or file:///path; `repo: URL` is the short form",
			set: func(_ *Config, c *Cluster, v string) error { return setURL(c, v) },
			get: func(_ Config, c Cluster) string { return c.Repo.URL },
		},
		{
			Path: "repo.upload.every", Env: "PGARK_UPLOAD_EVERY", Doc: "longest wait before WAL is put while busy, 100ms to 1h, or auto: a quarter of objectives.rpo, 200ms to 1m, and 1s without one; 1s by default",
			set: func(_ *Config, c *Cluster, v string) error { return setEvery(c, v) },
			get: func(_ Config, c Cluster) string { return formatEvery(c) },
		},
		{
			Path: "repo.compression", Env: "PGARK_COMPRESSION", Doc: "zstd (default), or s2 for hosts short of CPU",
			set: func(_ *Config, c *Cluster, v string) error { return oneOf(&c.Repo.Compression, v, "zstd", "s2") },
			get: func(_ Config, c Cluster) string { return c.Repo.Compression },
		},
		unversionedKey(),
		copiesKey(),
		{
			Path: "required", Env: "PGARK_REQUIRED", Doc: "what must hold WAL before it counts as durable: primary (default), all, or how many of primary and copies",
			set: func(_ *Config, c *Cluster, v string) error { return setRequired(c, v) },
			get: func(_ Config, c Cluster) string { return c.Required },
		},
		{
			Path: "sync.standby_names", Env: "PGARK_SYNC_STANDBY_NAMES",
			Doc: "what the agent sets synchronous_standby_names to, like ANY 1 (pgark), when all is durable; empty, the default: it leaves that setting alone",
			set: func(_ *Config, c *Cluster, v string) error { return setStandbyNames(c, v) },
			get: func(_ Config, c Cluster) string { return c.Sync.StandbyNames },
		},
		{
			Path: "sync.degrade_after", Env: "PGARK_SYNC_DEGRADE_AFTER",
			Doc: "how long commits wait for a confirmation before the agent steps out by making that setting empty, 5s to 24h; 0, the default, is for ever",
			set: func(_ *Config, c *Cluster, v string) error { return setDegradeAfter(c, v) },
			get: func(_ Config, c Cluster) string { return FormatDuration(c.Sync.DegradeAfter) },
		},
		{
			Path: "backup.schedule", Env: "PGARK_BACKUP_SCHEDULE", Doc: "cron expression of five fields, @daily and the like, or off; 0 2 * * * by default",
			set: func(_ *Config, c *Cluster, v string) error { return setCron(&c.Backup.Schedule, v) },
			get: func(_ Config, c Cluster) string { return c.Backup.Schedule },
		},
		{
			Path: "backup.timezone", Env: "PGARK_BACKUP_TIMEZONE", Doc: "IANA name in which the schedule is read; UTC by default",
			set: func(_ *Config, c *Cluster, v string) error { return setTimezone(c, v) },
			get: func(_ Config, c Cluster) string { return c.Backup.Timezone },
		},
		{
			Path: "backup.max_rate", Env: "PGARK_BACKUP_MAX_RATE", Doc: "bytes per second read from the server, 32kB/s to 1GiB/s; 0, the default, is no limit",
			set: func(_ *Config, c *Cluster, v string) error { return setMaxRate(c, v) },
			get: func(_ Config, c Cluster) string { return FormatRate(c.Backup.MaxRate) },
		},
	}
}

// Value returns what k is set to, as one would write it in the file. The connection string and what is Secret are
// returned whole: redact them before printing.
func (k Key) Value(c Config, cluster Cluster) string { return k.get(c, cluster) }

func setLevel(c *Config, v string) error {
	var level string
	if err := oneOf(&level, v, "debug", "info", "warn", "error"); err != nil {
		return err
	}
	return c.Log.Level.UnmarshalText([]byte(level))
}

// setSlot checks the name by ReplicationSlotValidateName (src/backend/replication/slot.c).
func setSlot(c *Cluster, v string) error {
	bad := strings.IndexFunc(v, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
	})
	if v == "" || len(v) > 63 || bad >= 0 {
		return fmt.Errorf("slot name %q: want 1 to 63 lower-case letters, digits and underscores", v)
	}
	c.Slot = v
	return nil
}

// setKeepMax wants more than an agent holds back itself while the store is slow: 64 MiB.
func setKeepMax(c *Cluster, v string) error {
	const least = 100_000_000
	size, err := ParseSize(v)
	if err != nil {
		return err
	}
	if size != 0 && size < least {
		return fmt.Errorf("%s is out of range: want 100MB or more, or 0 for no limit", v)
	}
	c.Keep.Max = size
	return nil
}

func setURL(c *Cluster, v string) error {
	if err := checkURL(v); err != nil {
		return err
	}
	c.Repo.URL = v
	return nil
}

// checkURL looks only at what every store needs; the store itself reads the query.
func checkURL(v string) error {
	const want = "want s3://bucket/prefix?region=… or file:///path"
	u, err := url.Parse(v)
	if err != nil {
		// url.Error repeats the whole text, which may hold a password.
		var parse *url.Error
		if errors.As(err, &parse) {
			err = parse.Err
		}
		return fmt.Errorf("not a URL (%w): %s", err, want)
	}
	switch {
	case u.User != nil:
		return fmt.Errorf("credentials in the URL: leave them to the AWS environment, profile or role")
	case u.Scheme == "s3" && u.Host == "":
		return fmt.Errorf("no bucket in %q: %s", v, want)
	case u.Scheme == "file" && (u.Host != "" || !path.IsAbs(u.Path) || path.Clean(u.Path) == "/"):
		return fmt.Errorf("no absolute folder in %q: want file:///path, with three slashes", v)
	case u.Scheme == "s3" || u.Scheme == "file":
		return nil
	case u.Scheme == "":
		return fmt.Errorf("no scheme in %q: %s", v, want)
	}
	return fmt.Errorf("unknown scheme %q: %s", u.Scheme, want)
}

// auto is the upload interval that follows the objective.
const auto = "auto"

func formatEvery(c Cluster) string {
	if c.Repo.Auto {
		return auto
	}
	return FormatDuration(c.Repo.Every)
}

func setEvery(c *Cluster, v string) error {
	if c.Repo.Auto = v == auto; c.Repo.Auto {
		return nil
	}
	d, err := ParseDuration(v)
	if err != nil {
		return err
	}
	if d < 100*time.Millisecond || d > time.Hour {
		return fmt.Errorf("%s is out of range: want 100ms to 1h, or auto", v)
	}
	c.Repo.Every = d
	return nil
}

func setStandbyNames(c *Cluster, v string) error {
	if v != "" {
		if _, err := syncmode.ParseNames(v); err != nil {
			return err
		}
	}
	c.Sync.StandbyNames = v
	return nil
}

func setDegradeAfter(c *Cluster, v string) error {
	d, err := ParseDuration(v)
	if err != nil {
		return err
	}
	if d != 0 && (d < 5*time.Second || d > 24*time.Hour) {
		return fmt.Errorf("%s is out of range: want 5s to 24h, or 0 for ever", v)
	}
	c.Sync.DegradeAfter = d
	return nil
}

func setCron(to *string, v string) error {
	if v != Off {
		s, err := backup.ParseSchedule(v, "")
		if err != nil || s.Next(time.Unix(0, 0)).IsZero() {
			return fmt.Errorf("schedule %q: want five fields like 0 2 * * * that name a time which comes, @daily, or off", v)
		}
	}
	*to = v
	return nil
}

func setTimezone(c *Cluster, v string) error {
	if _, err := backup.ParseSchedule("@daily", v); v == "" || err != nil {
		return fmt.Errorf("timezone %q: want an IANA name like Europe/Paris, or UTC", v)
	}
	c.Backup.Timezone = v
	return nil
}

// setMaxRate keeps to what BASE_BACKUP's MAX_RATE takes (src/backend/backup/basebackup.c).
func setMaxRate(c *Cluster, v string) error {
	const least, most = 32 << 10, 1 << 30
	rate, err := ParseRate(v)
	if err != nil {
		return err
	}
	if rate != 0 && (rate < least || rate > most) {
		return fmt.Errorf("%s is out of range: want 32KiB/s to 1GiB/s, or 0 for no limit", v)
	}
	c.Backup.MaxRate = rate
	return nil
}

func setBool(to *bool, v string) error {
	if v != "true" && v != "false" {
		return fmt.Errorf("%q: want true or false", v)
	}
	*to = v == "true"
	return nil
}

func oneOf(to *string, v string, allowed ...string) error {
	for _, a := range allowed {
		if v == a {
			*to = v
			return nil
		}
	}
	return fmt.Errorf("%s is not one of %s", strconv.Quote(v), strings.Join(allowed, ", "))
}
