package agent

import "runtime/debug"

// release is the version that a build without its history was told by the linker, such as v1.2.3; otherwise empty.
var release string //nolint:gochecknoglobals // the linker writes it

// Version returns the version of this build: the module's, or the commit it was made of.
func Version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}
