package config

import "fmt"

// Limits are bandwidths in bytes a second; 0 is no limit.
type Limits struct {
	// Upload is for what is sent. WAL is counted, and does not wait.
	Upload int64
	// Read is for what drills and verifications read, and for what copies are brought up to date from.
	Read int64
}

// Limit sets one limit for all that a command sends, and one for all that it reads, in the place of all that is configured.
func (c *Config) Limit(rate int64) {
	c.Limits = Limits{Upload: rate, Read: rate}
	for i := range c.Clusters {
		one := &c.Clusters[i]
		one.Repo.Limits = Limits{}
		for j := range one.Copies {
			one.Copies[j].Limits = Limits{}
		}
	}
}

func limitKeys() []Key {
	return []Key{
		limitKey("limits.upload", "PGARK_LIMITS_UPLOAD", "bytes per second that a process sends to all repositories together, 100kB/s or more, like 50MB/s; WAL is counted and never waits; 0, the default, is no limit",
			func(c *Config, _ *Cluster) *int64 { return &c.Limits.Upload }),
		limitKey("limits.read", "PGARK_LIMITS_READ", "the same for what drills and verifications read, and for what copies are brought up to date from; a restore never waits",
			func(c *Config, _ *Cluster) *int64 { return &c.Limits.Read }),
	}
}

func repoLimitKeys() []Key {
	return []Key{
		limitKey("repo.upload.rate_limit", "PGARK_UPLOAD_RATE_LIMIT", "limits.upload for this repository alone; the lower of the two counts; 0, the default, is no limit",
			func(_ *Config, c *Cluster) *int64 { return &c.Repo.Limits.Upload }),
		limitKey("repo.read.rate_limit", "PGARK_READ_RATE_LIMIT", "limits.read for this repository alone",
			func(_ *Config, c *Cluster) *int64 { return &c.Repo.Limits.Read }),
	}
}

// limitKey is a key whose value is a bandwidth.
func limitKey(path, env, doc string, of func(*Config, *Cluster) *int64) Key {
	return Key{
		Path: path, Env: env, Doc: doc,
		set: func(c *Config, cluster *Cluster, v string) (err error) {
			*of(c, cluster), err = ParseLimit(v)
			return err
		},
		get: func(c Config, cluster Cluster) string { return FormatRate(*of(&c, &cluster)) },
	}
}

// leastLimit is a rate at which a segment of incompressible WAL takes less than three minutes.
const leastLimit = 100_000

// ParseLimit reads a bandwidth: 50MB/s, or 0 for no limit.
func ParseLimit(v string) (int64, error) {
	rate, err := ParseRate(v)
	if err != nil {
		return 0, err
	}
	if rate != 0 && (rate < leastLimit || rate > 1<<40) {
		return 0, fmt.Errorf("%s is out of range: want 100kB/s to 1TB/s, or 0 for no limit", v)
	}
	return rate, nil
}
