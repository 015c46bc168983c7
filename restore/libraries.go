package restore

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// SettingError says that the restored configuration would have the server load a library that may have come with the backup: whoever writes to the repository
// would run what he likes on this host.
type SettingError struct {
	Name, Value string
	Library     string // the part of Value that is refused
}

// Error names the setting.
func (e *SettingError) Error() string {
	return fmt.Sprintf("the restored configuration has %s = %q: %s may lie in the backup, and would run on this host", e.Name, e.Value, e.Library)
}

// librarySettings name what a server loads by itself ("Shared Library Preloading" in PostgreSQL's documentation; jit_provider below the programs' own folder,
// src/backend/jit/jit.c). Those that a database or a role sets for itself are not among them.
func librarySettings() []string {
	return []string{"shared_preload_libraries", "session_preload_libraries", "local_preload_libraries", "dynamic_library_path", "jit_provider"}
}

// checkLibraries asks the server's program, which reads the configuration and starts nothing, what it would load, and returns a *SettingError for what may lie
// in the restored cluster.
func checkLibraries(ctx context.Context, s *Server, owner *Owner) error {
	folders := []string{s.DataDir}
	if spaces, err := filepath.Glob(filepath.Join(s.DataDir, "pg_tblspc", "*")); err == nil {
		folders = append(folders, spaces...)
	}
	for i, folder := range folders {
		if real, err := filepath.EvalSymlinks(folder); err == nil {
			folders[i] = real
		}
	}
	for _, name := range librarySettings() {
		value, err := askSetting(ctx, s, owner, name)
		if err != nil {
			return fmt.Errorf("read the restored configuration: %w", err)
		}
		if library := foreignLibrary(name, value, folders); library != "" {
			return &SettingError{Name: name, Value: value, Library: library}
		}
	}
	return nil
}

// askSetting returns a setting as the configuration in the data directory has it, and "" if the program cannot read that: then no server starts either, and says why.
func askSetting(ctx context.Context, s *Server, owner *Owner, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.BinDir, "postgres"), "-C", name, "-D", s.DataDir, "-c", "data_directory="+s.DataDir,
		"-c", "lc_messages=C", "-c", "unix_socket_group=", "-c", "log_min_messages=fatal")
	cmd.Env, cmd.Dir = serverEnvironment(cmd.Environ()), s.DataDir
	if owner != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(owner.UID), Gid: uint32(owner.GID)}}
	}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return "", nil
	}
	return strings.TrimSpace(string(out)), errors.Join(err, ctx.Err())
}

// foreignLibrary returns the first library or folder in the value of a setting that may lie in one of the folders: one of theirs, or one that is named from
// where the server works, its data directory. It returns "" if there is none.
func foreignLibrary(name, value string, folders []string) string {
	separator := ","
	if name == "dynamic_library_path" {
		separator = ":"
	}
	for library := range strings.SplitSeq(value, separator) {
		library = strings.Trim(library, " \t\r\n\"")
		below := strings.TrimPrefix(library, "$libdir/")
		switch {
		case !strings.Contains(library, "/"):
		case name == "jit_provider", slices.Contains(strings.Split(library, "/"), ".."):
			return library
		case below != library:
		case !filepath.IsAbs(library), within("/proc", filepath.Clean(library)), within("/dev", filepath.Clean(library)):
			return library
		default:
			real := filepath.Clean(library)
			if found, err := filepath.EvalSymlinks(real); err == nil {
				real = found
			}
			for _, folder := range folders {
				if within(folder, real) || within(folder, filepath.Clean(library)) {
					return library
				}
			}
		}
	}
	return ""
}
