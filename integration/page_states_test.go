package integration_test

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgark/pgark/cost"
	"github.com/pgark/pgark/dashboard"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
)

// pageState is one way in which a cluster may stand, as the API tells it.
type pageState struct {
	name    string
	reports []status.Report // one for each cluster
	err     error           // instead
	live    *status.Live    // nil: no agent is at work, as for a fleet
	past    *dashboard.History

	// then is how it stands after a flip.
	then     *status.Report
	thenLive *status.Live
}

func of[T any](v T) *T { return &v }

// pageNow is the instant of all states: documents are fixed but for it.
func pageNow() time.Time { return time.Now().UTC().Truncate(time.Second) }

// healthyReport is a cluster with two copies, a gap of long ago and drills.
func healthyReport(now time.Time) status.Report {
	from := now.Add(-14*24*time.Hour + 22*time.Minute)
	hole := now.Add(-6*24*time.Hour - 7*time.Hour)
	r := status.Report{
		Cluster: "main", Repository: "s3://acme-pg/main?region=eu-west-1", SystemID: 7423474350493388827, Now: now,
		Verdict: status.Protected, Causes: []status.Cause{}, RPO: of(0.0), RPOTarget: 5, RTOTarget: 900, Unprotected: of(0.0),
		Server: &status.Server{
			Address: "prod-db-1:5432", Version: "17.6", Timeline: 4, Flush: 0x1A38F2A1C40,
			Slot: &status.Slot{Name: "pgark", Exists: true, Retained: 3_200_000, Active: of(true), WALStatus: "reserved", Limit: of(int64(64e9)), DiskFree: of(int64(412e9))},
		},
		WAL: []status.Span{}, Orphans: []status.Orphan{},
		Window: []status.Interval{{From: from, Until: hole}, {From: hole.Add(7*time.Minute + 12*time.Second), Until: now.Add(-2 * time.Second)}},
		Gaps:   []status.Gap{{From: hole, Until: hole.Add(7*time.Minute + 12*time.Second), Timeline: 4, Start: 1, End: 2, Cause: "slot-lost", Detail: "a new base backup ended it"}},
		Stored: status.Stored{WAL: 213e9, Backups: 686e9}, DurableUntil: of(now.Add(-2 * time.Second)), Behind: of(int64(0)),
		RecoverableFrom: &from, RecoverableUntil: of(now.Add(-2 * time.Second)),
	}
	r.Server.Slot.Bound = &status.Bound{By: status.BoundByServer, Limit: 64e9, Left: 63_996_800_000}
	for i := range 8 {
		stopped := from.Add(time.Duration(i) * 48 * time.Hour)
		if i == 4 {
			stopped = hole.Add(7*time.Minute + 12*time.Second)
		}
		if stopped.After(now) {
			break
		}
		b := status.Backup{
			ID: stopped.Add(-6 * time.Minute).Format("20060102T150405Z"), Type: "full", Started: stopped.Add(-6*time.Minute - 12*time.Second), Stopped: stopped,
			Version: 170006, Timeline: 4, Plain: 405e9 + int64(i)*1e9, Stored: 96e9 + int64(i)*3e8, Checksums: "verified", Restorable: true,
		}
		if i == 0 {
			b.Pinned, b.KeptUntil = true, of(now.AddDate(1, 0, 0))
		}
		if i >= 5 {
			b.Drill = &status.BackupDrill{ID: b.ID, RTO: 221 + float64(i)}
		}
		r.Backups = append(r.Backups, b)
	}
	for i := range 10 {
		at := now.Add(-time.Duration(10-i)*24*time.Hour + 4*time.Hour)
		d := status.Drill{
			ID: at.Format("20060102T150405Z"), Started: at, Result: repository.DrillPassed, RTO: of(200 + 25*math.Sin(float64(i)) + 3*float64(i)),
			DataLoss: of(0.01), Fetch: 161, Replay: 54, Opening: 6, Plain: 411e9,
		}
		if i == 3 {
			d.Result, d.RTO, d.DataLoss, d.Phase, d.Failure = repository.DrillFailed, nil, nil, "checks", "query orders_recent: got f, want t"
		}
		r.Drills = append(r.Drills, d)
	}
	r.Drill = &r.Drills[len(r.Drills)-1]
	for _, d := range r.Drills {
		r.DrillReports = append(r.DrillReports, drillReport(d))
	}
	r.Cost = cost.Of(billedPlaces(r), cost.Habits{Every: time.Second, Looks: true})
	for i, url := range []string{"s3://acme-pg/main?region=eu-west-1", "s3://acme-pg-dr/main?region=us-east-1"} {
		c := status.Copy{Name: []string{"primary", "dr"}[i], Repository: url, Until: r.RecoverableUntil, Behind: of(2.1 * float64(i)), BehindBytes: of(int64(i) * 480_000), Backups: len(r.Backups), Stored: r.Stored}
		r.Copies = append(r.Copies, c)
	}
	return r
}

// drillReport is the whole report of a drill.
func drillReport(d status.Drill) repository.Drill {
	whole := repository.Drill{
		ID: d.ID, Started: d.Started, Ended: d.Started.Add(9 * time.Minute), Host: "dr-db-1", Repository: "dr", Result: d.Result, Phase: d.Phase, Failure: d.Failure,
		Target: repository.DrillTarget{Asked: "random", Time: d.Started.Add(-70 * time.Hour)}, Backup: "20261116T020000Z", ServerVersion: "17.6", Timeline: 4,
		StartLSN: 0x19FD2000028, Until: 0x1A38E90F2B8, LastCommit: &repository.DrillCommit{XID: 88120077, Time: d.Started.Add(-70*time.Hour - 10*time.Millisecond), LSN: 0x1A38E90F200},
		Plan: repository.DrillPlanned{Seconds: 0.4}, Fetch: repository.DrillFetched{Seconds: 161, Files: 20_412, Bytes: d.Plain, Stored: 98e9},
		Replay: repository.DrillReplayed{Seconds: 54, Segments: 1284, Bytes: 21_541_945_344}, Open: repository.DrillOpened{Seconds: 6}, RTOTarget: 900,
		Checks: []repository.DrillCheck{
			{Kind: repository.CheckPages, Result: repository.CheckPassed, Count: 53_861_120, Seconds: 212},
			{Kind: repository.CheckAmcheck, Result: repository.CheckPassed, Count: 1204, Seconds: 31},
			{Kind: repository.CheckSQL, Name: "orders_recent", Result: repository.CheckPassed, Want: "t", Got: "t"},
		},
		Notes: []string{"logical replication slots are not restored"},
	}
	if d.RTO != nil {
		whole.RTO, whole.DataLoss = repository.Seconds(*d.RTO), of(repository.Seconds(*d.DataLoss))
	} else {
		whole.Checks[2].Result, whole.Checks[2].Got = repository.CheckFailed, "f"
	}
	return whole
}

// billedPlaces is what the repositories of a report hold and get, at Amazon in two regions.
func billedPlaces(r status.Report) []cost.Repository {
	var all []cost.Repository
	for i, name := range []string{"primary", "dr"} {
		all = append(all, cost.Repository{
			Name: name, Far: of(i > 0), Records: len(r.Backups), Kept: []cost.Kept{{Kind: cost.Backups, Bytes: r.Stored.Backups}, {Kind: cost.WAL, Bytes: r.Stored.WAL}},
			Rates: cost.Rates{WAL: of(460e9), Objects: of(92_000.0), Backups: of(1_500e9)},
		})
	}
	return all
}

func healthyLive(now time.Time) status.Live {
	return status.Live{
		Cluster: "main", Now: now, Began: now.Add(-26 * time.Hour), State: "streaming", Since: of(now.Add(-25 * time.Hour)), Leader: true,
		Until: of(now), CaughtUp: true, RPO: of(0.4), Slot: healthyReport(now).Server.Slot, SlotSeen: of(now),
		Repositories: []status.LiveRepository{{Name: "primary", Up: of(true)}, {Name: "dr", Up: of(true)}},
		Jobs:         []status.Job{{ID: 9, Kind: status.JobBackup, Began: now.Add(-3*time.Minute - 20*time.Second), Phase: "copy", Done: 293e9, Total: 412e9}},
		Ended: []status.Job{
			{ID: 8, Kind: status.JobDrill, Began: now.Add(-8 * time.Hour), Ended: of(now.Add(-7*time.Hour - 50*time.Minute)), Result: status.JobDone, Subject: "20261120T030000Z", RTO: of(221.0)},
			{ID: 7, Kind: status.JobVerify, Began: now.Add(-9 * time.Hour), Ended: of(now.Add(-8*time.Hour - 30*time.Minute)), Result: status.JobDone, Detail: "sound"},
			{ID: 6, Kind: status.JobPrune, Began: now.Add(-10 * time.Hour), Ended: of(now.Add(-10 * time.Hour)), Result: status.JobDone},
		},
	}
}

// pastOf is a day with a small outage in it, as far as so many minutes back.
func pastOf(now time.Time, minutes int) *dashboard.History {
	h := &dashboard.History{}
	for i := minutes; i > 0; i-- {
		rpo := of(0.4 + 0.3*math.Abs(math.Sin(float64(i)/37)))
		switch {
		case i > 500 && i < 520:
			rpo = of(float64(520-i) * 12)
		case i > 900 && i < 930:
			rpo = nil
		}
		h.Add(now.Add(-time.Duration(i)*time.Minute), rpo)
	}
	return h
}

// pageStates are those that the page is looked at in.
func pageStates() []pageState {
	now := pageNow()
	since := now.Add(-4*time.Minute - 12*time.Second)

	risk := healthyReport(now)
	risk.Verdict, risk.RPO, risk.Behind = status.AtRisk, of(252.0), of(int64(6.4e9))
	risk.Window[1].Until, risk.RecoverableUntil, risk.DurableUntil = since, &since, &since
	risk.Causes = []status.Cause{
		{What: "the repository refuses WAL: put 7423474350493388827/wal/00000004/…: s3://acme-pg: access denied (403 AccessDenied)", Since: &since, Fix: "pgark repo policy s3://acme-pg/main"},
		{What: "the server keeps 38.4 GB of WAL for slot pgark and reaches max_slot_wal_keep_size (64 GB) in about 38 min: then the server removes WAL that is not archived", Since: &since, Fix: "pgark check"},
	}
	risk.Server.Slot.Retained, risk.Server.Slot.Bound = 38.4e9, &status.Bound{By: status.BoundByServer, Limit: 64e9, Left: 25.6e9, Seconds: of(2280.0)}
	riskLive := healthyLive(now)
	riskLive.RPO, riskLive.CaughtUp, riskLive.Until, riskLive.Slot, riskLive.Jobs = of(252.0), false, &since, risk.Server.Slot, []status.Job{}
	riskLive.Ended = append([]status.Job{{ID: 9, Kind: status.JobBackup, Began: since, Ended: of(now.Add(-time.Minute)), Result: status.JobFailed, Detail: "put pack 00017: s3://acme-pg: access denied (403 AccessDenied)"}}, riskLive.Ended...)

	gap := healthyReport(now)
	lost := now.Add(-31 * time.Hour)
	gap.Verdict, gap.RPO = status.AtRisk, of(now.Sub(lost).Seconds())
	gap.Window[1].Until, gap.RecoverableUntil = lost, &lost
	gap.OpenGap = &status.Gap{From: lost, Until: now, Timeline: 4, Start: 1, End: 2, Cause: "slot-lost"}
	for len(gap.Backups) > 0 && gap.Backups[len(gap.Backups)-1].Stopped.After(lost) {
		gap.Backups = gap.Backups[:len(gap.Backups)-1]
	}
	gap.Causes = []status.Cause{{What: "WAL 19F/D2000000 to 1A0/12000000 on timeline 4 was lost (slot lost): what was written since can be restored only once a new base backup is there; the agent takes one", Since: &lost, Fix: "pgark backup"}}
	gapLive := healthyLive(now)
	gapLive.RPO, gapLive.Until, gapLive.CaughtUp = nil, nil, false

	none := status.Report{
		Cluster: "main", Repository: "file:///srv/archive", SystemID: 7423474350493388827, Now: now, Verdict: status.Unprotected, RPOTarget: 30,
		Causes:  []status.Cause{{What: "there is no base backup: nothing can be restored", Fix: "pgark backup"}},
		Backups: []status.Backup{}, WAL: []status.Span{}, Window: []status.Interval{}, Gaps: []status.Gap{}, Orphans: []status.Orphan{},
		Server: &status.Server{Address: "127.0.0.1:5432", Version: "15.18", Timeline: 1, Flush: 1, Slot: &status.Slot{Name: "pgark", Exists: false}},
	}
	noneLive := status.Live{Cluster: "main", Now: now, Began: now.Add(-20 * time.Second), State: "connecting", Repositories: []status.LiveRepository{}, Jobs: []status.Job{}, Ended: []status.Job{}}

	fresh := healthyReport(now)
	fresh.Drill, fresh.Drills, fresh.Copies, fresh.Gaps, fresh.RTOTarget = nil, nil, nil, []status.Gap{}, 0
	from := now.Add(-42 * time.Minute)
	fresh.Window, fresh.RecoverableFrom = []status.Interval{{From: from, Until: now}}, &from
	fresh.Backups = []status.Backup{{ID: "20261120T095500Z", Type: "full", Started: from.Add(-25 * time.Second), Stopped: from, Plain: 31e9, Stored: 7.2e9, Checksums: "verified", Restorable: true}}
	fresh.Stored = status.Stored{WAL: 120e6, Backups: 7.2e9}
	fresh.DrillReports, fresh.Cost = nil, cost.Of([]cost.Repository{{Name: "primary", Store: cost.Other}}, cost.Habits{Every: time.Second})
	fresh.Server.Slot.Bound, fresh.Server.Slot.Limit = nil, of(int64(status.NoLimit))
	freshLive := healthyLive(now)
	freshLive.Began, freshLive.Jobs, freshLive.Ended, freshLive.Slot, freshLive.Since = now.Add(-44*time.Minute), []status.Job{}, []status.Job{}, fresh.Server.Slot, of(now.Add(-43*time.Minute))

	other, third := healthyReport(now), risk
	other.Cluster, third.Cluster = "billing", "ledger"
	other.Cost = cost.Of(billedPlaces(other), cost.Habits{Every: time.Second, Synchronous: true})
	other.Gaps, other.Window = []status.Gap{}, []status.Interval{{From: *other.RecoverableFrom, Until: *other.RecoverableUntil}}
	healthy := healthyReport(now)
	return []pageState{
		{name: "healthy", reports: []status.Report{healthy}, live: of(healthyLive(now)), past: pastOf(now, 1440), then: &risk, thenLive: &riskLive},
		{name: "at-risk", reports: []status.Report{risk}, live: &riskLive, past: pastOf(now, 1440)},
		{name: "gap", reports: []status.Report{gap}, live: &gapLive, past: pastOf(now, 1440)},
		{name: "unprotected", reports: []status.Report{none}, live: &noneLive},
		{name: "no-drill", reports: []status.Report{fresh}, live: &freshLive, past: pastOf(now, 44)},
		{name: "fleet", reports: []status.Report{other, healthyReport(now), third}},
		{name: "no-answer", reports: []status.Report{{Cluster: "main"}}, err: errors.New("open repository s3://acme-pg/main: no such bucket"), live: of(healthyLive(now)), past: pastOf(now, 1440)},
	}
}

// pageLog is what the agent of two clusters logged.
const pageLog = `{"time":"2026-11-20T10:40:01.204Z","level":"INFO","msg":"a base backup begins","cluster":"main","backup":"20261120T104001Z"}
{"time":"2026-11-20T10:40:07.000Z","level":"WARN","msg":"of another cluster","cluster":"billing"}
{"time":"2026-11-20T10:41:31.880Z","level":"INFO","msg":"packs are stored","cluster":"main","packs":17,"bytes":293000000000}
`

// servePage shows a state until the test ends: at /flip it becomes the next one, and at /stop nobody answers any more, both as an agent does.
func servePage(t testing.TB, s pageState) (page *httptest.Server, flip *httptest.Server) {
	t.Helper()
	var flipped atomic.Bool
	var clusters []dashboard.Cluster
	for _, r := range s.reports {
		c := dashboard.Cluster{
			Name: r.Cluster, Restore: "pgark restore --repo '" + r.Repository + "'", History: s.past,
			Survey: func(context.Context) (status.Report, error) {
				if flipped.Load() && s.then != nil {
					return *s.then, nil
				}
				return r, s.err
			},
		}
		if s.live != nil {
			c.Live = func() status.Live {
				l := *s.live
				if flipped.Load() && s.thenLive != nil {
					l = *s.thenLive
				}
				l.Now = time.Now().UTC()
				return l
			}
		}
		clusters = append(clusters, c)
	}
	site := dashboard.New(dashboard.Options{Clusters: clusters, Version: "1.0.0", Guard: dashboard.Guard{Loopback: true}})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { site.Run(ctx); close(done) }()
	answers := http.NewServeMux()
	answers.Handle("/", site.Handler())
	answers.HandleFunc("/api/v1/log", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(pageLog)) })
	page = httptest.NewServer(answers)
	flip = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stop" {
			stop()
			<-done
			page.CloseClientConnections()
			_ = page.Listener.Close()
			return
		}
		flipped.Store(true)
		site.Tell(status.Event{Kind: status.EventGap, Cluster: s.reports[0].Cluster, Time: time.Now(), Text: "now"})
	}))
	t.Cleanup(func() { stop(); <-done; flip.Close(); page.Close() })
	return page, flip
}
