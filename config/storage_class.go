package config

import (
	"fmt"
	"regexp"
)

// StorageClasses are by the store's words; empty for what the URL or the bucket says.
type StorageClasses struct {
	// Backups is for the packs of base backups, WAL for complete segments.
	Backups, WAL string
}

func classKeys() []Key {
	return []Key{
		classKey("repo.storage_class.backups", "PGARK_STORAGE_CLASS_BACKUPS", "storage class of base backups, such as STANDARD_IA; empty, the default: that of the URL",
			func(c *Cluster) *string { return &c.Repo.Classes.Backups }),
		classKey("repo.storage_class.wal", "PGARK_STORAGE_CLASS_WAL", "storage class of complete segments of WAL; its pieces, and all that is small, never get it",
			func(c *Cluster) *string { return &c.Repo.Classes.WAL }),
	}
}

func classKey(path, env, doc string, of func(*Cluster) *string) Key {
	return Key{
		Path: path, Env: env, Doc: doc,
		set: func(_ *Config, c *Cluster, v string) error { return setClass(of(c), v) },
		get: func(_ Config, c Cluster) string { return *of(&c) },
	}
}

// setClass refuses classes out of which nothing can be read at once: what is archived is read back, copied, verified and drilled.
// Other stores have other words.
func setClass(to *string, v string) error {
	switch {
	case v == "GLACIER", v == "DEEP_ARCHIVE":
		return fmt.Errorf("%s must be thawed before it is read, for hours, so that no new backup could be restored or drilled: a lifecycle rule of the bucket may move what is old", v)
	case v != "" && !regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,39}$`).MatchString(v):
		return fmt.Errorf("%q is no storage class: want a word such as STANDARD_IA or GLACIER_IR", v)
	}
	*to = v
	return nil
}

// completeClasses returns what is wrong with the storage classes of a cluster once all is read.
func completeClasses(file string, c Cluster) faults {
	var f faults
	for _, one := range c.Repositories() {
		if one.Classes != (StorageClasses{}) && isFolder(one.URL) {
			f = append(f, Fault{File: file, Key: "clusters." + c.Name + ".repo.storage_class", Message: one.Name + " is a folder: it has no storage classes"})
		}
	}
	return f
}
