package repository_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
)

const (
	frozenDrillKey = storage.Key("7312345678901234567/drills/20261121T030000Z.json")
	frozenNamesKey = storage.Key("7312345678901234567/drills/20261121T030000Z-names.zst")
)

// frozenDrill is the one in testdata, without what PutDrill sets.
func frozenDrill() repository.Drill {
	began := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	loss := repository.Seconds(0.412)
	return repository.Drill{
		ID: repository.NewDrillID(began), Started: began, Ended: began.Add(4 * time.Minute), Host: "dr-1", Writer: "pgark 1", Repository: "primary",
		Result: repository.DrillFailed, Phase: repository.DrillVerify, Failure: "check orders_recent: got \"f\", want \"t\"",
		Target: repository.DrillTarget{Asked: "random", Time: began, Latest: true},
		Backup: "20261121T024000Z", PGVersionNum: 170006, ServerVersion: "17.6", Timeline: 2, StartLSN: 0x2000028, Until: 40*mib + 1000,
		LastCommit: &repository.DrillCommit{XID: 741, Time: began.Add(-412 * time.Millisecond), LSN: 40*mib + 900},
		Fetch:      repository.DrillFetched{Seconds: 161.25, Files: 1204, Bytes: 412_000_000_000, Stored: 98_100_000_000},
		Replay:     repository.DrillReplayed{Seconds: 54, Segments: 957, Bytes: 16_050_000_000},
		Open:       repository.DrillOpened{Seconds: 6.125},
		RTO:        221.5, CoveredUntil: began.Add(-412 * time.Millisecond), DataLoss: &loss,
		Checks: []repository.DrillCheck{
			{Kind: repository.CheckPages, Result: repository.CheckPassed, Count: 53_861_120, Seconds: 90},
			{Kind: repository.CheckAmcheck, Result: repository.CheckSkipped, Detail: "pg_amcheck is not installed"},
			{Kind: repository.CheckSQL, Name: "orders_recent", Database: "shop", Result: repository.CheckFailed, Want: "t", Got: "f"},
		},
		RTOTarget: 200, RPOTarget: 5, Missed: []repository.Objective{repository.ObjectiveRTO},
		Notes: []string{"the server's <clock> was set back"},
	}
}

func frozenNames() *repository.Names {
	return &repository.Names{Databases: []repository.NamedDatabase{
		{Name: "", Relations: []repository.Relation{{Tablespace: 1664, Filenode: 1262, OID: 1262, Kind: "r", Schema: "pg_catalog", Name: "pg_database"}}},
		{OID: 5, Name: "post \"gres\""},
		{OID: 16384, Name: "shop", Relations: []repository.Relation{
			{Tablespace: 0, Filenode: 0, OID: 16399, Kind: "p", Schema: "public", Name: "parts"},
			{Tablespace: 1663, Filenode: 16401, OID: 16400, Kind: "r", Schema: "public", Name: "<orders> \u00e4"},
			{Tablespace: 1663, Filenode: 16402, OID: 16402, Kind: "i", Schema: "public", Name: "orders_pkey"},
		}},
	}}
}

func putFrozenDrill(t *testing.T, c *repository.Cluster) repository.Drill {
	t.Helper()
	d, err := c.PutDrill(t.Context(), frozenDrill(), frozenNames())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFrozenDrill(t *testing.T) {
	store := frozenStore(t)
	c := openCluster(t, store)
	d, err := c.Drill(t.Context(), "20261121T030000Z")
	if err != nil {
		t.Fatal(err)
	}
	names, err := c.DrillNames(t.Context(), d)
	if err != nil || !reflect.DeepEqual(names, frozenNames()) {
		t.Errorf("got %+v, %v", names, err)
	}
	if d.Names == nil || d.Names.Relations != 4 {
		t.Errorf("got %+v", d.Names)
	}
	want := frozenDrill()
	want.Format, want.SystemID, want.Names = 1, system, d.Names
	if !reflect.DeepEqual(d, want) {
		t.Errorf("got  %+v\nwant %+v", d, want)
	}
}

func TestDrills(t *testing.T) {
	c, store := cluster(t)
	if list, err := c.Drills(t.Context(), 0); err != nil || len(list) != 0 {
		t.Errorf("none: got %+v, %v", list, err)
	}
	var ids []string
	for day := 1; day <= 12; day++ {
		d := frozenDrill()
		d.ID = repository.NewDrillID(time.Date(2026, 11, day, 3, 0, 0, 0, time.UTC))
		ids = append(ids, d.ID)
		for range 2 { // the same again is what a lost answer makes
			if _, err := c.PutDrill(t.Context(), d, frozenNames()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{"README", "2027.json", "20270101T000000Z-names.zst", "20270101T000000Z"} {
		store.Replace("7312345678901234567/drills/"+storage.Key(name), []byte("not ours"))
	}
	for n, want := range map[int][]string{0: ids, 1: ids[11:], 5: ids[7:], 50: ids} {
		list, err := c.Drills(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range list {
			got = append(got, d.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the newest %d: got %v, want %v", n, got, want)
		}
	}
	other := frozenDrill()
	other.ID, other.Host = ids[0], "another"
	var conflict *repository.ConflictError
	if _, err := c.PutDrill(t.Context(), other, nil); !errors.As(err, &conflict) {
		t.Errorf("two drills at one time: got %v", err)
	}
	for _, id := range []string{"20200101T000000Z", "../x", ""} {
		if _, err := c.Drill(t.Context(), id); !errors.Is(err, repository.ErrNoDrill) {
			t.Errorf("%q: got %v", id, err)
		}
	}
	other.ID = "20261201T000000Z"
	d, err := c.PutDrill(t.Context(), other, nil)
	if err != nil || d.Names != nil {
		t.Fatal(d.Names, err)
	}
	if _, err := c.DrillNames(t.Context(), d); !errors.Is(err, repository.ErrNoDrill) {
		t.Errorf("no names: got %v", err)
	}
}

// TestDrillSubstitutes: a report says what came from elsewhere and why, some of it where it was a great deal.
func TestDrillSubstitutes(t *testing.T) {
	c, _ := cluster(t)
	var list []repository.Substitute
	for i := range 60 {
		list = append(list, repository.Substitute{Key: storage.Key(fmt.Sprint(i)), Source: "dr", Faults: []repository.Fault{
			{Source: "primary", Err: fmt.Errorf("get: %w", &repository.CorruptError{Key: "k", Reason: "hash differs"})}, {Source: "far", Err: storage.ErrNotFound},
		}})
	}
	d := frozenDrill()
	d.Repository, d.Sources = "primary+far+dr", []string{"primary", "far", "dr"}
	d.NoteSubstitutes(list, 70)
	put, err := c.PutDrill(t.Context(), d, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Drill(t.Context(), d.ID)
	if err != nil || !reflect.DeepEqual(got, put) || len(got.Substitutes) != 50 || got.Substituted != 70 || len(got.Sources) != 3 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if want := (repository.DrillSubstitute{Object: "0", From: "dr", Reason: "primary: hash differs; far: not there"}); got.Substitutes[0] != want {
		t.Errorf("got %+v, want %+v", got.Substitutes[0], want)
	}
	d.Substituted = 49
	if err := d.Validate(); err == nil {
		t.Error("fewer than it names")
	}
}

// TestDrillRates: what a restore is estimated by.
func TestDrillRates(t *testing.T) {
	d := frozenDrill()
	r, ok := d.Rates()
	if !ok || r.Fetch != 412_000_000_000/161.25 || r.Replay != 16_050_000_000.0/54 || r.Open != 6250*time.Millisecond { // what of the RTO is neither
		t.Errorf("got %+v, %t", r, ok)
	}
	for name, spoil := range map[string]func(*repository.Drill){
		"never opened": func(d *repository.Drill) { d.RTO = 0 },
		"no fetch":     func(d *repository.Drill) { d.Fetch.Seconds = 0 },
		"no bytes":     func(d *repository.Drill) { d.Fetch.Bytes = 0 },
		"no WAL":       func(d *repository.Drill) { d.Replay.Bytes = 0 },
		"no replay":    func(d *repository.Drill) { d.Replay.Seconds = 0 },
	} {
		d := frozenDrill()
		spoil(&d)
		if r, ok := d.Rates(); ok {
			t.Errorf("%s: got %+v", name, r)
		}
	}
}

// TestDrillEachBit cuts report and names at each byte and flips each bit.
func TestDrillEachBit(t *testing.T) {
	c, store := cluster(t)
	d := putFrozenDrill(t, c)
	var corrupt *repository.CorruptError
	for key, read := range map[storage.Key]func() error{
		frozenDrillKey: func() error { _, err := c.Drill(t.Context(), d.ID); return err },
		frozenNamesKey: func() error { _, err := c.DrillNames(t.Context(), d); return err },
	} {
		if err := read(); err != nil {
			t.Fatal(key, err)
		}
		whole := slices.Clone(store.Bytes(key))
		for at := range whole {
			store.Replace(key, whole[:at])
			if err := read(); !errors.As(err, &corrupt) {
				t.Errorf("%s cut at %d: got %v", key, at, err)
			}
			for bit := range 8 {
				flipped := slices.Clone(whole)
				flipped[at] ^= 1 << bit
				store.Replace(key, flipped)
				if err := read(); !errors.As(err, &corrupt) {
					t.Errorf("%s bit %d of byte %d flipped: got %v", key, bit, at, err)
				}
			}
		}
		store.Replace(key, whole)
	}
}

func TestDrillCannotBe(t *testing.T) {
	c, store := cluster(t)
	for name, spoil := range map[string]func(*repository.Drill){
		"id":      func(d *repository.Drill) { d.ID = "today" },
		"year":    func(d *repository.Drill) { d.Started = time.Time{} },
		"target":  func(d *repository.Drill) { d.Target.Time = time.Time{} },
		"result":  func(d *repository.Drill) { d.Result = "perhaps" },
		"failure": func(d *repository.Drill) { d.Failure = strings.Repeat("x", 5000) },
		"note":    func(d *repository.Drill) { d.Notes = []string{"\xff"} },
		"check":   func(d *repository.Drill) { d.Checks[0].Got = "\xff" },
		"checks":  func(d *repository.Drill) { d.Checks = make([]repository.DrillCheck, 2000) },
	} {
		d := frozenDrill()
		spoil(&d)
		if _, err := c.PutDrill(t.Context(), d, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if keys := store.Keys(); slices.ContainsFunc(keys, func(k storage.Key) bool { return strings.Contains(string(k), "/drills/") }) {
		t.Errorf("something was put: %v", keys)
	}
	for _, text := range []string{"short", "\xff\xfe", strings.Repeat("\u00e4", 4000), strings.Repeat("x", 9000)} {
		d := frozenDrill()
		d.Failure = repository.DrillText(text)
		if _, err := c.PutDrill(t.Context(), d, nil); err != nil {
			t.Errorf("%.10q: %v", text, err)
		}
		if err := store.Delete(t.Context(), frozenDrillKey); err != nil {
			t.Fatal(err)
		}
	}
}

// A report that was damaged hides no other, and no copy gets it, nor one whose names are damaged.
func TestDrillCorrupt(t *testing.T) {
	for key, read := range map[storage.Key]int{frozenDrillKey: 1, frozenNamesKey: 2} {
		c, store := cluster(t)
		putFrozenDrill(t, c)
		other := frozenDrill()
		other.ID = "20261122T030000Z"
		if _, err := c.PutDrill(t.Context(), other, frozenNames()); err != nil {
			t.Fatal(err)
		}
		text := slices.Clone(store.Bytes(key))
		text[20] ^= 1
		store.Replace(key, text)
		var corrupt *repository.CorruptError
		list, err := c.Drills(t.Context(), 0)
		if len(list) != read || (err != nil) != (read == 1) || err != nil && !repository.OnlyUnreadable(err) {
			t.Errorf("%s: got %d drills, %v", key, len(list), err)
		}
		to := memory.New()
		if err := repository.CatchUp(t.Context(), store, to); !errors.As(err, &corrupt) {
			t.Errorf("%s: copied: got %v", key, err)
		}
		var got []storage.Key
		for _, k := range to.Keys() {
			if strings.Contains(string(k), "/drills/") {
				got = append(got, k)
			}
		}
		if want := []storage.Key{"7312345678901234567/drills/20261122T030000Z-names.zst", "7312345678901234567/drills/20261122T030000Z.json"}; !slices.Equal(got, want) {
			t.Errorf("%s: the copy has %v, want %v", key, got, want)
		}
	}
}

// TestDrillPutFails: a report is there only with its names.
func TestDrillPutFails(t *testing.T) {
	c, store := cluster(t)
	store.Fail(memory.Put, "*-names.zst", 1, errors.New("refused"))
	if _, err := c.PutDrill(t.Context(), frozenDrill(), frozenNames()); err == nil {
		t.Fatal("no error")
	}
	if list, err := c.Drills(t.Context(), 0); err != nil || len(list) != 0 {
		t.Errorf("got %v, %v", list, err)
	}
}

func TestNames(t *testing.T) {
	n := frozenNames()
	for _, test := range []struct {
		tablespace, database, file uint32
		want                       string
	}{
		{1663, 16384, 16401, "<orders> \u00e4"},
		{1664, 0, 1262, "pg_database"},
		{1663, 16384, 16400, ""},
		{1664, 16384, 16401, ""},
		{1663, 5, 16401, ""},
		{1663, 99, 16401, ""},
		{0, 16384, 0, ""},
	} {
		r, ok := n.ByFile(test.tablespace, test.database, test.file)
		if r.Name != test.want || ok != (test.want != "") {
			t.Errorf("%d/%d/%d: got %+v, %t", test.tablespace, test.database, test.file, r, ok)
		}
	}
	if r, ok := n.ByOID(16384, 16399); !ok || r.Name != "parts" {
		t.Errorf("by OID: got %+v, %t", r, ok)
	}
	if name, ok := n.Database(16384); !ok || name != "shop" {
		t.Errorf("got %q, %t", name, ok)
	}
	if _, ok := n.Database(99); ok {
		t.Error("got a database that is not there")
	}
}

// FuzzDrill: what is read can be written again, and says the same.
func FuzzDrill(f *testing.F) {
	d := frozenDrill()
	d.Format, d.SystemID = 1, system
	text, err := repository.EncodeDrill(d)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := repository.ParseDrill(text)
		if err != nil {
			return
		}
		again, err := repository.EncodeDrill(d)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := repository.ParseDrill(again); err != nil || !reflect.DeepEqual(got.Checks, d.Checks) || got.RTO != d.RTO {
			t.Fatalf("got %+v, %v, want %+v", got, err, d)
		}
	})
}

// FuzzNames: whatever stands there, it is refused or read, and what was read can be looked up.
func FuzzNames(f *testing.F) {
	f.Add([]byte("{\"database\":5,\"name\":\"x\"}\n[1663,1,1,\"r\",\"public\",\"t\"]\n"))
	f.Add([]byte("[1663,1,1,\"r\",\"public\",\"t\"]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := repository.ParseNames(text)
		if err != nil {
			return
		}
		for _, d := range n.Databases {
			for _, r := range d.Relations {
				if _, ok := n.ByOID(d.OID, r.OID); !ok {
					t.Fatalf("%d of database %d is not found", r.OID, d.OID)
				}
			}
		}
	})
}
