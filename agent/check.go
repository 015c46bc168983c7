package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
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
	Logger   *slog.Logger
}

// check is one check on its way; what one section found the next may need.
type check struct {
	cluster config.Cluster
	options CheckOptions
	report  func(Finding)

	server server
	system postgres.System
	asked  bool
	// places are the repositories, the primary first.
	places []*checkedPlace
	// open opens a repository with the configured keys.
	open func(context.Context, storage.Store) (*repository.Repository, error)
	keys encryption.Keys
}

// checkedPlace is one repository on its way through a check.
type checkedPlace struct {
	place

	label string // before what is found, where there are several
	// writes says that an object could be stored and read back.
	writes bool
}

// Check looks whether a cluster can be archived as it is configured, and tells report each finding as
// soon as it is made. It leaves nothing behind: what it stores to try the store it deletes. The
// error is that of a configuration that cannot be used at all.
func Check(ctx context.Context, c config.Cluster, o CheckOptions, report func(Finding)) error {
	srv, err := newServer(c)
	if err != nil {
		return err
	}
	stores, err := openPlaces(ctx, c, StoreOptions{Patience: Brief, Logger: o.Logger})
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
		k.onlyRead(ctx)
		return nil
	}
	if k.wants("postgres") || k.wants("e2e") {
		k.postgres(ctx)
	}
	if k.wants("storage") || k.wants("e2e") {
		for _, p := range k.places {
			if p.byBucket {
				k.read(ctx, p)
			} else {
				k.storage(ctx, p)
			}
		}
		if _, err := stores.agree(stores.look(ctx)); err != nil {
			k.bad(SectionStorage, err)
		}
		k.encryption()
		k.replication(ctx, stores)
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
func (k *check) onlyRead(ctx context.Context) {
	for _, p := range k.places {
		k.read(ctx, p)
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

func (k *check) bad(section string, err error) {
	k.report(Finding{Section: section, Verdict: Bad, Text: err.Error(), Err: err})
}

func (k *check) postgres(ctx context.Context) {
	conn, err := k.server.connect(ctx)
	if err != nil {
		k.bad(SectionPostgres, err)
		return
	}
	defer hangUp(ctx, conn)
	k.system, err = conn.System(ctx)
	if err != nil {
		k.bad(SectionPostgres, err)
		return
	}
	settings := map[string]string{}
	for _, name := range []string{
		"server_version", "wal_level", "max_wal_senders", "max_replication_slots", "max_slot_wal_keep_size",
		"full_page_writes", "fsync", "in_hot_standby", "data_checksums",
	} {
		if settings[name], err = conn.Setting(ctx, name); err != nil {
			k.bad(SectionPostgres, fmt.Errorf("show %s: %w", name, err))
			return
		}
	}
	k.asked = true
	role := "primary"
	if settings["in_hot_standby"] == "on" {
		role = "standby"
	}
	k.good(SectionPostgres, "%s %s, system id %s, timeline %d, wal_level %s", settings["server_version"], role, k.system.ID,
		uint32(k.system.Timeline), settings["wal_level"])
	k.good(SectionPostgres, "%s may replicate", k.server.config)
	k.settings(settings)
	k.slot(ctx, conn)
	k.sync(ctx, conn)
	k.standbys(ctx)
}

// settings judges the server's settings.
func (k *check) settings(s map[string]string) {
	const reload = "; SELECT pg_reload_conf();"
	for _, rule := range []struct {
		broken  bool
		verdict Verdict
		text    string
		fix     string
	}{
		{
			s["wal_level"] == "minimal", Bad, "wal_level = minimal: WAL does not hold enough to recover from",
			"ALTER SYSTEM SET wal_level = 'replica'   and restart PostgreSQL",
		},
		{
			number(s["max_wal_senders"]) < 2, Bad, "max_wal_senders = " + s["max_wal_senders"] + ": the agent needs one, and a base backup one more",
			"ALTER SYSTEM SET max_wal_senders = 10   and restart PostgreSQL",
		},
		{
			number(s["max_replication_slots"]) < 1, Bad, "max_replication_slots = 0: the agent needs one",
			"ALTER SYSTEM SET max_replication_slots = 10   and restart PostgreSQL",
		},
		{
			s["fsync"] == "off", Warning, "fsync = off: a crash of the host may leave the archive ahead of the server",
			"ALTER SYSTEM SET fsync = on" + reload,
		},
		{
			s["full_page_writes"] == "off", Warning, "full_page_writes = off: base backups may hold torn pages",
			"ALTER SYSTEM SET full_page_writes = on" + reload,
		},
		{
			s["max_slot_wal_keep_size"] == "-1" && k.cluster.Keep.Max == 0, Warning, "max_slot_wal_keep_size = -1: a long outage of the repository could fill the disk",
			"ALTER SYSTEM SET max_slot_wal_keep_size = '64GB'" + reload + "   or slot.keep_max in the configuration",
		},
		{
			s["data_checksums"] == "off", Warning, "data_checksums = off: a damaged page goes into the backup unseen",
			"pg_checksums --enable   while PostgreSQL is stopped",
		},
	} {
		if rule.broken {
			k.report(Finding{Section: SectionPostgres, Verdict: rule.verdict, Text: rule.text, Fix: rule.fix})
		}
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

func (k *check) slot(ctx context.Context, conn *postgres.Conn) {
	slot, known, err := conn.Slot(ctx, k.cluster.Slot)
	switch {
	case err != nil:
		k.bad(SectionPostgres, err)
	case !known:
	case !slot.Exists:
		k.report(Finding{Section: SectionPostgres, Verdict: Pending, Text: "no slot " + k.cluster.Slot + " yet: pgark run makes it"})
	case slot.RestartLSN == 0:
		k.report(Finding{
			Section: SectionPostgres, Verdict: Bad, Text: "slot " + k.cluster.Slot + " keeps no WAL: it was invalidated",
			Fix: "SELECT pg_drop_replication_slot('" + k.cluster.Slot + "');   then pgark run makes a new one",
		})
	default:
		k.good(SectionPostgres, "slot %s keeps WAL from %s", k.cluster.Slot, slot.RestartLSN)
	}
}

func (k *check) storage(ctx context.Context, p *checkedPlace) {
	conditional, err := storage.Probe(ctx, p.store)
	if err != nil {
		k.bad(SectionStorage, p.says(err))
		return
	}
	trip, err := p.roundTrip(ctx, storage.ProbeKey+"-check", []byte("pgark check\n"))
	if err != nil {
		k.bad(SectionStorage, p.says(err))
		return
	}
	p.writes = true
	k.good(SectionStorage, "%s%s   put %s, get %s", p.label, p.url, round(trip.put), round(trip.get))
	if trip.kept {
		k.good(SectionStorage, "%sthis credential may not delete: whoever steals it cannot destroy the archive", p.label)
	}
	if conditional == storage.ConditionalIgnored {
		k.report(Finding{
			Section: SectionStorage, Verdict: Warning,
			Text: p.label + "this store ignores If-None-Match: two writers at one instant could overwrite each other", Fix: "use one agent only, or another store",
		})
	}
	if strings.HasPrefix(p.url, "file:") {
		k.report(Finding{
			Section: SectionStorage, Verdict: Warning,
			Text: p.label + "a folder on this host protects against mistakes, not against losing this host", Fix: "use a bucket, or a mount from elsewhere",
		})
	}
	r, err := repository.Open(ctx, p.store)
	switch {
	case errors.Is(err, repository.ErrNoRepository):
		k.report(Finding{Section: SectionStorage, Verdict: Pending, Text: p.label + "no repository there yet: pgark run makes it"})
	case err != nil:
		k.bad(SectionStorage, p.says(err))
	case k.asked:
		if err := refuseForeign(ctx, r, k.system.ID); err != nil {
			k.bad(SectionStorage, p.says(err))
			p.writes = false
		}
	}
}

// encryption tells to how many keys contents are encrypted: with one alone the archive is lost with it.
func (k *check) encryption() {
	switch n := k.keys.Recipients.Count(); n {
	case 0:
	case 1:
		k.report(Finding{
			Section: SectionStorage, Verdict: Warning, Text: "contents are encrypted to one public key: who loses its private key loses the archive",
			Fix: "add the public key of a recovery key, kept offline, to " + k.cluster.Repo.Encryption.RecipientsFile,
		})
	default:
		k.good(SectionStorage, "contents are encrypted to %d public keys", n)
	}
}

// says names the repository in an error, where there are several.
func (p *checkedPlace) says(err error) error {
	if p.label == "" {
		return err
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

// markerTimeout is how long the agent may take to make durable what the server has flushed.
const markerTimeout = 15 * time.Second

// endToEnd proves that WAL which the server has can be read back from the store: through the agent
// where one archives this cluster, and by hand where none does yet.
func (k *check) endToEnd(ctx context.Context) {
	marker, plain, err := k.receive(ctx)
	if err != nil {
		k.bad(SectionEndToEnd, fmt.Errorf("receive WAL: %w", err))
		return
	}
	began := time.Now()
	for _, p := range k.places {
		if !p.writes {
			continue
		}
		cluster, archived, err := k.archived(ctx, p, marker.Timeline)
		switch {
		case err != nil:
			k.bad(SectionEndToEnd, p.says(err))
		case archived:
			k.throughAgent(ctx, p, cluster, found{marker, plain, began})
		default:
			k.byHand(ctx, p, found{marker, plain, began})
		}
	}
}

// found is WAL that the server had at an instant.
type found struct {
	marker

	plain []byte
	at    time.Time
}

// marker is WAL that was read from the server to be found again.
type marker struct {
	wal.Range

	Timeline wal.TimelineID
}

// receive reads the server's WAL from the start of the segment that it writes, without a slot.
func (k *check) receive(ctx context.Context) (marker, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, markerTimeout)
	defer cancel()
	conn, err := k.server.connect(ctx)
	if err != nil {
		return marker{}, nil, err
	}
	defer hangUp(ctx, conn)
	system, err := conn.System(ctx)
	if err != nil {
		return marker{}, nil, err
	}
	m := marker{wal.Range{Start: system.SegmentSize.Floor(system.Flush - 1), End: system.Flush}, system.Timeline}
	if err := conn.StartReplication(ctx, postgres.Start{Timeline: m.Timeline, LSN: m.Start}); err != nil {
		return marker{}, nil, err
	}
	var plain []byte
	for uint64(len(plain)) < m.Len() {
		message, err := conn.Receive(ctx)
		if err != nil {
			return marker{}, nil, err
		}
		switch message := message.(type) {
		case *postgres.Data:
			plain = append(plain, message.Bytes...)
		case *postgres.Keepalive:
		case *postgres.EndOfTimeline:
			return marker{}, nil, fmt.Errorf("timeline %d ended at %s", uint32(m.Timeline), message.At)
		}
	}
	return m, plain[:m.Len()], nil
}

// archived tells whether an agent has archived WAL of this cluster and timeline before.
func (k *check) archived(ctx context.Context, p *checkedPlace, tli wal.TimelineID) (*repository.Cluster, bool, error) {
	r, err := k.open(ctx, p.store)
	if errors.Is(err, repository.ErrNoRepository) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	cluster := r.Cluster(k.system.ID)
	timelines, err := cluster.Timelines(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, t := range timelines {
		if t == tli {
			return cluster, true, nil
		}
	}
	return cluster, false, nil
}

// throughAgent waits until the agent has made the marker durable, and compares what it stored.
func (k *check) throughAgent(ctx context.Context, p *checkedPlace, cluster *repository.Cluster, m found) {
	w := follower{cluster: cluster, stall: markerTimeout}
	if err := w.wait(ctx, m.Timeline, m.End); err != nil {
		k.bad(SectionEndToEnd, p.says(err))
		return
	}
	durable := time.Since(m.at)
	if k.keys.Identities.Empty() && !k.keys.Recipients.Empty() {
		k.good(SectionEndToEnd, "%smarker %s durable after %s, encrypted to %d public keys; this host has no private key to read it back with",
			p.label, m.End, round(durable), k.keys.Recipients.Count())
		return
	}
	got, err := cluster.ReadSegment(ctx, k.system.SegmentSize, k.system.SegmentSize.Segment(m.Timeline, m.Start))
	if err != nil {
		k.bad(SectionEndToEnd, p.says(fmt.Errorf("read back %s: %w", m.End, err)))
		return
	}
	if uint64(len(got)) < m.Len() || !bytes.Equal(got[:m.Len()], m.plain) {
		k.bad(SectionEndToEnd, fmt.Errorf("%sthe repository holds other WAL than the server before %s on timeline %d: %w",
			p.label, m.End, uint32(m.Timeline), ErrOtherWAL))
		return
	}
	k.good(SectionEndToEnd, "%smarker %s durable after %s, read back identical (%d bytes)", p.label, m.End, round(durable), len(m.plain))
}

// ErrOtherWAL says that the repository and the server disagree on bytes that both have.
var ErrOtherWAL = errors.New("two histories in one repository")

// byHand stores the marker's bytes as they are, reads them back and deletes them: no agent works
// yet, and what is not the agent's must not stay in the archive.
func (k *check) byHand(ctx context.Context, p *checkedPlace, m found) {
	if !k.keys.Recipients.Empty() { // the server's WAL lies nowhere in clear, not for a moment
		sum := sha256.Sum256(m.plain)
		m.plain = bytes.Repeat(sum[:], len(m.plain)/len(sum)+1)[:len(m.plain)]
	}
	trip, err := p.roundTrip(ctx, storage.ProbeKey+"-wal", m.plain)
	if err != nil {
		k.bad(SectionEndToEnd, p.says(err))
		return
	}
	k.good(SectionEndToEnd, "%smarker %s durable after %s, read back identical (%d bytes)", p.label, m.End, round(trip.put), len(m.plain))
	k.report(Finding{Section: SectionEndToEnd, Verdict: Pending, Text: p.label + "no agent archives this cluster yet", Fix: "pgark run"})
}

// trip is how long an object took to the store and back.
type trip struct {
	put, get time.Duration
	// kept says that the credential may not delete, so that the object stays.
	kept bool
}

// roundTrip puts an object, reads it back, compares it and deletes it. Its name is new each time:
// an earlier check may have left one, because it was killed or may not delete.
func (p *checkedPlace) roundTrip(ctx context.Context, key storage.Key, body []byte) (trip, error) {
	key = storage.Key(fmt.Sprintf("%s-%d", key, time.Now().UnixNano()))
	var t trip
	began := time.Now()
	if err := p.store.Put(ctx, key, body); err != nil {
		return t, err
	}
	t.put = time.Since(began)
	got, err := storage.ReadAll(ctx, p.store, key, int64(len(body)))
	t.get = time.Since(began) - t.put
	deleteErr := p.store.Delete(ctx, key)
	switch {
	case err != nil:
		return t, err
	case !bytes.Equal(got, body):
		return t, fmt.Errorf("get %s: %d bytes came back that are not those put: %w", key, len(got), storage.ErrUnavailable)
	case errors.Is(deleteErr, storage.ErrDenied):
		t.kept = true
	case deleteErr != nil:
		return t, deleteErr
	}
	return t, nil
}

func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Millisecond)
}
