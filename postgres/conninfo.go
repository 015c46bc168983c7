package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Errors of StandbyConninfo beside those that say what cannot be read.
var (
	// ErrConninfoPassword says that a connection string holds a password: it would be in the server's configuration, and so in base backups.
	ErrConninfoPassword = errors.New("it holds a password")
	// ErrConninfoURI says that it is a URI, and not of keywords and values.
	ErrConninfoURI = errors.New("it is a URI: write keywords and values, as host=10.0.0.1 port=5432 user=replicator")
)

// primaryTimeout is how many seconds a host may take that does not answer, before the next one is tried; libpq's own limit is the kernel's, some two minutes.
const primaryTimeout = "3"

// StandbyConninfo returns a standby's primary_conninfo: the hosts in primary, a connection string of keywords and values that may be empty, and behind them the
// server on a Unix-domain socket in dir. libpq tries hosts in their order ("Specifying Multiple Hosts" in PostgreSQL's documentation), so a standby that
// has to connect streams from the primary if that answers, and otherwise from the socket; it then stays there until that connection ends. No error holds the string.
func StandbyConninfo(primary, dir string, port int) (string, error) {
	pairs, err := parseConninfo(primary)
	if err != nil {
		return "", fmt.Errorf("read connection string: %w", err)
	}
	value := func(name string) *Setting {
		i := slices.IndexFunc(pairs, func(s Setting) bool { return s.Name == name })
		if i < 0 {
			return nil
		}
		return &pairs[i]
	}
	set := func(name, v string) {
		if s := value(name); s != nil {
			s.Value = v
			return
		}
		pairs = append(pairs, Setting{name, v})
	}
	for _, name := range []string{"password", "sslpassword"} {
		if value(name) != nil {
			return "", ErrConninfoPassword
		}
	}
	// The server on the socket asks for no proof of who we are, stands in recovery, and has no address.
	for name, allowed := range map[string]string{
		"hostaddr": "", "service": "", "servicefile": "", "require_auth": "", "channel_binding": "prefer", "target_session_attrs": "any", "gssencmode": "prefer", "load_balance_hosts": "disable", "replication": "",
	} {
		if s := value(name); s != nil && s.Value != allowed {
			return "", fmt.Errorf("%s cannot stand beside a follower on a socket: leave it out", name)
		}
	}
	hosts, ports := []string{}, []string{}
	if primary != "" {
		if s := value("host"); s == nil || s.Value == "" {
			return "", errors.New("host is missing")
		}
		hosts = strings.Split(value("host").Value, ",")
		ports = []string{"5432"}
		if s := value("port"); s != nil {
			ports = strings.Split(s.Value, ",")
		}
		if len(ports) == 1 {
			ports = slices.Repeat(ports, len(hosts))
		}
		if len(ports) != len(hosts) {
			return "", fmt.Errorf("%d hosts and %d ports", len(hosts), len(ports))
		}
		if value("connect_timeout") == nil {
			set("connect_timeout", primaryTimeout)
		}
	}
	if strings.ContainsRune(dir, ',') {
		return "", fmt.Errorf("socket folder %q: libpq takes a comma for the end of a host's name", dir)
	}
	set("host", strings.Join(append(hosts, dir), ","))
	set("port", strings.Join(append(ports, fmt.Sprint(port)), ","))
	set("target_session_attrs", "any") // whatever the server's environment says
	return formatConninfo(pairs), nil
}

// formatConninfo writes keywords and values; those that need it stand in quotes.
func formatConninfo(pairs []Setting) string {
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	var words []string
	for _, p := range pairs {
		v := p.Value
		if v == "" || strings.ContainsAny(v, " \t\n\r\f\v\\'=") {
			v = "'" + escape.Replace(v) + "'"
		}
		words = append(words, p.Name+"="+v)
	}
	return strings.Join(words, " ")
}

// parseConninfo reads keywords and values as conninfo_parse does (src/interfaces/libpq/fe-connect.c): blanks around the equals sign, values in single quotes, a
// backslash before what is meant literally; of a keyword that comes twice the last value counts.
func parseConninfo(s string) ([]Setting, error) {
	const blanks = " \t\n\r\f\v"
	if strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://") {
		return nil, ErrConninfoURI
	}
	var pairs []Setting
	for s = strings.TrimLeft(s, blanks); s != ""; s = strings.TrimLeft(s, blanks) {
		name, rest, found := strings.Cut(s, "=")
		name = strings.TrimRight(name, blanks)
		if !found || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
			return nil, errors.New("want keyword=value and blanks between such pairs")
		}
		v, rest, err := conninfoValue(strings.TrimLeft(rest, blanks))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		pairs = append(slices.DeleteFunc(pairs, func(p Setting) bool { return p.Name == name }), Setting{name, v})
		s = rest
	}
	return pairs, nil
}

// conninfoValue reads the value at the start of s and returns what follows it.
func conninfoValue(s string) (value, rest string, err error) {
	quoted := strings.HasPrefix(s, "'")
	if quoted {
		s = s[1:]
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case quoted && c == '\'', !quoted && strings.IndexByte(" \t\n\r\f\v", c) >= 0:
			return b.String(), s[i+1:], nil
		case c != '\\':
			b.WriteByte(c)
		}
	}
	if quoted {
		return "", "", errors.New("its quote does not end")
	}
	return b.String(), "", nil
}
