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
		Path: "copies", Env: "PGARK_COPIES", Doc: "repositories in other places that get the same objects: a list of `name`, `url`, `by`, `lock`, `upload` and `read`, the last two with a `rate_limit`; as a variable name=URL, name@bucket=URL or name@lock-governance-14d=URL, white space between, then maybe name.upload.rate_limit=50MB/s",
		set: func(_ *Config, c *Cluster, v string) error {
			c.Copies = nil
			for _, word := range strings.Fields(v) {
				name, place, named := strings.Cut(word, "=")
				if of, limit, ok := strings.Cut(name, "."); named && ok {
					if err := c.limitCopy(of, limit, place); err != nil {
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
				for _, limit := range []string{uploadLimit, readLimit} {
					if rate := *one.limit(limit); rate != 0 {
						words = append(words, one.Name+"."+limit+"="+FormatRate(rate))
					}
				}
			}
			return strings.Join(words, " ")
		},
	}
}

// Where the limits of a copy stand below it.
const (
	uploadLimit = "upload.rate_limit"
	readLimit   = "read.rate_limit"
)

// limit is the limit of a copy that stands at path below it; nil if there is none.
func (c *Copy) limit(path string) *int64 {
	switch path {
	case uploadLimit:
		return &c.Limits.Upload
	case readLimit:
		return &c.Limits.Read
	}
	return nil
}

// limitCopy sets a limit of a copy that was named before.
func (c *Cluster) limitCopy(name, path, v string) error {
	i := slices.IndexFunc(c.Copies, func(one Copy) bool { return one.Name == name })
	if i < 0 || c.Copies[i].limit(path) == nil {
		return fmt.Errorf("%s.%s: want a copy that was named before, and upload.rate_limit or read.rate_limit", name, path)
	}
	rate, err := ParseLimit(v)
	if err != nil {
		return fmt.Errorf("%s.%s: %w", name, path, err)
	}
	*c.Copies[i].limit(path) = rate
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
			if f.name == "upload" || f.name == "read" {
				r.copyLimit(f, label, &one)
				continue
			}
			to, known := fields[f.name]
			if !known {
				r.fault(f.at, join(label, f.name), "this version knows no such key").Suggestion = Nearest(f.name, []string{"name", "url", "by", "lock", "upload", "read"})
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

// copyLimit reads what stands below upload or read of a copy.
func (r *reader) copyLimit(e entry, label string, one *Copy) {
	for _, f := range r.mapping(e.value, join(label, e.name)) {
		to, key := one.limit(e.name+"."+f.name), join(join(label, e.name), f.name)
		if to == nil {
			r.fault(f.at, key, "this version knows no such key").Suggestion = Nearest(f.name, []string{"rate_limit"})
			continue
		}
		value, err := r.scalar(f.value)
		if err == nil {
			*to, err = ParseLimit(value)
		}
		if err != nil {
			r.fault(f.value.GetToken(), key, err.Error())
		}
	}
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
