package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// reader walks the syntax tree of one file and collects every fault on its way. The tree is
// walked by hand, and not decoded into a struct, because the decoder stops at the first fault
// and gives no position for a value that a unit refuses.
type reader struct {
	config *Config
	file   string
	lines  []string
	env    map[string]string
	open   bool // others than its owner and group may read it
	faults faults
}

// readFile reads a file's bytes into c and returns what is wrong in them.
func readFile(c *Config, file string, source []byte, env map[string]string) faults {
	r := &reader{config: c, file: file, lines: strings.Split(string(source), "\n"), env: env}
	if info, err := os.Stat(file); err == nil {
		r.open = info.Mode().Perm()&0o007 != 0
	}
	tree, err := parser.ParseBytes(source, 0)
	if err != nil {
		return r.syntax(err)
	}
	if len(tree.Docs) > 1 {
		r.fault(tree.Docs[1].GetToken(), "", "more than one YAML document in the file")
		return r.faults
	}
	if len(tree.Docs) == 1 && tree.Docs[0].Body != nil {
		r.root(tree.Docs[0].Body)
	}
	slices.SortStableFunc(r.faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r.faults
}

func (r *reader) syntax(err error) faults {
	var at yaml.Error
	if !errors.As(err, &at) {
		r.faults = append(r.faults, Fault{File: r.file, Message: err.Error()})
		return r.faults
	}
	r.fault(at.GetToken(), "", at.GetMessage())
	return r.faults
}

func (r *reader) fault(at *token.Token, key, message string) *Fault {
	f := Fault{File: r.file, Key: key, Message: message}
	if at != nil && at.Position != nil {
		f.Line, f.Column = at.Position.Line, at.Position.Column
		if f.Line >= 1 && f.Line <= len(r.lines) {
			f.Source = withoutSecrets(strings.TrimRight(r.lines[f.Line-1], "\r"))
		}
	}
	r.faults = append(r.faults, f)
	return &r.faults[len(r.faults)-1]
}

// entry is one key of a mapping.
type entry struct {
	name  string
	at    *token.Token
	value ast.Node
}

// mapping returns the entries of a node that must be a mapping.
func (r *reader) mapping(n ast.Node, key string) []entry {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	case *ast.CommentGroupNode:
		return nil
	default:
		r.fault(n.GetToken(), key, "want keys and values below it, got "+kindOf(n))
		return nil
	}
	var entries []entry
	for _, v := range values {
		at := v.Key.GetToken()
		if _, plain := v.Key.(*ast.StringNode); !plain {
			r.fault(at, join(key, v.Key.String()), "this kind of key is not taken here; write a plain name")
			continue
		}
		entries = append(entries, entry{name: at.Value, at: at, value: v.Value})
	}
	return entries
}

func (r *reader) root(n ast.Node) {
	for _, e := range r.mapping(n, "") {
		if e.name == "clusters" {
			r.clusters(e.value)
			continue
		}
		r.subtree(e, "", scope{keys: GlobalKeys(), also: []string{"clusters"}})
	}
}

func (r *reader) clusters(n ast.Node) {
	for _, e := range r.mapping(n, "clusters") {
		if !validName(e.name) {
			r.fault(e.at, "clusters."+e.name, "a cluster's name is 1 to 40 lower-case letters, digits, - and _, beginning with a letter")
			continue
		}
		r.config.Clusters = append(r.config.Clusters, defaults(e.name))
		cluster := &r.config.Clusters[len(r.config.Clusters)-1]
		if _, empty := e.value.(*ast.NullNode); empty {
			continue
		}
		for _, sub := range r.mapping(e.value, "clusters."+e.name) {
			r.subtree(sub, "", scope{keys: ClusterKeys(), cluster: cluster})
		}
	}
}

// scope is what may stand at a place: the keys, and for whom they are.
type scope struct {
	keys    []Key
	also    []string
	cluster *Cluster
}

func (s scope) label(path string) string {
	if s.cluster != nil {
		return "clusters." + s.cluster.Name + "." + path
	}
	return path
}

// subtree sets the key that e names below the path above, or descends.
func (r *reader) subtree(e entry, above string, s scope) {
	path := join(above, e.name)
	var children []string
	if s.cluster != nil && path == "copies" {
		r.copies(e, s)
		return
	}
	if list, isList := e.value.(*ast.SequenceNode); isList && s.cluster != nil && path == "drill.checks.sql" {
		r.checks(list, s)
		return
	}
	if list, isList := e.value.(*ast.SequenceNode); isList && s.cluster != nil && path == "standby.hooks" {
		r.hooks(list, s)
		return
	}
	for _, k := range s.keys {
		if list, isList := e.value.(*ast.SequenceNode); isList && k.Path == path && (path == notifyOn || path == notifyTo) {
			r.words(list, k, s)
			return
		}
		if k.Path == path || k.Path == path+".url" && isScalar(e.value) {
			r.leaf(e, k, s)
			return
		}
		if strings.HasPrefix(k.Path, path+".") {
			children = append(children, k.Path)
		}
	}
	if len(children) > 0 {
		for _, sub := range r.mapping(e.value, s.label(path)) {
			r.subtree(sub, path, s)
		}
		return
	}
	f := r.fault(e.at, s.label(path), "this version knows no such key")
	f.Suggestion = Nearest(e.name, s.siblings(above))
}

// siblings are the names that may stand directly below the path above.
func (s scope) siblings(above string) []string {
	var names []string
	for _, k := range s.keys {
		rest, ok := k.Path, true
		if above != "" {
			rest, ok = strings.CutPrefix(k.Path, above+".")
		}
		if ok {
			name, _, _ := strings.Cut(rest, ".")
			names = append(names, name)
		}
	}
	if above == "" {
		names = append(names, s.also...)
	}
	return names
}

func (r *reader) leaf(e entry, k Key, s scope) {
	value, err := r.scalar(e.value)
	if err == nil {
		err = k.set(r.config, s.cluster, value)
	}
	if _, tag := e.value.(*ast.TagNode); err == nil && k.Path == "postgres" && !tag && r.open && holdsPassword(value) {
		err = errors.New("it holds a password, and others may read this file: chmod o= FILE, or have libpq's password file hold it")
	}
	if err == nil {
		return
	}
	at := e.value.GetToken()
	if _, empty := e.value.(*ast.NullNode); empty || at == nil {
		at = e.at
	}
	f := r.fault(at, s.label(k.Path), err.Error())
	if k.Secret {
		f.hide()
	}
}

// passwords are the forms of a connection string with a password in it: keywords, or a URL's user or parameter.
var passwords = regexp.MustCompile(`(?i)password\s*=\s*[^\s&]|^postgres(?:ql)?://[^/@]*:[^/@]+@`)

func holdsPassword(conn string) bool { return passwords.MatchString(conn) }

// scalar returns the text of a plain value, as written: a unit decides what it means.
// The tag !env takes the text from a variable of the environment, and !credential is the path of a file that systemd provides.
func (r *reader) scalar(n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.NullNode:
		return "", nil
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return strings.TrimSpace(n.Value.Value), nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, nil
	case *ast.TagNode:
		if n.Start.Value != "!env" && n.Start.Value != "!credential" {
			return "", fmt.Errorf("tag %s is not known; only !env NAME and !credential NAME are", n.Start.Value)
		}
		name, err := r.scalar(n.Value)
		if err != nil {
			return "", err
		}
		if n.Start.Value == "!credential" {
			return r.credential(name)
		}
		value, ok := r.env[name]
		if !ok {
			return "", fmt.Errorf("the environment has no variable %q", name)
		}
		return value, nil
	}
	return "", fmt.Errorf("want a single value, got %s", kindOf(n))
}

// credential returns the path of a credential that systemd gives the unit (LoadCredential= in systemd.exec(5)).
func (r *reader) credential(name string) (string, error) {
	folder := r.env["CREDENTIALS_DIRECTORY"]
	if folder == "" {
		return "", fmt.Errorf("credential %q: the environment has no CREDENTIALS_DIRECTORY; systemd sets it for a unit with LoadCredential", name)
	}
	if name == "" || strings.ContainsRune(name, '/') {
		return "", fmt.Errorf("credential %q: want a name without a slash", name)
	}
	return filepath.Join(folder, name), nil
}

func isScalar(n ast.Node) bool {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		return false
	}
	return true
}

func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys and values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "nothing"
	case *ast.AliasNode, *ast.AnchorNode:
		return "an anchor or alias"
	}
	return "a single value"
}

func validName(s string) bool {
	if s == "" || len(s) > 40 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) < 0
}

func join(above, name string) string {
	if above == "" {
		return name
	}
	return above + "." + name
}
