package restore_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// damageable is an archive with an object of each class, and two of those of which there may be several.
type damageable struct {
	store *memory.Store
	files map[string][]member // by backup
	wal   map[string][]byte   // what a server is to be given, by file name
}

func newDamageable(t *testing.T) *damageable {
	t.Helper()
	d := &damageable{files: map[string][]member{}, wal: map[string][]byte{}}
	older, newer := directory(1, 513, own), directory(2, 700, own+1)
	d.store, _ = fakeBackup(t, nil, pack{"base", older[:12]}, pack{"base", older[12:]})
	again, plan := fakeBackup(t, nil, pack{"base", newer[:12]}, pack{"base", newer[12:]})
	b := plan.Backup
	b.ID, b.Started, b.Stopped, b.StopLSN = newerBackup, b.Started.Add(time.Hour), b.Stopped.Add(time.Hour), 0x200200
	for _, key := range again.Keys() {
		body := again.Bytes(key)
		if path.Base(string(key)) == "record.json" {
			var err error
			if body, err = b.Encode(); err != nil {
				t.Fatal(err)
			}
		}
		if strings.Contains(string(key), olderBackup) {
			d.store.Replace(storage.Key(strings.ReplaceAll(string(key), olderBackup, newerBackup)), body)
		}
	}
	d.files[olderBackup], d.files[newerBackup] = older, newer

	c := clusterIn(t, d.store)
	one := newWALMaker(lsn(2))
	for i := range 10 {
		one.filler(7, 250_000)
		one.end(0, wal.XID(100+i), at(float64(10+i)))
	}
	one.archive(t, c, map[wal.LSN]bool{lsn(4.125): true}, nil)
	two := newWALMaker(lsn(4))
	two.tli, two.prev, two.bytes = 2, one.prev, bytes.Clone(one.bytes[lsn(4)-lsn(2):])
	for i := range 8 {
		two.filler(7, 250_000)
		two.end(0, wal.XID(200+i), at(float64(60+i)))
	}
	two.archive(t, c, map[wal.LSN]bool{lsn(6.0625): true}, nil)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.PutHistory(t.Context(), 2, fmt.Appendf(nil, "1\t%s\tno recovery target specified\n", one.pos())))
	must(c.PutGap(t.Context(), repository.Gap{Timeline: 1, Range: wal.Range{Start: lsn(1), End: lsn(2)}, Cause: repository.CauseSlotLost, FirstSeen: at(0).Go(), ServerFlush: lsn(2)}))
	must(c.PutSyncEvent(t.Context(), repository.SyncEvent{Change: repository.SyncIn, Time: at(0).Go(), Timeline: 1, LSN: lsn(2), Actor: repository.ByAgent, Names: "pgark"}))
	must(c.PutBeat(t.Context(), repository.Beat{Time: at(90).Go(), Timeline: 2, LSN: two.pos()}))
	for i, id := range []string{"20261121T030000Z", "20261122T030000Z"} {
		began := at(float64(i)).Go()
		report := repository.Drill{ID: id, Started: began, Ended: began, Host: "h", Result: repository.DrillPassed, Target: repository.DrillTarget{Time: began}}
		_, err := c.PutDrill(t.Context(), report, &repository.Names{Databases: []repository.NamedDatabase{{Name: ""}, {OID: 5, Name: fmt.Sprint("db", i)}}})
		must(err)
	}
	for n := wal.SegmentNumber(2); n < 5; n++ {
		d.wal[name(1, n)] = nil
	}
	for n := wal.SegmentNumber(4); n < 7; n++ {
		d.wal[name(2, n)] = nil
	}
	d.wal["00000002.history"] = nil
	delete(d.wal, name(1, 4))
	return d
}

// laid is what a restore made of it.
type laid struct {
	plan    *restore.Plan
	sources *repository.Sources
	dir     string
	wal     map[string][]byte
}

// restore goes the way of every restore and drill up to the server: it plans, lays the cluster down, and gives the server each file it asks for.
func (d *damageable) restore(t *testing.T, sources ...repository.Source) (l laid, err error) {
	t.Helper()
	r, s, err := repository.OpenSources(t.Context(), sources)
	if err != nil {
		return l, err
	}
	l.sources = s
	c := r.Cluster(fakeSystem)
	inv, err := restore.Survey(t.Context(), c)
	if err != nil {
		return l, err
	}
	if l.plan, err = restore.Choose(t.Context(), c, inv, restore.Target{}); err != nil {
		return l, err
	}
	o := layInto(t)
	l.dir, l.wal = o.Dir, map[string][]byte{}
	if _, err = restore.LayDown(t.Context(), c, l.plan, o); err != nil {
		return l, err
	}
	fetch := l.plan.FetchOptions()
	fetch.Ahead = 0
	for file := range d.wal {
		to := filepath.Join(filepath.Dir(o.Dir), "RECOVERYXLOG")
		result, err := restore.Fetch(t.Context(), func(context.Context) (*repository.Cluster, error) { return c, nil }, file, to, fetch)
		if restore.ExitCode(result, err, false) != 0 {
			return l, fmt.Errorf("%s: exit %d: %w", file, restore.ExitCode(result, err, false), err)
		}
		if l.wal[file], err = os.ReadFile(to); err != nil {
			t.Fatal(err)
		}
	}
	return l, nil
}

// outcome is what becomes of a restore from a repository in which one object is damaged.
type outcome string

const (
	declined outcome = "declined, and the object named"
	older    outcome = "from the older base backup, and the plan says why"
	unseen   outcome = "from the older base backup; nothing tells that there was another"
	told     outcome = "as it was, and the plan names the object"
	unread   outcome = "as it was; a restore does without the object"
)

// damagedClass is an object of a class, another of the same class, and what becomes of a restore from this repository alone.
type damagedClass struct {
	key, other storage.Key
	alone      outcome
	but        map[string]outcome // by the kind of damage
	place      string             // what is said of one that is gone, which has no name
}

// classes are all of them.
func (d *damageable) classes() map[repository.Class]damagedClass {
	in := func(rest string) storage.Key { return storage.Key(fakeSystem.String() + "/" + rest) }
	first := func(folder string) storage.Key {
		return d.store.Keys()[slices.IndexFunc(d.store.Keys(), func(k storage.Key) bool { return strings.HasPrefix(string(k), string(in(folder))) })]
	}
	ofBackup := func(name string, but map[string]outcome) damagedClass {
		return damagedClass{in("backups/" + newerBackup + "/" + name), in("backups/" + olderBackup + "/" + name), older, but, ""}
	}
	pieces := "wal/00000002/" + name(2, 6) + ".part/"
	return map[repository.Class]damagedClass{
		repository.ClassMarker:   {key: repository.MarkerKey, alone: declined},
		repository.ClassHistory:  {key: in("wal/00000002.history"), alone: declined, place: "timeline 2"},
		repository.ClassSegment:  {in("wal/00000001/" + name(1, 3) + ".zst"), in("wal/00000001/" + name(1, 2) + ".zst"), declined, nil, "0/300000"},
		repository.ClassPiece:    {first(pieces), first(pieces + "0000000000610000"), declined, nil, "0/600000"},
		repository.ClassBeat:     {key: first("beats/"), alone: told, but: map[string]outcome{"deleted": unread}},
		repository.ClassSync:     {key: first("sync/"), alone: unread},
		repository.ClassGap:      {key: first("gaps/"), alone: told, but: map[string]outcome{"deleted": unread}}, // the hole shows without it
		repository.ClassRecord:   ofBackup("record.json", map[string]outcome{"deleted": unseen, "swapped": declined}),
		repository.ClassIndex:    ofBackup("index.zst", map[string]outcome{"flipped": declined, "swapped": declined}),
		repository.ClassManifest: ofBackup("backup_manifest.zst", map[string]outcome{"flipped": unread, "swapped": unread}), // for PostgreSQL's tools
		repository.ClassPack:     ofBackup("base-00001.tar.zst", map[string]outcome{"flipped": declined, "swapped": declined}),
		repository.ClassDrill:    {in("drills/20261122T030000Z.json"), in("drills/20261121T030000Z.json"), unread, nil, ""},
		repository.ClassNames:    {in("drills/20261122T030000Z-names.zst"), in("drills/20261121T030000Z-names.zst"), unread, nil, ""},
	}
}

// damages are the kinds of damage. A history has no hash: only what cannot be parsed is found without a copy (docs/FAILURES.md).
func damages() map[string]func(s *memory.Store, k, other storage.Key) {
	return map[string]func(s *memory.Store, k, other storage.Key){
		"flipped": func(s *memory.Store, k, _ storage.Key) {
			b := s.Bytes(k)
			at := 2 * len(b) / 5
			if strings.HasSuffix(string(k), ".history") {
				at = 0
			}
			b[at] ^= 0x40
			s.Replace(k, b)
		},
		"truncated": func(s *memory.Store, k, _ storage.Key) {
			n := len(s.Bytes(k)) - 7
			if strings.HasSuffix(string(k), ".history") {
				n = 2
			}
			s.Replace(k, s.Bytes(k)[:n])
		},
		"lengthened":  func(s *memory.Store, k, _ storage.Key) { s.Replace(k, append(s.Bytes(k), 'x')) },
		"zero-length": func(s *memory.Store, k, _ storage.Key) { s.Replace(k, []byte{}) },
		"deleted":     func(s *memory.Store, k, _ storage.Key) { s.Replace(k, nil) },
		"swapped": func(s *memory.Store, k, other storage.Key) {
			a, b := s.Bytes(k), s.Bytes(other)
			s.Replace(k, b)
			s.Replace(other, a)
		},
	}
}

// TestNothingDamagedIsRestored guards D1 and I25: a restore, and a drill, which goes the same way, from a repository in which an object of any class is damaged in any way either is
// refused and names it, or brings every byte back as it was; with a copy it takes the object from there and says so. Nothing damaged is ever laid down or given to a server.
func TestNothingDamagedIsRestored(t *testing.T) {
	if testing.Short() {
		t.Skip("150 restores; TestLayDownFromCopies and TestFetchFromCopies have a few of them")
	}
	d := newDamageable(t)
	sound, err := d.restore(t, repository.Source{Name: "primary", Store: d.store})
	if err != nil || sound.plan.Backup.ID != newerBackup || len(sound.plan.Notes) > 0 || len(sound.plan.Legs) != 2 {
		t.Fatalf("undamaged: %+v, %v", sound.plan, err)
	}
	d.wal = sound.wal
	ways := damages()
	kinds := slices.Sorted(maps.Keys(ways))
	for _, class := range slices.Sorted(maps.Keys(d.classes())) {
		c := d.classes()[class]
		for _, kind := range kinds {
			if kind == "swapped" && c.other == "" {
				continue
			}
			bad := d.store.Clone()
			ways[kind](bad, c.key, c.other)
			t.Run(fmt.Sprintf("%s %s", class, kind), func(t *testing.T) {
				t.Parallel()
				want, special := c.but[kind]
				if !special {
					want = c.alone
				}
				got, err := d.restore(t, repository.Source{Name: "primary", Store: bad})
				d.checkAlone(t, c, want, got, err)
				got, err = d.restore(t, repository.Source{Name: "primary", Store: bad}, repository.Source{Name: "dr", Store: d.store})
				if err != nil {
					t.Fatalf("with a copy: %v", err)
				}
				d.checkCopied(t, c.key, want, got)
			})
		}
	}
}

// isRight says that what was laid down, and what a server got, is what was archived.
func (d *damageable) isRight(t *testing.T, got laid) {
	t.Helper()
	checkFiles(t, got.dir, d.files[got.plan.Backup.ID])
	for file, want := range d.wal {
		if !bytes.Equal(got.wal[file], want) {
			t.Errorf("the server was given a %s that is not what was archived", file)
		}
	}
}

// checkAlone checks a restore from the damaged repository alone.
func (d *damageable) checkAlone(t *testing.T, c damagedClass, want outcome, got laid, err error) {
	t.Helper()
	names := func(text string) bool { return strings.Contains(text, string(c.key)) }
	if want == declined {
		if err == nil || !names(err.Error()) && (c.other == "" || !strings.Contains(err.Error(), string(c.other))) && (c.place == "" || !strings.Contains(err.Error(), c.place)) {
			t.Errorf("want it refused and the object named, got %v", err)
		}
		return
	}
	if err != nil {
		t.Fatalf("want it %s, got %v", want, err)
	}
	d.isRight(t, got)
	said := names(strings.Join(got.plan.Notes, "\n"))
	if isOlder := got.plan.Backup.ID == olderBackup; isOlder != (want == older || want == unseen) || said != (want == older || want == told) {
		t.Errorf("want it %s, got backup %s and the notes %q", want, got.plan.Backup.ID, got.plan.Notes)
	}
}

// checkCopied checks a restore from the damaged repository with a whole copy: it is as if nothing were damaged, and said to be.
func (d *damageable) checkCopied(t *testing.T, key storage.Key, alone outcome, got laid) {
	t.Helper()
	d.isRight(t, got)
	if got.plan.Backup.ID != newerBackup {
		t.Errorf("from backup %s although the copy has the newer one whole", got.plan.Backup.ID)
	}
	list, _ := got.sources.Substitutes()
	from := slices.ContainsFunc(list, func(s repository.Substitute) bool { return s.Key == key && s.Source == "dr" })
	away := slices.ContainsFunc(got.sources.Away(), func(f repository.Fault) bool { return f.Source == "primary" })
	base := path.Base(string(key))
	switch {
	case key == repository.MarkerKey && !away:
		t.Error("it is not said that the primary is left out")
	case key == repository.MarkerKey, alone == unread:
	case base == "backup_manifest.zst": // only its size is looked at, and one of the right size is enough
	case !from:
		t.Errorf("it is not said that %s came from the copy: %v; away: %v", base, list, got.sources.Away())
	}
}
