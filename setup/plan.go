package setup

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgark/pgark/postgres"
)

// Wish is what is to be set up.
type Wish struct {
	// Cluster names it in the configuration; Repo is the repository's URL.
	Cluster, Repo string
	// Role is the agent's in PostgreSQL, User its user in the operating system.
	Role, User string
	// Service is the connection service that the server was found by; "" is none.
	Service string
	// Free is how many bytes the file system of the server's WAL has left; 0 if that is not known.
	Free uint64
}

// Plan is what is lacking.
type Plan struct {
	// YAML is the whole configuration file.
	YAML string
	// SQL are commands for a superuser; none if the server needs nothing.
	SQL []string
	// HBA are lines for pg_hba.conf, above those that are there, and Ident for pg_ident.conf; none if the role is let in.
	HBA, Ident []string
	// NeedsPassword says that the server asks the role for one.
	NeedsPassword bool
	// Guessed says that the server's rules could not be read, or not be understood, so that HBA is empty although lines may be needed.
	Guessed bool
	// Problems are what SQL alone does not mend.
	Problems []string
}

// Make plans what is lacking on a server.
func Make(s Server, w Wish) Plan {
	p := Plan{YAML: yaml(s, w), SQL: commands(s, w)}
	p.access(s, w)
	if s.WALLevel == "minimal" {
		p.Problems = append(p.Problems, "wal_level = minimal: ALTER SYSTEM SET wal_level = 'replica'; and this one needs a restart of PostgreSQL")
	}
	if s.WALSenders < 2 {
		p.Problems = append(p.Problems, fmt.Sprintf("max_wal_senders = %d, of which the agent needs 2: ALTER SYSTEM SET max_wal_senders = 10; and this one needs a restart of PostgreSQL", s.WALSenders))
	}
	if s.Slots < 1 {
		p.Problems = append(p.Problems, "max_replication_slots = 0, of which the agent needs 1: ALTER SYSTEM SET max_replication_slots = 10; and this one needs a restart of PostgreSQL")
	}
	if s.Standby {
		p.Problems = append(p.Problems, "this server is a standby: roles are made on its primary, and the agent archives that one")
	}
	return p
}

// Connection is the agent's connection string, in libpq's keywords. A password is never in it.
func Connection(s Server, w Wish) string {
	if w.Service != "" {
		return "service=" + quoteValue(w.Service) + " user=" + quoteValue(w.Role)
	}
	var hosts, ports []string
	for _, e := range s.Endpoints {
		hosts, ports = append(hosts, e.Host), append(ports, fmt.Sprint(e.Port))
	}
	text := "host=" + quoteValue(strings.Join(hosts, ","))
	if slices.ContainsFunc(s.Endpoints, func(e postgres.Endpoint) bool { return e.Port != 5432 }) {
		text += " port=" + strings.Join(ports, ",")
	}
	return text + " user=" + quoteValue(w.Role)
}

// quoteValue quotes a value of a connection string (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE).
func quoteValue(v string) string {
	if v != "" && !strings.ContainsAny(v, ` '\`) {
		return v
	}
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(v) + "'"
}

func yaml(s Server, w Wish) string {
	role := "primary"
	if s.Standby {
		role = "standby"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by pgark init. PostgreSQL %s, %s. A password is never here: libpq's ~/.pgpass holds it.\n", s.Version, role)
	b.WriteString("# pgark config env lists all keys with their defaults; pgark config validate checks this file.\n")
	fmt.Fprintf(&b, "clusters:\n  %s:\n    postgres: %s\n    repo: %s\n", w.Cluster, scalar(Connection(s, w)), scalar(w.Repo))
	return b.String()
}

// scalar writes a text as YAML's plain scalar, or in double quotes where it might be read as something else.
func scalar(v string) string {
	if strings.ContainsAny(v, "\"'\\#{}[],&*!|>%@`\n\t") || strings.Contains(v, ": ") || strings.HasSuffix(v, ":") || v == "" {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(v) + `"`
	}
	return v
}

// commands are the SQL that is lacking. The role may log in and replicate, and nothing else: it owns nothing and reads no table.
func commands(s Server, w Wish) []string {
	var sql []string
	role := QuoteName(w.Role)
	switch {
	case !s.Role.Exists:
		sql = append(sql, "CREATE ROLE "+role+" LOGIN REPLICATION;")
	case !s.Role.Ready():
		sql = append(sql, "ALTER ROLE "+role+" LOGIN REPLICATION;")
	}
	if s.SlotLimit < 0 {
		sql = append(sql, "ALTER SYSTEM SET max_slot_wal_keep_size = '"+SlotLimit(w.Free)+"';", "SELECT pg_reload_conf();")
	}
	return sql
}

// unknownLimit is proposed where the server's disk cannot be seen.
const unknownLimit = "64GB"

// SlotLimit proposes max_slot_wal_keep_size by the bytes that the disk has left: half of them, so that the server never stops because the
// repository does not answer, and at least 16 segments, with less of which no outage would be bridged.
func SlotLimit(free uint64) string {
	const mb, gb, least = 1 << 20, 1 << 30, 256
	half := free / 2
	switch {
	case free == 0:
		return unknownLimit
	case half >= gb:
		return fmt.Sprintf("%dGB", half/gb)
	}
	return fmt.Sprintf("%dMB", max(half/mb, least))
}

// access plans what lets the role in.
func (p *Plan) access(s Server, w Wish) {
	if !s.Known || len(s.Endpoints) == 0 {
		p.Guessed = true
		return
	}
	who := Who{Role: w.Role, User: w.User, At: s.Endpoints[0]}
	for _, database := range []string{replicationConnections, ordinaryConnections} {
		switch Judge(s.Rules, who, database) {
		case Admitted:
		case Unknown:
			p.Guessed = true
		case Password:
			p.NeedsPassword = true
		case OtherUser, Refused:
			p.admit(who, database)
		}
	}
	if len(p.Ident) > 0 {
		p.Ident = p.Ident[:1]
	}
}

// admit adds the line that lets who in to a database.
func (p *Plan) admit(w Who, database string) {
	role := QuoteName(w.Role)
	switch {
	case !strings.HasPrefix(w.At.Host, "/"):
		address := "samehost"
		if !w.At.Local() {
			address = "ADDRESS/32" // which of this host's addresses the server sees is not known here
		}
		p.HBA = append(p.HBA, fmt.Sprintf("host   %-12s %s  %s  scram-sha-256", database, role, address))
		p.NeedsPassword = true
	case w.User == w.Role:
		p.HBA = append(p.HBA, fmt.Sprintf("local  %-12s %s  peer", database, role))
	default:
		p.HBA = append(p.HBA, fmt.Sprintf("local  %-12s %s  peer map=pgark", database, role))
		p.Ident = append(p.Ident, fmt.Sprintf("pgark  %s  %s", w.User, role))
	}
}
