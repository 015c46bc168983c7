package setup

import (
	"bufio"
	"bytes"
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pgark/pgark/postgres"
)

// SocketDirs are the folders where PostgreSQL's packages put their sockets, and where the server puts them by default.
func SocketDirs() []string { return []string{"/var/run/postgresql", "/run/postgresql", "/tmp"} }

// Sockets returns the servers whose sockets lie in the folders, by port; a folder that is another's link is passed over.
func Sockets(dirs []string) []postgres.Endpoint {
	var found []postgres.Endpoint
	seen := map[string]bool{}
	for _, dir := range dirs {
		whole, err := filepath.EvalSymlinks(dir)
		if err != nil || seen[whole] {
			continue
		}
		seen[whole] = true
		names, err := filepath.Glob(filepath.Join(dir, ".s.PGSQL.*"))
		if err != nil {
			continue // the pattern is right: it never fails
		}
		for _, name := range names {
			port, err := strconv.ParseUint(strings.TrimPrefix(filepath.Base(name), ".s.PGSQL."), 10, 16)
			info, statErr := os.Stat(name)
			if err == nil && statErr == nil && info.Mode()&os.ModeSocket != 0 {
				found = append(found, postgres.Endpoint{Host: dir, Port: uint16(port)})
			}
		}
	}
	slices.SortStableFunc(found, func(a, b postgres.Endpoint) int { return cmp.Compare(a.Port, b.Port) })
	return found
}

// Services returns the names in a connection service file (https://www.postgresql.org/docs/current/libpq-pgservice.html), none if it
// cannot be read.
func Services(file string) []string {
	source, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var names []string
	lines := bufio.NewScanner(bytes.NewReader(source))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") && len(line) > 2 {
			names = append(names, line[1:len(line)-1])
		}
	}
	return names
}
