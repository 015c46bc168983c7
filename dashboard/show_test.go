package dashboard_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/dashboard"
	"github.com/pgark/pgark/status"
)

// TestLookAfterFailure: where a repository is made a moment after the first look, nobody is told for long that there is none.
func TestLookAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var made atomic.Bool
		l := dashboard.NewLook(func(context.Context) (status.Report, error) {
			if !made.Load() {
				return status.Report{}, errors.New("no repository here")
			}
			return status.Report{}, nil
		}, nil)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { l.Run(ctx); close(done) }()
		if f := l.Get(ctx); f.Err == nil {
			t.Error("nothing is there, and no error came")
		}
		made.Store(true)
		time.Sleep(time.Second + time.Millisecond)
		if f := l.Get(ctx); f.Report == nil {
			t.Errorf("a second after it was made: %v", f.Err)
		}
		stop()
		<-done
	})
}

// TestLookInDoubt: what was not well at the first look, as where the agent had not begun to receive, is looked at again soon, though nobody asks; what stays so more and more
// rarely, and what is well every five minutes.
func TestLookInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration
		l := dashboard.NewLook(func(context.Context) (status.Report, error) {
			at = append(at, time.Since(began))
			switch len(at) {
			case 1:
				return status.Report{Verdict: status.AtRisk}, nil
			case 2:
				return status.Report{}, errors.New("no answer")
			case 3, 4, 5, 6, 7:
				return status.Report{Verdict: status.Unprotected}, nil
			case 9:
				return status.Report{Verdict: status.AtRisk}, nil
			}
			return status.Report{Verdict: status.Protected}, nil
		}, nil)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { l.Run(ctx); close(done) }()
		time.Sleep(26 * time.Minute)
		stop()
		<-done
		var between []string
		for i := range at[1:] {
			between = append(between, (at[i+1] - at[i]).String())
		}
		if got := strings.Join(between, " "); got != "10s 20s 40s 1m20s 2m40s 5m0s 5m0s 5m0s 10s 5m0s" {
			t.Errorf("looked after %s", got)
		}
	})
}

// TestShow: a cluster that comes is answered for at once, one that stays keeps its look and its history, and one that goes is not known any more.
func TestShow(t *testing.T) {
	var looks atomic.Int32
	one := cluster("main", status.Report{Verdict: status.Protected}, nil)
	survey := one.Survey
	one.Survey = func(ctx context.Context) (status.Report, error) { looks.Add(1); return survey(ctx) }
	d := dashboard.New(dashboard.Options{Clusters: []dashboard.Cluster{one}})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { d.Run(ctx); close(done) }()
	server := httptest.NewServer(d.Handler())
	t.Cleanup(func() { stop(); <-done; server.Close() })
	if answer, body := get(t, server.URL+"/api/v1/status?cluster=main"); answer.StatusCode != 200 {
		t.Fatalf("%d %s", answer.StatusCode, body)
	}
	if answer, _ := get(t, server.URL+"/api/v1/status?cluster=second"); answer.StatusCode != 400 {
		t.Errorf("one that is not shown: %d", answer.StatusCode)
	}
	again := cluster("main", status.Report{}, errors.New("its own look must stay"))
	again.Restore = "pgark restore --cluster main --now"
	d.Show([]dashboard.Cluster{again, cluster("second", status.Report{Verdict: status.AtRisk}, nil)})
	if answer, body := get(t, server.URL+"/api/v1/status?cluster=second"); answer.StatusCode != 200 || !strings.Contains(body, "at_risk") {
		t.Errorf("one that came: %d %s", answer.StatusCode, body)
	}
	if answer, body := get(t, server.URL+"/api/v1/status?cluster=main"); answer.StatusCode != 200 || !strings.Contains(body, "protected") || looks.Load() != 1 {
		t.Errorf("one that stayed, after %d looks: %d %s", looks.Load(), answer.StatusCode, body)
	}
	if _, body := get(t, server.URL+"/api/v1/site"); !strings.Contains(body, "--cluster main --now") || !strings.Contains(body, "second") {
		t.Errorf("what is shown: %s", body)
	}
	d.Show([]dashboard.Cluster{cluster("second", status.Report{}, nil)})
	if answer, _ := get(t, server.URL+"/api/v1/status?cluster=main"); answer.StatusCode != 400 {
		t.Errorf("one that went: %d", answer.StatusCode)
	}
	if answer, body := get(t, server.URL+"/api/v1/live"); answer.StatusCode != 200 || !strings.HasPrefix(strings.TrimSpace(body), "{") {
		t.Errorf("the one that is left: %d %s", answer.StatusCode, body)
	}
}
