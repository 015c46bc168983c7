package config

import (
	"fmt"
	"time"
)

// Verify says when the agent reads the repositories back.
type Verify struct {
	// Schedule is a cron expression as that of a Backup, read in its timezone; Off, the default, schedules nothing: what is read may cost money.
	Schedule string
	// Since is how long an object that was found right is not read again.
	Since time.Duration
}

func defaultVerify() Verify { return Verify{Schedule: Off, Since: 7 * 24 * time.Hour} }

func verifyKeys() []Key {
	return []Key{
		{
			Path: "verify.schedule", Env: "PGARK_VERIFY_SCHEDULE", Doc: "when the agent runs `pgark verify`: cron expression as backup.schedule's, in backup.timezone, or off, the default: every object is read once per verify.since, which a provider may bill",
			set: func(_ *Config, c *Cluster, v string) error { return setCron(&c.Verify.Schedule, v) },
			get: func(_ Config, c Cluster) string { return c.Verify.Schedule },
		},
		{
			Path: "verify.since", Env: "PGARK_VERIFY_SINCE", Doc: "how long an object that was found right is not read again by it, 1h to 365d; 7d by default",
			set: func(_ *Config, c *Cluster, v string) error {
				d, err := ParseDuration(v)
				if err == nil && (d < time.Hour || d > 365*24*time.Hour) {
					err = fmt.Errorf("%s is out of range: want 1h to 365d", v)
				}
				c.Verify.Since = d
				return err
			},
			get: func(_ Config, c Cluster) string { return FormatDuration(c.Verify.Since) },
		},
	}
}
