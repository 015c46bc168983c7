package commitlog_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/commitlog"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

func relations(numbers ...uint32) []commitlog.Relation {
	var list []commitlog.Relation
	for _, n := range numbers {
		list = append(list, commitlog.Relation{File: wal.RelFile{Tablespace: wal.DefaultTablespace, Database: 5, Number: n}})
	}
	return list
}

func truncated(oids ...uint32) []commitlog.Relation {
	var list []commitlog.Relation
	for _, oid := range oids {
		list = append(list, commitlog.Relation{File: wal.RelFile{Database: 5}, OID: oid})
	}
	return list
}

// TestRemovals: what a transaction removed, by what means, and where to stop
// before it.
func TestRemovals(t *testing.T) {
	t.Parallel()
	const quiet = 1000 // ends at the beginning, without anything
	tests := []struct {
		name  string
		write func(m *walMaker) (stop wal.LSN)
		want  commitlog.Removal // without Before
		kind  commitlog.Kind
	}{
		{"drop table", func(m *walMaker) wal.LSN {
			m.filler(1001, 30)
			return m.rich(1001, at(2), rich{rels: []uint32{7, 8}}).Start
		}, commitlog.Removal{Means: commitlog.MeansDrop, Relations: relations(7, 8), Count: 2}, commitlog.KindCommit},
		{"truncate", func(m *walMaker) wal.LSN {
			m.create(1001)
			m.record(10, 0x30, 1001, uint32s(5, 2, 0, 7, 8))
			return m.rich(1001, at(2), rich{rels: []uint32{7}}).Start
		}, commitlog.Removal{Means: commitlog.MeansReplace, Relations: relations(7), Count: 1, Created: 1, Truncated: truncated(7, 8)}, commitlog.KindCommit},
		{"truncate in a subtransaction", func(m *walMaker) wal.LSN {
			m.create(1002)
			return m.rich(1001, at(2), rich{subs: []wal.XID{1002}, rels: []uint32{7}}).Start
		}, commitlog.Removal{Means: commitlog.MeansReplace, Relations: relations(7), Count: 1, Created: 1}, commitlog.KindCommit},
		{"truncate of an unlogged table", func(m *walMaker) wal.LSN {
			m.record(2, 0x10, 1001, uint32s(wal.DefaultTablespace, 5, 20, 3))
			return m.rich(1001, at(2), rich{rels: []uint32{7}, changed: []uint32{7}}).Start
		}, commitlog.Removal{
			Means: commitlog.MeansReplace, Relations: relations(7), Count: 1, Created: 1, Changed: truncated(7),
		}, commitlog.KindCommit},
		{"create rolled back beside a drop", func(m *walMaker) wal.LSN {
			m.create(1002)
			m.rich(1002, at(1), rich{info: 0x20, rels: []uint32{20}})
			return m.rich(1001, at(2), rich{rels: []uint32{7}}).Start
		}, commitlog.Removal{Means: commitlog.MeansDrop, Relations: relations(7), Count: 1}, commitlog.KindCommit},
		{"made and dropped beside a drop", func(m *walMaker) wal.LSN {
			m.create(1001)
			return m.rich(1001, at(2), rich{rels: []uint32{20, 7}}).Start
		}, commitlog.Removal{Means: commitlog.MeansDrop, Relations: relations(7), Count: 1}, commitlog.KindCommit},
		{"prepared", func(m *walMaker) wal.LSN {
			m.filler(1001, 30)
			return m.rich(0, at(2), rich{info: 0x30, rels: []uint32{7}, prepared: 1001}).Start
		}, commitlog.Removal{Means: commitlog.MeansDrop, Relations: relations(7), Count: 1}, commitlog.KindCommitPrepared},
		{"begun before what was read", func(m *walMaker) wal.LSN {
			return m.rich(990, at(2), rich{rels: []uint32{7}, changed: []uint32{7}}).Start
		}, commitlog.Removal{Means: commitlog.MeansUnknown, Relations: relations(7), Count: 1}, commitlog.KindCommit},
		{"drop database", func(m *walMaker) wal.LSN {
			stop := m.mark(0).Start
			m.commit(1003, at(1)) // of another session, while the server waits for its disk
			m.filler(1001, 30)
			m.dropDatabase(1001)
			m.rich(1001, at(2), rich{})
			return stop
		}, commitlog.Removal{Means: commitlog.MeansDatabase, Databases: []commitlog.Database{{OID: 16400}}}, commitlog.KindCommit},
		{"drop database with settings", func(m *walMaker) wal.LSN {
			stop := m.filler(1001, 30).Start
			m.mark(1001)
			m.dropDatabase(1001)
			m.rich(1001, at(2), rich{})
			return stop
		}, commitlog.Removal{Means: commitlog.MeansDatabase, Databases: []commitlog.Database{{OID: 16400}}}, commitlog.KindCommit},
		{"drop database, and a crash", func(m *walMaker) wal.LSN {
			stop := m.mark(0).Start
			m.dropDatabase(1001)
			return stop
		}, commitlog.Removal{Means: commitlog.MeansDatabase, Databases: []commitlog.Database{{OID: 16400}}}, commitlog.KindDatabaseDrop},
		{"nothing: rolled back", func(m *walMaker) wal.LSN {
			m.create(1001)
			m.rich(1001, at(2), rich{info: 0x20, rels: []uint32{20}})
			return 0
		}, commitlog.Removal{}, ""},
		{"nothing: its own files", func(m *walMaker) wal.LSN {
			m.create(1001)
			m.rich(1001, at(2), rich{rels: []uint32{20}})
			return 0
		}, commitlog.Removal{}, ""},
		{"nothing: a database moved", func(m *walMaker) wal.LSN {
			m.dropDatabase(0)
			m.commit(1001, at(2))
			return 0
		}, commitlog.Removal{}, ""},
		{"nothing: a database that was not made", func(m *walMaker) wal.LSN {
			m.dropDatabase(1001)
			m.end(0x20, 1001, at(2))
			return 0
		}, commitlog.Removal{}, ""},
	}
	for _, test := range tests {
		_, cluster := newCluster(t)
		m := newWALMaker(lsn(1))
		m.commit(quiet, at(0))
		m.running(quiet)
		m.running(quiet + 500) // a later one says less
		stop := test.write(m)
		m.commit(1500, at(3))
		m.archive(t, cluster, nil, nil)
		log, err := commitlog.Read(t.Context(), cluster, commitlog.Query{Drops: true})
		if err != nil {
			t.Fatal(err)
		}
		if test.kind == "" {
			if len(log.Entries) > 0 {
				t.Errorf("%s: got %+v", test.name, log.Entries)
			}
			continue
		}
		want := test.want
		want.Before = stop
		if len(log.Entries) != 1 || log.Entries[0].Kind != test.kind || !reflect.DeepEqual(log.Entries[0].Removal, &want) {
			t.Errorf("%s: got %+v", test.name, log.Entries)
			for _, e := range log.Entries {
				t.Errorf(" got %+v\nwant %+v", e.Removal, want)
			}
		}
	}
}

// TestWhatBeganEarlier: a transaction that is asked for by its number is
// followed back to its beginning, for some segments.
func TestWhatBeganEarlier(t *testing.T) {
	t.Parallel()
	_, cluster := newCluster(t)
	m := newWALMaker(lsn(1))
	m.running(1000)
	m.create(1001)
	for m.pos() < lsn(7) {
		m.filler(1001, 60_000)
	}
	end := m.rich(1001, at(2), rich{rels: []uint32{7}})
	m.archive(t, cluster, nil, nil)
	for _, q := range []commitlog.Query{{XID: 1001}, {Drops: true}} {
		log, err := commitlog.Read(t.Context(), cluster, q)
		if err != nil {
			t.Fatal(err)
		}
		want := commitlog.MeansReplace
		if q.XID == 0 {
			want = commitlog.MeansUnknown
		}
		if len(log.Entries) != 1 || log.Entries[0].Range != end || log.Entries[0].Removal == nil || log.Entries[0].Removal.Means != want {
			t.Errorf("%+v: got %+v", q, log.Entries)
		}
	}
}

// TestSubtransaction: who asks for a subtransaction is told of its parent.
func TestSubtransaction(t *testing.T) {
	t.Parallel()
	_, cluster := newCluster(t)
	m := newWALMaker(lsn(1))
	m.commit(1000, at(0))
	m.rich(1001, at(2), rich{subs: []wal.XID{1002, 1003}})
	m.archive(t, cluster, nil, nil)
	for _, q := range []commitlog.Query{{XID: 1003}, {XID: 1003, Around: at(1)}} {
		log, err := commitlog.Read(t.Context(), cluster, q)
		if err != nil || len(log.Entries) != 1 || log.Entries[0].XID != 1001 || log.Entries[0].Part != 1003 || log.Entries[0].Subxacts != 2 {
			t.Errorf("got %+v, %v", log, err)
		}
	}
}

// TestAcrossTimelines follows the newest timeline by default: what was
// committed behind the switch on the old one is not part of it.
func TestAcrossTimelines(t *testing.T) {
	t.Parallel()
	_, cluster := newCluster(t)
	old := newWALMaker(lsn(1))
	old.commit(1000, at(0))
	for old.pos() < lsn(3) {
		old.filler(0, 50_000)
	}
	fork := old.commit(1001, at(10)).End
	prev := old.prev
	young := newWALMaker(lsn(1))
	young.bytes, young.prev, young.tli = append(young.bytes, old.bytes...), prev, 2
	for len(young.bytes) < int(fork-lsn(1)) {
		young.bytes = append(young.bytes, 0)
	}
	old.commit(1002, at(20)) // lost by the failover
	old.archive(t, cluster, nil, nil)
	young.record(0, 0x90, 0, append(uint32sOf64(uint64(at(30))), uint32s(2, 1)...))
	young.commit(1003, at(40)-wal.Time(3_600_000_000)) // another host's clock
	young.bytes = young.bytes[lsn(3)-lsn(1):]
	young.start = lsn(3)
	history := []byte("1\t" + fork.String() + "\tno recovery target specified\n")
	if err := cluster.PutHistory(t.Context(), 2, history); err != nil {
		t.Fatal(err)
	}
	young.archive(t, cluster, nil, nil)

	for _, test := range []struct {
		query commitlog.Query
		want  []wal.XID
	}{
		{commitlog.Query{Around: at(10), Within: time.Minute}, []wal.XID{1000, 1001, 0}},
		{commitlog.Query{Around: at(10), Within: time.Minute, Timeline: 1}, []wal.XID{1000, 1001, 1002}},
		{commitlog.Query{Around: at(40) - 3_600_000_000, Within: time.Minute}, []wal.XID{1003}},
		{commitlog.Query{XID: 1003}, []wal.XID{1003}},
		{commitlog.Query{XID: 1002}, nil},
		{commitlog.Query{XID: 1002, Timeline: 1}, []wal.XID{1002}},
	} {
		log, err := commitlog.Read(t.Context(), cluster, test.query)
		if err != nil {
			t.Fatal(err)
		}
		var got []wal.XID
		for _, e := range log.Entries {
			got = append(got, e.XID)
			if e.XID == 0 && (e.Kind != commitlog.KindTimeline || e.Timeline != 2 || e.Previous != 1 || e.Time != at(30)) {
				t.Errorf("the switch: %+v", e)
			}
		}
		if !reflect.DeepEqual(got, test.want) || len(log.Known) != 2 {
			t.Errorf("%+v: got %v of %v, want %v", test.query, got, log.Known, test.want)
		}
	}
	if _, err := commitlog.Read(t.Context(), cluster, commitlog.Query{Timeline: 7}); err == nil {
		t.Error("timeline 7 is not there")
	}
}

func uint32sOf64(v uint64) []byte { return uint32s(uint32(v), uint32(v>>32)) }

// TestNothingArchived: an archive without WAL, and one without any commit.
func TestNothingArchived(t *testing.T) {
	t.Parallel()
	_, cluster := newCluster(t)
	if _, err := commitlog.Read(t.Context(), cluster, commitlog.Query{}); !errors.Is(err, repository.ErrNoWAL) {
		t.Errorf("got %v", err)
	}
	m := newWALMaker(lsn(1))
	m.filler(0, 100)
	m.archive(t, cluster, nil, nil)
	for _, q := range []commitlog.Query{{}, {Around: at(5)}, {XID: 900}} {
		if log, err := commitlog.Read(t.Context(), cluster, q); err != nil || len(log.Entries) > 0 || log.Previous != 0 || log.Next != 0 {
			t.Errorf("%+v: %+v, %v", q, log, err)
		}
	}
}

// TestNames: the newest drill that was held before a removal names what was
// removed; one from after it, or along another history, does not.
func TestNames(t *testing.T) {
	t.Parallel()
	_, cluster := newCluster(t)
	m := newWALMaker(lsn(1))
	m.running(1000)
	hold := func(id string, tli wal.TimelineID, name string, last *repository.DrillCommit) {
		t.Helper()
		names := &repository.Names{Databases: []repository.NamedDatabase{{OID: 5, Name: "shop", Relations: []repository.Relation{
			{Tablespace: wal.DefaultTablespace, Filenode: 7, OID: 70, Kind: "r", Schema: "public", Name: name},
		}}, {OID: 16400, Name: "old"}}}
		m.align()
		start := repository.Drill{
			ID: id, Started: at(0).Go(), Ended: at(1).Go(), Host: "h", Writer: "test", Repository: "primary", Result: repository.DrillPassed, Target: repository.DrillTarget{Asked: "time", Time: at(0).Go()}, Timeline: tli, StartLSN: lsn(1), Until: m.pos(), LastCommit: last,
		}
		if _, err := cluster.PutDrill(t.Context(), start, names); err != nil {
			t.Fatal(err)
		}
	}
	hold("20261120T010000Z", 1, "older", nil)
	hold("20261120T020000Z", 1, "orders", nil)
	hold("20261120T030000Z", 2, "elsewhere", nil)
	m.record(10, 0x30, 1001, uint32s(5, 1, 0, 70))
	m.create(1001)
	m.rich(1001, at(1), rich{rels: []uint32{7, 8}})
	m.dropDatabase(1002)
	dropped := m.commit(1002, at(2))
	hold("20261120T040000Z", 1, "later", &repository.DrillCommit{XID: 1002, Time: at(2).Go(), LSN: dropped.Start})
	m.commit(1003, at(3))
	m.archive(t, cluster, nil, nil)
	log, err := commitlog.Read(t.Context(), cluster, commitlog.Query{Drops: true})
	if err != nil || len(log.Entries) != 2 {
		t.Fatal(log, err)
	}
	orders := commitlog.Relation{File: relations(7)[0].File, OID: 70, Name: "public.orders", Kind: "r"}
	first := log.Entries[0].Removal
	if want := []commitlog.Relation{orders, relations(8)[0]}; !reflect.DeepEqual(first.Relations, want) {
		t.Errorf("got %+v, want %+v", first.Relations, want)
	}
	orders.File = wal.RelFile{Database: 5}
	if want := []commitlog.Relation{orders}; !reflect.DeepEqual(first.Truncated, want) {
		t.Errorf("got %+v, want %+v", first.Truncated, want)
	}
	if want := []commitlog.Database{{OID: 16400, Name: "old"}}; !reflect.DeepEqual(log.Entries[1].Removal.Databases, want) {
		t.Errorf("got %+v, want %+v", log.Entries[1].Removal.Databases, want)
	}
	if want := []string{"20261120T020000Z"}; !reflect.DeepEqual(log.NamesOf, want) {
		t.Errorf("names of %v, want %v", log.NamesOf, want)
	}
}

// TestNamesSurviveARewrite: a relation whose file was made after the drill is named by what the commit changed, where that leaves no choice, and never otherwise.
func TestNamesSurviveARewrite(t *testing.T) {
	t.Parallel()
	relation := func(oid, file uint32, kind, name string) repository.Relation {
		return repository.Relation{Tablespace: wal.DefaultTablespace, Filenode: file, OID: oid, Kind: kind, Schema: "public", Name: name}
	}
	names := &repository.Names{Databases: []repository.NamedDatabase{{OID: 5, Name: "shop", Relations: []repository.Relation{
		{OID: 90, Kind: "p", Schema: "public", Name: "all_orders"}, // partitioned: no file
		relation(70, 7, "r", "orders"), relation(71, 8, "i", "orders_pkey"), relation(80, 9, "r", "items"),
	}}}}
	for name, test := range map[string]struct {
		end  rich
		want string // names and files of what was removed
	}{
		"dropped":                    {rich{rels: []uint32{30}, changed: []uint32{70}}, "public.orders base/5/30"},
		"of a partitioned table":     {rich{rels: []uint32{30}, changed: []uint32{70, 70, 90}}, "public.orders base/5/30"},
		"with its index":             {rich{rels: []uint32{30, 31}, changed: []uint32{71, 70}}, "public.orders_pkey public.orders"},
		"the index alone rewritten":  {rich{rels: []uint32{7, 31}, changed: []uint32{70, 71}}, "public.orders base/5/7 public.orders_pkey base/5/31"},
		"rewritten by a helper":      {rich{rels: []uint32{30}, changed: []uint32{70, 20}}, "public.orders base/5/30"},
		"another one changed":        {rich{rels: []uint32{30}, changed: []uint32{70, 80}}, "base/5/30"},
		"beside one that is new":     {rich{rels: []uint32{30}, changed: []uint32{70, 99}}, "base/5/30"},
		"new itself, another change": {rich{rels: []uint32{99}, changed: []uint32{99, 80}}, "base/5/99"},
		"new itself":                 {rich{rels: []uint32{99}, changed: []uint32{99}}, "base/5/99"},
		"all changed":                {rich{rels: []uint32{30}, changed: []uint32{70, 0}}, "base/5/30"},
		"more files than changes":    {rich{rels: []uint32{30, 31}, changed: []uint32{70}}, "base/5/30 base/5/31"},
	} {
		_, cluster := newCluster(t)
		m := newWALMaker(lsn(1))
		m.running(1000)
		m.align()
		drill := repository.Drill{
			ID: "20261120T010000Z", Started: at(0).Go(), Ended: at(1).Go(), Host: "h", Writer: "test", Repository: "primary", Result: repository.DrillPassed,
			Target: repository.DrillTarget{Asked: "time", Time: at(0).Go()}, Timeline: 1, StartLSN: lsn(1), Until: m.pos(),
		}
		if _, err := cluster.PutDrill(t.Context(), drill, names); err != nil {
			t.Fatal(err)
		}
		m.create(1001)
		m.rich(1001, at(1), test.end)
		m.archive(t, cluster, nil, nil)
		log, err := commitlog.Read(t.Context(), cluster, commitlog.Query{Drops: true})
		if err != nil || len(log.Entries) != 1 {
			t.Fatal(name, log, err)
		}
		var got []string
		for _, one := range log.Entries[0].Removal.Relations {
			if one.Name != "" {
				got = append(got, one.Name)
			}
			if one.File.Number != 0 {
				got = append(got, one.File.String())
			}
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s: got %s, want %s", name, text, test.want)
		}
		for _, one := range log.Entries[0].Removal.Changed {
			if known := one.OID != 99; known != (one.Name != "") {
				t.Errorf("%s: changed %+v", name, one)
			}
		}
	}
}
