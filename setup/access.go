package setup

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/pgark/pgark/postgres"
)

// Rule is one line of pg_hba.conf, as pg_hba_file_rules shows it.
type Rule struct {
	Type             string // local, host, hostssl, hostnossl, hostgssenc, hostnogssenc
	Databases, Users []string
	Address, Netmask string
	Method           string
	Options          string
}

// Access is what a server answers to a kind of connection of a role.
type Access string

// What a server answers. Unknown is what cannot be told from its rules: a group, a pattern, a name of a host.
const (
	Admitted Access = "admitted"
	Password Access = "password"
	// OtherUser is peer authentication for a user of the operating system that is not named like the role.
	OtherUser Access = "other user"
	Refused   Access = "refused"
	Unknown   Access = "unknown"
)

// Who is who connects.
type Who struct {
	Role string
	// User is the user of the operating system that the agent runs as.
	User string
	At   postgres.Endpoint
}

// The databases of the two kinds of connection that an agent makes: replication, which only a rule of that very word admits, and an
// ordinary one, by which it watches its slot.
const (
	replicationConnections = "replication"
	ordinaryConnections    = "postgres"
)

// Judge returns what a server with these rules answers to a connection: the first rule that fits decides
// (https://www.postgresql.org/docs/current/auth-pg-hba-conf.html).
func Judge(rules []Rule, w Who, database string) Access {
	for _, r := range rules {
		fits, sure := r.fits(w, database)
		switch {
		case !sure:
			return Unknown
		case fits:
			return r.answer(w)
		}
	}
	return Refused
}

// fits reports whether a rule is for a connection, and whether that is sure.
func (r Rule) fits(w Who, database string) (fits, sure bool) {
	socket := strings.HasPrefix(w.At.Host, "/")
	if socket != (r.Type == "local") {
		return false, true
	}
	if !slices.Contains(r.Databases, database) && (database == replicationConnections || !slices.Contains(r.Databases, "all")) {
		if database == replicationConnections || !anySpecial(r.Databases) {
			return false, true
		}
		return false, false
	}
	if !slices.Contains(r.Users, "all") && !slices.Contains(r.Users, w.Role) {
		return false, !anySpecial(r.Users)
	}
	if socket {
		return true, true
	}
	fits, sure = r.covers(w.At.Host)
	if r.Type != "host" { // whether the connection will be encrypted is the server's choice too
		sure = sure && !fits
	}
	return fits, sure
}

// anySpecial reports whether a list has a word whose meaning the server alone knows: a group, a pattern, a database named like the role.
func anySpecial(words []string) bool {
	return slices.ContainsFunc(words, func(word string) bool {
		return strings.HasPrefix(word, "+") || strings.HasPrefix(word, "/") || word == "sameuser" || word == "samerole" || word == "samegroup"
	})
}

// covers reports whether the rule's addresses hold the one that the server sees: that of a connection over loopback is loopback.
func (r Rule) covers(host string) (fits, sure bool) {
	if r.Address == "all" {
		return true, true
	}
	if !(postgres.Endpoint{Host: host}).Local() {
		return false, false // which address of ours the server sees is not known here
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if r.Address == "samehost" || r.Address == "samenet" {
		return true, true
	}
	address, err := netip.ParseAddr(host)
	from, errFrom := netip.ParseAddr(r.Address)
	mask, errMask := netip.ParseAddr(r.Netmask)
	if err != nil || errFrom != nil || errMask != nil {
		return false, false
	}
	if address.Is4() != from.Is4() || from.Is4() != mask.Is4() {
		return false, true
	}
	a, f, m := address.AsSlice(), from.AsSlice(), mask.AsSlice()
	for i := range a {
		if a[i]&m[i] != f[i]&m[i] {
			return false, true
		}
	}
	return true, true
}

// answer is what a rule that fits does.
func (r Rule) answer(w Who) Access {
	switch r.Method {
	case "trust":
		return Admitted
	case "peer":
		if strings.Contains(r.Options, "map=") {
			return Unknown
		}
		if w.User == w.Role {
			return Admitted
		}
		return OtherUser
	case "scram-sha-256", "md5", "password":
		return Password
	case "reject":
		return Refused
	}
	return Unknown
}
