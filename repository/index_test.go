package repository_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/pgark/pgark/repository"
)

// resealed replaces the last line of a record by one with the right hash.
func resealed(text []byte) []byte {
	end := bytes.LastIndexByte(bytes.TrimSuffix(text, []byte("\n")), '\n') + 1
	sum := sha256.Sum256(text[:end])
	return fmt.Appendf(bytes.Clone(text[:end]), " \"sha256\": \"%x\"}\n", sum)
}

const hash64 = `"0000000000000000000000000000000000000000000000000000000000000000"`

// goodTop has one pack whose line is goodTable.
const goodTop = `{"packs":[{"name":"base-00001.tar.zst","archive":"base","plain":1578496,"stored":900176,"frames":3,"files":4,
 "line":{"stored":100,"plain":500,"sha256":` + hash64 + `}}]}`

const goodTable = `{"pack":"base-00001.tar.zst","frames":[[100000,5632],[700000,1048576],[100000,524288]],"runs":[` + hash64 + `],"files":[
{"path":"base","type":"dir","mode":448,"mtime":"2026-11-21T02:40:00Z"},
{"path":"a","type":"file","mode":384,"size":100,"mtime":"2026-11-21T02:40:00Z","crc32c":"00000001","frame":0,"offset":1024},
{"path":"b","type":"file","mode":384,"size":1500000,"mtime":"2026-11-21T02:40:00Z","crc32c":"00000001","frame":1,"offset":0},
{"path":"pg_tblspc/16400","type":"link","mode":511,"mtime":"2026-11-21T02:40:00Z","link":"/srv/ts"}]}`

func tablespaces() []repository.Tablespace {
	return []repository.Tablespace{{OID: 16400, Path: "/srv/ts"}}
}

func goodPack(t testing.TB) repository.Pack {
	t.Helper()
	packs, err := repository.ParseTop([]byte(goodTop))
	if err != nil || len(packs) != 1 {
		t.Fatal(packs, err)
	}
	return packs[0]
}

func TestTopIsHostile(t *testing.T) {
	goodPack(t)
	for name, change := range map[string][2]string{
		"name":               {`"base-00001.tar.zst"`, `"../00001.tar.zst"`},
		"number":             {`base-00001`, `base-00002`},
		"archive":            {`"archive":"base"`, `"archive":"16400"`},
		"archive zero":       {`base`, `0`},
		"archive long":       {`base`, `4294967296`},
		"suffix":             {`tar.zst`, `tar.s2`},
		"no frames":          {`"frames":3`, `"frames":0`},
		"many frames":        {`"frames":3`, `"frames":1000000000`},
		"frames below 0":     {`"frames":3`, `"frames":-3`},
		"plain":              {`"plain":1578496`, `"plain":3145729`},
		"plain below 0":      {`"plain":1578496`, `"plain":-1`},
		"stored":             {`"stored":900176`, `"stored":90000000`},
		"files":              {`"files":4`, `"files":100000`},
		"files below 0":      {`"files":4`, `"files":-1`},
		"line of nothing":    {`"stored":100`, `"stored":0`},
		"line below 0":       {`"stored":100`, `"stored":-100`},
		"line too large":     {`"plain":500`, `"plain":5000000000`},
		"line bomb reversed": {`"stored":100`, `"stored":100000000`},
		"hash":               {hash64, `"00"`},
		"no JSON":            {`{"packs"`, `"packs"`},
	} {
		text := strings.ReplaceAll(goodTop, change[0], change[1])
		if text == goodTop {
			t.Fatalf("%s changes nothing", name)
		}
		if packs, err := repository.ParseTop([]byte(text)); err == nil {
			t.Errorf("%s: got %+v, want an error", name, packs)
		}
	}
}

func TestTableIsHostile(t *testing.T) {
	pack := goodPack(t)
	if _, err := repository.ParseTable([]byte(goodTable), pack, tablespaces()); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("a/", 2100) + "a"
	for name, change := range map[string][2]string{
		"other pack":           {`base-00001`, `base-00002`},
		"frame missing":        {`,[100000,524288]`, ``},
		"frame added":          {`[100000,5632]`, `[100000,5632],[1,1]`},
		"frame too long":       {`[700000,1048576]`, `[700000,1048577]`},
		"frame of nothing":     {`[100000,5632]`, `[0,5632]`},
		"frame below 0":        {`[100000,5632]`, `[100000,-5632]`},
		"frame huge":           {`[700000,1048576]`, `[700000000,1048576]`},
		"frames shifted":       {`[100000,5632],[700000,1048576]`, `[100000,1048576],[700000,5632]`},
		"run missing":          {`[` + hash64 + `]`, `[]`},
		"run added":            {`[` + hash64 + `]`, `[` + hash64 + `,` + hash64 + `]`},
		"absolute":             {`"path":"a"`, `"path":"/a"`},
		"up":                   {`"path":"a"`, `"path":"../a"`},
		"up inside":            {`"path":"a"`, `"path":"x/../../a"`},
		"dot":                  {`"path":"a"`, `"path":"."`},
		"empty name":           {`"path":"a"`, `"path":"x//a"`},
		"slash at end":         {`"path":"a"`, `"path":"a/"`},
		"empty":                {`"path":"a"`, `"path":""`},
		"NUL":                  {`"path":"a"`, `"path":"a\u0000b"`},
		"NUL in hex":           {`"path":"a"`, `"encoded_path":"610062"`},
		"up in hex":            {`"path":"a"`, `"encoded_path":"2e2e2f61"`},
		"bad hex":              {`"path":"a"`, `"encoded_path":"6"`},
		"two paths":            {`"path":"a"`, `"path":"a","encoded_path":"61"`},
		"long":                 {`"path":"a"`, `"path":"` + long + `"`},
		"long name":            {`"path":"a"`, `"path":"` + strings.Repeat("n", 256) + `"`},
		"twice":                {`"path":"a"`, `"path":"b"`},
		"type":                 {`"type":"dir"`, `"type":"device"`},
		"mode":                 {`"mode":448`, `"mode":4096`},
		"mode below 0":         {`"mode":448`, `"mode":-1`},
		"size below 0":         {`"size":100`, `"size":-100`},
		"size behind the pack": {`"size":1500000`, `"size":1572865`},
		"size that overflows":  {`"size":1500000`, `"size":9223372036854775807`},
		"overlap":              {`"size":100`, `"size":4609`},
		"frame behind":         {`"frame":0`, `"frame":3`},
		"frame negative":       {`"frame":0`, `"frame":-1`},
		"offset behind":        {`"offset":1024`, `"offset":5632`},
		"offset negative":      {`"offset":1024`, `"offset":-1`},
		"large inside a frame": {`"frame":1,"offset":0`, `"frame":1,"offset":1`},
		"no frame":             {`"frame":0,`, ``},
		"no checksum":          {`,"crc32c":"00000001","frame":0`, `,"frame":0`},
		"bad checksum":         {`00000001","frame":0`, `0000000g","frame":0`},
		"dir with content":     {`"type":"dir","mode":448`, `"type":"dir","mode":448,"size":1,"frame":0,"offset":0`},
		"dir with link":        {`"type":"dir"`, `"type":"dir","link":"x"`},
		"link elsewhere":       {`/srv/ts`, `/etc`},
		"link undeclared":      {`pg_tblspc/16400`, `pg_tblspc/16401`},
		"link outside":         {`pg_tblspc/16400`, `pg_wal`},
		"link inside link":     {`pg_tblspc/16400`, `pg_tblspc/16400/x`},
		"link to nothing":      {`"link":"/srv/ts"`, `"link":""`},
		"file behind link":     {`"path":"a"`, `"path":"pg_tblspc/16400/PG_15/1"`},
		"file missing":         {`{"path":"base","type":"dir","mode":448,"mtime":"2026-11-21T02:40:00Z"},`, ``},
		"time":                 {`2026-11-21T02:40:00Z`, `yesterday`},
	} {
		text := strings.ReplaceAll(goodTable, change[0], change[1])
		if text == goodTable {
			t.Fatalf("%s changes nothing", name)
		}
		if table, err := repository.ParseTable([]byte(text), pack, tablespaces()); err == nil {
			t.Errorf("%s: got %+v, want an error", name, table)
		}
	}
	if _, err := repository.ParseTable([]byte(goodTable), pack, nil); err == nil {
		t.Error("a link without a declared tablespace: want an error")
	}
}

// TestNamesWithAnyBytes: what is no UTF-8 comes back as it was.
func TestNamesWithAnyBytes(t *testing.T) {
	for _, name := range []string{"plain", "ä", "\xff\xfe", "quote\" \\ tab\t", "new\nline", "\u2028"} {
		f := repository.File{Path: name, Type: repository.TypeFile, ModTime: modTime}
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		var got repository.File
		if err := json.Unmarshal(text, &got); err != nil || got != f {
			t.Errorf("%q: got %+v, %v, from %s", name, got, err, text)
		}
	}
}

func FuzzTop(f *testing.F) {
	f.Add([]byte(goodTop))
	f.Fuzz(func(t *testing.T, text []byte) {
		packs, err := repository.ParseTop(text)
		for _, p := range packs {
			if err == nil && (p.Frames < 1 || p.Plain > int64(p.Frames)<<20 || strings.Contains(p.Name, "/")) {
				t.Errorf("accepted %+v", p)
			}
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add([]byte(goodTable))
	pack := goodPack(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := repository.ParseTable(text, pack, tablespaces())
		if err != nil {
			return
		}
		var sum int64
		for i := range table.Files {
			file := &table.Files[i]
			sum += file.Size
			first, end := table.FileFrames(file)
			if end > len(table.Frames) || first > end {
				t.Errorf("%q: frames %d to %d", file.Path, first, end)
			}
		}
		if sum > pack.Plain {
			t.Errorf("files of %d bytes in a pack of %d", sum, pack.Plain)
		}
		again, err := repository.EncodeTable(table)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := repository.ParseTable(again, pack, tablespaces()); err != nil {
			t.Errorf("encoded what is not accepted: %v", err)
		}
	})
}
