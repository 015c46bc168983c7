package metrics

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Manual is where docs lie.
const Manual = "https://github.com/pgark/pgark/blob/main/docs/"

// page is the section of docs/ALERTS.md about an alert, for those that no runbook is about.
func page(alert string) string { return "ALERTS.md#" + strings.ToLower(alert) }

// quoted writes a string of PromQL.
func quoted(s string) string { return strconv.Quote(s) }

// Rules is a file of rules of Prometheus, in the form of https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/.
type Rules struct {
	Groups []Group `json:"groups"`
}

// Group is a group of them.
type Group struct {
	Name  string `json:"name"`
	Rules []Rule `json:"rules"`
}

// Rule is one of them.
type Rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// PrometheusRule is what Prometheus's operator reads in Kubernetes.
type PrometheusRule struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	Spec       Rules             `json:"spec"`
}

// Of makes a file of rules of alerts; name is that of its group.
func Of(name string, all []Alert) Rules {
	g := Group{Name: name, Rules: []Rule{}}
	for _, a := range all {
		labels := map[string]string{"severity": string(a.Severity)}
		if a.Cluster != "" {
			labels["cluster"] = a.Cluster
		}
		g.Rules = append(g.Rules, Rule{
			Alert: a.Name, Expr: a.Expr, For: a.For, Labels: labels,
			Annotations: map[string]string{"summary": a.Summary, "description": a.Description, "action": a.Next, "runbook_url": Manual + a.Page},
		})
	}
	return Rules{Groups: []Group{g}}
}

// YAML writes them as a file.
func (r Rules) YAML() string {
	var b strings.Builder
	r.write(&b, "")
	return b.String()
}

func (r Rules) write(b *strings.Builder, indent string) {
	line := func(words ...string) { b.WriteString(indent + strings.Join(words, "") + "\n") }
	line("groups:")
	for _, g := range r.Groups {
		line("  - name: ", g.Name)
		line("    rules:")
		for _, one := range g.Rules {
			line("      - alert: ", one.Alert)
			line("        expr: |-")
			for part := range strings.SplitSeq(one.Expr, "\n") {
				line("          ", part)
			}
			if one.For != "" {
				line("        for: ", one.For)
			}
			line("        labels:")
			for _, key := range slices.Sorted(maps.Keys(one.Labels)) {
				line("          ", key, ": ", scalar(one.Labels[key]))
			}
			line("        annotations:")
			for _, key := range []string{"summary", "description", "action", "runbook_url"} { // as a person reads them
				line("          ", key, ": ", scalar(one.Annotations[key]))
			}
		}
	}
}

// YAML writes it as a manifest.
func (p PrometheusRule) YAML() string {
	var b strings.Builder
	b.WriteString("apiVersion: " + p.APIVersion + "\nkind: " + p.Kind + "\nmetadata: { name: " + p.Metadata["name"] + " }\nspec:\n")
	p.Spec.write(&b, "  ")
	return b.String()
}

// Manifest makes the manifest of rules; name is its own.
func Manifest(name string, r Rules) PrometheusRule {
	return PrometheusRule{APIVersion: "monitoring.coreos.com/v1", Kind: "PrometheusRule", Metadata: map[string]string{"name": name}, Spec: r}
}

// scalar writes a string of one line as YAML, in which a quote is doubled.
func scalar(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
