package setup_test

import (
	"testing"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/setup"
)

// debian are the rules of Debian's packages, which are those of a stock initdb with peer and scram-sha-256.
func debian() []setup.Rule {
	rule := func(kind, database, user, address, mask, method string) setup.Rule {
		return setup.Rule{Type: kind, Databases: []string{database}, Users: []string{user}, Address: address, Netmask: mask, Method: method}
	}
	const four, six = "255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
	return []setup.Rule{
		rule("local", "all", "postgres", "", "", "peer"),
		rule("local", "all", "all", "", "", "peer"),
		rule("host", "all", "all", "127.0.0.1", four, "scram-sha-256"),
		rule("host", "all", "all", "::1", six, "scram-sha-256"),
		rule("local", "replication", "all", "", "", "peer"),
		rule("host", "replication", "all", "127.0.0.1", four, "scram-sha-256"),
	}
}

func TestJudge(t *testing.T) {
	socket, loopback := postgres.Endpoint{Host: "/var/run/postgresql", Port: 5432}, postgres.Endpoint{Host: "127.0.0.1", Port: 5432}
	local := func(database, method, options string, users ...string) setup.Rule {
		return setup.Rule{Type: "local", Databases: []string{database}, Users: users, Method: method, Options: options}
	}
	host := func(kind, address, mask, method string) setup.Rule {
		return setup.Rule{Type: kind, Databases: []string{"replication"}, Users: []string{"all"}, Address: address, Netmask: mask, Method: method}
	}
	for _, test := range []struct {
		name  string
		rules []setup.Rule
		user  string
		at    postgres.Endpoint
		want  setup.Access
	}{
		{"own user by peer", debian(), "pgark", socket, setup.Admitted},
		{"the server's user by peer", debian(), "postgres", socket, setup.OtherUser},
		{"loopback", debian(), "pgark", loopback, setup.Password},
		{"localhost", debian(), "pgark", postgres.Endpoint{Host: "localhost"}, setup.Password},
		{"all is not replication", []setup.Rule{local("all", "trust", "", "all")}, "pgark", socket, setup.Refused},
		{"no rules", nil, "pgark", socket, setup.Refused},
		{"the first rule counts", []setup.Rule{local("replication", "reject", "", "pgark"), local("replication", "trust", "", "all")}, "pgark", socket, setup.Refused},
		{"another role's rule", []setup.Rule{local("replication", "reject", "", "other"), local("replication", "trust", "", "all")}, "x", socket, setup.Admitted},
		{"a map", []setup.Rule{local("replication", "peer", "map=pgark", "pgark")}, "postgres", socket, setup.Unknown},
		{"a group", []setup.Rule{local("replication", "trust", "", "+backup")}, "pgark", socket, setup.Unknown},
		{"what we do not know", []setup.Rule{local("replication", "gss", "", "all")}, "pgark", socket, setup.Unknown},
		{"another network", []setup.Rule{host("host", "10.0.0.0", "255.0.0.0", "trust"), host("host", "127.0.0.0", "255.0.0.0", "md5")}, "pgark", loopback, setup.Password},
		{"with TLS alone", []setup.Rule{host("hostssl", "127.0.0.0", "255.0.0.0", "trust")}, "pgark", loopback, setup.Unknown},
		{"TLS elsewhere", []setup.Rule{host("hostssl", "10.0.0.0", "255.0.0.0", "trust"), host("host", "all", "", "trust")}, "pgark", loopback, setup.Admitted},
		{"far away", []setup.Rule{host("host", "10.0.0.0", "255.0.0.0", "md5")}, "pgark", postgres.Endpoint{Host: "db.example"}, setup.Unknown},
	} {
		if got := setup.Judge(test.rules, setup.Who{Role: "pgark", User: test.user, At: test.at}, "replication"); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}
