package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/pgark/pgark/storage/copies"
)

// Who makes a copy.
const (
	byAgent  = "agent"
	byBucket = "bucket"
)

// copiesKey is a list in the file, and one text elsewhere: dr=URL or dr@bucket=URL, several with white space between.
func copiesKey() Key {
	return Key{
		Path: "copies", Env: "PGARK_COPIES", Doc: "repositories in other places that get the same objects: a list of `name`, `url`, `by`, `lock`, and below `upload`, `read`, `storage_class` and `prices` what a repository has there; as a variable name=URL, name@bucket=URL or name@lock-governance-14d=URL, white space between, then maybe name.upload.rate_limit=50MB/s",
		set: func(_ *Config, c *Cluster, v string) error {
			c.Copies = nil
			for _, word := range strings.Fields(v) {
				name, place, named := strings.Cut(word, "=")
				if of, path, ok := strings.Cut(name, "."); named && ok {
					if err := c.setCopy(of, path, place); err != nil {
						return err
					}
					continue
				}
				if !named || strings.Contains(name, ":") {
					return fmt.Errorf("%q has no name: want name=URL, as in dr=s3://bucket/prefix?region=us-east-1", word)
				}
				name, marks, _ := strings.Cut(name, "@")
				one, by := Copy{Name: name, URL: place}, ""
				for mark := range strings.SplitSeq(marks, ",") {
					text, locks := strings.CutPrefix(mark, lockMark)
					if !locks {
						by = mark
						continue
					}
					mode, span, _ := strings.Cut(text, "-")
					var err error
					if one.own, err = parseOwnLock(mode, span); err != nil {
						return fmt.Errorf("copy %s: %w", name, err)
					}
				}
				if err := c.addCopy(one, by); err != nil {
					return err
				}
			}
			return nil
		},
		get: func(_ Config, c Cluster) string {
			var words []string
			for _, one := range c.Copies {
				var marks []string
				if one.ByBucket {
					marks = append(marks, byBucket)
				}
				if text := one.lockText(); text != "" {
					marks = append(marks, text)
				}
				name := one.Name
				if len(marks) > 0 {
					name += "@" + strings.Join(marks, ",")
				}
				words = append(words, name+"="+one.URL)
				for _, setting := range copySettings() {
					if v := setting.get(one); v != "" {
						words = append(words, one.Name+"."+setting.path+"="+v)
					}
				}
			}
			return strings.Join(words, " ")
		},
	}
}

// copySetting is a setting of a copy that stands at path below it.
type copySetting struct {
	path string
	set  func(*Copy, string) error
	get  func(Copy) string // "" for the default
}

func copySettings() []copySetting {
	rate := func(path string, of func(*Copy) *int64) copySetting {
		return copySetting{path, func(c *Copy, v string) (err error) {
			*of(c), err = ParseLimit(v)
			return err
		}, func(c Copy) string {
			if *of(&c) == 0 {
				return ""
			}
			return FormatRate(*of(&c))
		}}
	}
	class := func(path string, of func(*Copy) *string) copySetting {
		return copySetting{path, func(c *Copy, v string) error { return setClass(of(c), v) }, func(c Copy) string { return *of(&c) }}
	}
	settings := []copySetting{
		rate("upload.rate_limit", func(c *Copy) *int64 { return &c.Limits.Upload }),
		rate("read.rate_limit", func(c *Copy) *int64 { return &c.Limits.Read }),
		class("storage_class.backups", func(c *Copy) *string { return &c.Classes.Backups }),
		class("storage_class.wal", func(c *Copy) *string { return &c.Classes.WAL }),
	}
	for _, p := range prices() {
		settings = append(settings, copySetting{
			p.path, func(c *Copy, v string) error { return setPrice(p.of(&c.Prices), v) }, func(c Copy) string { return formatPrice(*p.of(&c.Prices)) },
		})
	}
	return settings
}

// copySettingAt returns the setting at path; false if there is none, with the paths that begin alike.
func copySettingAt(path string) (copySetting, bool, []string) {
	above, _, _ := strings.Cut(path, ".")
	var near []string
	for _, one := range copySettings() {
		if one.path == path {
			return one, true, nil
		}
		if name, ok := strings.CutPrefix(one.path, above+"."); ok {
			near = append(near, name)
		}
	}
	return copySetting{}, false, near
}

// setCopy sets what stands at path below a copy that was named before.
func (c *Cluster) setCopy(name, path, v string) error {
	i := slices.IndexFunc(c.Copies, func(one Copy) bool { return one.Name == name })
	to, known, _ := copySettingAt(path)
	if i < 0 || !known {
		var paths []string
		for _, one := range copySettings() {
			paths = append(paths, one.path)
		}
		return fmt.Errorf("%s.%s: want a copy that was named before, and one of %s", name, path, strings.Join(paths, ", "))
	}
	if err := to.set(&c.Copies[i], v); err != nil {
		return fmt.Errorf("%s.%s: %w", name, path, err)
	}
	return nil
}

var errCopyName = errors.New("a copy's name is 1 to 40 lower-case letters, digits, - and _, beginning with a letter, and not primary, each or any")

// addCopy adds a copy that by, agent where it is empty, makes.
func (c *Cluster) addCopy(one Copy, by string) error {
	one.ByBucket = by == byBucket
	switch {
	case by != "" && by != byAgent && by != byBucket:
		return fmt.Errorf("copy %s is made by %q: want agent, or bucket where the primary's bucket replicates itself", one.Name, by)
	case !validName(one.Name) || slices.Contains([]string{Primary, DrillEach, DrillAny}, one.Name):
		return errCopyName
	case slices.ContainsFunc(c.Copies, func(other Copy) bool { return other.Name == one.Name }):
		return fmt.Errorf("two copies are named %s", one.Name)
	}
	if err := checkURL(one.URL); err != nil {
		return fmt.Errorf("copy %s: %w", one.Name, err)
	}
	c.Copies = append(c.Copies, one)
	return nil
}

// copies reads the list of copies.
func (r *reader) copies(e entry, s scope) {
	list, ok := e.value.(*ast.SequenceNode)
	if !ok {
		r.fault(e.value.GetToken(), s.label("copies"), "want a list: - { name: dr, url: … }, got "+kindOf(e.value))
		return
	}
	s.cluster.Copies = nil
	for i, item := range list.Values {
		label := s.label(fmt.Sprintf("copies[%d]", i))
		before := len(r.faults)
		var one Copy
		var by string
		fields := map[string]*string{"name": &one.Name, "url": &one.URL, "by": &by}
		for _, f := range r.mapping(item, label) {
			if f.name == "lock" {
				var err error
				if one.own, err = r.ownLock(f.value, join(label, f.name)); err != nil {
					r.fault(f.at, join(label, f.name), err.Error())
				}
				continue
			}
			if _, _, below := copySettingAt(f.name + "."); len(below) > 0 {
				r.belowCopy(f, label, &one)
				continue
			}
			to, known := fields[f.name]
			if !known {
				r.fault(f.at, join(label, f.name), "this version knows no such key").Suggestion = Nearest(f.name, []string{"name", "url", "by", "lock", "upload", "read", "storage_class", "prices"})
				continue
			}
			value, err := r.scalar(f.value)
			if err != nil {
				r.fault(f.value.GetToken(), join(label, f.name), err.Error())
			}
			*to = value
		}
		if len(r.faults) > before {
			continue
		}
		if err := s.cluster.addCopy(one, by); err != nil {
			r.fault(item.GetToken(), label, err.Error())
		}
	}
}

// belowCopy reads a mapping below a copy.
func (r *reader) belowCopy(e entry, label string, one *Copy) {
	for _, f := range r.mapping(e.value, join(label, e.name)) {
		key := join(join(label, e.name), f.name)
		to, known, near := copySettingAt(e.name + "." + f.name)
		if !known {
			r.fault(f.at, key, "this version knows no such key").Suggestion = Nearest(f.name, near)
			continue
		}
		value, err := r.scalar(f.value)
		if err == nil {
			err = to.set(one, value)
		}
		if err != nil {
			r.fault(f.value.GetToken(), key, err.Error())
		}
	}
}

// unversionedKey names repositories of which check does not ask that their buckets keep versions.
func unversionedKey() Key {
	return Key{
		Path: "repo.unversioned", Env: "PGARK_UNVERSIONED",
		Doc: "names of repositories, with commas, whose buckets need not keep versions: primary, or a copy's; without versions whoever has a key that deletes or puts over destroys what is there. Empty by default",
		set: func(_ *Config, c *Cluster, v string) error { return setUnversioned(c, v) },
		get: func(_ Config, c Cluster) string { return c.Repo.Unversioned },
	}
}

func setUnversioned(c *Cluster, v string) error {
	c.Repo.Unversioned = strings.Join(strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' }), ",")
	return nil
}

func setRequired(c *Cluster, v string) error {
	if _, err := copies.ParsePolicy(v); v == "" || err != nil {
		return fmt.Errorf("%q: want primary, all, or a number of repositories", v)
	}
	c.Required = v
	return nil
}

// completeCopies returns what is wrong with the copies of a cluster once all is read.
func completeCopies(file string, c Cluster) faults {
	var f faults
	fault := func(key, format string, args ...any) {
		f = append(f, Fault{File: file, Key: "clusters." + c.Name + "." + key, Message: fmt.Sprintf(format, args...)})
	}
	for name := range strings.SplitSeq(c.Repo.Unversioned, ",") {
		if name != "" && name != Primary && !slices.ContainsFunc(c.Copies, func(one Copy) bool { return one.Name == name }) {
			fault("repo.unversioned", "%q is no repository of this cluster: want primary, or a copy's name", name)
		}
	}
	seen := map[string]string{c.Repo.URL: "the primary repository"}
	written := 1
	for _, one := range c.Copies {
		if other, twice := seen[one.URL]; twice {
			fault("copies", "copy %s is the same place as %s", one.Name, other)
		}
		seen[one.URL] = "copy " + one.Name
		if !one.ByBucket {
			written++
		} else if err := replicable(c.Repo.URL, one.URL); err != nil {
			fault("copies", "copy %s cannot be made by the bucket: %v", one.Name, err)
		}
	}
	policy, err := copies.ParsePolicy(c.Required)
	if err == nil {
		err = policy.Validate(written)
	}
	if err != nil {
		fault("required", "%s required, and there are %d repositories that the agent writes, the primary among them", c.Required, written)
	}
	return f
}

// replicable returns why no bucket can copy the one repository to the other by itself: it keeps the names.
func replicable(from, to string) error {
	a, err := url.Parse(from)
	if err != nil {
		return err
	}
	b, err := url.Parse(to)
	switch {
	case err != nil:
		return err
	case a.Scheme != "s3" || b.Scheme != "s3":
		return errNoBuckets
	case strings.Trim(a.Path, "/") != strings.Trim(b.Path, "/"):
		return fmt.Errorf("it keeps the names, so the URL must be s3://%s%s", b.Host, strings.TrimRight(a.Path, "/"))
	}
	return nil
}

var errNoBuckets = errors.New("both repositories must be buckets, s3://…")
