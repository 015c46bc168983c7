package pgark_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logKeys are the keys that log lines may carry, as docs/LOGS.md has them: the fixed ones first, which mean the same on every line.
var logKeys = strings.Fields(`
	time level msg cluster repo lsn tli dur err code
	agents application_name attempt backup began bytes bytes_per_second cause change changed commits damaged deleted detail
	drill event exact fix found from full_in goes_on key left limit limit_by locked_bytes locked_versions locks missed objects
	on_limit op phase recipients restart_lsn retained segments server slot socket standby standby_names state stored
	synchronous_commit system_id target to url version_bytes versions wait what
`)

// fixedKeys is how many of logKeys are promised for good.
const fixedKeys = 10

// TestLogKeys reads every call that logs: what people search their logs for must not be called one thing here and another there.
func TestLogKeys(t *testing.T) {
	used := map[string]bool{}
	files := token.NewFileSet()
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() != "." && d.Name()[0] == '.' || file == "integration"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(files, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			for _, key := range keysOf(n) {
				name, err := strconv.Unquote(key.Value)
				used[name] = true
				if err != nil || !slices.Contains(logKeys, name) {
					t.Errorf("%s: log key %s is not in logKeys: take one that is there, or add it there and in docs/LOGS.md", files.Position(key.Pos()), key.Value)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("docs", "LOGS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for i, key := range logKeys {
		if i >= fixedKeys && !used[key] {
			t.Errorf("log key %s is used nowhere", key)
		}
		if !strings.Contains(string(page), "`"+key+"`") {
			t.Errorf("log key %s is not in docs/LOGS.md", key)
		}
	}
	if len(used) < 20 {
		t.Errorf("%d keys seen: the calls are not recognised any more", len(used))
	}
}

// keysOf returns the keys that a call gives a logger, or a list of attributes that is made for one.
func keysOf(n ast.Node) []*ast.BasicLit {
	switch n := n.(type) {
	case *ast.CallExpr:
		switch fun := n.Fun.(type) {
		case *ast.SelectorExpr:
			if i, ok := firstKey[fun.Sel.Name]; ok && isLogger(fun.X) && len(n.Args) >= i {
				return everyOther(n.Args[i:])
			}
		case *ast.Ident:
			if fun.Name == "append" && isAttributes(n.Args[0]) {
				return everyOther(n.Args[1:])
			}
		}
	case *ast.AssignStmt:
		if len(n.Lhs) == 1 && isAttributes(n.Lhs[0]) {
			if list, ok := n.Rhs[0].(*ast.CompositeLit); ok {
				return everyOther(list.Elts)
			}
		}
	}
	return nil
}

// firstKey is the index of the first key among the arguments of the methods that log.
var firstKey = map[string]int{
	"Debug": 1, "Info": 1, "Warn": 1, "Error": 1, "DebugContext": 2, "InfoContext": 2, "WarnContext": 2, "ErrorContext": 2, "Log": 3, "With": 0,
}

func isLogger(x ast.Expr) bool {
	name := ""
	switch x := x.(type) {
	case *ast.Ident:
		name = x.Name
	case *ast.SelectorExpr:
		name = x.Sel.Name
	}
	return slices.Contains([]string{"log", "logger", "Logger"}, name)
}

func isAttributes(x ast.Expr) bool {
	name, ok := x.(*ast.Ident)
	return ok && name.Name == "attrs"
}

func everyOther(args []ast.Expr) []*ast.BasicLit {
	var keys []*ast.BasicLit
	for i := 0; i < len(args); i += 2 {
		if lit, ok := args[i].(*ast.BasicLit); ok {
			keys = append(keys, lit)
		}
	}
	return keys
}
