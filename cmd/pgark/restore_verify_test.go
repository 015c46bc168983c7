package main

import (
	"errors"
	"testing"

	"github.com/pgark/pgark/repository"
)

// TestVerifyRestored: what the checks of a restored cluster found is said and has a code; one that could not be made is no success.
func TestVerifyRestored(t *testing.T) {
	pages := repository.DrillCheck{Kind: repository.CheckPages, Result: repository.CheckPassed, By: repository.ByBaseBackup, Bytes: 411_000_000_000}
	for _, test := range []struct {
		name   string
		checks []repository.DrillCheck
		code   int
		want   string
	}{
		{"none asked for", nil, exitOK, ""},
		{"all right", []repository.DrillCheck{pages, {Kind: repository.CheckAmcheck, Result: repository.CheckPassed, Count: 1204}}, exitOK, `  verify    ✓ page checksums right in 411 GB, read by the server itself
            ✓ amcheck of 1,204 relations ok
`},
		{"no page checksums", []repository.DrillCheck{{Kind: repository.CheckPages, Result: repository.CheckOff, Detail: "the cluster has no page checksums"}}, exitOK, `  verify    ○ page checksums: the cluster has no page checksums
`},
		{"not there", []repository.DrillCheck{pages, {Kind: repository.CheckAmcheck, Result: repository.CheckSkipped, Detail: "pg_amcheck is not in /x"}}, exitDegraded, `  verify    ✓ page checksums right in 411 GB, read by the server itself
            ○ amcheck: pg_amcheck is not in /x
`},
		{"damaged", []repository.DrillCheck{{Kind: repository.CheckPages, Result: repository.CheckFailed, Detail: "checksum verification failed in file \"base/5/1\""}}, exitDegraded, `  verify    ✗ page checksums: checksum verification failed in file "base/5/1"
  fix       restore from an older base backup, with a target before this one was taken, and compare;
            docs/runbooks/drill.md, phase verify
`},
	} {
		r, out := planned(t, "--start")
		r.checks = test.checks
		r.printChecks()
		var coded *codeError
		if err := r.verified(); errors.As(err, &coded) != (test.code != exitOK) || coded != nil && coded.code != test.code {
			t.Errorf("%s: got %v, want code %d", test.name, err, test.code)
		}
		if out.String() != test.want {
			t.Errorf("%s: got\n%swant\n%s", test.name, out, test.want)
		}
	}
}

// TestVerifyKinds: what cannot be verified is refused before anything is read.
func TestVerifyKinds(t *testing.T) {
	for _, test := range []struct {
		flags []string
		want  int
	}{
		{nil, 0},
		{[]string{"--start"}, 0},
		{[]string{"--verify", "none"}, 0},
		{[]string{"--start", "--verify", "pages"}, 1},
		{[]string{"--start", "--verify", "amcheck"}, 2},
		{[]string{"--verify", "pages"}, -1},
		{[]string{"--start", "--pause", "--verify", "pages"}, -1},
		{[]string{"--start", "--shutdown", "--verify", "pages"}, -1},
		{[]string{"--start", "--verify", "all"}, -1},
	} {
		r, _ := planned(t, test.flags...)
		kinds, err := r.verifyKinds()
		var coded *codeError
		if refused := errors.As(err, &coded) && coded.code == exitUsage; refused != (test.want < 0) || !refused && len(kinds) != test.want {
			t.Errorf("%v: got %v, %v", test.flags, kinds, err)
		}
	}
}
