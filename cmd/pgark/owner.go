package main

import (
	"fmt"
	"os"
	"os/user"
	"strconv"

	"github.com/pgark/pgark/restore"
)

// owner returns who is to own a restored cluster: for root the user that --owner names, because
// PostgreSQL refuses to run as root; for any other user himself.
func (s *session) owner() (*restore.Owner, error) {
	if os.Geteuid() != 0 {
		if s.cli.IsSet("owner") {
			return nil, usagef("--owner is for root; here the owner is yourself")
		}
		return nil, nil //nolint:nilnil // nil is an Owner that says "yourself"
	}
	name := s.cli.String("owner")
	u, err := user.Lookup(name)
	if err != nil {
		return nil, usagef("owner %s: %w; name the user that PostgreSQL runs as", name, err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, fmt.Errorf("owner %s: uid %s: %w", name, u.Uid, err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, fmt.Errorf("owner %s: gid %s: %w", name, u.Gid, err)
	}
	if uid == 0 {
		return nil, usagef("owner %s: PostgreSQL does not run as root", name)
	}
	return &restore.Owner{UID: uid, GID: gid}, nil
}
