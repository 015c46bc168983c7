package restore

import "context"

// ForeignLibrary judges the value of a setting.
func ForeignLibrary(name, value string, folders []string) string {
	return foreignLibrary(name, value, folders)
}

// CheckLibraries looks at what the server on a data directory would load.
func CheckLibraries(ctx context.Context, binDir, dataDir string, owner *Owner) error {
	return checkLibraries(ctx, &Server{BinDir: binDir, DataDir: dataDir}, owner)
}
