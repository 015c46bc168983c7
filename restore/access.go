package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgark/pgark/postgres"
)

// AccessError says that a restored server lets in nobody who could ask it where it stopped.
type AccessError struct {
	Users []string // that were tried
	Err   error    // what the server said to the first
}

// Error names who was tried.
func (e *AccessError) Error() string {
	return fmt.Sprintf("the restored server lets in none of its roles (%s): %v", strings.Join(e.Users, ", "), e.Err)
}

// Unwrap returns what the server said.
func (e *AccessError) Unwrap() error { return e.Err }

// access is how to reach a restored server, and what it said to proofSQL.
type access struct {
	user string
	answered
}

// knock runs proofSQL as the first superuser that is let in, and if there is none as the first role. A server that has just opened may still turn
// connections away.
func knock(ctx context.Context, s *Server, o RecoverOptions) (access, error) {
	data := os.DirFS(s.DataDir)
	roles, _ := postgres.Roles(data) // what cannot be read leaves the usual names
	names, _ := postgres.Databases(data)
	users, databases := usersToTry(roles, o.runsAs()), databasesToTry(names)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		found, err := knockOnce(ctx, s, users, databases)
		if err == nil || !errors.Is(err, postgres.ErrShuttingDown) && !errors.Is(err, postgres.ErrUnreachable) {
			return found, err
		}
		select {
		case <-ctx.Done():
			return access{}, errors.Join(err, ctx.Err())
		case <-tick.C:
		}
	}
}

// knockOnce tries each user in each database, until a superuser is let in.
func knockOnce(ctx context.Context, s *Server, users, databases []string) (access, error) {
	var other *access
	var first error
	for _, name := range users {
		for _, database := range databases {
			rows, err := postgres.Query(ctx, s.CatalogConnString(name, database), proofSQL)
			if err == nil {
				found, super, err := parseAnswer(rows)
				if err != nil || super {
					return access{name, found}, err
				}
				if other == nil {
					other = &access{name, found}
				}
				break
			}
			if errors.Is(err, postgres.ErrShuttingDown) || errors.Is(err, postgres.ErrUnreachable) {
				return access{}, err
			}
			if first == nil {
				first = err
			}
			if errors.Is(err, postgres.ErrAuth) {
				break // no such role, or it may not log in: no other database will change that
			}
		}
	}
	if other != nil {
		return *other, nil
	}
	return access{}, &AccessError{Users: users, Err: first}
}

// mostNames bounds how many names are tried.
const mostNames = 30

// usersToTry returns database users in the order in which to try them: superusers first, that of initdb before the others; then who may log in at all. The
// server lets in whoever it knows. The usual names stand in where the files name nobody: what was renamed right before the stop may be in memory only.
func usersToTry(roles []postgres.Role, account string) []string {
	rank := func(r postgres.Role) int {
		switch {
		case r.OID == postgres.BootstrapRole:
			return 0
		case r.Super:
			return 1
		}
		return 2
	}
	roles = slices.DeleteFunc(slices.Clone(roles), func(r postgres.Role) bool { return !r.Login || r.Name == "" })
	slices.SortStableFunc(roles, func(a, b postgres.Role) int { return rank(a) - rank(b) })
	var names []string
	for _, r := range roles {
		if !slices.Contains(names, r.Name) && len(names) < mostNames {
			names = append(names, r.Name)
		}
	}
	return withUsual(names, "postgres", account)
}

// databasesToTry returns databases in the order in which to try them: postgres first, where people look around without being in the way
// (nobody can copy template1 meanwhile).
func databasesToTry(names []string) []string {
	list := withUsual(nil, "postgres", "template1")
	for _, name := range names {
		if !slices.Contains(list, name) && name != "" && len(list) < mostNames {
			list = append(list, name)
		}
	}
	return list
}

// withUsual adds what is not in a list yet.
func withUsual(list []string, usual ...string) []string {
	for _, name := range usual {
		if name != "" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// runsAs returns the name of the account that the server runs as, "" if it has none.
func (o RecoverOptions) runsAs() string {
	uid := os.Geteuid()
	if o.Owner != nil {
		uid = o.Owner.UID
	}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return ""
}
