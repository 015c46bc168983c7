package drill

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
)

// Opened is a restored server that runs and lets User into Database over its socket.
type Opened struct {
	Server *restore.Server
	User   string
	// Database is any that takes connections.
	Database string
	Owner    *restore.Owner // that runs its programs, which takes root; nil is ours
}

func (o *Opened) connString(database string) string {
	return o.Server.CatalogConnString(o.User, database)
}

// program returns a command that runs one of PostgreSQL's programs against the server.
func (o *Opened) program(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	cmd, err := program(ctx, toolbox{o.Server.BinDir, o.Server.SocketDir, o.Owner}, name, args...)
	if err == nil {
		cmd.Env = append(cmd.Env, "PGHOST="+o.Server.SocketDir, "PGPORT="+strconv.Itoa(o.Server.Port), "PGUSER="+o.User, "PGSSLMODE=disable")
	}
	return cmd, err
}

// CheckRestored makes of a server that goes on running those checks of a drill whose kinds are given, CheckPages and CheckAmcheck, and leaves nothing in it.
// One that cannot be made is CheckSkipped and says why. checking, if not nil, is called as each begins.
func (o *Opened) CheckRestored(ctx context.Context, kinds []string, checking func(kind string)) []repository.DrillCheck {
	var list []repository.DrillCheck
	for _, kind := range kinds {
		do := o.pages
		if kind == repository.CheckAmcheck {
			do = o.amcheckOnce
		}
		if checking != nil {
			checking(kind)
		}
		began := time.Now()
		c, err := do(ctx)
		if err != nil {
			c = repository.DrillCheck{Result: repository.CheckSkipped, Detail: repository.DrillText("could not be checked: " + err.Error())}
		}
		c.Kind, c.Seconds = kind, repository.InSeconds(time.Since(began))
		list = append(list, c)
	}
	return list
}

// amcheckOnce is amcheck of a cluster that is kept: the extension is dropped again from the databases that did not have it.
func (o *Opened) amcheckOnce(ctx context.Context) (c repository.DrillCheck, err error) {
	before, err := o.withAmcheck(ctx)
	if err != nil {
		return c, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
		defer cancel()
		after, listed := o.withAmcheck(ctx)
		if listed != nil {
			c.Detail += fmt.Sprintf(" (the extension amcheck may be left in databases: %v)", listed)
		}
		for _, database := range after {
			if slices.Contains(before, database) {
				continue
			}
			if _, err := postgres.LongQuery(ctx, o.connString(database), "drop extension amcheck"); err != nil {
				c.Detail += fmt.Sprintf(" (the extension amcheck is left in database %s: %v)", database, err)
			}
		}
	}()
	return o.amcheck(ctx, nil)
}

// withAmcheck returns the databases that have the extension.
func (o *Opened) withAmcheck(ctx context.Context) ([]string, error) {
	databases, err := postgres.LongQuery(ctx, o.connString(o.Database), databasesSQL)
	if err != nil {
		return nil, err
	}
	var have []string
	for _, row := range databases {
		found, err := postgres.LongQuery(ctx, o.connString(row[1]), "select from pg_extension where extname = 'amcheck'")
		if err != nil {
			return nil, fmt.Errorf("database %s: %w", row[1], err)
		}
		if len(found) > 0 {
			have = append(have, row[1])
		}
	}
	return have, nil
}
