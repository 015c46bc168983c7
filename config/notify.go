package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/pgark/pgark/notify"
)

// Notify says who is told of a cluster. The zero value tells nobody.
type Notify struct {
	// Heartbeat is a URL that is asked every HeartbeatEvery while every objective is met; "" is none. It is a secret.
	Heartbeat      string
	HeartbeatEvery time.Duration
	// On are the events that are told, with commas; "" is all of them.
	On string
	// To are the URLs of those that are told, a space between two. They are secrets.
	To string
	// Secret signs what webhooks get; "" signs nothing.
	Secret string
	// RemindEvery is how often it is said that an event lasts; 0 is never.
	RemindEvery time.Duration
}

// Any says whether somebody is told anything.
func (n Notify) Any() bool { return n.Heartbeat != "" || n.To != "" }

// Targets are the URLs of To.
func (n Notify) Targets() []string { return strings.Fields(n.To) }

// Kinds are the events of On; nil is all of them.
func (n Notify) Kinds() []notify.Kind {
	var kinds []notify.Kind
	for _, word := range splitList(n.On) {
		kinds = append(kinds, notify.Kind(word))
	}
	return kinds
}

const (
	defaultHeartbeatEvery = time.Minute
	defaultRemindEvery    = 6 * time.Hour
)

func defaultNotify() Notify {
	return Notify{HeartbeatEvery: defaultHeartbeatEvery, RemindEvery: defaultRemindEvery}
}

// The keys that are a list in the file, and one text elsewhere.
const (
	notifyOn = "notify.on"
	notifyTo = "notify.to"
)

func notifyKeys() []Key {
	return []Key{
		{
			Path: "notify.heartbeat", Env: "PGARK_NOTIFY_HEARTBEAT", Secret: true,
			Doc: "dead man's switch: a URL that the agent asks while every objective is met ([NOTIFICATIONS.md](NOTIFICATIONS.md)); empty, the default: none",
			set: func(_ *Config, c *Cluster, v string) error { return setHeartbeat(c, v) },
			get: func(_ Config, c Cluster) string { return c.Notify.Heartbeat },
		},
		{
			Path: "notify.heartbeat_every", Env: "PGARK_NOTIFY_HEARTBEAT_EVERY", Doc: "how often, 10s to 24h; 1m by default",
			set: func(_ *Config, c *Cluster, v string) error {
				return setBounded(&c.Notify.HeartbeatEvery, v, 10*time.Second, 24*time.Hour, "10s to 24h")
			},
			get: func(_ Config, c Cluster) string { return FormatDuration(c.Notify.HeartbeatEvery) },
		},
		{
			Path: notifyOn, Env: "PGARK_NOTIFY_ON",
			Doc: "events that are told: a list of rpo_missed, rto_missed, gap, backup_failed, drill_failed, verify_failed, copy_behind, repo_down, slot_near_limit; empty, the default: all of them; as a variable with commas",
			set: func(_ *Config, c *Cluster, v string) error { return setEvents(c, v) },
			get: func(_ Config, c Cluster) string { return c.Notify.On },
		},
		{
			Path: notifyTo, Env: "PGARK_NOTIFY_TO", Secret: true,
			Doc: "who is told: a list of webhook+https://host/path and URLs of shoutrrr's like slack://hook:TOKEN@webhook; empty, the default: nobody; as a variable with white space between",
			set: func(_ *Config, c *Cluster, v string) error { return setTargets(c, v) },
			get: func(_ Config, c Cluster) string { return c.Notify.To },
		},
		{
			Path: "notify.secret", Env: "PGARK_NOTIFY_SECRET", Secret: true,
			Doc: "signs what webhooks get, in the header X-Pgark-Signature-256; 16 characters or more; empty, the default: not signed",
			set: func(_ *Config, c *Cluster, v string) error { return setSecret(c, v) },
			get: func(_ Config, c Cluster) string { return c.Notify.Secret },
		},
		{
			Path: "notify.remind_every", Env: "PGARK_NOTIFY_REMIND_EVERY", Doc: "how often it is said that an event lasts, 10m to 30d; 0 is never; 6h by default",
			set: func(_ *Config, c *Cluster, v string) error {
				if d, err := ParseDuration(v); err == nil && d == 0 {
					c.Notify.RemindEvery = 0
					return nil
				}
				return setBounded(&c.Notify.RemindEvery, v, 10*time.Minute, 30*24*time.Hour, "10m to 30d, or 0 for never")
			},
			get: func(_ Config, c Cluster) string { return FormatDuration(c.Notify.RemindEvery) },
		},
	}
}

func setBounded(to *time.Duration, v string, least, most time.Duration, want string) error {
	d, err := ParseDuration(v)
	if err != nil {
		return err
	}
	if d < least || d > most {
		return fmt.Errorf("%s is out of range: want %s", v, want)
	}
	*to = d
	return nil
}

func setHeartbeat(c *Cluster, v string) error {
	if v != "" {
		if err := notify.CheckHeartbeat(v); err != nil {
			return err
		}
	}
	c.Notify.Heartbeat = v
	return nil
}

// splitList splits at commas and white space.
func splitList(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

func setEvents(c *Cluster, v string) error {
	words := splitList(v)
	for _, word := range words {
		if _, err := notify.ParseKind(word); err != nil {
			return err
		}
	}
	c.Notify.On = strings.Join(words, ",")
	return nil
}

func setTargets(c *Cluster, v string) error {
	urls := strings.Fields(v)
	for i, text := range urls {
		if _, err := notify.ParseTarget(text, notify.TargetOptions{}); err != nil {
			return fmt.Errorf("target %d: %w", i+1, err)
		}
	}
	c.Notify.To = strings.Join(urls, " ")
	return nil
}

// leastSecret is how many characters a secret has at least: one that is guessed signs nothing.
const leastSecret = 16

func setSecret(c *Cluster, v string) error {
	if v != "" && len(v) < leastSecret {
		return fmt.Errorf("it has %d characters: want %d or more", len(v), leastSecret)
	}
	c.Notify.Secret = v
	return nil
}

// words reads a list of plain values in the file into a key that takes them as one text; each fault is at its own line.
func (r *reader) words(list *ast.SequenceNode, k Key, s scope) {
	var taken []string
	for _, item := range list.Values {
		word, err := r.scalar(item)
		if err == nil && len(strings.Fields(word)) > 1 {
			err = errors.New("want one value, without white space")
		}
		if err == nil {
			before := s.cluster.Notify
			err = k.set(r.config, s.cluster, word)
			s.cluster.Notify = before
		}
		if err != nil {
			if f := r.fault(item.GetToken(), s.label(k.Path), strings.TrimPrefix(err.Error(), "target 1: ")); k.Secret {
				f.hide()
			}
			continue
		}
		taken = append(taken, word)
	}
	if err := k.set(r.config, s.cluster, strings.Join(taken, " ")); err != nil {
		r.fault(list.GetToken(), s.label(k.Path), err.Error())
	}
}

// completeNotify returns what does not go together.
func completeNotify(file string, c Cluster) faults {
	var f faults
	if c.Notify.To == "" {
		for _, one := range []struct{ key, value string }{{"on", c.Notify.On}, {"secret", c.Notify.Secret}} {
			if one.value != "" {
				f = append(f, Fault{File: file, Key: "clusters." + c.Name + ".notify." + one.key, Message: "needs notify.to beside it: who is told"})
			}
		}
	}
	return f
}
