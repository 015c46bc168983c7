package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pgark/pgark/archiver"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// TestFencesAreExplained: each fence has its code, names server and place, and says what to do, in words that can be followed at night.
func TestFencesAreExplained(t *testing.T) {
	begun := wal.History{Timeline: 2, Parents: []wal.Switch{{Timeline: 1, At: 0x5000000}}}
	for _, test := range []struct {
		err  error
		code int
		says []string
	}{
		{&archiver.TimelineError{Server: 1, Archive: 2, Flush: 0x6000000, Switch: 0x5000000}, exitLocked, []string{"timeline 1 at 0/5000000", "ends at 0/6000000", "pg_rewind", "target_session_attrs=read-write"}},
		{&archiver.HistoryError{Server: begun, Archive: begun}, exitLocked, []string{"timeline 2 left timeline 1 at 0/5000000", "another prefix"}},
		{&archiver.AheadError{Timeline: 3, Archive: 0x6000000, Server: 0x5000000}, exitLocked, []string{"up to 0/5000000 only", "to 0/6000000", "stop this server", "pgark restore --timeline 3"}},
		{
			&repository.FencedError{Fence: repository.Fence{Timeline: 3, Number: 1, Host: "far", Directory: "/pg", Note: "region lost"}, Repository: "dr"}, exitLocked,
			[]string{"timeline 3 was fenced in dr by the standby in /pg on host far", "region lost", "pg_rewind", "pgark standby create", "pgark standby fence --lift"},
		},
		{&repository.FencedError{Fence: repository.Fence{Timeline: 3, Number: 1, Host: "far"}}, exitLocked, []string{"by host far", "by hand"}},
		{postgres.ErrAheadOfServer, exitLocked, []string{"was set back", "stop this server"}},
		{&archiver.ConflictError{Timeline: 1, At: 0x5000000}, exitLocked, []string{"0/5000000", "clone", "stop the agent of the other server"}},
		{&repository.ConflictError{Key: "1/wal/x", Range: wal.Range{Start: 1, End: 2}}, exitLocked, []string{"1/wal/x", "clone"}},
		{&archiver.RestoredError{SystemID: 42, Timeline: 2, Switch: wal.Switch{Timeline: 1, At: 0x5000000, Reason: "after LSN 0/4FFFFF8"}}, exitRefused, []string{"after LSN 0/4FFFFF8", "pgark run --adopt 42", "another prefix"}},
		{&archiver.SegmentSizeError{Server: 1 << 20, Archive: 16 << 20}, exitRefused, []string{"1048576", "a repository of its own"}},
		{&archiver.ForeignError{Server: 42, Archived: []wal.SystemID{7}}, exitRefused, []string{"42", "[7]", "pgark run --adopt 42"}},
	} {
		s, _ := shown(t)
		f := s.program.explain(fmt.Errorf("cluster main: %w", &archiver.FenceError{Server: "10.0.0.7:5432", Err: errors.Join(test.err)}))
		text := f.Message + "\n" + f.Cause + "\n" + f.Fix
		for _, want := range append(test.says, "server 10.0.0.7:5432: ") {
			if !strings.Contains(text, want) {
				t.Errorf("%T does not say %q:\n%s", test.err, want, text)
			}
		}
		if f.Code != test.code || f.Cause == "" && f.Fix == "" {
			t.Errorf("%T: code %d, want %d: %+v", test.err, f.Code, test.code, f)
		}
	}
}
