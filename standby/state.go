package standby

import (
	"fmt"
	"time"

	"github.com/pgark/pgark/wal"
)

// State says in a word how a standby stands to the archive that it follows.
type State string

// The states.
const (
	// AtEnd: all that the archive holds is replayed.
	AtEnd State = "at-end"
	// Behind: there is more in the archive, and nothing keeps the standby from it.
	Behind State = "behind"
	// AtGap: the archive has a hole where the standby is. It answers queries, and will never be newer.
	AtGap State = "at-gap"
	// Foreign: the archive goes on on a timeline that does not come from what the standby replayed.
	Foreign State = "foreign"
	// Paused: replay was paused.
	Paused State = "paused"
	// Primary: the server is no standby any more: it was promoted.
	Primary State = "primary"
	// Unknown: the archive does not answer.
	Unknown State = "unknown"
)

// Ready reports whether a server in this state may be promoted without losing what the archive holds, once it has replayed that.
func (s State) Ready() bool { return s == AtEnd || s == Behind }

// Stuck reports whether a server in this state never gets newer by itself.
func (s State) Stuck() bool { return s == AtGap || s == Foreign || s == Paused }

// Standing is what a server says of itself at one instant.
type Standing struct {
	At         time.Time // when it said so, by this host's clock
	SystemID   wal.SystemID
	InRecovery bool
	Timeline   wal.TimelineID // whose WAL it replays; of a primary whose WAL it writes
	Replayed   wal.LSN        // end of the last record that was replayed; of a primary of what was written
	LastCommit time.Time      // of the last transaction that was replayed since the server started; zero: none was
	Streams    bool           // it has a walreceiver
	Paused     bool           // replay was paused, by somebody or by the server
}

// Archive is what a repository says for a standby at a place.
type Archive struct {
	SystemID wal.SystemID
	History  wal.History // of the newest timeline
	// End is how far WAL goes on from the standby's place, on the way to the newest timeline, without a hole; the place itself if it does not.
	End wal.LSN
	// Beyond is where it goes on behind a hole at End; 0: there is none.
	Beyond wal.LSN
	// Lost says why there is a hole, if that is on record.
	Lost string
	// LastCommit is of the last transaction in the WAL that the standby lacks, or in the object that it stands in; zero: none is known.
	LastCommit time.Time
	// Beat is an instant at which the primary had written nothing behind BeatAt, zero if none is known; Seen is when the archive last heard of the primary at all.
	Beat   time.Time
	BeatAt wal.LSN
	Seen   time.Time
}

// Judgement is how a standby stands.
type Judgement struct {
	State State
	// Reason says what the state is due to, in words; empty where the state says all.
	Reason string
	// Bytes is how much WAL of the archive is not replayed, without what lies behind a hole. 0 if nothing is known of the archive.
	Bytes uint64
	// Late is how much older the last commit that was replayed is than the last one in the archive, if both are known: 0 at its end.
	Late      time.Duration
	LateKnown bool
	// Until is an instant by which all that the primary had committed is here; zero: none is known. It is no newer than what the archive has.
	Until time.Time
	// Promotion is what a promotion would take; nil where the state does not allow one, or the rate of replay is not known.
	Promotion *Promotion
}

// Promotion estimates how long a promotion takes.
type Promotion struct {
	Bytes  uint64        // to be replayed first
	Rate   float64       // bytes a second that were replayed just now; 0: there is nothing to replay
	Replay time.Duration // Bytes at Rate
	Open   time.Duration // openCost
}

// Total is the whole.
func (p Promotion) Total() time.Duration { return p.Replay + p.Open }

// openCost is what a promotion takes beside replay: the follower's look that shows that nothing more comes, the standby's last tries at the archive,
// a second each (its wal_retrieve_retry_interval), and the end of recovery, which writes one record and no checkpoint.
const openCost = 3 * time.Second

// nearEnd is how much a standby may lack at the end of the archive, in bytes: the archive may end within a record, of which it can replay nothing.
const nearEnd = 16 << 20

// Judge says how a standby stands by two looks at it, the archive seen between them; nil: it did not answer.
func Judge(before, now Standing, a *Archive) Judgement {
	switch {
	case !now.InRecovery:
		return Judgement{State: Primary, Reason: fmt.Sprintf("it was promoted: it writes timeline %d", uint32(now.Timeline)), Until: now.At}
	case a == nil:
		return Judgement{State: Unknown, Reason: "the archive does not answer", Until: now.LastCommit}
	}
	if reason := a.foreign(now); reason != "" {
		return Judgement{State: Foreign, Reason: reason, Until: now.LastCommit}
	}
	j := Judgement{State: Behind, Bytes: uint64(max(a.End, now.Replayed) - now.Replayed), Until: now.LastCommit}
	still := now.Replayed == before.Replayed
	j.setLate(now, a)
	switch {
	case now.Paused: // also by the server, where the primary has raised a limit that it has not
		j.State, j.Reason = Paused, "replay is paused: its log may say why; select pg_wal_replay_resume() lets it go on"
	case a.Beyond != 0 && (j.Bytes == 0 || still && j.Bytes < nearEnd):
		j.State, j.Reason = AtGap, a.hole()
	case j.Bytes == 0, still && j.Bytes < nearEnd && j.LateKnown && j.Late == 0:
		j.State, j.Late, j.LateKnown = AtEnd, 0, true
		if a.BeatAt <= a.End && a.Beat.After(j.Until) {
			j.Until = a.Beat
		}
	case a.Beyond != 0:
		j.Reason = "ahead of it: " + a.hole()
	}
	if j.State.Ready() {
		j.Promotion = promotion(before, now, j)
	}
	return j
}

// setLate compares the last commits.
func (j *Judgement) setLate(now Standing, a *Archive) {
	switch {
	case j.Bytes == 0:
		j.LateKnown = true
	case !now.LastCommit.IsZero() && !a.LastCommit.IsZero():
		j.Late, j.LateKnown = max(a.LastCommit.Sub(now.LastCommit), 0), true
	}
}

// foreign returns why the archive's newest timeline does not come from what the standby replayed; "" if it does.
func (a *Archive) foreign(s Standing) string {
	newest := uint32(a.History.Timeline)
	if a.SystemID != s.SystemID {
		return fmt.Sprintf("the archive is of cluster %s, the server of cluster %s", a.SystemID, s.SystemID)
	}
	own, ok := a.History.RangeOf(s.Timeline)
	switch {
	case !ok && s.Timeline > a.History.Timeline:
		return fmt.Sprintf("it is on timeline %d, and the archive's newest is %d", uint32(s.Timeline), newest)
	case !ok:
		return fmt.Sprintf("it is on timeline %d, from which the archive's newest, %d, does not come", uint32(s.Timeline), newest)
	case s.Replayed > own.End:
		return fmt.Sprintf("timeline %d, the archive's newest, left timeline %d at %s, before the standby's place %s", newest, uint32(s.Timeline), own.End, s.Replayed)
	}
	return ""
}

// hole says where the archive lacks WAL.
func (a *Archive) hole() string {
	text := fmt.Sprintf("the archive has a hole from %s to %s", a.End, a.Beyond)
	if a.Lost != "" {
		text += " (" + a.Lost + ")"
	}
	return text
}

// promotion estimates from how far replay came between two looks.
func promotion(before, now Standing, j Judgement) *Promotion {
	p := &Promotion{Open: openCost}
	if j.State == AtEnd {
		return p
	}
	took := now.At.Sub(before.At)
	if now.Replayed <= before.Replayed || took <= 0 {
		return nil
	}
	p.Bytes, p.Rate = j.Bytes, float64(now.Replayed-before.Replayed)/took.Seconds()
	p.Replay = time.Duration(float64(p.Bytes) / p.Rate * float64(time.Second))
	return p
}
