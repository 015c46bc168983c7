package archiver

import (
	"time"

	"github.com/pgark/pgark/wal"
)

// covered finds, by this host's clock, an instant up to which all that the server had flushed is durable. Each message names the end of the
// server's WAL; once all before that end is durable, the instant is that at which the message was sent. Pure.
type covered struct {
	ends  []mark        // ends that are not durable yet, ascending
	apart time.Duration // of which one is noted at least
	until time.Time
	delay delay
}

const (
	// endsApart is how far apart two ends are noted at least, and mostEnds how many are: of more every second is forgotten, and those that
	// come are noted half as often, until all is durable again. The instant is found that much later.
	endsApart = time.Second / 10
	mostEnds  = 4096
)

// heard takes the end that a message named, which the server sent at its time sent and which was read at now.
func (c *covered) heard(end wal.LSN, sent wal.Time, now time.Time) {
	at := now
	if sent != 0 {
		at = now.Add(-c.delay.of(sent.Go(), now))
	}
	n := len(c.ends)
	if n == 0 {
		c.apart = endsApart
	}
	switch {
	case n > 0 && end <= c.ends[n-1].lsn:
		c.ends[n-1].time = later(c.ends[n-1].time, at)
		return
	case n > 0 && at.Sub(c.ends[n-1].time) < c.apart:
		return
	case n == mostEnds:
		kept := c.ends[:0]
		for i := 1; i < n; i += 2 {
			kept = append(kept, c.ends[i])
		}
		c.ends, c.apart = kept, 2*c.apart
	}
	c.ends = append(c.ends, mark{lsn: end, time: at})
}

// durable takes how far WAL is durable, and returns the instant; zero if none is known.
func (c *covered) durable(lsn wal.LSN) time.Time {
	for len(c.ends) > 0 && c.ends[0].lsn <= lsn {
		c.until = later(c.until, c.ends[0].time)
		c.ends = c.ends[1:]
	}
	return c.until
}

// delay tells how long a message lay about before it was read, which it does where nobody reads because the store takes nothing. The
// clocks of server and host may differ: what they differ by, and the way, is what the quickest message of the last minutes took.
type delay struct {
	least, before time.Duration // of the last minutes, and of those before them
	turned        time.Time     // when least began to be measured
}

// delayOver is for how long a quickest message counts at least. A clock that was set is noticed after twice that.
const delayOver = 5 * time.Minute

func (d *delay) of(sent, read time.Time) time.Duration {
	took := read.Sub(sent)
	switch {
	case d.turned.IsZero():
		d.least, d.before, d.turned = took, took, read
	case read.Sub(d.turned) > delayOver:
		d.before, d.least, d.turned = d.least, took, read
	}
	d.least = min(d.least, took)
	return took - min(d.least, d.before)
}
