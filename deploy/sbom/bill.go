package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
)

// bill returns what a program, given as its bytes, was built of. Its time is that of the commit, and its number comes from the program's hash: no clock
// and no chance is in it.
func bill(program []byte, info *debug.BuildInfo) *cyclonedx.BOM {
	sum := sha256.Sum256(program)
	whole := component(cyclonedx.ComponentTypeApplication, &info.Main)
	whole.Licenses = &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "Apache-2.0"}}}
	whole.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}}
	whole.Properties = settings(info)

	// Go's vulnerability database (go.dev/security/vuln/database) says stdlib, and versions without go.
	library := debug.Module{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")}
	parts := []cyclonedx.Component{component(cyclonedx.ComponentTypeLibrary, &library)}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		parts = append(parts, component(cyclonedx.ComponentTypeLibrary, module))
	}
	slices.SortFunc(parts, func(a, b cyclonedx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	references := make([]string, 0, len(parts))
	for _, part := range parts {
		references = append(references, part.BOMRef)
	}

	b := cyclonedx.NewBOM()
	b.SerialNumber = serial(sum)
	b.Metadata = &cyclonedx.Metadata{Timestamp: setting(info, "vcs.time"), Component: &whole}
	b.Components = &parts
	// The program holds which modules went in, and not which of them asked for which.
	b.Dependencies = &[]cyclonedx.Dependency{{Ref: whole.BOMRef, Dependencies: &references}}
	return b
}

// component names a module as the rest of the world does: by its package URL (github.com/package-url/purl-spec, type golang).
func component(kind cyclonedx.ComponentType, module *debug.Module) cyclonedx.Component {
	url := fmt.Sprintf("pkg:golang/%s@%s", module.Path, strings.ReplaceAll(module.Version, "+", "%2B"))
	c := cyclonedx.Component{Type: kind, BOMRef: url, PackageURL: url, Name: module.Path, Version: module.Version}
	if module.Sum != "" {
		c.Properties = &[]cyclonedx.Property{{Name: "go:sum", Value: module.Sum}}
	}
	return c
}

// settings are how the program was built, as go version -m prints it.
func settings(info *debug.BuildInfo) *[]cyclonedx.Property {
	properties := []cyclonedx.Property{{Name: "go:version", Value: info.GoVersion}}
	for _, s := range info.Settings {
		properties = append(properties, cyclonedx.Property{Name: "go:build:" + s.Key, Value: s.Value})
	}
	return &properties
}

// setting returns the value of a build setting, or nothing.
func setting(info *debug.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// serial is a UUID of version 8 (RFC 9562, 5.8) made from a hash.
func serial(sum [sha256.Size]byte) string {
	id := sum[:16]
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
