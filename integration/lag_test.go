package integration_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/storage/storagetest"
)

// lagBound is what a standby is promised to be behind with default settings, of 99 rows in 100.
const lagBound = 3 * time.Second

// TestStandbyLag guards I31: a standby that was made from the bucket alone and is kept by a follower with default settings shows what is committed on the primary within seconds, idle and under pgbench. Across
// timeline switches, agents and followers that are killed, and outages of the store, it shows exactly what the primary had committed at the LSN that it replayed, and catches up.
//
// The long form goes through all majors and fails over 3 s at p99: make follow DURATION=4m SEED=1. Each major takes that long, and a little more; on the even ones the follower is
// `pgark standby follow`, on the others an agent with standby.role follow.
func TestStandbyLag(t *testing.T) {
	seed := seed(t)
	length := soakDuration(t, 0)
	majors := postgrestest.Majors()
	if length == 0 {
		t.Parallel()
		majors = majors[3:4]
	}
	all := &lagReport{}
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			l := newLagged(t, postgrestest.Need(t, major), seed+uint64(major))
			l.run(length)
			all.merge(&l.report)
		})
	}
	t.Logf("all majors:\n%s", all)
}

// lagged is a primary with a standby beside it, an archive, and a standby far away that knows nothing but the archive.
type lagged struct {
	*family

	t              *testing.T
	far            *postgrestest.Cluster
	follows        []string           // what follows the archive for it
	there          tool               // of its host
	writer, reader *storagetest.Proxy // before the archive, of each host
	keeper         *keptUp            // the primary's agent
	follower       *keptUp
	load           *steady
	marks          *marks
	random         *rand.Rand
	strict         bool // a lag over the bound is a failure
	report         lagReport
}

func newLagged(t *testing.T, v postgrestest.Version, seed uint64) *lagged {
	t.Helper()
	settings := ledgerSettings()
	settings["max_wal_size"] = "4GB"
	s := newSite(t, v, onS3, postgrestest.Options{Settings: settings})
	letIn(t, s.s3)
	l := &lagged{t: t, writer: storagetest.StartProxy(t, s.s3), reader: storagetest.StartProxy(t, s.s3), random: rand.New(rand.NewPCG(seed, 0))}
	socket := filepath.Join(postgrestest.TempDir(t), "s")
	l.there = s.tool.with("PGARK_REPO="+l.reader.URL("pgark", "main"), "PGARK_STANDBY_SOCKET_DIR="+socket, "PGHOST=/nonexistent", "PGPORT=1", "PGTARGETSESSIONATTRS=any")
	s.url = l.writer.URL("pgark", "main")
	l.family = familyOf(t, s)
	l.agent.stop(t)
	l.keeper = keepUp(t, l.tool, "run", l.url)
	l.load = newSteady(t, l.server, 3, int(soakNumber(t, "RATE", 200)))
	dir := filepath.Join(postgrestest.TempDir(t), "far")
	l.there.must(t.Context(), t, "standby", "create", "--into", dir, "--bin-dir", v.BinDir, "--yes")
	l.far = postgrestest.StartFrom(t, v, dir)
	l.far.WaitReady(t)
	l.follows = []string{"standby", "follow"}
	if v.Major%2 == 1 {
		l.follows = []string{"run"}
		l.there = l.there.with("PGARK_STANDBY_ROLE=follow", "PGHOST="+l.far.SocketDir, fmt.Sprint("PGPORT=", l.far.Port))
	}
	l.marks = startMarks(t, l.server, l.far)
	l.follow(l.there)
	if got := l.far.Text(t, "select current_setting('primary_conninfo')"); !strings.Contains(got, socket) || strings.Contains(got, l.server.SocketDir) {
		t.Errorf("the standby's primary_conninfo is %q, want the follower's socket alone", got)
	}
	return l
}

// follow starts the follower, and waits until the standby streams from it and has what the primary has.
func (l *lagged) follow(as tool) {
	l.t.Helper()
	l.follower = keepUp(l.t, as, l.follows...)
	eventually(l.t, waitLong, "the standby to stream", func() bool { return l.far.Text(l.t, "select count(*) from pg_stat_wal_receiver") == "1" })
	l.caughtUp(l.t, l.far)
}

// run goes through calm and trouble. With a length of 0 nothing is measured for long.
func (l *lagged) run(length time.Duration) {
	t := l.t
	l.strict = length > 0
	part := func(percent int, short time.Duration) time.Duration {
		return max(length*time.Duration(percent)/100, short)
	}
	if l.strict {
		l.measure("nothing is written", part(15, 0), 0)
		if l.follows[0] == "run" {
			l.follower.end()
			l.follow(l.there.with("PGARK_HTTP_LISTEN=" + freeAddress(t)))
			l.measure("nothing is written, http.listen", part(10, 0), 0)
			l.follower.end()
			l.follow(l.there)
		}
		l.measure("a row every four seconds", part(20, 0), 4*time.Second)
	}
	l.load.start(l.server)
	l.measure("pgbench", part(20, 2*time.Second), 200*time.Millisecond)
	l.equalAtReplayed(t, "under load", l.far)

	l.marks.pace.Store(int64(200 * time.Millisecond))
	pause := part(4, time.Second)
	troubles := []blow{
		{"agent killed", l.keeper.kill},
		{"follower killed", l.follower.kill},
		{"store away from both", func() { l.away(pause, l.writer, l.reader) }},
	}
	if l.strict {
		troubles = append(troubles,
			blow{"agent stopped and started", l.restartAgent},
			blow{"standby crashed", func() { l.far.Kill(t); l.far.Start(t) }},
			blow{"store away from the agent", func() { l.away(pause, l.writer) }},
			blow{"store away from the follower", func() { l.away(pause, l.reader) }},
			blow{"primary lost, another one promoted", l.failOver},
			blow{"promoted once more", l.switchTimeline},
		)
	}
	l.random.Shuffle(len(troubles), func(i, j int) { troubles[i], troubles[j] = troubles[j], troubles[i] })
	for _, one := range troubles {
		if !t.Failed() {
			l.survive(one, part(2, 0))
		}
	}
	l.load.stop()
	l.caughtUp(t, l.far)
	if lacks := l.equalAtReplayed(t, "at the end", l.far); lacks > 0 {
		t.Errorf("at the end the standby lacks %d transactions", lacks)
	}
	t.Logf("PostgreSQL %d, %s:\n%s", l.server.Version.Major, strings.Join(l.follows, " "), &l.report)
	if l.strict {
		l.judge()
	}
}

// measure writes a row each pace for a length of time, and reports how late they were seen, and what the store was asked for meanwhile.
func (l *lagged) measure(name string, length, pace time.Duration) {
	t := l.t
	t.Helper()
	l.marks.pace.Store(int64(pace))
	from := time.Now()
	wait(t.Context(), length)
	to := time.Now()
	l.marks.pace.Store(0)
	l.caughtUp(t, l.far)
	wait(t.Context(), 5*lookEvery) // until what it has is seen
	f := &lagFigures{late: l.marks.between(from, to), span: to.Sub(from), writer: requests(l.writer, from, to), reader: requests(l.reader, from, to)}
	l.report.add(name, f)
	if pace > 0 && len(f.late) == 0 {
		t.Errorf("%s: no row was seen", name)
	}
}

// judge holds the figures against the promise.
func (l *lagged) judge() {
	for _, name := range l.report.names {
		if f := l.report.figures[name]; f.p99() > lagBound {
			l.t.Errorf("%s: p99 of the lag is over %v: %s", name, lagBound, spread(f.late))
		}
	}
}

// blow is what befalls, and returns when it is over.
type blow struct {
	name string
	do   func()
}

// survive lets something befall, waits until rows are seen within the bound again, and measures for a while.
func (l *lagged) survive(one blow, calm time.Duration) {
	t := l.t
	t.Helper()
	one.do()
	over := time.Now()
	var first sighting
	eventually(t, 2*time.Minute, one.name+": rows to be seen in time again", func() (ok bool) {
		first, ok = l.marks.firstWithin(lagBound, over)
		return ok
	})
	lacks := l.equalAtReplayed(t, "after "+one.name, l.far)
	t.Logf("%s: in time again %.1f s after; behind by %d transactions when it was compared", one.name, first.at.Add(first.late).Sub(over).Seconds(), lacks)
	if l.strict {
		l.caughtUp(t, l.far) // replay stood still to be compared
		l.measure("pgbench, after what befell", calm, 200*time.Millisecond)
		l.marks.pace.Store(int64(200 * time.Millisecond))
	}
}

// away keeps the store from answering for a while, during which the standby goes on to answer.
func (l *lagged) away(length time.Duration, from ...*storagetest.Proxy) {
	for i, p := range from {
		fault := storagetest.Hang()
		if i == 1 || l.random.IntN(2) == 0 {
			fault = storagetest.Answer(503, "SlowDown")
		}
		defer p.Add(storagetest.Rule{Name: "away", Fault: fault})()
	}
	wait(l.t.Context(), length)
	l.equalAtReplayed(l.t, "while the store is away", l.far)
}

func (l *lagged) restartAgent() {
	l.keeper.stop()
	l.keeper = keepUp(l.t, l.tool, "run", l.url)
}

// failOver loses the primary and its agent under load, and promotes its standby.
func (l *lagged) failOver() {
	t := l.t
	l.keeper.end() // so that the archive has nothing that the other server lacks
	next := l.nodes[1]
	l.caughtUp(t, next)
	tli := l.timeline(t)
	l.wal[tli], l.ends[tli] = filepath.Join(l.server.DataDir, "pg_wal"), untilFork
	l.server.Kill(t)
	l.promote(t, next)
	l.moved()
	l.keeper = keepUp(t, l.tool, "run", l.url)
}

// switchTimeline begins another timeline on the primary itself, after a stop in good order.
func (l *lagged) switchTimeline() {
	tli := l.timeline(l.t)
	l.wal[tli], l.ends[tli] = filepath.Join(l.server.DataDir, "pg_wal"), untilFork
	l.promoteAgain(l.t)
	l.moved()
}

// moved has load and rows go where the primary is now.
func (l *lagged) moved() {
	l.load.move(l.server)
	l.marks.move(l.server)
}

// requests counts what came to a proxy in a length of time.
func requests(p *storagetest.Proxy, from, to time.Time) map[storagetest.Op]int {
	n := map[storagetest.Op]int{}
	for _, c := range p.Calls() {
		if !c.Began.Before(from) && c.Began.Before(to) {
			n[c.Op]++
		}
	}
	return n
}

// lagFigures are of one kind of time.
type lagFigures struct {
	late           []time.Duration
	span           time.Duration
	writer, reader map[storagetest.Op]int // requests
}

func (f *lagFigures) p99() time.Duration {
	if len(f.late) == 0 {
		return 0
	}
	d := slices.Sorted(slices.Values(f.late))
	return d[min(len(d)-1, len(d)*99/100)]
}

// lagReport has the figures of each kind of time, in the order in which they came.
type lagReport struct {
	names   []string
	figures map[string]*lagFigures
}

func (r *lagReport) add(name string, f *lagFigures) {
	if r.figures == nil {
		r.figures = map[string]*lagFigures{}
	}
	sum := r.figures[name]
	if sum == nil {
		sum = &lagFigures{writer: map[storagetest.Op]int{}, reader: map[storagetest.Op]int{}}
		r.figures[name], r.names = sum, append(r.names, name)
	}
	sum.late, sum.span = append(sum.late, f.late...), sum.span+f.span
	for op, n := range f.writer {
		sum.writer[op] += n
	}
	for op, n := range f.reader {
		sum.reader[op] += n
	}
}

func (r *lagReport) merge(more *lagReport) {
	for _, name := range more.names {
		r.add(name, more.figures[name])
	}
}

// String is a line for each kind of time.
func (r *lagReport) String() string {
	var b strings.Builder
	for _, name := range r.names {
		f := r.figures[name]
		fmt.Fprintf(&b, "%s, %.0f s: lag %s\n  requests an hour: agent %s; follower %s\n", name, f.span.Seconds(), spread(f.late), hourly(f.writer, f.span), hourly(f.reader, f.span))
	}
	return b.String()
}

// hourly says how many requests an hour a span's would be.
func hourly(n map[storagetest.Op]int, span time.Duration) string {
	total := 0
	var each []string
	for _, op := range slices.SortedFunc(maps.Keys(n), func(a, b storagetest.Op) int { return cmp.Compare(n[b], n[a]) }) {
		total += n[op]
		each = append(each, fmt.Sprintf("%s %.0f", op, float64(n[op])/span.Hours()))
	}
	return fmt.Sprintf("%.0f (%s)", float64(total)/span.Hours(), strings.Join(each, ", "))
}
