package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
	"github.com/pgark/pgark/web"
)

// typedErrors are errors that carry data, one of each.
func typedErrors() []error {
	return []error{
		&config.Error{Faults: []config.Fault{{File: "pgark.yml", Line: 3, Column: 5, Key: "clusters.main.repos", Message: "this version knows no such key", Suggestion: "repo", Source: "    repos: s3://a"}}},
		&config.Error{Faults: []config.Fault{{Key: "repository URL", Message: "no bucket"}}},
		usagef("unknown flag --outpt"),
		&agent.ConnectionError{Err: errors.New("invalid port")},
		&agent.PolicyError{Err: errors.New("sync.standby_names does not name this agent")},
		&agent.AmbiguousError{IDs: []wal.SystemID{7423474350493388827, 7423474350493388828}},
		&agent.OtherRepositoryError{Copy: "dr"},
		&agent.EmptiedError{Copy: "dr"},
		&agent.ArchiveError{Least: 33},
		&agent.KeyFileError{Path: "/etc/pgark/age.key", Err: agent.ErrKeyMode},
		&agent.KeyFileError{Path: "/etc/pgark/age.key", Err: os.ErrNotExist},
		&archiver.ForeignError{Server: 7423474350493388827, Archived: []wal.SystemID{7423474350493388828}},
		&restore.SpaceError{Dir: "/var/lib/postgresql", Needed: 431e9, Free: 12e9},
		&restore.RefusedError{Reason: "the folder is not empty"},
		&restore.RefusedError{Reason: "a server runs there", Flags: []string{"--in-place"}},
		&restore.BinariesError{Major: 17},
		&web.ListenError{Err: fmt.Errorf("listen: %w", syscall.EADDRINUSE)},
		fmt.Errorf("write manifest: %w", syscall.ENOSPC),
		fmt.Errorf("open file: %w", os.ErrPermission),
		&config.FileError{Err: &os.PathError{Op: "open", Path: "/etc/pgark/pgark.yml", Err: os.ErrNotExist}},
		&config.FileError{Err: &os.PathError{Op: "open", Path: "/etc/pgark/pgark.yml", Err: os.ErrPermission}},
		&config.Error{Faults: []config.Fault{{Key: "--cluster", Message: `no cluster "mian"; configured: main`, Suggestion: "main"}}},
		fmt.Errorf("open file: %w", os.ErrNotExist),
		&timeoutError{30 * time.Second},
		errors.New("what nobody foresaw"),
	}
}

// TestGoldenErrors: how every class of error is printed: what, cause, fix, docs and code. Each has a fix but for what nobody foresaw.
func TestGoldenErrors(t *testing.T) {
	var all strings.Builder
	var failures []error
	for _, c := range conditions() {
		failures = append(failures, fmt.Errorf("reach repository s3://acme-pg/main: %w", c.is))
	}
	failures = append(failures, typedErrors()...)
	codes := map[int]bool{}
	for _, err := range failures {
		var out bytes.Buffer
		p := &program{stderr: &out, interrupted: func() os.Signal { return nil }}
		f := p.explain(err)
		codes[f.Code] = true
		p.printFailure(f, formattedError{help: "pgark check"})
		var usage *codeError // says it all, and help is named beside it
		if f.Fix == "" && f.Cause == "" && !errors.As(err, &usage) && err.Error() != "what nobody foresaw" {
			t.Errorf("%v: neither cause nor fix", err)
		}
		if !strings.Contains(out.String(), fmt.Sprintf("code %d", f.Code)) {
			t.Errorf("%v: the code is not printed", err)
		}
		all.WriteString(out.String() + "\n")
	}
	if len(failures) < 30 {
		t.Errorf("%d classes of errors, want 30 at least", len(failures))
	}
	// The others are verdicts, no errors, or need a signal.
	for _, c := range exitCodes() {
		if !codes[c.code] && !slices.Contains([]int{exitOK, exitCancelled}, c.code) {
			t.Errorf("no error here ends with code %d", c.code)
		}
	}
	golden(t, "errors.txt", all.String())
}

// TestCancelled: a signal is told as such, and has its code.
func TestCancelled(t *testing.T) {
	var out bytes.Buffer
	p := &program{stderr: &out, interrupted: func() os.Signal { return syscall.SIGINT }}
	if code := p.report(fmt.Errorf("list: %w", context.Canceled)); code != exitCancelled || !strings.Contains(out.String(), "cancelled") {
		t.Errorf("got %d: %s", code, out.String())
	}
}
