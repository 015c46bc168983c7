package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// built is what of the bill is compared with the program.
type built struct {
	SerialNumber string
	Metadata     struct {
		Timestamp string
		Component struct {
			Name, Version string
			Hashes        []struct{ Alg, Content string }
		}
	}
	Components []struct{ Name, Version, Purl string }
}

// program returns a Go program with modules in it: the one that the environment names, as make release does for what it built, or this test's own.
func program(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("PGARK_SBOM_OF"); path != "" {
		return path
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// printed runs the command on a program.
func printed(t *testing.T, path string) []byte {
	t.Helper()
	var text bytes.Buffer
	if err := write(&text, path); err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

// TestBillNamesEveryModule compares it with the program's own list: what is not named is not looked for when a fault becomes known.
func TestBillNamesEveryModule(t *testing.T) {
	path := program(t)
	text := printed(t, path)
	var b built
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range b.Components {
		got[c.Name] = c.Version
		if !strings.HasPrefix(c.Purl, "pkg:golang/"+c.Name+"@") {
			t.Errorf("%s: package URL %q", c.Name, c.Purl)
		}
	}
	if want := strings.TrimPrefix(info.GoVersion, "go"); got["stdlib"] != want {
		t.Errorf("stdlib: version %q, want %q", got["stdlib"], want)
	}
	delete(got, "stdlib")
	if len(info.Deps) == 0 {
		t.Fatal("the program has no modules in it")
	}
	for _, module := range info.Deps {
		if got[module.Path] != module.Version {
			t.Errorf("%s: version %q, want %q", module.Path, got[module.Path], module.Version)
		}
		delete(got, module.Path)
	}
	for name := range got {
		t.Errorf("%s is not in the program", name)
	}
	if again := printed(t, path); !bytes.Equal(text, again) {
		t.Error("two bills of the same program differ")
	}
	if len(b.Metadata.Component.Hashes) != 1 || !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(b.Metadata.Component.Hashes[0].Content) {
		t.Errorf("the program's hash is %v", b.Metadata.Component.Hashes)
	}
}

// TestBillIsCycloneDX asks the schema, which lies beside the library.
func TestBillIsCycloneDX(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(strings.TrimSpace(string(out)), "schema")
	compiler := jsonschema.NewCompiler()
	for name, file := range map[string]string{
		"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		text, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler.AddResource("http://cyclonedx.org/schema/"+name, schema); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := compiler.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	text := printed(t, program(t))
	for name, c := range map[string]struct {
		text  []byte
		valid bool
	}{
		"the bill":                  {text, true},
		"one of an unknown kind":    {bytes.Replace(text, []byte(`"application"`), []byte(`"applicatoin"`), 1), false},
		"one whose number is wrong": {bytes.Replace(text, []byte(`urn:uuid:`), []byte(`urn:uuid:x`), 1), false},
	} {
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(c.text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(document); (err == nil) != c.valid {
			t.Errorf("%s: valid is %t: %v", name, err == nil, err)
		}
	}
}
