package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgark/pgark/config"
)

// TestPasswordInAnOpenFile: a file that everybody may read holds no password; one that a group may read may.
func TestPasswordInAnOpenFile(t *testing.T) {
	for _, test := range []struct {
		conn    string
		mode    os.FileMode
		refused bool
	}{
		{"postgres://ark:hunter22@db/x", 0o644, true},
		{"host=db password=hunter22", 0o604, true},
		{"postgres://db/x?user=ark&password=hunter22", 0o644, true},
		{"host=db sslpassword='hunter22'", 0o644, true},
		{"postgres://ark:hunter22@db/x", 0o640, false},
		{"postgres://ark:hunter22@db/x", 0o600, false},
		{"postgres://ark@db:5432/x?passfile=/etc/pgark/pgpass", 0o644, false},
		{"!env CONN", 0o644, false},
	} {
		conn := test.conn
		if !strings.HasPrefix(conn, "!") {
			conn = `"` + conn + `"`
		}
		file := filepath.Join(t.TempDir(), "pgark.yml")
		if err := os.WriteFile(file, []byte("clusters: { main: { repo: \"file:///r\", postgres: "+conn+" } }\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, test.mode); err != nil {
			t.Fatal(err)
		}
		_, err := config.Load(config.Sources{File: file, Environment: []string{"CONN=host=db password=hunter22"}})
		if got := err != nil && strings.Contains(err.Error(), "others may read this file"); got != test.refused {
			t.Errorf("%s with mode %#o: got %v", test.conn, test.mode, err)
		}
	}
}
