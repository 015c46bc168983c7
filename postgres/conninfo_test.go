package postgres_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgark/pgark/postgres"
)

func TestStandbyConninfo(t *testing.T) {
	for _, c := range []struct{ primary, want, err string }{
		{"", "host=/run/pgark port=5432 target_session_attrs=any", ""},
		{"host=a user=repl", "host=a,/run/pgark user=repl connect_timeout=3 port=5432,5432 target_session_attrs=any", ""},
		{"host = a,b port=5433 connect_timeout=10", "host=a,b,/run/pgark port=5433,5433,5432 connect_timeout=10 target_session_attrs=any", ""},
		{"host=a,b port=1,2 passfile='/a b/c\\'d' port=3,4", `host=a,b,/run/pgark passfile='/a b/c\'d' port=3,4,5432 connect_timeout=3 target_session_attrs=any`, ""},
		{"host=a sslmode=verify-full target_session_attrs=any", "host=a,/run/pgark sslmode=verify-full target_session_attrs=any connect_timeout=3 port=5432,5432", ""},
		{"host=a password=s3cret", "", "it holds a password"},
		{"host=a sslpassword='s3cret'", "", "it holds a password"},
		{"postgres://u:s3cret@a/", "", "it is a URI"},
		{"host=a,b,c port=1,2", "", "3 hosts and 2 ports"},
		{"user=repl", "", "host is missing"},
		{"host=a channel_binding=require", "", "channel_binding cannot stand beside a follower"},
		{"host=a target_session_attrs=read-write", "", "target_session_attrs cannot"},
		{"host=a require_auth=scram-sha-256", "", "require_auth cannot"},
		{"host=a s3cret", "", "want keyword=value"},
		{"host='a s3cret", "", "its quote does not end"},
	} {
		got, err := postgres.StandbyConninfo(c.primary, "/run/pgark", 5432)
		switch {
		case got != c.want:
			t.Errorf("%q: got %q, want %q", c.primary, got, c.want)
		case (err == nil) != (c.err == ""), err != nil && (!strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "s3cret")):
			t.Errorf("%q: error %v, want %q", c.primary, err, c.err)
		}
		if err != nil {
			continue
		}
		// Another reader of the same form reads the same hosts.
		read, err := pgconn.ParseConfig(strings.ReplaceAll(got, "sslmode=verify-full", "sslmode=disable"))
		if err != nil || read.Fallbacks == nil && c.primary != "" {
			t.Errorf("%q cannot be read back: %v", got, err)
		}
	}
	if _, err := postgres.StandbyConninfo("", "/a,b", 5432); err == nil {
		t.Error("a comma in the socket's folder was taken")
	}
}
