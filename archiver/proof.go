package archiver

import (
	"time"

	"github.com/pgark/pgark/wal"
)

// proof finds the times at which the server provably had no WAL past what is
// here, from its keepalives (docs/decisions/0001-coverage-beats.md). Pure.
//
// A keepalive tells how far the walsender has sent, not how far the server
// has written. The walsender looks for new WAL once a turn of its loop, but a
// turn that begins with unsent output, such as the keepalive itself, does not
// look (WalSndLoop, src/backend/replication/walsender.c). So after a keepalive
// at least one turn looks before the second next keepalive is sent: when three
// in a row name the same end and no WAL came between them, nothing lay past
// that end at the time of the first.
type proof struct {
	first, second keepalive // the last two in a row, with the same end
	proved        keepalive // the newest time proved; zero if none
}

// keepalive is what the server said at a time.
type keepalive struct {
	end  wal.LSN
	time wal.Time
}

// data says that WAL came: what keepalives said before counts no more.
func (p *proof) data() { p.first, p.second = keepalive{}, keepalive{} }

// alive takes a keepalive, when every byte before received has come.
func (p *proof) alive(k keepalive, received wal.LSN) {
	switch {
	case k.end != received, k.time == 0:
		p.data()
		return
	case p.first.time != 0:
		p.proved = p.first
	}
	p.first, p.second = p.second, k
}

// beats decides when a proof is worth a beat. Pure.
type beats struct {
	every time.Duration
	last  time.Time // when the last beat was asked for
	done  keepalive // what it said
}

// due returns the beat to put now: proved is durable, says something new, and
// the last one is long enough ago.
func (b *beats) due(proved keepalive, durable wal.LSN, now time.Time) (keepalive, bool) {
	if now.Before(b.last.Add(b.every)) {
		return keepalive{}, false
	}
	return b.final(proved, durable, now)
}

// final is due without regard to time, for the last beat before the end.
func (b *beats) final(proved keepalive, durable wal.LSN, now time.Time) (keepalive, bool) {
	// A beat's name holds whole seconds.
	const second = wal.Time(time.Second / time.Microsecond)
	if proved.time == 0 || proved.end > durable || proved.time/second <= b.done.time/second {
		return keepalive{}, false
	}
	b.last, b.done = now, proved
	return proved, true
}
