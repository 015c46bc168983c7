package main

import (
	"encoding/json"

	"github.com/pgark/pgark/config"
)

// printSchema prints the schema; it is JSON whatever --output says, unless that is YAML.
func printSchema(s *session) error {
	schema, err := config.Schema()
	if err != nil {
		return err
	}
	if s.yaml {
		return s.printJSON(json.RawMessage(schema))
	}
	s.printf("%s", schema)
	return nil
}

// variableFact is one variable of the environment.
type variableFact struct {
	Variable string `json:"variable"`
	// Long is the same for one of several clusters; "" where it is not a cluster's.
	Long string `json:"long,omitempty"`
	// File names the variable that takes the path of a file with the value.
	File    string `json:"file"`
	Key     string `json:"key"`
	Default string `json:"default"`
	Meaning string `json:"meaning"`
}

// printVariables prints every variable in the form of an environment file, all of them commented out.
func printVariables(s *session) error {
	var all []variableFact
	for _, k := range config.GlobalKeys() {
		all = append(all, variableFact{k.Env, "", k.Env + "_FILE", k.Path, k.Default(), k.Doc})
	}
	name := text(s.cli, "cluster")
	if name == "" {
		name = config.DefaultCluster
	}
	for _, k := range config.ClusterKeys() {
		all = append(all, variableFact{k.Env, k.LongEnv(name), k.Env + "_FILE", "clusters." + name + "." + k.Path, k.Default(), k.Doc})
	}
	if s.json {
		return s.printJSON(all)
	}
	s.printf("# Each may end in _FILE: then the value is the content of the file that it names. The environment is stronger than the file.\n")
	for _, v := range all {
		s.printf("\n# %s: %s\n", v.Key, v.Meaning)
		if v.Long != "" {
			s.printf("# with several clusters %s\n", v.Long)
		}
		s.printf("#%s=%s\n", v.Variable, v.Default)
	}
	return nil
}
