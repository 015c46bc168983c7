// Package check looks at the Terraform module as HCL: its form, its documentation, and that every name in it means something. It is a Go module of its own, so
// that pgark does not depend on HCL.
package check

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// modules are the folders that are Terraform modules.
func modules() []string {
	return []string{"..", "../modules/bucket", "../examples/two-regions"}
}

// parsed are the files of a module.
func parsed(t *testing.T, dir string) map[string]*hclsyntax.Body {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.tf"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: no files, %v", dir, err)
	}
	bodies := map[string]*hclsyntax.Body{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if want := hclwrite.Format(text); !bytes.Equal(text, want) {
			t.Errorf("%s is not as terraform fmt has it; want\n%s", name, want)
		}
		file, faults := hclsyntax.ParseConfig(text, name, hcl.InitialPos)
		if faults.HasErrors() {
			t.Fatal(faults)
		}
		bodies[name] = file.Body.(*hclsyntax.Body)
	}
	return bodies
}

// declared are the addresses that expressions of a module may begin with: var.x, local.x, module.x, data.type.x, type.x.
func declared(bodies map[string]*hclsyntax.Body) map[string]bool {
	names := map[string]bool{}
	for _, body := range bodies {
		for _, block := range body.Blocks {
			switch block.Type {
			case "variable":
				names["var."+block.Labels[0]] = true
			case "locals":
				for name := range block.Body.Attributes {
					names["local."+name] = true
				}
			case "module":
				names["module."+block.Labels[0]] = true
			case "data":
				names["data."+strings.Join(block.Labels, ".")] = true
			case "resource":
				names[strings.Join(block.Labels, ".")] = true
			}
		}
	}
	return names
}

// address is what a reference begins with, and how many parts of it count; "" for what needs no declaration here, as the names of a for.
func address(path hcl.Traversal) string {
	parts := []string{path.RootName()}
	for _, step := range path[1:] {
		attribute, ok := step.(hcl.TraverseAttr)
		if !ok {
			break
		}
		parts = append(parts, attribute.Name)
	}
	count := 2
	switch root := parts[0]; {
	case root == "data":
		count = 3
	case root == "var", root == "local", root == "module", strings.HasPrefix(root, "aws_"):
	default:
		return ""
	}
	if len(parts) < count {
		return ""
	}
	return strings.Join(parts[:count], ".")
}

// TestForm: formatted, parsed, and no reference to what is not there.
func TestForm(t *testing.T) {
	for _, dir := range modules() {
		bodies := parsed(t, dir)
		known := declared(bodies)
		used := map[string]bool{}
		for _, body := range bodies {
			faults := hclsyntax.VisitAll(body, func(node hclsyntax.Node) hcl.Diagnostics {
				expression, ok := node.(hclsyntax.Expression)
				if !ok {
					return nil
				}
				for _, path := range expression.Variables() {
					name := address(path)
					if used[name] = true; name != "" && !known[name] {
						t.Errorf("%s: %s is not declared", path.SourceRange(), name)
					}
				}
				return nil
			})
			if faults.HasErrors() {
				t.Error(faults)
			}
		}
		for name := range known {
			if (strings.HasPrefix(name, "var.") || strings.HasPrefix(name, "local.") || strings.HasPrefix(name, "data.")) && !used[name] {
				t.Errorf("%s: %s is not used", dir, name)
			}
		}
	}
}

// TestDocumented: each variable says what it is and of what type, each output what it is; and the README names them all.
func TestDocumented(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range modules() {
		for name, body := range parsed(t, dir) {
			for _, block := range body.Blocks {
				if block.Type != "variable" && block.Type != "output" {
					continue
				}
				if block.Body.Attributes["description"] == nil || block.Type == "variable" && block.Body.Attributes["type"] == nil {
					t.Errorf("%s: %s %s lacks a description or a type", name, block.Type, block.Labels[0])
				}
				if dir == ".." && !bytes.Contains(readme, []byte("| `"+block.Labels[0]+"` |")) {
					t.Errorf("README.md has no row for %s %s", block.Type, block.Labels[0])
				}
			}
		}
	}
}

// TestArguments: a call of a module names each variable that has no default, and none that is not there.
func TestArguments(t *testing.T) {
	for _, dir := range modules() {
		for name, body := range parsed(t, dir) {
			for _, block := range body.Blocks {
				if block.Type != "module" {
					continue
				}
				source, faults := block.Body.Attributes["source"].Expr.Value(nil)
				if faults.HasErrors() {
					t.Fatal(faults)
				}
				variables := map[string]*hclsyntax.Block{}
				for _, called := range parsed(t, filepath.Join(dir, source.AsString())) {
					for _, b := range called.Blocks {
						if b.Type == "variable" {
							variables[b.Labels[0]] = b
						}
					}
				}
				for argument := range block.Body.Attributes {
					if argument != "source" && argument != "providers" && variables[argument] == nil {
						t.Errorf("%s: module %s has no variable %s", name, block.Labels[0], argument)
					}
				}
				for variable, b := range variables {
					if b.Body.Attributes["default"] == nil && block.Body.Attributes[variable] == nil {
						t.Errorf("%s: module %s needs %s", name, block.Labels[0], variable)
					}
				}
			}
		}
	}
}
