package integration_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// TestExport: a table that was dropped comes back as a dump of the moment before, row by row, and a dump that fails leaves nothing.
func TestExport(t *testing.T) {
	t.Parallel()
	d := newDrills(t, 15)
	d.server.Exec(t, "create database shop")
	archiving := d.tool.start(t, "run")
	d.waitBackup(t)
	ask := func(database string) string {
		return query(t, strings.Replace(d.server.ConnString(), "dbname=postgres", "dbname="+database, 1),
			"select count(*) || ' ' || md5(string_agg(o::text, ',' order by n)) from orders o")
	}
	psql := func(database string, args ...string) {
		args = append([]string{"-X", "-v", "ON_ERROR_STOP=1", "-h", d.server.SocketDir, "-p", strconv.Itoa(d.server.Port), "-U", d.server.Superuser, "-d", database}, args...)
		cmd := exec.CommandContext(t.Context(), filepath.Join(d.server.Version.BinDir, "psql"), args...)
		if out, err := postgrestest.AsServer(t, cmd).CombinedOutput(); err != nil {
			t.Fatalf("psql %v: %v\n%s", args, err, out)
		}
	}
	psql("shop", "-c", "create table orders (n int primary key, note text); insert into orders select g, md5(g::text) || E'\\n\\t\\\\ä''' from generate_series(1, 5000) g; create table other as select 1 x")
	want := ask("shop")
	at := d.server.Text(t, "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
	xid := d.server.Text(t, "select pg_current_xact_id()::text")
	psql("shop", "-c", "update orders set note = 'spoilt' where n > 100; drop table orders")
	d.waitArchived(t)
	archiving.stop(t)

	out := postgrestest.TempDir(t)
	file := filepath.Join(out, "orders.sql")
	d.tool.must(t.Context(), t, "export", "--at", at, "--database", "shop", "--table", "orders", "--into", file, "--bin-dir", d.server.Version.BinDir)
	d.isClean(t)
	d.server.Exec(t, "create database back")
	psql("back", "-f", file)
	if got := ask("back"); got != want {
		t.Errorf("the table came back as %s, it was %s", got, want)
	}
	if n := query(t, strings.Replace(d.server.ConnString(), "dbname=postgres", "dbname=back", 1), "select count(*)::text from pg_class where relname = 'other'"); n != "0" {
		t.Error("the dump holds another table")
	}
	pack, index := spoilOneEach(t, d.folder, d.near)
	whole := d.tool.must(t.Context(), t, "export", "-o", "json", "--to-xid", xid, "--database", "shop", "--into", filepath.Join(out, "shop.dump"), "--bin-dir", d.server.Version.BinDir, "--", "--format=custom", "--no-owner")
	if raw, err := os.ReadFile(filepath.Join(out, "shop.dump")); err != nil || !bytes.HasPrefix(raw, []byte("PGDMP")) || !bytes.Contains(raw, []byte("orders_pkey")) || !strings.Contains(whole, `"database": "shop"`) ||
		(!strings.Contains(whole, `"from": "near"`) || !strings.Contains(whole, filepath.Base(pack))) && (!strings.Contains(whole, `"from": "primary"`) || !strings.Contains(whole, filepath.Base(index))) {
		t.Errorf("in custom format: %v, %.20q\n%s", err, raw, whole)
	}
	before := tree(t, out)
	for _, r := range []refusal{
		{"no such database", nil, []string{"export", "--database", "nowhere", "--into", filepath.Join(out, "x"), "--bin-dir", d.server.Version.BinDir}, 1, `"nowhere" does not exist`},
		{"a file that exists", nil, []string{"export", "--database", "shop", "--into", file}, 5, "exists"},
		{"an option that connects elsewhere", nil, []string{"export", "--database", "shop", "--", "--host=elsewhere"}, 2, "--host=elsewhere"},
		{"before the first backup", nil, []string{"export", "--at", "1d ago", "--database", "shop", "--into", filepath.Join(out, "x")}, 4, "nearest after"},
		{"no database", nil, []string{"export"}, 2, "--database"},
	} {
		r.check(t, d.tool, out)
	}
	if after := tree(t, out); !slices.Equal(before, after) {
		t.Errorf("got %v, want %v", after, before)
	}
	d.isClean(t)
}
