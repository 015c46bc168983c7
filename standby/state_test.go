package standby_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/standby"
	"github.com/pgark/pgark/wal"
)

// TestJudge guards I31: a standby at the end of the archive is told apart from one that will never be newer, whatever both look like from outside.
func TestJudge(t *testing.T) {
	at := time.Date(2026, 11, 20, 10, 41, 0, 0, time.UTC)
	const mb = 1 << 20
	first := wal.History{Timeline: 1}
	second := wal.History{Timeline: 2, Parents: []wal.Switch{{Timeline: 1, At: 50 * mb}}}
	third := wal.History{Timeline: 3, Parents: []wal.Switch{{Timeline: 2, At: 50 * mb}}}
	server := standby.Standing{At: at, SystemID: 7, InRecovery: true, Timeline: 1, Replayed: 40 * mb, LastCommit: at.Add(-3 * time.Second), Streams: true}
	archive := standby.Archive{SystemID: 7, History: first, End: 40 * mb, LastCommit: at.Add(-3 * time.Second), Beat: at.Add(-time.Second), BeatAt: 40 * mb, Seen: at.Add(-time.Second)}

	for _, c := range []struct {
		name   string
		server func(before, now *standby.Standing)
		repo   func(*standby.Archive)
		away   bool
		want   standby.Judgement
		says   string
	}{
		{
			name: "at the end", want: standby.Judgement{State: standby.AtEnd, LateKnown: true, Until: at.Add(-time.Second), Promotion: &standby.Promotion{Open: 3 * time.Second}},
		},
		{
			name: "at the end, no beat since the last commit", repo: func(a *standby.Archive) { a.Beat = at.Add(-time.Minute) },
			want: standby.Judgement{State: standby.AtEnd, LateKnown: true, Until: at.Add(-3 * time.Second), Promotion: &standby.Promotion{Open: 3 * time.Second}},
		},
		{
			name: "at the end, the beat tells of WAL that is not there", repo: func(a *standby.Archive) { a.BeatAt = 41 * mb },
			want: standby.Judgement{State: standby.AtEnd, LateKnown: true, Until: at.Add(-3 * time.Second), Promotion: &standby.Promotion{Open: 3 * time.Second}},
		},
		{
			name: "ahead of the archive, by a stream from the primary", server: func(_, now *standby.Standing) { now.Replayed += mb },
			want: standby.Judgement{State: standby.AtEnd, LateKnown: true, Until: at.Add(-time.Second), Promotion: &standby.Promotion{Open: 3 * time.Second}},
		},
		{
			name: "all commits but not all bytes: a record is cut at the end", repo: func(a *standby.Archive) { a.End += 9000; a.BeatAt = a.End },
			want: standby.Judgement{State: standby.AtEnd, Bytes: 9000, LateKnown: true, Until: at.Add(-time.Second), Promotion: &standby.Promotion{Open: 3 * time.Second}},
		},
		{
			name: "all commits, and replay goes on", repo: func(a *standby.Archive) { a.End += 2 * mb },
			server: func(before, _ *standby.Standing) { before.Replayed -= mb; before.At = at.Add(-500 * time.Millisecond) },
			want: standby.Judgement{
				State: standby.Behind, Bytes: 2 * mb, LateKnown: true, Until: at.Add(-3 * time.Second),
				Promotion: &standby.Promotion{Bytes: 2 * mb, Rate: 2 * mb, Replay: time.Second, Open: 3 * time.Second},
			},
		},
		{
			name: "much without a commit that does not move", repo: func(a *standby.Archive) { a.End += 16 * mb },
			want: standby.Judgement{State: standby.Behind, Bytes: 16 * mb, LateKnown: true, Until: at.Add(-3 * time.Second)},
		},
		{
			name: "commits are lacking", repo: func(a *standby.Archive) { a.End += mb; a.LastCommit = at },
			want: standby.Judgement{State: standby.Behind, Bytes: mb, Late: 3 * time.Second, LateKnown: true, Until: at.Add(-3 * time.Second)},
		},
		{
			name: "just started: no commit is known", repo: func(a *standby.Archive) { a.End += mb }, server: func(_, now *standby.Standing) { now.LastCommit = time.Time{} },
			want: standby.Judgement{State: standby.Behind, Bytes: mb},
		},
		{
			name: "stuck at a hole", repo: func(a *standby.Archive) { a.Beyond, a.Lost = 48*mb, "slot lost" },
			want: standby.Judgement{State: standby.AtGap, LateKnown: true, Until: at.Add(-3 * time.Second)}, says: "hole from 0/2800000 to 0/3000000 (slot lost)",
		},
		{
			name: "stuck at a hole within a record", repo: func(a *standby.Archive) { a.End += 9000; a.Beyond, a.LastCommit = 48*mb, time.Time{} },
			want: standby.Judgement{State: standby.AtGap, Bytes: 9000, Until: at.Add(-3 * time.Second)}, says: "hole from 0/2802328",
		},
		{
			name: "a hole ahead", repo: func(a *standby.Archive) { a.End += mb; a.Beyond = 48 * mb; a.LastCommit = at },
			server: func(before, _ *standby.Standing) { before.Replayed -= mb; before.At = at.Add(-time.Second) },
			want: standby.Judgement{
				State: standby.Behind, Bytes: mb, Late: 3 * time.Second, LateKnown: true, Until: at.Add(-3 * time.Second),
				Promotion: &standby.Promotion{Bytes: mb, Rate: mb, Replay: time.Second, Open: 3 * time.Second},
			}, says: "ahead of it: the archive has a hole",
		},
		{
			name: "a timeline that left ours before our place", repo: func(a *standby.Archive) { a.History = second }, server: func(_, now *standby.Standing) { now.Replayed = 51 * mb },
			want: standby.Judgement{State: standby.Foreign, Until: at.Add(-3 * time.Second)}, says: "left timeline 1 at 0/3200000, before the standby's place 0/3300000",
		},
		{
			name: "a timeline that left ours at our place", repo: func(a *standby.Archive) { a.History, a.End = second, 50*mb }, server: func(_, now *standby.Standing) { now.Replayed = 50 * mb },
			want: standby.Judgement{State: standby.AtEnd, LateKnown: true, Until: at.Add(-time.Second), Promotion: &standby.Promotion{Open: 3 * time.Second}},
		},
		{
			name: "a timeline that does not come from ours", repo: func(a *standby.Archive) { a.History = third },
			want: standby.Judgement{State: standby.Foreign, Until: at.Add(-3 * time.Second)}, says: "from which the archive's newest, 3, does not come",
		},
		{
			name: "a timeline that the archive does not have", server: func(_, now *standby.Standing) { now.Timeline = 4 },
			want: standby.Judgement{State: standby.Foreign, Until: at.Add(-3 * time.Second)}, says: "it is on timeline 4, and the archive's newest is 1",
		},
		{
			name: "another cluster", repo: func(a *standby.Archive) { a.SystemID = 8 },
			want: standby.Judgement{State: standby.Foreign, Until: at.Add(-3 * time.Second)}, says: "the archive is of cluster 8",
		},
		{
			name: "paused", server: func(_, now *standby.Standing) { now.Paused = true }, repo: func(a *standby.Archive) { a.End += mb; a.LastCommit = at },
			want: standby.Judgement{State: standby.Paused, Bytes: mb, Late: 3 * time.Second, LateKnown: true, Until: at.Add(-3 * time.Second)}, says: "pg_wal_replay_resume()",
		},
		{
			name: "paused at the end", server: func(_, now *standby.Standing) { now.Paused = true },
			want: standby.Judgement{State: standby.Paused, LateKnown: true, Until: at.Add(-3 * time.Second)}, says: "pg_wal_replay_resume()",
		},
		{
			name: "promoted", server: func(_, now *standby.Standing) { now.InRecovery, now.Timeline = false, 2 },
			want: standby.Judgement{State: standby.Primary, Until: at}, says: "writes timeline 2",
		},
		{
			name: "the store is away", away: true,
			want: standby.Judgement{State: standby.Unknown, Until: at.Add(-3 * time.Second)}, says: "does not answer",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			now, a := server, archive
			before := now
			before.At = at.Add(-300 * time.Millisecond)
			if c.server != nil {
				c.server(&before, &now)
				if before.Replayed == server.Replayed {
					before.Replayed = now.Replayed // it stands still
				}
			}
			if c.repo != nil {
				c.repo(&a)
			}
			seen := &a
			if c.away {
				seen = nil
			}
			got := standby.Judge(before, now, seen)
			if !strings.Contains(got.Reason, c.says) || (c.says == "") != (got.Reason == "") {
				t.Errorf("reason %q, want %q in it", got.Reason, c.says)
			}
			if (got.Promotion == nil) != (c.want.Promotion == nil) || got.Promotion != nil && *got.Promotion != *c.want.Promotion {
				t.Errorf("promotion %+v, want %+v", got.Promotion, c.want.Promotion)
			}
			got.Reason, got.Promotion, c.want.Promotion = "", nil, nil
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if ready := got.State == standby.AtEnd || got.State == standby.Behind; got.State.Ready() != ready || ready && got.State.Stuck() {
				t.Errorf("state %s: ready %v, stuck %v", got.State, got.State.Ready(), got.State.Stuck())
			}
		})
	}
}
