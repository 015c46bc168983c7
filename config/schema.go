package config

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/pgark/pgark/notify"
)

// form is how the values of a key are written, in the words of JSON Schema (https://json-schema.org/draft/2020-12).
type form map[string]any

const (
	spans = `([0-9]+(y|w|d|h|m|s|ms))+`
	sizes = `[0-9][0-9.,]* ?[kKMGTPE]?i?[bB]?`
)

func words() form           { return form{"type": []string{"string", "number", "boolean", "null"}} }
func one(of ...string) form { return form{"enum": of} }

// shaped is text with a unit, or the number 0.
func shaped(like string) form {
	return form{"type": []string{"string", "integer"}, "pattern": "^(0|" + like + ")$", "minimum": 0, "maximum": 0}
}

// whole is a number without a unit.
func whole(least int) form     { return form{"type": "integer", "minimum": least} }
func either(these ...any) form { return form{"anyOf": these} }

// amount is a price in USD, maybe in quotes, or nothing.
func amount() form {
	return either(form{"type": "number", "minimum": 0, "maximum": dearest}, form{"type": "null"}, form{"type": "string", "pattern": `^([0-9]*\.?[0-9]+)?$`})
}

// yesOrNo may be written in quotes too.
func yesOrNo() form { return form{"enum": []any{true, false, "true", "false"}} }

// forms are those of the keys that take less than any word. A test sees that no schema refuses what its key takes.
func forms() map[string]form {
	span, size, rate := shaped(spans), shaped(sizes), shaped(sizes+"/s")
	return map[string]form{
		"http.pprof": yesOrNo(), "log.level": one("debug", "info", "warn", "error"), "log.format": one("auto", "text", "json"),
		"limits.upload": rate, "limits.read": rate, "telemetry.otlp": one(ByEnvironment, Off),
		"slot.on_standbys": yesOrNo(), "slot.keep_max": size, "slot.on_limit": one(Alert, Drop),
		"repo.upload.every": either(span, one(auto)), "repo.upload.rate_limit": rate, "repo.read.rate_limit": rate, "repo.compression": one("zstd", "s2"),
		"repo.prices.storage": amount(), "repo.prices.put": amount(), "repo.prices.get": amount(), "repo.prices.transfer": amount(),
		"repo.archive.after": span, "repo.lock.mode": one("", "off", "governance", "compliance"), "repo.lock.for": span,
		"copies": copiesForm(rate, span), "sync.degrade_after": span, "backup.max_rate": rate,
		"objectives.rpo": span, "objectives.rto": span,
		"drill.target": one("random", "latest"), "drill.where": one("local"),
		"drill.checks.amcheck": {"enum": []any{"all", "sample", "off", true, false, "true", "false"}}, "drill.checks.sql": either(words(), checksForm()),
		"verify.since": span, "retain.window": span, "retain.grace": span, "retain.versions": one("keep", "remove"),
		"retain.keep_daily": whole(0), "retain.keep_weekly": whole(0), "retain.keep_monthly": whole(0), "retain.keep_yearly": whole(0), "retain.min_backups": whole(1),
		"standby.role": one(RoleSource, RoleFollow), "standby.hooks": either(words(), hooksForm(span)),
		"notify.heartbeat_every": span, "notify.remind_every": span, notifyOn: either(words(), listForm(eventForm())), notifyTo: either(words(), listForm(words())),
	}
}

// listOf is a list of mappings with these keys, of which some must be there.
func listOf(keys map[string]any, required ...string) form {
	return form{"type": "array", "items": form{"type": "object", "additionalProperties": false, "properties": keys, "required": required}}
}

func below(keys map[string]any) form {
	return form{"type": "object", "additionalProperties": false, "properties": keys}
}

func copiesForm(rate, span form) form {
	return listOf(map[string]any{
		"name": words(), "url": words(), "by": one(byAgent, byBucket),
		"lock":   either(form{"enum": []any{"", nil, "off"}}, below(map[string]any{"mode": one("", "off", "governance", "compliance"), "for": span})),
		"upload": below(map[string]any{"rate_limit": rate}), "read": below(map[string]any{"rate_limit": rate}),
		"storage_class": below(map[string]any{"backups": words(), "wal": words()}),
		"prices":        below(map[string]any{"storage": amount(), "put": amount(), "get": amount(), "transfer": amount()}),
	}, "name", "url")
}

func checksForm() form {
	return listOf(map[string]any{"name": words(), "query": words(), "expect": words(), "database": words()}, "name", "query")
}

// listForm is a list of plain values.
func listForm(of form) form { return form{"type": "array", "items": of} }

func eventForm() form {
	var all []string
	for _, k := range notify.Kinds() {
		all = append(all, string(k))
	}
	return one(all...)
}

func hooksForm(span form) form {
	return listOf(map[string]any{"run": form{"type": "array", "items": words(), "minItems": 1}, "timeout": span}, "run")
}

// branch is a mapping in the file on the way to keys.
type branch struct {
	keys  map[string]*branch
	value form // of the key itself; nil if there is none of this path
}

func (b *branch) at(path string) *branch {
	for name := range strings.SplitSeq(path, ".") {
		if b.keys == nil {
			b.keys = map[string]*branch{}
		}
		if b.keys[name] == nil {
			b.keys[name] = &branch{}
		}
		b = b.keys[name]
	}
	return b
}

// schema is what may stand at a branch. A mapping with the key url may be written as that alone.
func (b *branch) schema() form {
	if b.keys == nil {
		return b.value
	}
	properties := map[string]any{}
	for name, sub := range b.keys {
		properties[name] = sub.schema()
	}
	mapping := below(properties)
	if url := b.keys["url"]; url != nil {
		return either(url.value, mapping)
	}
	return mapping
}

// SchemaID names the schema; nothing is fetched from there.
const SchemaID = "urn:pgark:config:1"

// Schema is the JSON Schema (draft 2020-12) of a configuration file, made of the table of keys.
func Schema() ([]byte, error) {
	shapes := forms()
	grow := func(keys []Key) *branch {
		var root branch
		for _, k := range keys {
			value := form{"description": k.Doc}
			for word, meaning := range shapes[k.Path] {
				value[word] = meaning
			}
			if shapes[k.Path] == nil {
				value["type"] = words()["type"]
			}
			if v := k.Default(); v != "" {
				value["default"] = v
			}
			root.at(k.Path).value = value
		}
		return &root
	}
	cluster := grow(ClusterKeys()).schema()
	cluster["type"] = []string{"object", "null"}
	root := grow(GlobalKeys()).schema()
	properties, _ := root["properties"].(map[string]any)
	properties["clusters"] = form{
		"description": "the clusters that are archived, by name", "type": "object", "additionalProperties": false,
		"patternProperties": form{"^[a-z][a-z0-9_-]{0,39}$": form{"$ref": "#/$defs/cluster"}},
	}
	root["$schema"], root["$id"], root["title"] = "https://json-schema.org/draft/2020-12/schema", SchemaID, "pgark.yml"
	root["$defs"] = form{"cluster": cluster}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(root); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
