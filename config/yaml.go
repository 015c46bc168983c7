package config

import (
	"fmt"

	"github.com/goccy/go-yaml"
)

// FromJSON writes a JSON document as YAML, its keys in their order.
func FromJSON(document []byte) ([]byte, error) {
	text, err := yaml.JSONToYAML(document)
	if err != nil {
		return nil, fmt.Errorf("write as YAML: %w", err)
	}
	return text, nil
}
