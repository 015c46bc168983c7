// Package syncmode says whether commits on a server wait for the archive: what
// synchronous_standby_names and synchronous_commit ask for, what that promises,
// and when an agent steps out of it, because commits have waited too long, and in
// again. It is pure: who reads the settings and changes them is its caller.
//
// The settings are those of "Synchronous Replication" in PostgreSQL's manual
// (runtime-config-replication), their meaning that of
// src/backend/replication/syncrep.c, 14 to 18.
package syncmode

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Names is a value of synchronous_standby_names that is not empty.
type Names struct {
	// Any says that any Num of the members confirm a commit, and not the first
	// Num of those that are connected.
	Any bool
	// Num is how many confirm a commit, at least 1.
	Num int
	// Members are the names in their order, without quotes. "*" is any.
	Members []string
}

// ParseNames reads a value of synchronous_standby_names as the server does
// (syncrep_scanner.l, syncrep_gram.y). The empty value, by which no commit waits,
// is the caller's affair.
func ParseNames(text string) (Names, error) {
	p := namesParser{rest: text}
	p.next()
	names, err := p.config()
	if err != nil {
		return Names{}, fmt.Errorf("synchronous_standby_names %q: %w", text, err)
	}
	return names, nil
}

// Contains reports whether a standby of this application_name is a member. Case
// does not count for ASCII, and the server lets nothing else into the name
// (SyncRepGetStandbyPriority).
func (n Names) Contains(application string) bool {
	return slices.ContainsFunc(n.Members, func(m string) bool { return m == wildcard || equalFold(m, application) })
}

// Needs reports whether no commit returns without the standby: without it there
// are fewer members than have to confirm. It supposes that each member is
// one connection.
func (n Names) Needs(application string) bool {
	var others []string
	for _, m := range n.Members {
		switch {
		case m == wildcard:
			return false
		case !equalFold(m, application) && !slices.ContainsFunc(others, func(o string) bool { return equalFold(o, m) }):
			others = append(others, m)
		}
	}
	return n.Contains(application) && len(others) < n.Num
}

// Only reports whether the standby is the only member.
func (n Names) Only(application string) bool {
	return !slices.ContainsFunc(n.Members, func(m string) bool { return m == wildcard || !equalFold(m, application) })
}

const wildcard = "*"

// equalFold compares as pg_strcasecmp does (src/port/pgstrcasecmp.c).
func equalFold(a, b string) bool {
	return len(a) == len(b) && strings.EqualFold(asciiOnly(a), asciiOnly(b)) && highBytes(a) == highBytes(b)
}

// asciiOnly puts 0 for each byte that is not ASCII.
func asciiOnly(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 0x80 {
			b[i] = 0
		}
	}
	return string(b)
}

// highBytes puts 0 for each byte that is ASCII.
func highBytes(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < 0x80 {
			b[i] = 0
		}
	}
	return string(b)
}

// token is a kind of word; the others are the character itself.
type token byte

const (
	tokenEnd   token = 0
	tokenName  token = 'n' // also a quoted one and the asterisk
	tokenNum   token = '1'
	tokenAny   token = 'a'
	tokenFirst token = 'f'
	tokenComma token = ','
	tokenOpen  token = '('
	tokenClose token = ')'
	tokenJunk  token = '?'
)

// namesParser reads word by word, one ahead.
type namesParser struct {
	rest  string
	token token
	text  string
}

// config reads the whole value.
func (p *namesParser) config() (Names, error) {
	n := Names{Num: 1}
	switch p.token {
	case tokenAny, tokenFirst:
		n.Any = p.token == tokenAny
		p.next()
		if p.token != tokenNum {
			return n, p.unexpected("a number")
		}
		return p.counted(n, p.text)
	case tokenNum:
		if number := p.text; strings.HasPrefix(strings.TrimLeft(p.rest, spaces), "(") {
			return p.counted(n, number)
		}
	case tokenEnd, tokenName, tokenComma, tokenOpen, tokenClose, tokenJunk:
	}
	if err := p.list(&n); err != nil {
		return n, err
	}
	if p.token != tokenEnd {
		return n, p.unexpected("a comma")
	}
	return n, nil
}

// counted reads "(list)" behind a number, which is the word in hand.
func (p *namesParser) counted(n Names, number string) (Names, error) {
	// A number too large is more than there can be.
	count, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		count = math.MaxInt32
	}
	if count < 1 {
		return n, fmt.Errorf("number of synchronous standbys %s: want at least 1", number)
	}
	n.Num = int(count)
	if p.next(); p.token != tokenOpen {
		return n, p.unexpected("(")
	}
	p.next()
	if err := p.list(&n); err != nil {
		return n, err
	}
	if p.token != tokenClose {
		return n, p.unexpected(")")
	}
	if p.next(); p.token != tokenEnd {
		return n, p.unexpected("the end")
	}
	return n, nil
}

// list reads names with commas between them.
func (p *namesParser) list(n *Names) error {
	for {
		if p.token != tokenName && p.token != tokenNum {
			return p.unexpected("a name")
		}
		n.Members = append(n.Members, p.text)
		if p.next(); p.token != tokenComma {
			return nil
		}
		p.next()
	}
}

func (p *namesParser) unexpected(want string) error {
	if p.token == tokenEnd {
		return fmt.Errorf("want %s, got the end", want)
	}
	return fmt.Errorf("want %s, got %q", want, p.text)
}

// spaces are what the scanner passes over.
const spaces = " \t\n\r\f\v"

// next reads the next word, the longest that fits.
func (p *namesParser) next() {
	p.rest = strings.TrimLeft(p.rest, spaces)
	if p.rest == "" {
		p.token, p.text = tokenEnd, ""
		return
	}
	n := 1
	switch c := p.rest[0]; {
	case c == '"':
		p.quoted()
		return
	case c == '*':
		p.token = tokenName
	case c == ',' || c == '(' || c == ')':
		p.token = token(c)
	case isDigit(c):
		n, p.token = span(p.rest, isDigit), tokenNum
	case isIdentStart(c):
		n, p.token = span(p.rest, func(c byte) bool { return isIdentStart(c) || isDigit(c) || c == '$' }), tokenName
	default:
		p.token = tokenJunk
	}
	p.text, p.rest = p.rest[:n], p.rest[n:]
	if p.token == tokenName {
		switch {
		case equalFold(p.text, "any"):
			p.token = tokenAny
		case equalFold(p.text, "first"):
			p.token = tokenFirst
		}
	}
}

// quoted reads a name in quotes; two of them stand for one.
func (p *namesParser) quoted() {
	var name strings.Builder
	rest := p.rest[1:]
	for {
		inside, after, closed := strings.Cut(rest, `"`)
		name.WriteString(inside)
		if !closed {
			p.token, p.text, p.rest = tokenJunk, p.rest, ""
			return
		}
		if !strings.HasPrefix(after, `"`) {
			p.token, p.text, p.rest = tokenName, name.String(), after
			return
		}
		name.WriteByte('"')
		rest = after[1:]
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isIdentStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80 || c == '_'
}

// span returns how many bytes from the start are of a kind.
func span(s string, of func(byte) bool) int {
	for i := range len(s) {
		if !of(s[i]) {
			return i
		}
	}
	return len(s)
}
