package drill

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
)

// A database that an interrupted DROP DATABASE left invalid (datconnlimit -2, since 2023) admits nobody.
const databasesSQL = `select oid, datname from pg_database where datallowconn and datconnlimit <> -2 order by oid`

// relationsSQL lists what WAL may speak of. pg_relation_filenode knows the files of mapped relations too, such as pg_class itself.
const relationsSQL = `select c.oid, coalesce(pg_relation_filenode(c.oid), 0), coalesce(nullif(c.reltablespace, 0), d.dattablespace),
	c.relkind, n.nspname, c.relname, c.relisshared
	from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_database d on d.datname = current_database()
	where c.relpersistence <> 't' and c.relkind not in ('v', 'c', 'f')`

// gatherNames reads what the relations of all databases of the running server are called.
func gatherNames(ctx context.Context, s *Sandbox) (*repository.Names, error) {
	rows, err := postgres.LongQuery(ctx, s.opened().connString(s.database), databasesSQL)
	if err != nil {
		return nil, err
	}
	names := &repository.Names{Databases: []repository.NamedDatabase{{}}}
	for i, row := range rows {
		oid, err := strconv.ParseUint(row[0], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("OID of database %s: %w", row[1], err)
		}
		relations, err := postgres.LongQuery(ctx, s.opened().connString(row[1]), relationsSQL)
		if err != nil {
			return nil, fmt.Errorf("database %s: %w", row[1], err)
		}
		database := repository.NamedDatabase{OID: uint32(oid), Name: valid(row[1])}
		for _, row := range relations {
			r, shared, err := parseRelation(row)
			switch {
			case err != nil:
				return nil, fmt.Errorf("database %s: %w", database.Name, err)
			case !shared:
				database.Relations = append(database.Relations, r)
			case i == 0:
				names.Databases[0].Relations = append(names.Databases[0].Relations, r)
			}
		}
		names.Databases = append(names.Databases, database)
	}
	names.Sort()
	return names, nil
}

// parseRelation reads a row of relationsSQL.
func parseRelation(row []string) (r repository.Relation, shared bool, err error) {
	if len(row) != 7 {
		return r, false, fmt.Errorf("%d columns of a relation, want 7", len(row))
	}
	for i, to := range []*uint32{&r.OID, &r.Filenode, &r.Tablespace} {
		n, err := strconv.ParseUint(row[i], 10, 32)
		if err != nil {
			return r, false, fmt.Errorf("relation %s: %w", row[5], err)
		}
		*to = uint32(n)
	}
	if r.Filenode == 0 {
		r.Tablespace = 0
	}
	r.Kind, r.Schema, r.Name = row[3], valid(row[4]), valid(row[5])
	return r, row[6] == "t", nil
}

// valid is a name as JSON can hold it: in an SQL_ASCII database it may be any bytes.
func valid(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }
