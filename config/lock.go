package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/pgark/pgark/storage"
)

func lockKeys() []Key {
	return []Key{
		{
			Path: "repo.lock.mode", Env: "PGARK_LOCK_MODE",
			Doc: "governance or compliance: every new object is put under S3's Object Lock, here and in the copies that have no `lock` of their own and are buckets; empty, the default: none is",
			set: func(_ *Config, c *Cluster, v string) (err error) {
				c.Repo.Lock.Mode, err = storage.ParseLockMode(v)
				return err
			},
			get: func(_ Config, c Cluster) string { return string(c.Repo.Lock.Mode) },
		},
		{
			Path: "repo.lock.for", Env: "PGARK_LOCK_FOR",
			Doc: "how long from its creation, 1s to 3650d, like 21d: longer than retain.window and the time between two base backups together",
			set: func(_ *Config, c *Cluster, v string) error { return setSpan(&c.Repo.Lock.For, v, time.Second) },
			get: func(_ Config, c Cluster) string { return FormatDuration(c.Repo.Lock.For) },
		},
	}
}

// ownLock is a lock that a copy has for itself.
type ownLock struct {
	set  bool
	lock storage.Lock
}

const (
	lockMark = "lock-" // of a copy written as one text: dr@lock-governance-14d=URL
	lockOff  = "off"
)

var errOwnLock = errors.New("want off, or mode and for as in { mode: governance, for: 14d }")

// parseOwnLock reads a mode and a time; mode off is none.
func parseOwnLock(mode, span string) (ownLock, error) {
	own := ownLock{set: true}
	var err error
	if own.lock.Mode, err = storage.ParseLockMode(mode); err != nil {
		return own, err
	}
	if span != "" {
		err = setSpan(&own.lock.For, span, time.Second)
	}
	if err == nil && (mode == "" || own.lock.IsZero() != (own.lock.For == 0)) {
		err = errOwnLock
	}
	return own, err
}

// lockText is what parseOwnLock reads, as a mark of a copy.
func (one Copy) lockText() string {
	switch {
	case !one.own.set:
		return ""
	case one.own.lock.IsZero():
		return lockMark + lockOff
	}
	return lockMark + string(one.own.lock.Mode) + "-" + FormatDuration(one.own.lock.For)
}

// ownLock reads the lock of a copy in the file.
func (r *reader) ownLock(n ast.Node, label string) (ownLock, error) {
	if isScalar(n) {
		mode, err := r.scalar(n)
		if err == nil && mode != lockOff {
			err = errOwnLock
		}
		return ownLock{set: true}, err
	}
	fields := map[string]string{}
	for _, f := range r.mapping(n, label) {
		value, err := r.scalar(f.value)
		if err != nil {
			return ownLock{}, err
		}
		if f.name != "mode" && f.name != "for" {
			return ownLock{}, fmt.Errorf("this version knows no %s here: %w", f.name, errOwnLock)
		}
		fields[f.name] = value
	}
	return parseOwnLock(fields["mode"], fields["for"])
}

// lockCopies gives each copy its lock: its own, or the primary's. A folder has none.
func lockCopies(c *Cluster) {
	for i := range c.Copies {
		one := &c.Copies[i]
		switch {
		case one.own.set:
			one.Lock = one.own.lock
		case !isFolder(one.URL):
			one.Lock = c.Repo.Lock
		}
	}
}

// isFolder tells whether a repository lies in a folder, which knows no locks.
func isFolder(repoURL string) bool { return strings.HasPrefix(repoURL, "file:") }

// completeLock returns what is wrong with the locks of a cluster once all is read.
func completeLock(file string, c Cluster) faults {
	var f faults
	fault := func(key, message string) {
		f = append(f, Fault{File: file, Key: "clusters." + c.Name + "." + key, Message: message})
	}
	const folder = "a folder has no Object Lock: leave it out, or use a bucket"
	switch l := c.Repo.Lock; {
	case l.IsZero() && l.For > 0:
		fault("repo.lock.for", "needs repo.lock.mode beside it: governance or compliance")
	case !l.IsZero() && l.For == 0:
		fault("repo.lock.mode", "needs repo.lock.for beside it: how long objects are locked, like 21d")
	case !l.IsZero() && isFolder(c.Repo.URL):
		fault("repo.lock", folder)
	}
	for _, one := range c.Copies {
		if !one.Lock.IsZero() && isFolder(one.URL) {
			fault("copies", "copy "+one.Name+": "+folder)
		}
	}
	return f
}
