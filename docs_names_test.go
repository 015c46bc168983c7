package pgark_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	namedTest   = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9_]*)")
	definedTest = regexp.MustCompile(`(?m)^func (Test[A-Z][A-Za-z0-9_]*)\(`)
)

// TestTestsOfDocsExist: what the documents say is shown by a test is shown by a test.
func TestTestsOfDocsExist(t *testing.T) {
	defined, named := map[string]bool{}, map[string]string{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() != "." && d.Name()[0] == '.'):
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		page, code := strings.HasSuffix(file, ".md"), strings.HasSuffix(file, "_test.go")
		if !page && !code {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if code {
			for _, m := range definedTest.FindAllSubmatch(text, -1) {
				defined[string(m[1])] = true
			}
			return nil
		}
		for _, m := range namedTest.FindAllSubmatch(text, -1) {
			named[string(m[1])] = file
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(named) < 100 {
		t.Fatalf("the documents name %d tests: they are not found any more", len(named))
	}
	for test, file := range named {
		if !defined[test] {
			t.Errorf("%s names %s, which is no test", file, test)
		}
	}
}
