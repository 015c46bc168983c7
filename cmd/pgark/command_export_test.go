package main

import (
	"slices"
	"testing"

	"github.com/pgark/pgark/drill"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/wal"
)

// TestSplitArguments: what stands behind -- is pg_dump's, whether or not the flag package left that word in.
func TestSplitArguments(t *testing.T) {
	for _, test := range []struct {
		line, args, before, behind []string
	}{
		{[]string{"pgark", "export", "-d", "x"}, nil, nil, nil},
		{[]string{"pgark", "export", "-d", "x", "--", "-Fc", "-a"}, []string{"-Fc", "-a"}, nil, []string{"-Fc", "-a"}},
		{[]string{"pgark", "export", "url", "--", "-Fc"}, []string{"url", "--", "-Fc"}, []string{"url"}, []string{"-Fc"}},
		{[]string{"pgark", "export", "url", "-Fc"}, []string{"url", "-Fc"}, []string{"url", "-Fc"}, nil},
		{[]string{"pgark", "export", "--"}, nil, nil, nil},
	} {
		p := &program{args: test.line}
		before, behind := p.splitArguments(test.args)
		if !slices.Equal(before, test.before) || !slices.Equal(behind, test.behind) {
			t.Errorf("%v: got %v and %v, want %v and %v", test.line, before, behind, test.before, test.behind)
		}
	}
}

func TestDumpName(t *testing.T) {
	s, _ := shown(t)
	at := restore.Target{Kind: restore.TargetTime, Time: wal.FromGo(day(14, "03:10:00"))}
	for want, o := range map[string]drill.ExportOptions{
		"shop-20261114T031000Z.sql":  {Database: "shop", Target: at},
		"a_b-20261120T104107Z.sql":   {Database: "a/b"},
		"shop-20261120T104107Z.dump": {Database: "shop", Arguments: []string{"-a", "--format=custom"}},
	} {
		if got := s.dumpName(o); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
