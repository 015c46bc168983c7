// Package config turns a file and the environment into settings: one struct per cluster,
// checked, with units. It reports every fault at once, each with its line and key.
//
// It knows keys and units, and of what the rooms do with them only whether they take a value:
// agent maps a Cluster onto the rooms' Options, and no room imports this package. A key that no room obeys yet
// is refused like a misspelt one. docs/CONFIGURATION.md lists the keys; a test compares it
// with the table in keys.go.
package config

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pgark/pgark/cost"
	"github.com/pgark/pgark/storage"
)

// DefaultFile is read when no file is named and it exists.
const DefaultFile = "/etc/pgark/pgark.yml"

// DefaultCluster names the cluster that needs no file.
const DefaultCluster = "main"

// Config is all that a file and the environment say.
type Config struct {
	// File is the path that was read, or "".
	File string
	Log  Log
	HTTP HTTP
	// Telemetry says whether OpenTelemetry's variables are obeyed.
	Telemetry Telemetry
	// Limits are what a process keeps to over all repositories.
	Limits Limits
	// Clusters are sorted by name; there is at least one.
	Clusters []Cluster
}

// Log says how the agent logs.
type Log struct {
	Level slog.Level
	// Format is auto (text on a terminal, otherwise json), text or json.
	Format string
}

// Cluster is one PostgreSQL cluster and the repository that keeps it.
type Cluster struct {
	Name string
	// Postgres is a connection string by libpq's rules; "" means the PG* variables alone.
	// It may hold a password: print it only through a redactor.
	Postgres string
	// Slot is the name of the physical replication slot.
	Slot string
	// StandbySlots says that the slot is kept on the standbys among the servers of Postgres too.
	StandbySlots bool
	Keep         Keep
	Repo         Repo
	// Copies are the repositories in other places that get the same objects.
	Copies []Copy
	// Required says what must hold WAL before it counts as durable: "primary", "all", or how many of the repositories.
	Required   string
	Sync       Sync
	Backup     Backup
	Objectives Objectives
	Drill      Drill
	Verify     Verify
	Retain     Retain
	Standby    Standby
	Notify     Notify
}

// Primary is how the repository under the key repo is called beside its copies.
const Primary = "primary"

// Copy is one repository beside the primary.
type Copy struct {
	Name string
	// URL is as that of a Repo.
	URL string
	// ByBucket says that the primary's bucket makes the copy, by its own replication, and not the agent.
	ByBucket bool
	Limits   Limits
	Classes  StorageClasses
	Prices   cost.Given
	// Lock is that of new objects; zero in a folder, and where there is none.
	Lock storage.Lock

	own ownLock
}

// Repositories are the primary, as a Copy of that name, and the copies.
func (c Cluster) Repositories() []Copy {
	return append([]Copy{{Name: Primary, URL: c.Repo.URL, Lock: c.Repo.Lock, Limits: c.Repo.Limits, Classes: c.Repo.Classes, Prices: c.Repo.Prices}}, c.Copies...)
}

// From returns the cluster as one that has only the named repository: the primary, a copy by its name, or any by its URL.
func (c Cluster) From(repo string) (Cluster, error) {
	names := []string{Primary}
	url, lock := "", c.Repo.Lock
	var limits Limits
	var classes StorageClasses
	var prices cost.Given
	switch {
	case repo == "" || repo == Primary:
		url, limits, classes, prices = c.Repo.URL, c.Repo.Limits, c.Repo.Classes, c.Repo.Prices
	case strings.Contains(repo, "://"):
		if err := checkURL(repo); err != nil {
			return Cluster{}, &Error{Faults: faults{{Key: "repository", Message: err.Error()}}}
		}
		url = repo
		if isFolder(repo) {
			lock = storage.Lock{}
		}
	}
	for _, one := range c.Copies {
		if one.Name == repo || one.URL == repo {
			url, lock, limits, classes, prices = one.URL, one.Lock, one.Limits, one.Classes, one.Prices
		}
		names = append(names, one.Name)
	}
	if url == "" {
		return Cluster{}, &Error{Faults: faults{{
			Key: "repository", Message: fmt.Sprintf("no repository %q; configured: %s", repo, strings.Join(names, ", ")), Suggestion: Nearest(repo, names),
		}}}
	}
	c.Repo.URL, c.Repo.Lock, c.Repo.Limits, c.Repo.Classes, c.Repo.Prices, c.Copies, c.Required = url, lock, limits, classes, prices, nil, Primary
	return c, nil
}

// Repo says where the repository is and how it is written.
type Repo struct {
	// URL is s3://bucket/prefix?region=… or file:///path.
	URL string
	// Every is the longest time WAL waits before it is put while the server is busy; Auto says that it follows Objectives.RPO.
	Every time.Duration
	Auto  bool
	// Compression is a codec's name: zstd or s2.
	Compression string
	Encryption  Encryption
	// Lock is that of new objects, here and in copies that have none of their own.
	Lock    storage.Lock
	Limits  Limits
	Classes StorageClasses
	// Prices are what the store charges, as far as that is configured.
	Prices cost.Given
	// Unversioned are the names, with commas, of repositories whose buckets need not keep versions: Primary, or copies'.
	Unversioned string
	Archive     Archive
}

// NeedsVersions reports whether the bucket of the repository of that name is to keep versions.
func (r Repo) NeedsVersions(name string) bool {
	return !slices.Contains(strings.Split(r.Unversioned, ","), name)
}

// Keep says how much WAL the slot may keep on the server. The zero value sets no limit beside the server's own.
type Keep struct {
	// Max is in bytes; 0 is no limit.
	Max int64
	// OnLimit is what happens there: Alert or Drop.
	OnLimit string
}

// What happens when the slot keeps as much WAL as it may: the log and status tell, or the slot is dropped as well.
const (
	Alert = "alert"
	Drop  = "drop"
)

// Sync says what the agent does about commits that wait for the archive. The zero value leaves
// synchronous_standby_names to others, and lets commits wait for ever.
type Sync struct {
	// StandbyNames is what the agent sets synchronous_standby_names to when it steps in.
	StandbyNames string
	// DegradeAfter is how long commits may wait before the agent steps out; 0 is for ever.
	DegradeAfter time.Duration
}

// Backup says when base backups are taken.
type Backup struct {
	// Schedule is a cron expression as backup.ParseSchedule takes it; "off" schedules nothing.
	Schedule string
	// Timezone is the IANA name of the zone in which Schedule is read.
	Timezone string
	// MaxRate limits what the server sends, bytes per second; 0 is no limit.
	MaxRate int64
}

// Off is the schedule of a cluster whose backups are all taken by hand.
const Off = "off"

// Sources are the places a configuration comes from, strongest last: file, environment, Repo.
type Sources struct {
	// File is the path of a YAML file; "" reads none.
	File string
	// Text is the content of a file that is not written yet; it counts where File is "".
	Text string
	// Environment is in the form of os.Environ.
	Environment []string
	// Repo is a repository URL given on the command line; "" leaves it to the others.
	Repo string
	// Cluster selects the cluster that shorthands like PGARK_REPO mean when the file has
	// several; "" selects the only one.
	Cluster string
}

// Load reads and checks a configuration. Faults in it come back as *Error, all together;
// a file that cannot be read is an error that wraps the cause.
func Load(from Sources) (Config, error) {
	c := Config{File: from.File, Log: Log{Format: "auto"}, Telemetry: defaultTelemetry()}
	var f faults
	env := parseEnvironment(from.Environment)
	if from.File != "" {
		source, err := os.ReadFile(from.File)
		if err != nil {
			return Config{}, &FileError{Err: err}
		}
		f = readFile(&c, from.File, source, env)
	}
	if from.File == "" && from.Text != "" {
		f = readFile(&c, "", []byte(from.Text), env)
	}
	if len(c.Clusters) == 0 && len(f) == 0 {
		c.Clusters = []Cluster{defaults(DefaultCluster)}
	}
	f = append(f, overlay(&c, env, from.Cluster)...)
	if from.Repo != "" {
		f = append(f, setRepo(&c, from)...)
	}
	for i := range c.Clusters {
		one := &c.Clusters[i]
		lockCopies(one)
		if one.Repo.Auto { // now that the objective is known
			one.Repo.Every = cost.Auto(one.Objectives.RPO)
		}
	}
	if len(f) == 0 {
		f = append(complete(c), completeHTTP(c)...)
	}
	if len(f) > 0 {
		return Config{}, &Error{Faults: f}
	}
	slices.SortFunc(c.Clusters, func(a, b Cluster) int { return strings.Compare(a.Name, b.Name) })
	return c, nil
}

// Select returns the cluster of that name; "" selects the only one.
func (c Config) Select(name string) (Cluster, error) {
	if name == "" && len(c.Clusters) == 1 {
		return c.Clusters[0], nil
	}
	var names []string
	for _, cluster := range c.Clusters {
		if cluster.Name == name {
			return cluster, nil
		}
		names = append(names, cluster.Name)
	}
	list := strings.Join(names, ", ")
	if name == "" {
		return Cluster{}, &Error{Faults: faults{{Key: "--cluster", Message: "say which cluster: " + list}}}
	}
	return Cluster{}, &Error{Faults: faults{{
		Key: "--cluster", Message: fmt.Sprintf("no cluster %q; configured: %s", name, list), Suggestion: Nearest(name, names),
	}}}
}

func defaults(name string) Cluster {
	return Cluster{
		Name: name,
		Slot: "pgark", StandbySlots: true, Keep: Keep{OnLimit: Alert},
		Repo: Repo{Every: time.Second, Compression: "zstd", Archive: defaultArchive()}, Required: Primary,
		Backup: Backup{
			Schedule: "0 2 * * *",
			Timezone: "UTC",
		},
		Drill: defaultDrill(), Verify: defaultVerify(), Retain: defaultRetain(), Standby: defaultStandby(), Notify: defaultNotify(),
	}
}

func setRepo(c *Config, from Sources) faults {
	cluster := c.pick(from.Cluster)
	if cluster == nil {
		return faults{{Key: "--repo", Message: "the file has several clusters: name one with --cluster"}}
	}
	for _, one := range cluster.Copies {
		if one.URL == from.Repo { // who names a copy means it alone
			if one.own.set {
				cluster.Repo.Lock = one.own.lock
			}
			cluster.Copies, cluster.Required = nil, Primary
			break
		}
	}
	if isFolder(from.Repo) { // named beside a configuration that may be a bucket's, to be read from for example
		cluster.Repo.Lock = storage.Lock{}
	}
	if err := setURL(cluster, from.Repo); err != nil {
		return faults{{Key: "repository URL", Message: err.Error()}}
	}
	return nil
}

// pick returns the named cluster, or the only one, or nil.
func (c *Config) pick(name string) *Cluster {
	for i := range c.Clusters {
		if c.Clusters[i].Name == name || name == "" && len(c.Clusters) == 1 {
			return &c.Clusters[i]
		}
	}
	return nil
}

func complete(c Config) faults {
	var f faults
	for _, cluster := range c.Clusters {
		if cluster.Repo.URL == "" {
			f = append(f, Fault{File: c.File, Key: "clusters." + cluster.Name + ".repo", Message: "no repository: " +
				"give a URL like s3://bucket/prefix?region=eu-west-1 or file:///path, in the file, as PGARK_REPO or with --repo"})
		}
	}
	for _, cluster := range c.Clusters {
		f = append(f, completeCopies(c.File, cluster)...)
		f = append(f, completeEncryption(c.File, cluster)...)
		f = append(f, completeClasses(c.File, cluster)...)
		f = append(f, completeLock(c.File, cluster)...)
		f = append(f, completeStandby(c.File, cluster)...)
		f = append(f, completeNotify(c.File, cluster)...)
		if cluster.Keep.OnLimit == Drop && cluster.Keep.Max == 0 {
			f = append(f, Fault{
				File: c.File, Key: "clusters." + cluster.Name + ".slot.on_limit",
				Message: "needs slot.keep_max beside it: how much WAL the slot may keep before it is dropped",
			})
		}
		if cluster.Sync.DegradeAfter > 0 && cluster.Sync.StandbyNames == "" {
			f = append(f, Fault{
				File: c.File, Key: "clusters." + cluster.Name + ".sync.degrade_after",
				Message: "needs sync.standby_names beside it: what synchronous_standby_names is set to when the agent steps in again",
			})
		}
	}
	for i, a := range c.Clusters {
		for _, b := range c.Clusters[i+1:] {
			if a.Repo.URL != "" && a.Repo.URL == b.Repo.URL && a.Postgres == b.Postgres {
				f = append(f, Fault{File: c.File, Key: "clusters." + b.Name, Message: fmt.Sprintf(
					"same server and repository as cluster %s: one agent per cluster", a.Name)})
			}
		}
	}
	return f
}
