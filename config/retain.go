package config

import (
	"fmt"
	"strconv"
	"time"
)

// Retain says what is kept. With a Window of 0, the default, everything is.
type Retain struct {
	// Window is how far back every instant stays restorable.
	Window time.Duration
	// Daily, Weekly, Monthly and Yearly are how many days, weeks, months and years back the first backup of each is kept.
	Daily, Weekly, Monthly, Yearly int
	// MinBackups is how many backups are kept at least.
	MinBackups int
	// Grace is how long something stays after nothing needs it.
	Grace time.Duration
	// Versions says what becomes of the older versions of what is removed.
	Versions Versions
	// Schedule is a cron expression as that of a Backup, read in its timezone, at which the agent removes what need not be kept; Off leaves that to
	// others.
	Schedule string
}

// Versions is what becomes of the older versions of what retention removes, in a bucket that keeps versions.
type Versions string

const (
	// KeepVersions leaves them, hidden by a delete marker: to be brought back, and paid for, until a rule of the bucket removes them.
	KeepVersions Versions = "keep"
	// RemoveVersions removes them for good, and those of what was removed before, as soon as no lock holds them.
	RemoveVersions Versions = "remove"
)

func defaultRetain() Retain {
	return Retain{MinBackups: 2, Grace: 24 * time.Hour, Versions: KeepVersions, Schedule: "0 5 * * *"}
}

const mostRetained = 10_000 // backups that a number may ask for

func retainKeys() []Key {
	return []Key{
		{
			Path: "retain.window", Env: "PGARK_RETAIN_WINDOW", Doc: "how far back every instant stays restorable, 1s to 3650d, like 14d; 0, the default: everything is kept for ever, and nothing is ever removed",
			set: func(_ *Config, c *Cluster, v string) error { return setSpan(&c.Retain.Window, v, time.Second) },
			get: func(_ Config, c Cluster) string { return FormatDuration(c.Retain.Window) },
		},
		numberKey("retain.keep_daily", "PGARK_RETAIN_KEEP_DAILY", "how many days back the first base backup of each day is kept, with just the WAL that makes it consistent; 0 by default",
			0, func(c *Cluster) *int { return &c.Retain.Daily }),
		numberKey("retain.keep_weekly", "PGARK_RETAIN_KEEP_WEEKLY", "the same for weeks, which begin on Monday", 0, func(c *Cluster) *int { return &c.Retain.Weekly }),
		numberKey("retain.keep_monthly", "PGARK_RETAIN_KEEP_MONTHLY", "the same for months", 0, func(c *Cluster) *int { return &c.Retain.Monthly }),
		numberKey("retain.keep_yearly", "PGARK_RETAIN_KEEP_YEARLY", "the same for years", 0, func(c *Cluster) *int { return &c.Retain.Yearly }),
		numberKey("retain.min_backups", "PGARK_RETAIN_MIN_BACKUPS", "how many base backups are kept at least, whatever their age, 1 or more; 2 by default",
			1, func(c *Cluster) *int { return &c.Retain.MinBackups }),
		{
			Path: "retain.grace", Env: "PGARK_RETAIN_GRACE", Doc: "how long something stays after nothing needs it, for who began to read it before, 0 to 3650d; 1d by default",
			set: func(_ *Config, c *Cluster, v string) error { return setSpan(&c.Retain.Grace, v, 0) },
			get: func(_ Config, c Cluster) string { return FormatDuration(c.Retain.Grace) },
		},
		{
			Path: "retain.versions", Env: "PGARK_RETAIN_VERSIONS", Doc: "what becomes, in a bucket that keeps versions, of what is removed: keep, the default, hides it by a delete marker, so that it can be brought back and is paid for until a rule of the bucket removes it; remove removes all its versions for good, also of what was hidden before, as soon as no Object Lock holds them",
			set: func(_ *Config, c *Cluster, v string) error {
				switch Versions(v) {
				case KeepVersions, RemoveVersions:
					c.Retain.Versions = Versions(v)
					return nil
				default:
					return fmt.Errorf("%q: want keep or remove", v)
				}
			},
			get: func(_ Config, c Cluster) string { return string(c.Retain.Versions) },
		},
		{
			Path: "retain.schedule", Env: "PGARK_RETAIN_SCHEDULE", Doc: "when the agent runs `pgark prune --yes`, where retain.window is set: cron expression as backup.schedule's, in backup.timezone, or off; 0 5 * * * by default",
			set: func(_ *Config, c *Cluster, v string) error { return setCron(&c.Retain.Schedule, v) },
			get: func(_ Config, c Cluster) string { return c.Retain.Schedule },
		},
	}
}

// numberKey is a key whose value is a number of backups.
func numberKey(path, env, doc string, least int, of func(*Cluster) *int) Key {
	return Key{
		Path: path, Env: env, Doc: doc,
		set: func(_ *Config, c *Cluster, v string) error {
			n, err := strconv.Atoi(v)
			if err != nil || n < least || n > mostRetained {
				return fmt.Errorf("%q: want a number from %d to %d", v, least, mostRetained)
			}
			*of(c) = n
			return nil
		},
		get: func(_ Config, c Cluster) string { return strconv.Itoa(*of(&c)) },
	}
}

// setSpan sets a length of time up to ten years, or 0.
func setSpan(to *time.Duration, v string, least time.Duration) error {
	d, err := ParseDuration(v)
	if err != nil {
		return err
	}
	if d > 3650*24*time.Hour || d < least && d != 0 {
		return fmt.Errorf("%s is out of range: want %s to 3650d, or 0", v, FormatDuration(least))
	}
	*to = d
	return nil
}
