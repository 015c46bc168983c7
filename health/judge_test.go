package health_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/health"
	"github.com/pgark/pgark/standby"
	"github.com/pgark/pgark/status"
)

// good is what an agent knows where all is well, a second ago.
func good(now time.Time) health.Facts {
	before := now.Add(-time.Second)
	return health.Facts{
		Server: health.Server{Seen: before, SystemID: 7, Timeline: 2},
		Archive: health.Archive{
			SystemID: 7, Compared: true, Streaming: true, Turned: before, BackedUp: true,
			Exposure: status.Exposure{Until: before}, Stored: before, Every: time.Second,
		},
	}
}

// TestAnswers holds what each question is answered: an unknown fact, or an old one, is never a good answer.
func TestAnswers(t *testing.T) {
	now := time.Now()
	primary := func(f health.Facts) health.Answer { return f.Primary(now) }
	rpo := func(within time.Duration) func(health.Facts) health.Answer {
		return func(f health.Facts) health.Answer { return f.RPO(now, within) }
	}
	lag := func(most time.Duration) func(health.Facts) health.Answer {
		return func(f health.Facts) health.Answer { return f.Following(now, most) }
	}
	follows := func(behind time.Duration) health.Facts {
		return health.Facts{
			Server:  health.Server{Seen: now.Add(-time.Second), Recovery: true, SystemID: 7, Timeline: 2},
			Standby: health.Standby{State: standby.AtEnd, Until: now.Add(-behind)},
		}
	}
	ready := func(f health.Facts) health.Answer { return f.Ready(now) }
	alive := func(f health.Facts) health.Answer { return f.Alive(now) }
	as := func(change func(*health.Facts)) health.Facts {
		f := good(now)
		change(&f)
		return f
	}
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	tests := []struct {
		name string
		ask  func(health.Facts) health.Answer
		f    health.Facts
		want string // + or -, whether all is well, and what the answer begins with
	}{
		{"primary", primary, good(now), "+PRIMARY timeline=2 seen=1.0s"},
		{"nothing known", primary, health.Facts{}, "-UNREACHABLE the server has not answered"},
		{"standby", primary, as(func(f *health.Facts) { f.Server.Recovery = true }), "-STANDBY timeline=2"},
		{"last look failed", primary, as(func(f *health.Facts) { f.Server.Failed = true }), "-UNREACHABLE"},
		{"looks hang", primary, as(func(f *health.Facts) { f.Server.Seen = ago(21 * time.Second) }), "-UNREACHABLE the server does not answer; seen=21.0s"},
		{"a look is late", primary, as(func(f *health.Facts) { f.Server.Seen = ago(19 * time.Second) }), "+PRIMARY"},
		{"fenced", primary, as(func(f *health.Facts) { f.Archive.Fenced = true }), "-FENCED"},
		{"not compared since the start", primary, as(func(f *health.Facts) { f.Archive.Compared = false }), "-UNKNOWN"},
		{"another cluster", primary, as(func(f *health.Facts) { f.Server.SystemID = 8 }), "-UNKNOWN"},
		{"the store is away, the primary is not", primary, as(func(f *health.Facts) {
			f.Archive.Stored, f.Archive.Refused, f.Archive.Streaming = ago(time.Hour), true, false
		}), "+PRIMARY"},

		{"standby that follows", lag(0), follows(4 * time.Second), "+STANDBY lag=4.0s max=60.0s state=at-end seen=1.0s"},
		{"as asked", lag(3 * time.Second), follows(4 * time.Second), "-BEHIND lag=4.0s max=3.0s state=at-end"},
		{"far behind", lag(0), follows(time.Hour), "-BEHIND lag=3600.0s max=60.0s"},
		{"a primary is none", lag(0), good(now), "-PRIMARY timeline=2"},
		{"a standby that follows no archive", lag(0), as(func(f *health.Facts) { f.Server.Recovery = true }), "-UNKNOWN lag=unknown state=unknown"},
		{"nothing known of a standby", lag(0), health.Facts{}, "-UNREACHABLE"},
		{"standby that does not answer", lag(0), health.Facts{Server: health.Server{Seen: ago(time.Minute), Recovery: true}, Standby: follows(0).Standby}, "-UNREACHABLE"},
		{"standby is no primary", primary, follows(0), "-STANDBY timeline=2"},

		{"rpo", rpo(0), good(now), "+PROTECTED rpo=1.0s max=30.0s"},
		{"rpo by the objective", rpo(0), as(func(f *health.Facts) { f.Target = 500 * time.Millisecond }), "-AT RISK rpo=1.0s max=0.5s"},
		{"rpo as asked", rpo(5 * time.Second), as(func(f *health.Facts) { f.Target = 500 * time.Millisecond }), "+PROTECTED rpo=1.0s max=5.0s"},
		{"caught up", rpo(time.Millisecond), as(func(f *health.Facts) { f.Archive.Exposure.CaughtUp = true }), "+PROTECTED rpo=0.0s"},
		{"rpo missed", rpo(0), as(func(f *health.Facts) { f.Archive.Exposure.Until = ago(31 * time.Second) }), "-AT RISK rpo=31.0s max=30.0s"},
		{"nothing known of it", rpo(0), health.Facts{}, "-UNPROTECTED rpo=unknown"},
		{"no base backup", rpo(0), as(func(f *health.Facts) { f.Archive.BackedUp = false }), "-UNPROTECTED"},
		{"WAL lost", rpo(0), as(func(f *health.Facts) { f.Archive.Lost = true }), "-AT RISK rpo=unknown: WAL was lost"},
		{"nothing durable yet", rpo(0), as(func(f *health.Facts) { f.Archive.Exposure = status.Exposure{} }), "-AT RISK rpo=unknown"},
		{"clocks far apart", rpo(0), as(func(f *health.Facts) { f.Archive.Exposure.Until = now.Add(time.Hour) }), "-AT RISK rpo=unknown"},
		{"fenced, rpo", rpo(0), as(func(f *health.Facts) { f.Archive.Fenced = true }), "-UNPROTECTED"},

		{"ready", ready, good(now), "+READY stored=1.0s"},
		{"not connected", ready, health.Facts{}, "-WAITING no WAL comes"},
		{"nothing stored yet", ready, as(func(f *health.Facts) { f.Archive.Stored = time.Time{} }), "-WAITING the repository has taken nothing"},
		{"refused", ready, as(func(f *health.Facts) { f.Archive.Refused = true }), "-WAITING the repository refuses"},
		{"store hangs", ready, as(func(f *health.Facts) { f.Archive.Stored = ago(32 * time.Second) }), "-WAITING the repository takes nothing; stored=32.0s"},
		{"seldom put", ready, as(func(f *health.Facts) { f.Archive.Stored, f.Archive.Every = ago(59*time.Minute), time.Hour }), "+READY"},
		{"stopping", ready, as(func(f *health.Facts) { f.Archive.Stopping = true }), "-STOPPING"},
		{"fenced, ready", ready, as(func(f *health.Facts) { f.Archive.Fenced = true }), "-FENCED"},

		{"alive", alive, good(now), "+ALIVE"},
		{"alive before anything answered", alive, health.Facts{}, "+ALIVE"},
		{"alive while all is away", alive, as(func(f *health.Facts) {
			f.Archive.Streaming, f.Archive.Refused, f.Server.Failed, f.Archive.Turned = false, true, true, ago(time.Hour)
		}), "+ALIVE"},
		{"stuck", alive, as(func(f *health.Facts) { f.Archive.Turned = ago(61 * time.Second) }), "-STUCK"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := test.ask(test.f)
			if good := test.want[0] == '+'; !strings.HasPrefix(got.Text, test.want[1:]) || got.OK != good {
				t.Errorf("got %t %q, want %q", got.OK, got.Text, test.want)
			}
		})
	}
}
