package postgres_test

import (
	"os"
	"slices"
	"testing"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/postgres/postgrestest"
)

// TestCatalogFiles reads who may connect from the files of real clusters, also where the catalog got another file.
func TestCatalogFiles(t *testing.T) {
	each(t, postgrestest.Options{Superuser: "Дмитрий"}, func(t *testing.T, c *postgrestest.Cluster) {
		c.Exec(t, "create role plain login")
		c.Exec(t, "create database shop")
		c.Exec(t, "vacuum full pg_authid")
		c.Exec(t, "alter role plain nologin")
		c.Exec(t, "create role other superuser")
		c.Stop(t, postgrestest.Fast)
		roles, err := postgres.Roles(os.DirFS(c.DataDir))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []postgres.Role{
			{OID: postgres.BootstrapRole, Name: "Дмитрий", Super: true, Login: true},
			{Name: "plain", Login: true},
			{Name: "plain"},
			{Name: "other", Super: true},
			{OID: 3373, Name: "pg_monitor"},
		} {
			if !slices.ContainsFunc(roles, func(r postgres.Role) bool {
				if want.OID == 0 {
					r.OID = 0
				}
				return r == want
			}) {
				t.Errorf("no %+v in %+v", want, roles)
			}
		}
		names, err := postgres.Databases(os.DirFS(c.DataDir))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"template0", "template1", "postgres", "shop"} {
			if !slices.Contains(names, want) {
				t.Errorf("no %s in %q", want, names)
			}
		}
	})
}
