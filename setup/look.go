package setup

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pgark/pgark/postgres"
)

// Server is what a look at a server found.
type Server struct {
	Endpoints []postgres.Endpoint
	Version   string // 17.6
	Number    int    // server_version_num
	Standby   bool
	// Self is the role that looked.
	Self      string
	Superuser bool

	WALLevel          string
	WALSenders, Slots int
	// SlotLimit is max_slot_wal_keep_size in MB; -1 is no limit (https://www.postgresql.org/docs/current/runtime-config-replication.html).
	SlotLimit int64

	// Role says what is there of the role that the agent is to have.
	Role RoleState
	// DataDir and HBAFile are empty where the role that looked may not know them.
	DataDir, HBAFile string
	// Rules are those of pg_hba.conf, in their order; Known says whether they could be read.
	Rules []Rule
	Known bool
}

// RoleState is what a server has of a role.
type RoleState struct{ Exists, Login, Replication, Superuser bool }

// Ready reports whether the role may do all that the agent does.
func (r RoleState) Ready() bool { return r.Login && (r.Replication || r.Superuser) }

// Look asks the server of a connection string what Server holds, of the role named so too. It changes nothing. The errors are those of
// postgres.Query.
func Look(ctx context.Context, conn, role string) (Server, error) {
	parsed, err := postgres.ParseConfig(conn)
	if err != nil {
		return Server{}, err
	}
	s := Server{Endpoints: parsed.Endpoints()}
	rows, err := postgres.Query(ctx, conn, lookSQL(role))
	if err != nil {
		return Server{}, fmt.Errorf("look at %s: %w", parsed, err)
	}
	if len(rows) != 1 || len(rows[0]) != lookColumns {
		return Server{}, fmt.Errorf("look at %s: got %d rows, want 1 of %d columns", parsed, len(rows), lookColumns)
	}
	s.read(rows[0])
	if rows[0][lookColumns-1] == "t" {
		if s.Rules, err = askRules(ctx, conn, s.Number); err != nil {
			return Server{}, fmt.Errorf("read the rules of %s: %w", parsed, err)
		}
		s.Known = true
	}
	return s, nil
}

const lookColumns = 16

// lookSQL asks for one row. pg_settings leaves out what the role may not see, where current_setting would fail; what it shows of
// max_slot_wal_keep_size is in MB.
func lookSQL(role string) string {
	const setting = "coalesce((select setting from pg_settings where name = '%s'), '')"
	return "select " + strings.Join([]string{
		"split_part(current_setting('server_version'), ' ', 1)", "current_setting('server_version_num')", "pg_is_in_recovery()",
		"current_user", "(select rolsuper from pg_roles where rolname = current_user)",
		"current_setting('wal_level')", "current_setting('max_wal_senders')", "current_setting('max_replication_slots')",
		fmt.Sprintf(setting, "max_slot_wal_keep_size"),
		"r.rolname is not null", "coalesce(r.rolcanlogin, false)", "coalesce(r.rolreplication, false)", "coalesce(r.rolsuper, false)",
		fmt.Sprintf(setting, "data_directory"), fmt.Sprintf(setting, "hba_file"),
		"has_function_privilege('pg_hba_file_rules()', 'execute') and has_table_privilege('pg_hba_file_rules', 'select')",
	}, ", ") + " from (select) one left join pg_roles r on r.rolname = " + quoteLiteral(role)
}

func (s *Server) read(row []string) {
	is := func(i int) bool { return row[i] == "t" }
	number := func(i int) int64 {
		n, err := strconv.ParseInt(row[i], 10, 64)
		if err != nil {
			return -1
		}
		return n
	}
	s.Version, s.Number, s.Standby, s.Self, s.Superuser = row[0], int(number(1)), is(2), row[3], is(4)
	s.WALLevel, s.WALSenders, s.Slots, s.SlotLimit = row[5], int(number(6)), int(number(7)), number(8)
	s.Role = RoleState{Exists: is(9), Login: is(10), Replication: is(11), Superuser: is(12)}
	s.DataDir, s.HBAFile = row[13], row[14]
}

// rulesByNumber is the first server_version_num whose pg_hba_file_rules number the rules over all files that are included.
const rulesByNumber = 160000

// askRules reads pg_hba_file_rules (https://www.postgresql.org/docs/current/view-pg-hba-file-rules.html). A line with a mistake is none.
func askRules(ctx context.Context, conn string, version int) ([]Rule, error) {
	order := "line_number"
	if version >= rulesByNumber {
		order = "rule_number"
	}
	rows, err := postgres.Query(ctx, conn, "select type, array_to_string(database, ','), array_to_string(user_name, ','), "+
		"coalesce(address, ''), coalesce(netmask, ''), auth_method, coalesce(array_to_string(options, ' '), '') "+
		"from pg_hba_file_rules where error is null order by "+order)
	if err != nil {
		return nil, err
	}
	var rules []Rule
	for _, row := range rows {
		if len(row) != 7 {
			return nil, fmt.Errorf("got %d columns, want 7", len(row))
		}
		rules = append(rules, Rule{
			Type: row[0], Databases: strings.Split(row[1], ","), Users: strings.Split(row[2], ","),
			Address: row[3], Netmask: row[4], Method: row[5], Options: row[6],
		})
	}
	return rules, nil
}

// WALDir is where the server keeps its WAL, on its own host.
func (s Server) WALDir() string {
	if s.DataDir == "" {
		return ""
	}
	return filepath.Join(s.DataDir, "pg_wal")
}

// Apply runs the commands one after another over ordinary connections. The errors are those of postgres.Query; what stands before the
// command that failed was done.
func Apply(ctx context.Context, conn string, commands []string) error {
	for _, command := range commands {
		if _, err := postgres.Query(ctx, conn, command); err != nil {
			return fmt.Errorf("%s %w", command, err)
		}
	}
	return nil
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// QuoteName quotes a name for SQL where it must be.
func QuoteName(s string) string {
	plain := s != "" && s[0] >= 'a' && s[0] <= 'z' && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
	}) < 0
	if plain {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}
