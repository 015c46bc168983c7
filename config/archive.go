package config

import "time"

// Archive says when base backups may be moved to a class out of which they must be thawed. The zero value never.
type Archive struct {
	// After is their age.
	After time.Duration
	// Class is the store's word.
	Class string
}

func defaultArchive() Archive { return Archive{Class: "GLACIER"} }

func archiveClassKeys() []Key {
	return []Key{
		{
			Path: "repo.archive.after", Env: "PGARK_ARCHIVE_AFTER", Doc: "age at which base backups may be archived by the bucket, such as 90d, for the rules that `pgark repo policy --lifecycle` prints and check looks for; 0, the default: never",
			set: func(_ *Config, c *Cluster, v string) error { return setSpan(&c.Repo.Archive.After, v, 24*time.Hour) },
			get: func(_ Config, c Cluster) string { return FormatDuration(c.Repo.Archive.After) },
		},
		{
			Path: "repo.archive.class", Env: "PGARK_ARCHIVE_CLASS", Doc: "where they are moved then: GLACIER (default), DEEP_ARCHIVE, or one that can be read at once, such as GLACIER_IR",
			set: func(_ *Config, c *Cluster, v string) error {
				if v == "GLACIER" || v == "DEEP_ARCHIVE" {
					c.Repo.Archive.Class = v
					return nil
				}
				return setClass(&c.Repo.Archive.Class, v)
			},
			get: func(_ Config, c Cluster) string { return c.Repo.Archive.Class },
		},
	}
}
