package check

import (
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// allTrue is Terraform's function of that name, which HCL has not.
var allTrue = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}},
	Type:   function.StaticReturnType(cty.Bool),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		for it := args[0].ElementIterator(); it.Next(); {
			if _, v := it.Element(); v.False() {
				return cty.False, nil
			}
		}
		return cty.True, nil
	},
})

// with evaluates expressions where var.archive has a value.
func with(archive cty.Value) *hcl.EvalContext {
	return &hcl.EvalContext{
		Variables: map[string]cty.Value{"var": cty.ObjectVal(map[string]cty.Value{"archive": archive, "prefix": cty.StringVal("main")})},
		Functions: map[string]function.Function{
			"contains": stdlib.ContainsFunc, "length": stdlib.LengthFunc, "regex": stdlib.RegexFunc, "can": tryfunc.CanFunc, "alltrue": allTrue,
		},
	}
}

func archiveOf(after, window, pause, grace int64, ids ...string) cty.Value {
	list := cty.ListValEmpty(cty.String)
	if len(ids) > 0 {
		var values []cty.Value
		for _, id := range ids {
			values = append(values, cty.StringVal(id))
		}
		list = cty.ListVal(values)
	}
	return cty.ObjectVal(map[string]cty.Value{
		"class": cty.StringVal("GLACIER"), "after_days": cty.NumberIntVal(after), "window_days": cty.NumberIntVal(window),
		"pause_days": cty.NumberIntVal(pause), "grace_days": cty.NumberIntVal(grace), "system_ids": list,
	})
}

// find returns the first block of a type at any depth.
func find(body *hclsyntax.Body, kind string, is func(*hclsyntax.Block) bool) *hclsyntax.Block {
	for _, b := range body.Blocks {
		if b.Type == kind && is(b) {
			return b
		}
		if found := find(b.Body, kind, is); found != nil {
			return found
		}
	}
	return nil
}

func evaluate(t *testing.T, body *hclsyntax.Body, name string, in *hcl.EvalContext) cty.Value {
	t.Helper()
	attribute := body.Attributes[name]
	if attribute == nil {
		t.Fatalf("no %s at %s", name, body.SrcRange)
	}
	value, faults := attribute.Expr.Value(in)
	if faults.HasErrors() {
		t.Fatal(faults)
	}
	return value
}

// TestArchiveLeavesTheWindow: nothing is archived that a restore within the window may need, which begins with a base backup from before it, or with the one before that.
func TestArchiveLeavesTheWindow(t *testing.T) {
	variable := find(parsed(t, "..")["../variables.tf"], "variable", func(b *hclsyntax.Block) bool { return b.Labels[0] == "archive" })
	for _, tt := range []struct {
		name    string
		archive cty.Value
		valid   bool
	}{
		{"moves nothing", cty.NullVal(cty.DynamicPseudoType), true},
		{"the window alone, base backups once a week", archiveOf(31, 30, 7, 1, "7"), false},
		{"one pause", archiveOf(39, 30, 7, 1, "7"), false},
		{"the very day", archiveOf(45, 30, 7, 1, "7"), false},
		{"after all that is needed", archiveOf(46, 30, 7, 1, "7", "7382910473829104738"), true},
		{"sooner than Amazon moves", archiveOf(29, 3, 1, 1, "7"), false},
		{"a pause below nothing", archiveOf(31, 30, -7, 1, "7"), false},
		{"of no cluster", archiveOf(46, 30, 7, 1), false},
		{"of what is no cluster", archiveOf(46, 30, 7, 1, "*"), false},
	} {
		valid := true
		for _, b := range variable.Body.Blocks {
			valid = valid && evaluate(t, b.Body, "condition", with(tt.archive)).True()
		}
		if valid != tt.valid {
			t.Errorf("%s: valid %v, want %v", tt.name, valid, tt.valid)
		}
	}
}

// TestArchiveTakesPacks: a rule takes the objects of base backups of one cluster, and none so small as a record: without WAL, history files and records nothing can be planned.
func TestArchiveTakesPacks(t *testing.T) {
	dir := "../modules/bucket"
	rule := find(parsed(t, dir)[dir+"/main.tf"], "dynamic", func(b *hclsyntax.Block) bool { return b.Labels[0] == "rule" })
	in := with(archiveOf(46, 30, 7, 1, "7", "8"))
	rules := evaluate(t, rule.Body, "for_each", in)
	if n := rules.LengthInt(); n != 2 {
		t.Fatalf("%d rules, want one for each cluster", n)
	}
	in.Variables["rule"] = cty.ObjectVal(map[string]cty.Value{"value": rules.Index(cty.NumberIntVal(1))})
	and := find(rule.Body, "and", func(*hclsyntax.Block) bool { return true })
	if and == nil {
		t.Fatal("the rule is not bounded by prefix and size both")
	}
	if got := evaluate(t, and.Body, "prefix", in).AsString(); got != "main/8/backups/" {
		t.Errorf("prefix %q", got)
	}
	if got := evaluate(t, and.Body, "object_size_greater_than", in); got.LessThan(cty.NumberIntVal(1<<20)).True() {
		t.Errorf("larger than %#v bytes: records and indexes too", got)
	}
}
