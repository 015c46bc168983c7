package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
)

// ExportOptions say what is dumped, as of when, and whereto. Place, Database and Into are needed; the zero value of all else is valid.
type ExportOptions struct {
	Place Place
	// Target is the instant; the zero value is the end of the archive.
	Target   restore.Target
	Database string
	// Tables are patterns as pg_dump --table takes them; none is the whole database.
	Tables []string
	// Arguments are further ones for pg_dump, which CheckArguments allows.
	Arguments []string
	// Into is the file that is made. It must not exist.
	Into string
	// Planned is called before anything is fetched, Dumping when the dump begins; nil: nobody.
	Planned func(*restore.Plan)
	Dumping func()
}

// Exported is a dump that was written.
type Exported struct {
	File     string // absolute
	Bytes    int64
	Plan     *restore.Plan
	Restored *restore.Recovered
	Warnings string // of pg_dump
	Took     time.Duration
}

// DumpError says that pg_dump gave up, in its own words.
type DumpError struct {
	Words string
	Err   error
}

// Error begins with pg_dump's words.
func (e *DumpError) Error() string { return "pg_dump: " + e.Words }

// Unwrap returns how it ended.
func (e *DumpError) Unwrap() error { return e.Err }

// Export restores the cluster of an instant into a sandbox, dumps a database or some of its tables with pg_dump, and removes the sandbox again. When it returns
// nil the file is whole and durable; after an error it is not there. The errors are those of restore.Choose, LayDown and Recover, an *ArgumentError,
// a *restore.RefusedError if the file exists, and a *DumpError.
func Export(ctx context.Context, cluster *repository.Cluster, o ExportOptions) (done *Exported, err error) {
	began := time.Now()
	if err := CheckArguments(o.Arguments); err != nil {
		return nil, err
	}
	file, err := newDumpFile(o.Into)
	if err != nil {
		return nil, err
	}
	defer file.discard()
	sandbox, err := NewSandbox(ctx, o.Place)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closed := sandbox.Close(ctx); closed != nil {
			done, err = nil, errors.Join(err, closed)
		}
	}()
	plan, restored, err := restoreFor(ctx, cluster, sandbox, o)
	if err != nil {
		return nil, err
	}
	if o.Dumping != nil {
		o.Dumping()
	}
	warnings, err := sandbox.dump(ctx, file.File, o)
	if err != nil {
		return nil, err
	}
	done = &Exported{File: file.final, Plan: plan, Restored: restored, Warnings: warnings}
	if done.Bytes, err = file.commit(); err != nil {
		return nil, err
	}
	done.Took = time.Since(began)
	return done, nil
}

// restoreFor restores what is to be dumped. That pg_dump is there is known before.
func restoreFor(ctx context.Context, cluster *repository.Cluster, s *Sandbox, o ExportOptions) (*restore.Plan, *restore.Recovered, error) {
	inventory, err := restore.Survey(ctx, cluster)
	if err != nil {
		return nil, nil, err
	}
	plan, err := restore.Choose(ctx, cluster, inventory, o.Target)
	if err != nil {
		return nil, nil, err
	}
	if err := s.Look(ctx, cluster, plan); err != nil {
		return nil, nil, err
	}
	if _, err := s.Program(ctx, dumpName); err != nil {
		return nil, nil, err
	}
	if o.Planned != nil {
		o.Planned(plan)
	}
	if _, err := s.LayDown(ctx, cluster, plan); err != nil {
		return nil, nil, err
	}
	restored, err := s.Recover(ctx, cluster, plan)
	return plan, restored, err
}

const dumpName = "pg_dump"

// dump runs pg_dump into a file, and returns what it warned of.
func (s *Sandbox) dump(ctx context.Context, into *os.File, o ExportOptions) (string, error) {
	arguments := []string{"--no-password", "--dbname=" + onlyName(o.Database)}
	for _, table := range o.Tables {
		arguments = append(arguments, "--table="+table)
	}
	cmd, err := s.Program(ctx, dumpName, append(arguments, o.Arguments...)...)
	if err != nil {
		return "", err
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = into, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", &DumpError{Words: strings.TrimPrefix(strings.TrimPrefix(firstLines(said.String()), "pg_dump: "), "error: "), Err: err}
	}
	return strings.TrimSpace(said.String()), nil
}

// ArgumentError says that pg_dump may not be given an argument.
type ArgumentError struct{ Argument, Reason string }

// Error names it.
func (e *ArgumentError) Error() string { return e.Argument + ": " + e.Reason }

// CheckArguments returns an *ArgumentError for what would have pg_dump connect, or write, elsewhere than it should. A long option may be cut short as long
// as it is unique, so that any beginning of such a name is refused.
func CheckArguments(arguments []string) error {
	const connects, writes = "pgark says to which server and database", "pgark says where the dump goes: --into"
	reasons := map[string]string{
		"host": connects, "port": connects, "username": connects, "dbname": connects, "password": connects, "no-password": connects,
		"file": writes, "jobs": "more than one job needs a folder, and the dump is a file",
	}
	letters := map[byte]string{'h': connects, 'p': connects, 'U': connects, 'd': connects, 'W': connects, 'w': connects, 'f': writes, 'j': reasons["jobs"]}
	folder := func(format string) bool { return strings.HasPrefix(format, "d") }
	for i, argument := range arguments {
		next := ""
		if i+1 < len(arguments) {
			next = arguments[i+1]
		}
		name, value, joined := strings.Cut(strings.TrimPrefix(argument, "--"), "=")
		if !joined {
			value = next
		}
		switch {
		case strings.HasPrefix(argument, "--") && name != "":
			for long, reason := range reasons {
				if strings.HasPrefix(long, name) {
					return &ArgumentError{argument, reason}
				}
			}
			if strings.HasPrefix("format", name) && folder(value) {
				return &ArgumentError{argument, reasons["jobs"]}
			}
		case len(argument) > 1 && argument[0] == '-' && argument[1] != '-':
			if reason := letters[argument[1]]; reason != "" {
				return &ArgumentError{argument, reason}
			}
			if argument[1] == 'F' && (folder(argument[2:]) || argument == "-F" && folder(next)) {
				return &ArgumentError{argument, "the dump is a file: c, t or p"}
			}
		}
	}
	return nil
}

// dumpFile is a file that has its name only when it is whole.
type dumpFile struct {
	*os.File

	final string
	done  bool
}

// newDumpFile makes a file beside path.
func newDumpFile(path string) (*dumpFile, error) {
	final, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	if _, err := os.Lstat(final); err == nil {
		return nil, &restore.RefusedError{Path: final, Reason: "exists"}
	}
	f, err := os.CreateTemp(filepath.Dir(final), "."+filepath.Base(final)+".pgark-*")
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return &dumpFile{File: f, final: final}, nil
}

// discard removes the file, unless it was committed.
func (f *dumpFile) discard() {
	if !f.done {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}
}

// commit makes the file durable and gives it its name, never in the place of another. It returns its length.
func (f *dumpFile) commit() (int64, error) {
	info, err := f.Stat()
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("write %s: %w", f.final, err)
	}
	err = unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, f.final, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system that cannot promise it
		if _, err = os.Lstat(f.final); errors.Is(err, fs.ErrNotExist) {
			err = os.Rename(f.Name(), f.final)
		} else if err == nil {
			err = fs.ErrExist
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return 0, &restore.RefusedError{Path: f.final, Reason: "exists"}
	}
	if err != nil {
		return 0, fmt.Errorf("put %s in place: %w", f.final, err)
	}
	f.done = true
	folder, err := os.Open(filepath.Dir(f.final))
	if err == nil {
		err = errors.Join(folder.Sync(), folder.Close())
	}
	if err != nil {
		return 0, fmt.Errorf("put %s in place: %w", f.final, err)
	}
	return info.Size(), nil
}

// MissingProgram reports whether err says that one of PostgreSQL's programs is not on this host, and which.
func MissingProgram(err error) (string, bool) {
	var missing *exec.Error
	if errors.As(err, &missing) && errors.Is(missing.Err, exec.ErrNotFound) {
		return missing.Name, true
	}
	return "", false
}
