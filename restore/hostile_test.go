package restore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// forgery rewrites the index of a backup as somebody would who holds the writer's credential: every length and hash is right afterwards.
type forgery struct {
	t      *testing.T
	store  *memory.Store
	index  storage.Key
	record *repository.Backup
	packs  []forgedPack
	tables []string
}

// forgedPack is a pack in the top of an index.
type forgedPack struct {
	Name    string `json:"name"`
	Archive string `json:"archive"`
	Plain   int64  `json:"plain"`
	Stored  int64  `json:"stored"`
	Frames  int    `json:"frames"`
	Files   int    `json:"files"`
	Line    struct {
		Stored int64  `json:"stored"`
		Plain  int64  `json:"plain"`
		SHA256 string `json:"sha256"`
	} `json:"line"`
}

func openForgery(t *testing.T, store *memory.Store, record *repository.Backup) *forgery {
	t.Helper()
	f := &forgery{t: t, store: store, record: record, index: storage.Key(fmt.Sprintf("%s/backups/%s/index.zst", record.SystemID, record.ID))}
	stored := store.Bytes(f.index)
	var top struct {
		Packs []forgedPack `json:"packs"`
	}
	if err := json.Unmarshal(f.decode(stored[repository.HeaderSize:record.Index.Top.Size]), &top); err != nil {
		t.Fatal(err)
	}
	f.packs = top.Packs
	at := record.Index.Top.Size
	for _, p := range f.packs {
		f.tables = append(f.tables, string(f.decode(stored[at:at+p.Line.Stored])))
		at += p.Line.Stored
	}
	return f
}

func (f *forgery) decode(stored []byte) []byte {
	f.t.Helper()
	plain, err := compression.Zstd().NewDecoder().DecodeFrame(nil, stored, 64<<20)
	if err != nil {
		f.t.Fatal(err)
	}
	return plain
}

// seal puts the index back, with what change makes of the text of its top.
func (f *forgery) seal(change func(string) string) {
	f.t.Helper()
	encoder := compression.Zstd().NewEncoder()
	var lines []byte
	for i, text := range f.tables {
		line := encoder.EncodeFrame(nil, []byte(text))
		p := &f.packs[i]
		p.Line.Stored, p.Line.Plain, p.Line.SHA256 = int64(len(line)), int64(len(text)), fmt.Sprintf("%x", sha256.Sum256(line))
		lines = append(lines, line...)
	}
	text, err := json.Marshal(map[string]any{"packs": f.packs})
	if err != nil {
		f.t.Fatal(err)
	}
	if change != nil {
		text = []byte(change(string(text)))
	}
	body := encoder.EncodeFrame(make([]byte, repository.HeaderSize), append(text, '\n'))
	size := int64(len(body))
	body = append(body, lines...)
	body = append(body, 0x5E, 0x2A, 0x4D, 0x18, 0, 0, 0, 0)
	h := repository.Header{SHA256: sha256.Sum256(body[repository.HeaderSize:]), Plain: 1 << 30, Stored: uint64(len(body) - repository.HeaderSize)}
	h.Kind, h.SystemID, h.Timeline = repository.KindIndex, f.record.SystemID, f.record.Timeline
	h.SegmentSize, h.Range.Start = f.record.SegmentSize, f.record.StartLSN
	head, err := h.MarshalBinary()
	if err != nil {
		f.t.Fatal(err)
	}
	copy(body, head)
	f.store.Replace(f.index, body)
	f.record.Index.Size, f.record.Index.SHA256 = int64(len(body)), sha256.Sum256(body)
	f.record.Index.Top = repository.StoredObject{Size: size, SHA256: sha256.Sum256(body[:size])}
}

// edit replaces text of the table that has it.
func (f *forgery) edit(from, to string) {
	f.t.Helper()
	for i, table := range f.tables {
		if strings.Contains(table, from) {
			f.tables[i] = strings.Replace(table, from, to, 1)
			return
		}
	}
	f.t.Fatalf("no table has %s", from)
}

// add puts a member before the others of the last pack.
func (f *forgery) add(members ...string) {
	last := len(f.tables) - 1
	f.tables[last] = strings.Replace(f.tables[last], `"files":[`, `"files":[`+strings.Join(members, ",")+",", 1)
	f.packs[last].Files += len(members)
}

// around describes all that lies in a folder: names, modes, targets of links and content.
func around(t *testing.T, dir string) string {
	t.Helper()
	var list strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		to, content := "", []byte(nil)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			to, err = os.Readlink(path)
		case info.Mode().IsRegular():
			content, err = os.ReadFile(path)
		}
		fmt.Fprintf(&list, "%s %s %q %x\n", path, info.Mode(), to, crc32.ChecksumIEEE(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list.String()
}

const (
	hostileFile = `{"path":%q,"type":"file","mode":384,"mtime":"2026-11-20T12:00:00Z","crc32c":"00000000"}`
	hostileDir  = `{"path":%q,"type":"dir","mode":448,"mtime":"2026-11-20T12:00:00Z"}`
	hostileLink = `{"path":%q,"type":"link","mode":511,"mtime":"2026-11-20T12:00:00Z","link":%q}`
	hostileType = `{"path":%q,"type":%q,"mode":511,"mtime":"2026-11-20T12:00:00Z","link":"../outside/secret","crc32c":"00000000"}`
)

// attack is one thing that a repository may try.
type attack struct {
	name string
	// forge changes the backup.
	forge func(f *forgery)
	// top changes the text of the index's top, after all else was made right.
	top func(string) string
	// says is part of the refusal; "" where the backup is restored and harmless.
	says   string
	costly bool
}

func adding(members ...string) func(*forgery) { return func(f *forgery) { f.add(members...) } }

func editing(from, to string) func(*forgery) { return func(f *forgery) { f.edit(from, to) } }

func hostilePaths() []attack {
	deep := strings.Repeat("d/", 1000) + "f"
	return []attack{
		{name: "up", forge: adding(fmt.Sprintf(hostileFile, "../outside/new")), says: "path"},
		{name: "up from within", forge: adding(fmt.Sprintf(hostileFile, "base/../../outside/new")), says: "path"},
		{name: "absolute", forge: adding(fmt.Sprintf(hostileFile, "/srv/new")), says: "path"},
		{name: "the folder itself", forge: adding(fmt.Sprintf(hostileDir, ".")), says: "path"},
		{name: "nothing", forge: adding(fmt.Sprintf(hostileFile, "")), says: "path"},
		{name: "NUL", forge: adding(`{"encoded_path":"610062","type":"dir","mode":448,"mtime":"2026-11-20T12:00:00Z"}`), says: "path"},
		{name: "name of a megabyte", forge: adding(fmt.Sprintf(hostileFile, strings.Repeat("n", 1<<20))), says: "line of base-00002"},
		{name: "folders without end", forge: adding(fmt.Sprintf(hostileFile, deep)), says: "path"},
		{name: "many folders that are no members", forge: func(f *forgery) {
			var members []string
			for i := range 15 {
				members = append(members, fmt.Sprintf(hostileFile, fmt.Sprint("n", i, "/")+strings.Repeat("d/", 120)+"f"))
			}
			f.add(members...)
			f.record.Files += 15
		}, says: "folders", costly: true},
		{name: "link", forge: adding(fmt.Sprintf(hostileLink, "base/5/link", "../../../outside")), says: "link"},
		{name: "link for a tablespace that the record lacks", forge: adding(fmt.Sprintf(hostileLink, "pg_tblspc/16400", "/tmp")), says: "no tablespace"},
		{name: "hard link", forge: adding(fmt.Sprintf(hostileType, "hard", "hardlink")), says: "type"},
		{name: "device", forge: adding(fmt.Sprintf(hostileType, "null", "char")), says: "type"},
		{name: "FIFO", forge: adding(fmt.Sprintf(hostileType, "postgresql.conf", "fifo")), says: "type"},
		{name: "socket", forge: adding(fmt.Sprintf(hostileType, ".s.PGSQL.5432", "socket")), says: "type"},
		{name: "the same file twice in a pack", forge: adding(fmt.Sprintf(hostileFile, "base/5/513")), says: "twice"},
		{name: "the same file in two packs", forge: adding(fmt.Sprintf(hostileFile, "PG_VERSION")), says: "PG_VERSION"},
		{name: "a file and a folder of one name", forge: adding(fmt.Sprintf(hostileFile, "x"), fmt.Sprintf(hostileDir, "x/y")), says: "x"},
		{name: "a file where a folder must be", forge: adding(fmt.Sprintf(hostileFile, "pg_tblspc")), says: "pg_tblspc"},
		{name: "pg_control under the name it has on its way", forge: adding(fmt.Sprintf(hostileFile, "global/pg_control.pgark-partial")), says: "pg_control"},
		{name: "signals that cannot be removed", forge: adding(fmt.Sprintf(hostileDir, "standby.signal/x")), says: "standby.signal"},
		{name: "mode with setuid", forge: adding(strings.Replace(fmt.Sprintf(hostileFile, "suid"), "384", "2541", 1))},
		{name: "mode of all", forge: adding(strings.Replace(fmt.Sprintf(hostileDir, "open"), "448", "1023", 1))},
		{name: "names for a terminal", forge: adding(`{"path":"\u001b]0;x\u0007\n\r","type":"dir","mode":448,"mtime":"2026-11-20T12:00:00Z"}`)},
		{name: "case", forge: adding(fmt.Sprintf(hostileDir, "BASE"))},
		{name: "marks of ours", forge: adding(fmt.Sprintf(hostileDir, "pgark-socket"), fmt.Sprintf(hostileDir, "pg_wal/pgark-spool-00000001-0"))},
	}
}

func hostileSizes() []attack {
	return []attack{
		{name: "size below 0", forge: editing(`"size":513,`, `"size":-513,`), says: "field of a file"},
		{name: "size behind its pack", forge: editing(`"size":513,`, `"size":1099511627776,`), says: "not inside"},
		{name: "size that overflows", forge: editing(`"size":513,`, `"size":9223372036854775807,`), says: "not inside"},
		{name: "frame that is not there", forge: editing(`"frame":`, `"frame":9`), says: "not inside"},
		{name: "record that tells of less", forge: func(f *forgery) { f.record.Plain /= 2 }, says: "the record says"},
		{name: "record that tells of fewer files", forge: func(f *forgery) { f.record.Files-- }, says: "the record says"},
		{name: "record that tells of nothing", forge: func(f *forgery) { f.record.Plain, f.record.Files = 0, 0 }, says: "the record says"},
		{name: "record that tells of less that is stored", forge: func(f *forgery) { f.record.Stored = 1000 }, says: "the record says"},
		{name: "pack of a petabyte", top: func(top string) string {
			return strings.Replace(top, `"plain":`, `"plain":1000000000`, 1)
		}, says: "frames"},
		{name: "more files than a pack may have", top: func(top string) string {
			return strings.Replace(top, `"files":`, `"files":70000`, 1)
		}, says: "files"},
		{name: "members that are not there", forge: func(f *forgery) { f.packs[0].Files = 60000 }, says: "files"},
		{name: "more members than the top says", forge: func(f *forgery) {
			f.tables[0] = strings.Replace(f.tables[0], `"files":[`, `"files":[`+strings.Repeat("{},", 1<<20), 1)
		}, says: "line of base-00001"},
		{name: "more frames than the top says", forge: func(f *forgery) {
			f.packs[0].Files = 60000 // for a line of this length
			f.tables[0] = strings.Replace(f.tables[0], `"frames":[`, `"frames":[`+strings.Repeat("[],", 1<<20), 1)
		}, says: "files"},
		{name: "line of blanks", forge: func(f *forgery) { f.tables[0] += strings.Repeat(" ", 16<<20) }, says: "line of base-00001"},
		{name: "more packs than may be", top: func(string) string { return `{"packs":[` + strings.Repeat("{},", 2<<20) + `{}]}` }, says: "top"},
		{name: "nesting", top: func(string) string { return strings.Repeat("[", 1<<20) }, says: "top"},
		{name: "no JSON", top: func(string) string { return "\x00" }, says: "top"},
	}
}

// TestHostileRepository guards I26 and D7: what is restored from a repository that was written with malice, every hash right, either is refused by name, or
// stays below its folder with nothing but files and folders of ordinary modes; and neither costs much more memory than what is stored.
func TestHostileRepository(t *testing.T) {
	const mostMemory = 64 << 20 // allocated in all, bytes
	members := directory(1, 513)
	written, honest := fakeBackup(t, nil, pack{"base", members[:8]}, pack{"base", members[8:]})
	for _, a := range append(hostilePaths(), hostileSizes()...) {
		t.Run(a.name, func(t *testing.T) {
			if a.costly && testing.Short() {
				t.Skip("-short makes fewer folders")
			}
			store, hostile := written.Clone(), *honest
			plan := &hostile
			f := openForgery(t, store, &plan.Backup)
			if a.forge != nil {
				before := f.record.Files
				a.forge(f)
				if added := strings.Count(strings.Join(f.tables, ""), `"mtime":"2026-11-20T12`); f.record.Files == before { // what it adds is counted right
					f.record.Files += int64(added)
				}
			}
			f.seal(a.top)

			dir := t.TempDir()
			outside := filepath.Join(dir, "outside")
			if err := errors.Join(os.Mkdir(outside, 0o755), os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o640)); err != nil {
				t.Fatal(err)
			}
			before := around(t, outside)
			o := restore.LayOptions{Dir: filepath.Join(dir, "data"), RestoreCommand: "fetch", Jobs: 2}
			var start, end runtime.MemStats
			runtime.ReadMemStats(&start)
			_, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o)
			runtime.ReadMemStats(&end)
			switch {
			case a.says == "" && err != nil:
				t.Errorf("got %v, want it to be restored harmlessly", err)
			case a.says != "" && (err == nil || !strings.Contains(err.Error(), a.says)):
				t.Errorf("got %v, want a refusal that says %q", err, a.says)
			case a.says != "" && exists(t, o.Dir):
				t.Error("it was refused, and the data directory is there")
			}
			if err != nil && strings.ContainsAny(err.Error(), "\x1b\a") {
				t.Errorf("the refusal writes to the terminal what the repository says: %q", err)
			}
			if after := around(t, outside); after != before {
				t.Errorf("outside of the folder there is\n%swas\n%s", after, before)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 2 {
				t.Errorf("beside the folder lies %v, %v", entries, err)
			}
			if grown := end.TotalAlloc - start.TotalAlloc; grown > mostMemory {
				t.Errorf("it took %d MiB of memory", grown>>20)
			}
			onlyFiles(t, dir)
		})
	}
}

// onlyFiles expects nothing but files and folders, that nobody else may write to or run.
func onlyFiles(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		mode, most := info.Mode(), fs.FileMode(0o640)
		if mode.IsDir() {
			most = 0o755 // the folder of the test
		}
		if mode.Type()&^fs.ModeDir != 0 || mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 || mode.Perm()&^most != 0 {
			t.Errorf("%q has mode %s", path, mode)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestHostileRecord: a record that is another's, or says what cannot be, is refused before anything of it is used.
func TestHostileRecord(t *testing.T) {
	store, plan := fakeBackup(t, []repository.Tablespace{{OID: 16400, Path: "/srv/ts"}}, pack{"base", directory(1)})
	key := storage.Key(fmt.Sprintf("%s/backups/%s/record.json", plan.Backup.SystemID, plan.Backup.ID))
	text := string(store.Bytes(key))
	for name, change := range map[string][2]string{
		"of another backup":            {`"id": "20261120T120000Z"`, `"id": "20261120T120001Z"`},
		"of another cluster":           {`"system_id": "7710460978105624599"`, `"system_id": "7710460978105624598"`},
		"tablespace of no number":      {`"oid": 16400`, `"oid": 0`},
		"tablespace below 0":           {`"oid": 16400`, `"oid": -1`},
		"tablespace without a path":    {`"path": "/srv/ts"`, `"path": ""`},
		"tablespace at NUL":            {`"path": "/srv/ts"`, `"path": "/srv\u0000"`},
		"tablespace of two paths":      {`"path": "/srv/ts"`, `"path": "/srv/ts", "encoded_path": "2f"`},
		"segments of no size":          {`"segment_size": 1048576`, `"segment_size": 3`},
		"codec that is none":           {`"codec": "zstd"`, `"codec": "../zstd"`},
		"ends before it starts":        {`"stop_lsn": "0/200100"`, `"stop_lsn": "0/100"`},
		"bytes below 0":                {`"plain": `, `"plain": -`},
		"index of no bytes":            {`"size": `, `"size": 0, "was": `},
		"index of exabytes":            {`"size": `, `"size": 9223372036854775807, "was": `},
		"format of a later time":       {`"format": 1`, `"format": 2`},
		"format below 1":               {`"format": 1`, `"format": -1`},
		"nesting":                      {`"type": "full"`, `"type": "full", "x": ` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000)},
		"checksums of no known result": {`"checksums": "verified"`, `"checksums": "\u001b[2J"`},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(text, change[0], change[1], 1)
			if changed == text {
				t.Fatalf("the record has no %s", change[0])
			}
			end := strings.LastIndexByte(strings.TrimSuffix(changed, "\n"), '\n') + 1
			store.Replace(key, fmt.Appendf(nil, "%s \"sha256\": \"%x\"}\n", changed[:end], sha256.Sum256([]byte(changed[:end]))))
			b, err := clusterIn(t, store).Backup(t.Context(), plan.Backup.ID)
			if err == nil {
				t.Fatalf("got %+v, want a refusal", b)
			}
			if strings.Contains(err.Error(), "\x1b") {
				t.Errorf("got %q: it would reach a terminal", err)
			}
		})
	}
}

// TestHostileContent: files that speak for the restored cluster itself. What would have it begin elsewhere is refused, and what would have it run or write
// something is not in force.
func TestHostileContent(t *testing.T) {
	conf := "restore_command = 'evil'\nRecovery_End_Command='evil'\narchive_cleanup_command 'evil'\n\tarchive_mode=always\narchive_command = 'evil'\narchive_library='evil'\n" +
		"promote_trigger_file = '/etc/passwd'\nprimary_conninfo = 'host=evil'\nrecovery_target_timeline = 'latest'\n"
	replace := func(path string, b []byte) []member {
		members := directory(513)
		for i := range members {
			if members[i].path == path {
				members[i].content = b
			}
		}
		return members
	}
	for _, test := range []struct {
		name    string
		members []member
		says    string
	}{
		{"configuration", replace("postgresql.auto.conf", []byte(conf)), ""},
		{"another cluster's control file", replace("global/pg_control", control(fakeSystem+1)), "system identifier"},
		{"no control file", replace("global/pg_control", []byte("x")), "pg_control"},
		{"label of elsewhere", replace("backup_label", bytes.ReplaceAll([]byte(fakeLabel), []byte("0/200028"), []byte("0/900028"))), "backup_label"},
		{"label of nothing", replace("backup_label", nil), "backup_label"},
		{"map of tablespaces", append(directory(513), content("tablespace_map", []byte("16400 /etc\n"))), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			store, plan := fakeBackup(t, nil, pack{"base", test.members})
			o := layInto(t)
			_, err := restore.LayDown(t.Context(), clusterIn(t, store), plan, o)
			if test.says != "" {
				if err == nil || !strings.Contains(err.Error(), test.says) || exists(t, o.Dir) {
					t.Errorf("got %v, want a refusal that says %q", err, test.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if exists(t, filepath.Join(o.Dir, "tablespace_map")) {
				t.Error("the backup's map of tablespaces is in force")
			}
			got, err := os.ReadFile(filepath.Join(o.Dir, "postgresql.auto.conf"))
			if err != nil || bytes.Contains(got, []byte("evil")) || bytes.Contains(got, []byte("/etc/passwd")) {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
}

// TestHostileFrames: what frames say of themselves is believed no further than the index goes.
func TestHostileFrames(t *testing.T) {
	store, plan := fakeBackup(t, nil, pack{"base", directory(513)})
	f := openForgery(t, store, &plan.Backup)
	key := storage.Key(fmt.Sprintf("%s/backups/%s/base-00001.tar.zst", plan.Backup.SystemID, plan.Backup.ID))
	for name, frame := range map[string][]byte{
		"bomb":         compression.Zstd().NewEncoder().EncodeFrame(nil, make([]byte, 64<<20)),
		"promise":      {0x28, 0xB5, 0x2F, 0xFD, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 1, 0, 0}, // content size of 8 EiB
		"window":       {0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xF8, 0x01, 0x00, 0x00},                                  // of 3.75 TiB
		"nothing":      {0x28, 0xB5, 0x2F, 0xFD, 0x20, 0x00, 0x01, 0x00, 0x00},
		"no zstd":      []byte("not a frame at all"),
		"only skipped": {0x50, 0x2A, 0x4D, 0x18, 0xFF, 0xFF, 0xFF, 0xFF},
	} {
		t.Run(name, func(t *testing.T) {
			body := append(bytes.Clone(store.Bytes(key)[:repository.HeaderSize]), frame...)
			var table map[string]any
			if err := json.Unmarshal([]byte(f.tables[0]), &table); err != nil {
				t.Fatal(err)
			}
			table["frames"], table["runs"] = [][]int64{{int64(len(frame)), f.packs[0].Plain}}, []string{fmt.Sprintf("%x", sha256.Sum256(frame))}
			text, err := json.Marshal(table)
			if err != nil {
				t.Fatal(err)
			}
			forged := *f
			forged.tables, forged.packs = []string{string(text)}, []forgedPack{f.packs[0]}
			forged.store, forged.packs[0].Stored, forged.packs[0].Frames = store.Clone(), int64(len(body)), 1
			record := plan.Backup
			record.Stored = 1 << 30
			forged.record = &record
			forged.store.Replace(key, body)
			forged.seal(nil)
			o := layInto(t)
			hostile := *plan
			hostile.Backup = record
			var start, end runtime.MemStats
			runtime.ReadMemStats(&start)
			_, err = restore.LayDown(t.Context(), clusterIn(t, forged.store), &hostile, o)
			runtime.ReadMemStats(&end)
			if err == nil || !strings.Contains(err.Error(), "base-00001") || exists(t, o.Dir) {
				t.Errorf("got %v, want a refusal that names the pack", err)
			}
			if grown := (end.TotalAlloc - start.TotalAlloc) >> 20; grown > 32 {
				t.Errorf("it took %d MiB of memory", grown)
			}
		})
	}
}

// TestHostileWAL: wal fetch puts nothing into place but a file of the name and size that the server asks for.
func TestHostileWAL(t *testing.T) {
	for _, name := range []string{"../00000001.history", "0000000100000000000000zz", "/etc/passwd", "00000001.history/../x", strings.Repeat("0", 24) + "\n", "00000000.history"} {
		store, _ := fakeBackup(t, nil, pack{"base", directory(513)})
		dir, cluster := t.TempDir(), clusterIn(t, store)
		open := func(context.Context) (*repository.Cluster, error) { return cluster, nil }
		got, err := restore.Fetch(t.Context(), open, name, filepath.Join(dir, "RECOVERYXLOG"), restore.FetchOptions{SegmentSize: mib, Timeline: wal.TimelineID(1)})
		if code := restore.ExitCode(got, err, false); code < 126 { // what PostgreSQL takes for success, or for the end of WAL
			t.Errorf("%q: got %v, %v: exit %d", name, got, err, code)
		}
		if left := around(t, dir); strings.Count(left, "\n") > 1 {
			t.Errorf("%q: left %s", name, left)
		}
	}
}
