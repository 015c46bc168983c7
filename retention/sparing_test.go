package retention_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// every is a cluster of so many days, with base backups so many days apart and WAL of four segments a day.
func every(apart, days int) retention.Cluster {
	c := retention.Cluster{SystemID: 7000, SegmentSize: segSize, Pins: map[string]repository.Pin{}}
	for i := range 4*days + 2 { // the last comes half a day after the last backup
		d, r := float64(i)/4, segSize.Range(wal.SegmentNumber(i+1))
		c.WAL = append(c.WAL, repository.Entry{
			Key: storage.Key(fmt.Sprint("wal", i)), Kind: repository.KindSegment, Timeline: 1, Range: r, Stored: 1, Modified: at(d),
		})
		if i%(4*apart) > 0 || i > 4*days {
			continue
		}
		b := retention.Backup{Made: at(d), Whole: true, Verified: at(d + 0.1)}
		b.ID, b.Timeline, b.SegmentSize, b.StartLSN, b.StopLSN = fmt.Sprintf("b%d", i), 1, segSize, r.Start+0x28, r.Start+0x100
		b.Started, b.Stopped, b.Checksums = at(d), at(d), repository.ChecksumsVerified
		c.Backups = append(c.Backups, b)
	}
	return c
}

// TestSparing: what was mistyped is refused when nobody looks on (T3), and what comes every day is not.
func TestSparing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		apart, days int // between backups, and until the last
		policy      retention.Policy
		want        bool
	}{
		{"daily backups, two weeks", 1, 15, retention.Policy{Window: 14 * day}, false},
		{"daily backups, a week, no run for a week", 1, 15, retention.Policy{Window: 7 * day}, false},
		{"daily backups, hours for days", 1, 15, retention.Policy{Window: 14 * time.Hour}, true},
		{"daily backups, hours for days, and all are kept for their days", 1, 15, retention.Policy{Window: 14 * time.Hour, Daily: 30}, true},
		{"daily backups, a day", 1, 2, retention.Policy{Window: day}, false},
		{"daily backups, a day, and a run was missed", 1, 3, retention.Policy{Window: day}, false},
		{"weekly backups, two weeks", 7, 28, retention.Policy{Window: 14 * day}, false},
		{"four weekly backups, hours for days", 7, 21, retention.Policy{Window: 14 * time.Hour}, true},
		{"five weekly backups, hours for days", 7, 28, retention.Policy{Window: 14 * time.Hour}, true},
		{"three weekly backups, hours for days", 7, 14, retention.Policy{Window: 11 * time.Hour}, true},
		{"weekly backups, hours for days, and all are kept for their weeks", 7, 28, retention.Policy{Window: 14 * time.Hour, Weekly: 8}, true},
		{"weekly backups, a day", 7, 7, retention.Policy{Window: 10 * time.Hour}, false},
	} {
		c, clock := every(tt.apart, tt.days), float64(tt.days)+0.5
		for d := range 4*tt.days + 3 {
			c.Beats = append(c.Beats, repository.Object{Class: repository.ClassBeat, Modified: at(float64(d) / 4)})
		}
		p := retention.Make(&retention.Catalog{Clusters: []retention.Cluster{c}}, tt.policy, at(clock))
		if !p.Removes() && tt.want {
			t.Errorf("%s: nothing goes", tt.name)
		}
		if got := retention.TooMuch(p); got != tt.want {
			t.Errorf("%s: too much is %t, want %t: %s of %d", tt.name, got, tt.want, said(p), len(c.WAL))
		}
	}
}
