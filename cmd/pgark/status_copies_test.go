package main

import (
	"strings"
	"testing"

	"github.com/pgark/pgark/status"
)

// TestCopyByTheBucketIsExplained: below the table stands what the bucket says of a copy that it makes.
func TestCopyByTheBucketIsExplained(t *testing.T) {
	lag, none := 75.0, 0.0
	for want, r := range map[string]*status.Replication{
		"dr is made by the primary's bucket: it cannot be asked now":                                  nil,
		"dr is made by the primary's bucket: how far it is, is not known: access denied":              {Error: "access denied"},
		"dr is made by the primary's bucket: nothing was to be copied yet":                            {},
		"dr is made by the primary's bucket: the newest 32 objects are there":                         {Newest: 32, Lag: &none},
		"dr is made by the primary's bucket: 3 of the newest 32 objects on the way, the oldest for 1": {Newest: 32, Pending: 3, Lag: &lag},
	} {
		s, out := shown(t)
		s.printCopies(status.Report{Copies: []status.Copy{
			{Name: "primary", Repository: "s3://a/main?region=eu-west-1"},
			{Name: "dr", Repository: "s3://b/main?region=us-east-1", By: status.ByBucket, Replication: r},
		}})
		if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "primary is made") {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
}

// TestLocksAreShown: in a line where there is one repository, and in a column where there are several and one has a lock.
func TestLocksAreShown(t *testing.T) {
	bucket := &status.Lock{Mode: "governance", Seconds: 21 * 24 * 3600, By: status.LockedByBucket}
	for want, r := range map[string]status.Report{
		"lock      governance 21d, by the bucket itself":                              {Lock: bucket},
		"lock      compliance 36h0m0s, sent with each":                                {Lock: &status.Lock{Mode: "compliance", Seconds: 36 * 3600, By: status.LockedByAgent}},
		"of 4 old records that were looked at 3 are under no lock: pgark prune --yes": {Lock: &status.Lock{Mode: "governance", Seconds: 3600, By: status.LockedByBucket, Looked: 4, Unlocked: 3}},
		"near: of 1 old record that were looked at 1 are under no lock": {Copies: []status.Copy{
			{Name: "primary", Repository: "s3://a/main?region=eu-west-1"}, {Name: "near", Repository: "s3://b/main", Lock: &status.Lock{Error: "-", Looked: 1, Unlocked: 1}},
		}},
		"lock      not known: access denied": {Lock: &status.Lock{Error: "access denied"}},
		"LOCK": {Lock: bucket, Copies: []status.Copy{
			{Name: "primary", Repository: "s3://a/main?region=eu-west-1", Lock: bucket}, {Name: "near", Repository: "file:///b"},
		}},
		"STORED\n": {Copies: []status.Copy{{Name: "primary", Repository: "s3://a/main?region=eu-west-1"}, {Name: "near", Repository: "file:///b"}}},
	} {
		s, out := shown(t)
		s.printLock(r)
		s.printCopies(r)
		if got := out.String(); !strings.Contains(got, want) || len(r.Copies) > 0 && (r.Lock != nil) != strings.Contains(got, "  governance 21d\n") {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
}
