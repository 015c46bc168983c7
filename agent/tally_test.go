package agent

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/retry"
)

// TestTally: what a repository took and refused is counted by it, an answer that is no failure counts as none, and the number of kinds has a limit.
func TestTally(t *testing.T) {
	tally := newTally([]string{"primary", "dr"})
	var uploads []string
	tally.uploaded = func(repository string, took time.Duration) {
		uploads = append(uploads, fmt.Sprint(repository, " ", took))
	}
	if tally.of("other") != nil {
		t.Error("a repository that is none of the cluster's is counted")
	}
	see := tally.of("primary")
	look := func(i int) status.LiveRepository {
		var l status.Live
		tally.fill(&l)
		return l.Repositories[i]
	}
	if look(0).Up != nil {
		t.Error("it is up before anything was asked")
	}
	see(retry.Attempt{Op: "put", Key: "7423474350493388827/wal/00000001/000000010000000000000001.zst", Size: 100, Took: time.Second})
	see(retry.Attempt{Op: "put", Key: "7423474350493388827/wal/00000002.history", Size: 7, Took: time.Second})
	see(retry.Attempt{Op: "put", Key: "7423474350493388827/backups/x/index", Size: 9, Took: time.Second})
	see(retry.Attempt{Op: "stat", Err: fmt.Errorf("stat: %w", storage.ErrNotFound)})
	if r := look(0); !*r.Up || r.StoredWAL != 100 || len(r.Failures) != 0 || r.Puts != 3 {
		t.Errorf("got %+v", r)
	}
	if len(uploads) != 1 || uploads[0] != "primary 1s" {
		t.Errorf("uploads %v", uploads)
	}
	see(retry.Attempt{Op: "put", Key: "1/wal/x", Size: 100, Err: fmt.Errorf("put: %w", storage.ErrDenied)})
	see(retry.Attempt{Op: "part", Err: fmt.Errorf("put: %w", storage.ErrDenied)})
	r := look(0)
	if *r.Up || r.StoredWAL != 100 || len(r.Failures) != 1 || r.Failures[0] != (status.RequestFailures{Op: "put", Code: "denied", Count: 2}) {
		t.Errorf("got %+v", r)
	}
	if r.Refusing == nil || r.Refusing.Tries != 2 || r.Refusing.Since.IsZero() || r.Refusing.Error != "put: access denied" {
		t.Errorf("two puts were refused, and told is %+v", r.Refusing)
	}
	if r.Puts != 5 {
		t.Errorf("%d requests wrote, want 5: those that failed are billed too", r.Puts)
	}
	see(retry.Attempt{Op: "list"})
	if again := look(0); again.Refusing == nil || !again.Refusing.Since.Equal(r.Refusing.Since) {
		t.Errorf("a list went well, and of puts is told %+v", again.Refusing)
	}
	see(retry.Attempt{Op: "put", Key: "1/beats/x"})
	if again := look(0); again.Refusing != nil {
		t.Errorf("a put went well, and told is %+v", again.Refusing)
	}
	for _, op := range []string{"get", "list", "stat", "delete", "thaw"} {
		for _, err := range []error{storage.ErrDenied, storage.ErrExpired, storage.ErrSkewed, storage.ErrNoStore, storage.ErrUnavailable, errors.New("?")} {
			see(retry.Attempt{Op: op, Err: err})
		}
	}
	total := uint64(0)
	r = look(0)
	for _, f := range r.Failures {
		total += f.Count
	}
	if len(r.Failures) > mostFailures || total != 32 {
		t.Errorf("%d kinds with %d failures: %+v", len(r.Failures), total, r.Failures)
	}
	if look(1).Up != nil {
		t.Error("the copy was asked as well")
	}
}

// TestActivity: a job is seen with its progress while it is in hand, and what came of it afterwards.
func TestActivity(t *testing.T) {
	var events []status.Event
	a := &activity{cluster: "main", tell: func(e status.Event) { events = append(events, e) }}
	j := a.begin(status.JobBackup)
	j.progress("copy", 10, 100)
	j.progress("copy", 20, 100) // too soon to be told
	var l status.Live
	a.fill(&l)
	if len(l.Jobs) != 1 || l.Jobs[0].Done != 20 || l.Jobs[0].Phase != "copy" || len(events) != 2 || !events[1].Passing {
		t.Errorf("in hand: %+v, events %+v", l.Jobs, events)
	}
	j.end(t.Context(), outcome{result: status.JobFailed, detail: "no space"})
	l = status.Live{}
	a.fill(&l)
	if len(l.Jobs) != 0 || len(l.Ended) != 1 || l.Ended[0].Detail != "no space" || l.Ended[0].Ended == nil || l.BackupFailed == nil {
		t.Errorf("ended: %+v", l)
	}
	if last := events[len(events)-1]; last.Passing || last.Job.Result != status.JobFailed {
		t.Errorf("the end is told as %+v", last)
	}
	for range 50 {
		a.begin(status.JobVerify).end(t.Context(), outcome{result: status.JobDone})
	}
	l = status.Live{}
	if a.fill(&l); len(l.Ended) != endedKept {
		t.Errorf("%d that ended are kept", len(l.Ended))
	}
	var none *activity // nobody asks
	none.begin(status.JobDrill).progress("fetch", 1, 2)
	none.lost(repository.Gap{})
}

// TestJobWords: lines of progress go to who looks on, and the rest is what the job says.
func TestJobWords(t *testing.T) {
	a := &activity{}
	w := jobWords{job: a.begin(status.JobDrill)}
	for _, piece := range []string{`{"phase":"fet`, "ch\",\"done\":5,\"total\":9}\nnot JSON\n", `{"error":{"message":"x"}}` + "\n"} {
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	var l status.Live
	a.fill(&l)
	if l.Jobs[0].Phase != "fetch" || l.Jobs[0].Done != 5 || l.Jobs[0].Total != 9 {
		t.Errorf("got %+v", l.Jobs[0])
	}
	if got := w.rest.String(); got != "not JSON\n{\"error\":{\"message\":\"x\"}}\n" {
		t.Errorf("the rest is %q", got)
	}
}
