package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
)

// Verdict is what a check found.
type Verdict string

// The verdicts. Nothing is an Error only because it is new: that is Pending.
const (
	Good    Verdict = "ok"
	Pending Verdict = "pending"
	Warning Verdict = "warning"
	Bad     Verdict = "error"
)

// Finding is one line of a check.
type Finding struct {
	Section string  `json:"section"`
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"`
	// Fix is a command or a line that can be pasted, or "".
	Fix string `json:"fix,omitempty"`
	// SQL are commands for a superuser that mend it without a restart; none where something else is needed.
	SQL []string `json:"sql,omitempty"`
	// Durable is how long a marker took until the repository Repo held it; 0 in other findings.
	Durable time.Duration `json:"-"`
	Repo    string        `json:"-"`
	// Err is what went wrong, for the caller to explain; nil if nothing did.
	Err error `json:"-"`
}

// The sections of a check.
const (
	SectionConfig   = "Config"
	SectionPostgres = "Postgres"
	SectionStorage  = "Storage"
	SectionEndToEnd = "End2end"
	SectionRecovery = "Recovery"
)

// CheckOptions say what is checked. The zero value checks everything.
type CheckOptions struct {
	// Only are the sections to check, in lower case: postgres, storage, e2e, recovery. Empty checks all.
	Only []string
	// ReadOnly looks only whether the repositories can be restored from: the server is not asked, and nothing is written.
	ReadOnly bool
	// FirstAnswer is as of StoreOptions.
	FirstAnswer time.Duration
	// Bandwidth is that of an agent with this configuration; nil is no limit.
	Bandwidth *Bandwidth
	Logger    *slog.Logger
}

// check is one check on its way; what one section found the next may need.
type check struct {
	cluster config.Cluster
	options CheckOptions
	report  func(Finding)

	server server
	system postgres.System
	asked  bool
	waits  bool // commits wait for the archive, or are to
	// places are the repositories, the primary first.
	places []*checkedPlace
	// open opens a repository with the configured keys.
	open func(context.Context, storage.Store) (*repository.Repository, error)
	keys encryption.Keys
}

// Check looks whether a cluster can be archived as it is configured, and tells report each finding as
// soon as it is made. It leaves nothing behind: what it stores to try the store it deletes. The
// error is that of a configuration that cannot be used at all.
func Check(ctx context.Context, c config.Cluster, o CheckOptions, report func(Finding)) error {
	srv, err := newServer(c)
	if err != nil {
		return err
	}
	stores, err := openPlaces(ctx, c, StoreOptions{Patience: Brief, FirstAnswer: o.FirstAnswer, Logger: o.Logger})
	if err != nil {
		return err
	}
	defer func() { _ = stores.Close() }() // nothing of ours is left in them
	k := &check{cluster: c, options: o, report: report, server: srv, open: stores.open, keys: stores.keys}
	for _, one := range stores.all {
		p := &checkedPlace{place: one}
		if len(stores.all) > 1 {
			p.label = one.name + " "
		}
		k.places = append(k.places, p)
	}
	if o.ReadOnly {
		k.onlyRead(ctx, stores)
		return nil
	}
	if k.wants("postgres") || k.wants("e2e") {
		k.postgres(ctx)
	}
	if k.wants("storage") || k.wants("e2e") {
		k.stores(ctx, stores)
	}
	if k.wants("e2e") && k.asked && slices.ContainsFunc(k.places, func(p *checkedPlace) bool { return p.writes }) {
		k.endToEnd(ctx)
	}
	if k.wants("recovery") {
		k.recovery(ctx)
	}
	return nil
}

// onlyRead looks whether the repositories answer and can be restored from.
func (k *check) onlyRead(ctx context.Context, stores *places) {
	for _, p := range k.places {
		if err := k.read(ctx, p); err != nil {
			k.bad(SectionStorage, p.says(err))
			p.giveUp(stores, err)
		}
	}
	k.recovery(ctx)
}

func (k *check) wants(section string) bool {
	if len(k.options.Only) == 0 {
		return true
	}
	for _, s := range k.options.Only {
		if s == section {
			return true
		}
	}
	return false
}

func (k *check) good(section, format string, args ...any) {
	k.report(Finding{Section: section, Verdict: Good, Text: fmt.Sprintf(format, args...)})
}

// durable reports that the store of a place held a marker after a while.
func (k *check) durable(p *checkedPlace, after time.Duration, format string, args ...any) {
	k.report(Finding{Section: SectionEndToEnd, Verdict: Good, Text: p.label + fmt.Sprintf(format, args...), Durable: after, Repo: p.name})
}

func (k *check) bad(section string, err error) {
	k.report(Finding{Section: section, Verdict: Bad, Text: err.Error(), Err: err})
}
