// Package check reads the Grafana dashboard as Grafana's own types have it. It is a Go module of its own, so that the types that Grafana generates
// from its schemas come into no program.
package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// What Grafana does not know it leaves out without a word, and a panel then shows something else than was meant.
func TestGrafanaKnowsEveryField(t *testing.T) {
	if err := judge(readDashboard(t)); err != nil {
		t.Error(err)
	}
}

func TestWhatGrafanaDoesNotKnowIsFound(t *testing.T) {
	written := readDashboard(t)
	for _, known := range []string{"thresholds", "unit", "legendFormat", "showLegend", "gridPos", "reduceOptions", "templating", "links", "fillOpacity"} {
		misspelled := bytes.Replace(written, []byte(`"`+known+`":`), []byte(`"`+known+`x":`), 1)
		if bytes.Equal(misspelled, written) {
			t.Errorf("%s is not in the dashboard", known)
		} else if judge(misspelled) == nil {
			t.Errorf("%s misspelled was not found", known)
		}
	}
}

func readDashboard(t *testing.T) []byte {
	t.Helper()
	plugins.RegisterDefaultPlugins()
	written, err := os.ReadFile("../pgark.json")
	if err != nil {
		t.Fatal(err)
	}
	return written
}

// judge wants every field that is required and knows every field that is written. The strict reading of Grafana's types passes over what it does not know in
// the settings of fields, so what was read is written again and compared too.
func judge(written []byte) error {
	var read dashboard.Dashboard
	if err := read.UnmarshalJSONStrict(written); err != nil {
		return err
	}
	if err := read.Validate(); err != nil {
		return err
	}
	again, err := json.Marshal(read)
	if err != nil {
		return err
	}
	var before, after any
	if err := json.Unmarshal(written, &before); err != nil {
		return err
	}
	if err := json.Unmarshal(again, &after); err != nil {
		return err
	}
	return lost("dashboard", before, after)
}

// lost is an error for the first field of before that after has not.
func lost(place string, before, after any) error {
	switch before := before.(type) {
	case map[string]any:
		after, _ := after.(map[string]any)
		for name, value := range before {
			kept, there := after[name]
			if empty, list := value.([]any); !there && value != nil && (!list || len(empty) > 0) {
				return fmt.Errorf("%s: Grafana knows no %q", place, name)
			}
			if err := lost(place+"."+name, value, kept); err != nil {
				return err
			}
		}
	case []any:
		after, _ := after.([]any)
		if len(after) != len(before) {
			return fmt.Errorf("%s: of %d only %d were understood", place, len(before), len(after))
		}
		for i := range before {
			if err := lost(fmt.Sprintf("%s[%d]", place, i), before[i], after[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
