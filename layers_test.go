package pgark_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/pgark/pgark/"

// rooms is the architecture: each package and the packages of ours it may import.
// A package that is not here, or an import that is not here, fails the test.
var rooms = map[string]string{
	"wal":                   "",
	"compression":           "",
	"encryption":            "",
	"storage":               "",
	"storage/s3":            "storage",
	"storage/memory":        "storage",
	"storage/retry":         "storage",
	"storage/limit":         "storage",
	"storage/asof":          "storage",
	"storage/copies":        "storage",
	"storage/file":          "storage",
	"storage/storagetest":   "storage",
	"postgres":              "wal",
	"postgres/postgrestest": "postgres wal",
	"postgres/walsender":    "wal",
	"repository":            "compression encryption storage wal",
	"syncmode":              "wal",
	"cost":                  "",
	"archiver":              "compression postgres repository storage wal",
	"archiver/archivertest": "repository wal",
	"backup":                "compression postgres repository wal",
	"restore":               "postgres repository storage wal",
	"verify":                "encryption repository storage wal",
	"retention":             "repository storage storage/asof wal",
	"recall":                "repository storage storage/asof wal",
	"standby":               "postgres/walsender repository storage wal",
	"drill":                 "postgres repository restore wal",
	"commitlog":             "repository wal",
	"setup":                 "postgres",
	"web":                   "",
	"telemetry":             "",
	"telemetry/otlptest":    "telemetry",
	"deploy/sbom":           "",
	"health":                "standby status wal",
	"status":                "cost repository storage syncmode wal",
	"metrics":               "health repository status",
	"dashboard":             "status",
	"notify":                "health repository status",
	"config":                "backup cost notify storage storage/copies syncmode",
	"docs/runbooks":         "",
	"agent": "archiver backup compression config cost encryption health postgres repository restore retention status " +
		"postgres/walsender recall standby storage storage/asof storage/copies storage/file storage/limit storage/retry storage/s3 syncmode telemetry verify wal",
	"cmd/pgark": "agent archiver backup commitlog config cost dashboard docs/runbooks drill encryption health metrics notify postgres recall repository restore retention setup standby status storage syncmode telemetry verify wal web",
}

// owners names the one room that may import each outside module.
var owners = map[string]string{
	"github.com/jackc/":                      "postgres",
	"github.com/aws/":                        "storage/s3",
	"github.com/klauspost/":                  "compression",
	"github.com/urfave/":                     "cmd/pgark",
	"github.com/jedib0t/":                    "cmd/pgark",
	"github.com/goccy/":                      "config",
	"github.com/santhosh-tekuri/":            "config",
	"github.com/nicholas-fedor/":             "notify",
	"github.com/prometheus/client_golang":    "metrics",
	"github.com/prometheus/common":           "config",
	"github.com/prometheus/exporter-toolkit": "web",
	"github.com/go-co-op/":                   "backup",
	"github.com/coreos/":                     "agent",
	"github.com/CycloneDX/":                  "deploy/sbom",
	"filippo.io/":                            "encryption",
	"go.opentelemetry.io/":                   "telemetry",
	"github.com/go-logr/":                    "telemetry",
	"golang.org/x/crypto":                    "encryption",
	"golang.org/x/net":                       "web",
	"golang.org/x/time":                      "storage/limit",
}

// pure lists the files that decide and do not act: no context, no input or output, no log.
// They hold the hard thinking, so they are the ones a test can drive through every case.
var pure = []string{
	"archiver/assembler.go",
	"archiver/chain.go",
	"standby/tail.go", "standby/state.go",
	"postgres/walsender/command.go",
	"restore/plan.go", "restore/estimate.go",
	"drill/judge.go", "drill/checks.go",
	"verify/judge.go", "verify/risk.go",
	"recall/judge.go", "retention/catalog.go", "retention/lineage.go", "retention/window.go", "retention/calendar.go", "retention/plan.go", "retention/need.go", "retention/removal.go",
	"commitlog/edge.go", "commitlog/track.go",
	"archiver/covered.go", "health/facts.go", "health/judge.go", "status/exposure.go",
	"agent/lifecycle.go", "agent/slot_watch.go", "status/slot.go",
	"setup/plan.go", "setup/access.go",
	"metrics/list.go", "metrics/samples.go", "metrics/alerts.go", "metrics/alerts_jobs.go", "metrics/alerts_text.go", "status/live.go", "status/trouble.go",
	"notify/notify.go", "notify/conditions.go", "notify/objectives.go", "notify/journal.go",
	"cost/prices.go", "cost/estimate.go", "cost/requests.go", "cost/trade.go", "status/cost.go",
	"telemetry/names.go", "telemetry/environment.go",
	"syncmode/names.go", "syncmode/state.go", "syncmode/watch.go",
}

var impure = []string{"context", "io", "log/slog", "net", "net/http", "os"}

// nameless are folder names that say where code is, not what it is.
var nameless = []string{
	"util", "utils", "utility", "common", "helper", "helpers", "misc",
	"shared", "base", "core", "types", "models", "interfaces", "pkg", "lib",
}

// TestLayers reads the import lines itself: a test that shells out to "go list" is
// cached by "go test" although the files it judged have changed.
func TestLayers(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		room := path.Dir(filepath.ToSlash(file))
		if d.IsDir() && (d.Name() == "testdata" || d.Name() != "." && d.Name()[0] == '.') {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") || room == "." || strings.HasPrefix(room, "integration") {
			return nil
		}
		allowed, ok := rooms[room]
		if !seen[room] {
			seen[room] = true
			if !ok {
				t.Errorf("package %s is not in rooms: add it there and in docs/ARCHITECTURE.md", room)
			}
			for el := range strings.SplitSeq(room, "/") {
				if slices.Contains(nameless, el) {
					t.Errorf("package %s: %q does not say what the package holds", room, el)
				}
			}
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			imp := strings.Trim(spec.Path.Value, `"`)
			if dep, ours := strings.CutPrefix(imp, module); ours && !slices.Contains(strings.Fields(allowed), dep) {
				t.Errorf("%s imports %s, which its room does not allow", file, dep)
			}
			if slices.Contains(pure, filepath.ToSlash(file)) && slices.Contains(impure, imp) {
				t.Errorf("%s imports %s: this file decides, it does not act", file, imp)
			}
			for prefix, owner := range owners {
				if strings.HasPrefix(imp, prefix) && room != owner && path.Dir(room) != owner {
					t.Errorf("%s imports %s: only %s may", file, imp, owner)
				}
			}
			if imp == "testing" && !strings.HasSuffix(room, "test") {
				t.Errorf("%s imports testing: move the helper to a %stest package", file, path.Base(room))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for room := range rooms {
		if !seen[room] {
			t.Errorf("rooms lists %s, which does not exist", room)
		}
	}
}
