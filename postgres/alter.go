package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrPrivilege says that the role may not change a setting of the server.
var ErrPrivilege = errors.New("privilege to change a setting of the server is missing")

// AlterSystem sets a setting for the whole server over an ordinary connection, opened
// as Query opens one, and lets the server read it: ALTER SYSTEM and pg_reload_conf().
// It waits for no synchronous standby. ErrPrivilege if the role may not; a
// setting that stands on the server's command line stays as it is, without an error.
func AlterSystem(ctx context.Context, conn, name, value string) error {
	if err := alterSystem(ctx, conn, name, value); err != nil {
		return fmt.Errorf("alter system set %s = '%s': %w", name, value, err)
	}
	return nil
}

func alterSystem(ctx context.Context, conn, name, value string) error {
	if err := checkSettingName(name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	pg, err := connectSQL(ctx, conn)
	if err != nil {
		return err
	}
	defer pg.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost with it
	for _, command := range []string{
		"set standard_conforming_strings = on",
		// Not in one message with another command: it refuses to run in a transaction.
		"alter system set " + name + " = '" + strings.ReplaceAll(value, "'", "''") + "'",
		"select pg_reload_conf()",
	} {
		if _, err := query(ctx, pg, command); err != nil {
			return privilegeError(err)
		}
	}
	return nil
}

// privilegeError names what SQLSTATE 42501 means here.
func privilegeError(err error) error {
	var e *ServerError
	if errors.As(err, &e) && e.Code == "42501" { // insufficient_privilege
		e.kind = ErrPrivilege
	}
	return err
}

// AlterRights say whether a role may do what AlterSystem does.
type AlterRights struct {
	Role string
	// Missing are the commands by which a superuser gives what is missing; none if
	// nothing is.
	Missing []string
}

// parameterVersion is the first server_version_num that can let a role who is no
// superuser change a setting.
const parameterVersion = 150000

// AskAlterRights asks, over an ordinary connection, whether its role may change a
// setting of a server of that server_version_num. The errors are those of Query.
func AskAlterRights(ctx context.Context, conn string, version int, name string) (AlterRights, error) {
	if err := checkSettingName(name); err != nil {
		return AlterRights{}, err
	}
	may := "r.rolsuper"
	if version >= parameterVersion {
		may = "has_parameter_privilege('" + name + "', 'ALTER SYSTEM')"
	}
	rows, err := Query(ctx, conn, "select quote_ident(r.rolname), "+may+
		", has_function_privilege('pg_reload_conf()', 'EXECUTE') from pg_roles r where r.rolname = current_user")
	if err != nil {
		return AlterRights{}, err
	}
	if len(rows) != 1 || len(rows[0]) != 3 {
		return AlterRights{}, fmt.Errorf("ask for rights: got %d rows, want 1 of 3 columns", len(rows))
	}
	rights := AlterRights{Role: rows[0][0]}
	switch {
	case rows[0][1] == "t":
	case version < parameterVersion:
		rights.Missing = append(rights.Missing, "ALTER ROLE "+rights.Role+" SUPERUSER;")
	default:
		rights.Missing = append(rights.Missing, "GRANT ALTER SYSTEM ON PARAMETER "+name+" TO "+rights.Role+";")
	}
	if rows[0][2] != "t" && version >= parameterVersion {
		rights.Missing = append(rights.Missing, "GRANT EXECUTE ON FUNCTION pg_reload_conf() TO "+rights.Role+";")
	}
	return rights, nil
}
