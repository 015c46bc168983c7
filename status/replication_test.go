package status_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// object is WAL of timeline 1 that was created so many seconds before minute 1.
func object(start, end wal.LSN, ago int, s storage.ReplicationStatus) status.ReplicatedObject {
	return status.ReplicatedObject{
		Timeline: 1, Range: wal.Range{Start: start, End: end}, Created: minute(1).Add(-time.Duration(ago) * time.Second), Status: s,
	}
}

// TestJudgeReplication is the table of what a bucket's own replication may lack.
func TestJudgeReplication(t *testing.T) {
	const done, waits, failed, never = storage.ReplicationCompleted, storage.ReplicationPending, storage.ReplicationFailed, storage.NotReplicated
	good := storage.ReplicationRule{ID: "dr", Bucket: "second", Enabled: true}
	change := func(f func(*storage.ReplicationRule)) storage.ReplicationRule { r := good; f(&r); return r }
	at := func(lsn wal.LSN) *status.Position { return &status.Position{Timeline: 1, LSN: lsn} }
	one := []status.ReplicatedObject{object(0x100, 0x200, 5, done)}
	record := status.ReplicatedObject{Created: minute(0), Status: waits}

	for _, test := range []struct {
		name    string
		rules   []storage.ReplicationRule
		objects []status.ReplicatedObject
		faults  string // joined by a bar
		lag     float64
		copied  *status.Position
	}{
		{"all there", []storage.ReplicationRule{good}, one, "", 0, at(0x200)},
		{"nothing yet", []storage.ReplicationRule{good}, nil, "", -1, nil},
		{
			"the last is on its way",
			[]storage.ReplicationRule{good},
			[]status.ReplicatedObject{object(0x200, 0x300, 4, waits), object(0x100, 0x200, 5, done)},
			"", 4, at(0x200),
		},
		{
			"out of order: what came past a hole does not count",
			[]storage.ReplicationRule{good},
			[]status.ReplicatedObject{object(0x100, 0x200, 9, done), object(0x200, 0x300, 8, waits), object(0x300, 0x400, 7, done)},
			"", 8, at(0x200),
		},
		{
			"a segment is on its way, its pieces are there",
			[]storage.ReplicationRule{good},
			[]status.ReplicatedObject{object(0x100, 0x300, 2, waits), object(0x100, 0x200, 9, done), object(0x200, 0x300, 8, done)},
			"", 2, at(0x300),
		},
		{"the first is not there", []storage.ReplicationRule{good}, []status.ReplicatedObject{object(0x100, 0x200, 3, waits)}, "", 3, nil},
		{"a backup's record is on its way", []storage.ReplicationRule{good}, append(one[:1:1], record), "", 60, at(0x200)},
		{
			"too long",
			[]storage.ReplicationRule{good},
			[]status.ReplicatedObject{object(0x100, 0x200, 901, waits)},
			"an object waits for 15m1s to be copied", 901, nil,
		},
		{
			"within what is promised",
			[]storage.ReplicationRule{change(func(r *storage.ReplicationRule) { r.Within = time.Hour })},
			[]status.ReplicatedObject{object(0x100, 0x200, 901, waits)},
			"", 901, nil,
		},
		{
			"given up",
			[]storage.ReplicationRule{good},
			[]status.ReplicatedObject{object(0x100, 0x200, 5, done), object(0x200, 0x300, 4, failed)},
			"the bucket gave up on 1 of the newest 2 objects", 4, at(0x200),
		},
		{
			"created before the rule",
			[]storage.ReplicationRule{good},
			[]status.ReplicatedObject{object(0x100, 0x200, 5, never)},
			"1 of the newest 1 objects were created before the rule", 5, nil,
		},
		{"no rule at all", nil, []status.ReplicatedObject{object(0x100, 0x200, 5, never)}, "no rule of the bucket copies to second", 5, nil},
		{
			"a rule to another bucket",
			[]storage.ReplicationRule{change(func(r *storage.ReplicationRule) { r.Bucket = "third" })},
			one,
			"copies to second; there are rules to third", 0, at(0x200),
		},
		{"disabled", []storage.ReplicationRule{change(func(r *storage.ReplicationRule) { r.Enabled = false })}, one, "rule dr is disabled", 0, at(0x200)},
		{
			"disabled, and a weaker one that is not",
			[]storage.ReplicationRule{change(func(r *storage.ReplicationRule) { r.Enabled = false }), good},
			one,
			"", 0, at(0x200),
		},
		{
			"a part",
			[]storage.ReplicationRule{change(func(r *storage.ReplicationRule) { r.Prefix = "7/wal/" })},
			one,
			"rule dr copies only what begins with 7/wal/", 0, at(0x200),
		},
		{
			"tags",
			[]storage.ReplicationRule{change(func(r *storage.ReplicationRule) { r.Tagged, r.Enabled = true, false })},
			one,
			"rule dr is disabled|rule dr copies only objects with tags", 0, at(0x200),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := status.JudgeReplication(storage.Replication{Versioned: true, Rules: test.rules}, "second", test.objects, minute(1))
			want := strings.Split(test.faults, "|")
			if test.faults == "" {
				want = nil
			}
			if len(got.Faults) != len(want) {
				t.Fatalf("got %q, want %q", got.Faults, want)
			}
			for i, fault := range got.Faults {
				if !strings.Contains(fault, want[i]) {
					t.Errorf("got %q, want %q", fault, want[i])
				}
			}
			if test.lag < 0 && got.Lag != nil || test.lag >= 0 && (got.Lag == nil || *got.Lag != test.lag) {
				t.Errorf("lag: got %v, want %v", got.Lag, test.lag)
			}
			if !reflect.DeepEqual(got.Copied, test.copied) {
				t.Errorf("copied: got %v, want %v", got.Copied, test.copied)
			}
		})
	}
}

func TestJudgeReplicationOfBuckets(t *testing.T) {
	rule := storage.ReplicationRule{ID: "dr", Bucket: "second", Enabled: true}
	got := status.JudgeReplication(storage.Replication{Rules: []storage.ReplicationRule{rule}}, "second", nil, minute(1))
	if len(got.Faults) != 1 || !strings.Contains(got.Faults[0], "keeps no versions") {
		t.Errorf("no versions: got %q", got.Faults)
	}
	got = status.JudgeReplication(storage.Replication{Versioned: true, KMS: true, Rules: []storage.ReplicationRule{rule}}, "second", nil, minute(1))
	if len(got.Faults) != 1 || !strings.Contains(got.Faults[0], "encrypted with KMS") {
		t.Errorf("KMS: got %q", got.Faults)
	}
	rule.KMS, rule.Deletes = true, true
	got = status.JudgeReplication(storage.Replication{Versioned: true, KMS: true, Rules: []storage.ReplicationRule{rule}}, "second", nil, minute(1))
	if len(got.Faults) != 0 || !got.Deletes || got.Rule != "dr" {
		t.Errorf("KMS and deletes: got %+v", got)
	}
}
