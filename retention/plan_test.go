package retention_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// at is an instant: days since dawn.
func at(days float64) time.Time { return dawn.Add(time.Duration(days * float64(day))) }

// story is a cluster in which a backup was taken on each of the days, a segment of WAL for each, on timeline 1.
func story(days ...float64) retention.Cluster {
	c := retention.Cluster{SystemID: 7000, SegmentSize: segSize, Pins: map[string]repository.Pin{}}
	for i, d := range days {
		r := segSize.Range(wal.SegmentNumber(i + 1))
		c.WAL = append(c.WAL, repository.Entry{
			Key: storage.Key(fmt.Sprint("wal", i)), Kind: repository.KindSegment, Timeline: 1, Range: r, Stored: 1, Modified: at(d),
		})
		b := retention.Backup{Made: at(d), Whole: true, Verified: at(d + 1)}
		b.ID, b.Timeline, b.SegmentSize, b.StartLSN, b.StopLSN = fmt.Sprintf("b%d", i), 1, segSize, r.Start+0x28, r.Start+0x100
		b.Started, b.Stopped, b.Checksums = at(d), at(d), repository.ChecksumsVerified
		c.Backups = append(c.Backups, b)
	}
	return c
}

// said is what a plan says of the first cluster: kept backups with their reasons, and how many segments go.
func said(p retention.Plan) string {
	var words []string
	for _, b := range p.Clusters[0].Backups {
		if len(b.Keep) > 0 {
			words = append(words, strings.Trim(fmt.Sprint(b.ID, b.Keep), "[]"))
		}
	}
	return fmt.Sprintf("%s; WAL goes: %d", strings.Join(words, " | "), len(p.Clusters[0].WAL))
}

// TestPlan is what the model cannot tell: that nothing stays without a reason, and what a clock may do.
func TestPlan(t *testing.T) {
	t.Parallel()
	daily := func() retention.Cluster { return story(0, 1, 2, 3, 4, 5, 6, 7, 8, 9) }
	window := retention.Policy{Window: 3 * day}
	for name, test := range map[string]struct {
		change func(*retention.Cluster)
		policy retention.Policy
		clock  float64
		want   string
	}{
		"a window of three days":           {nil, window, 9, "b6[window | b7[window | b8[window | b9[window; WAL goes: 6"},
		"no window":                        {nil, retention.Policy{}, 9, "none"},
		"grace":                            {nil, retention.Policy{Window: 3 * day, Grace: day}, 9, "b5[grace | b6[window | b7[window | b8[window | b9[window; WAL goes: 5"},
		"the host's clock is a year ahead": {nil, window, 374, "b6[window | b7[window | b8[window | b9[window; WAL goes: 6"},
		"the host's clock is days behind":  {nil, window, 5, "b2[window | b3[window | b4[window | b5[window | b6[window | b7[window | b8[window | b9[window; WAL goes: 2"},
		"the store's clock jumped a year ahead, and what came since was stored then": {func(c *retention.Cluster) {
			for i := 8; i < 10; i++ {
				c.WAL[i].Modified, c.Backups[i].Made = at(float64(365+i)), at(float64(365+i))
			}
		}, window, 374, "b6[window | b7[window | b8[window | b9[window; WAL goes: 6"},
		"a backup that dates itself back": {func(c *retention.Cluster) {
			c.Backups[9].Started, c.Backups[9].Stopped = at(1), at(1)
		}, window, 9, "b6[window | b7[window | b8[window | b9[window; WAL goes: 6"},
		"a backup from the future, then right ones": {func(c *retention.Cluster) {
			c.Backups[2].Started, c.Backups[2].Stopped = at(900), at(900)
		}, window, 9, "b6[window | b7[window | b8[window | b9[window; WAL goes: 6"},
		"the one that would do lacks an object": {
			func(c *retention.Cluster) { c.Backups[6].Whole = false }, window, 9,
			"b5[window | b7[window | b8[window | b9[window; WAL goes: 5",
		},
		"the one that would do has pages with wrong checksums": {
			func(c *retention.Cluster) { c.Backups[6].Checksums = repository.ChecksumsFailed }, window, 9,
			"b5[window | b7[window | b8[window | b9[window; WAL goes: 5",
		},
		"a pin, and one that has ended": {func(c *retention.Cluster) {
			c.Pins["b1"] = repository.Pin{Backup: "b1", Number: 1, Change: repository.Pinned}
			c.Pins["b2"] = repository.Pin{Backup: "b2", Number: 1, Change: repository.Pinned, Until: at(8)}
			c.Pins["b3"] = repository.Pin{Backup: "b3", Number: 2, Change: repository.Unpinned}
		}, window, 9, "b1[pin | b6[window | b7[window | b8[window | b9[window; WAL goes: 5"},
		"kept by its record": {
			func(c *retention.Cluster) { c.Backups[0].KeptUntil = at(30) }, window, 9,
			"b0[pin | b6[window | b7[window | b8[window | b9[window; WAL goes: 5",
		},
		"none was proved or verified": {unverified, window, 9, "b5[spare | b6[window | b7[window | b8[window | b9[window; WAL goes: 5"},
		"one was verified, and the newer ones are forged or rotten for all that is known": {func(c *retention.Cluster) {
			unverified(c)
			c.Backups[2].Verified = at(3)
		}, window, 9, "b2[spare | b6[window | b7[window | b8[window | b9[window; WAL goes: 2"},
		"one was proved by a drill of this repository": {func(c *retention.Cluster) {
			unverified(c)
			c.Backups[2].Proved, c.Backups[2].Restored = at(3), at(3)
		}, window, 9, "b2[spare proof | b6[window | b7[window | b8[window | b9[window; WAL goes: 2"},
		"one was proved by a drill of another repository, which says nothing of the bytes here": {func(c *retention.Cluster) {
			unverified(c)
			c.Backups[2].Restored = at(3)
		}, window, 9, "b2[proof | b5[spare | b6[window | b7[window | b8[window | b9[window; WAL goes: 4"},
		"one was verified, and no WAL leads from it any more": {func(c *retention.Cluster) {
			unverified(c)
			c.Backups[2].Verified = at(3)
			c.WAL = slices.Delete(c.WAL, 4, 5)
		}, window, 9, "b5[spare | b6[window | b7[window | b8[window | b9[window; WAL goes: 4"},
		"one was verified two months ago, and none since": {func(c *retention.Cluster) {
			unverified(c)
			c.Backups[2].Verified = at(3 - 60)
		}, window, 9, "b5[spare | b6[window | b7[window | b8[window | b9[window; WAL goes: 5"},
		"the one that would do was found damaged by a verification": {func(c *retention.Cluster) {
			c.Backups[6].Verified, c.Backups[6].Wrong = time.Time{}, true
		}, window, 9, "b5[window | b7[window | b8[window | b9[window; WAL goes: 5"},
		"the last one that was proved": {
			func(c *retention.Cluster) { c.Backups[1].Proved, c.Backups[3].Proved = at(4), at(5) }, window, 9,
			"b3[proof | b6[window | b7[window | b8[window | b9[window; WAL goes: 5",
		},
		"the last one that was proved lacks an object since": {
			func(c *retention.Cluster) {
				c.Backups[1].Proved, c.Backups[3].Proved, c.Backups[3].Whole = at(4), at(5), false
			}, window, 9,
			"b1[proof | b3[proof | b6[window | b7[window | b8[window | b9[window; WAL goes: 4",
		},
		"the first of a week lacks an object, which a copy may have": {
			func(c *retention.Cluster) { c.Backups[0].Whole = false },
			retention.Policy{Window: 3 * day, Weekly: 2},
			9,
			"b0[keep_weekly | b1[keep_weekly | b4[keep_weekly | b6[window | b7[window | b8[window | b9[window; WAL goes: 3",
		},
		"the first of a week has pages with wrong checksums, which nothing heals": {
			func(c *retention.Cluster) { c.Backups[0].Checksums = repository.ChecksumsFailed },
			retention.Policy{Window: 3 * day, Weekly: 2},
			9,
			"b1[keep_weekly | b4[keep_weekly | b6[window | b7[window | b8[window | b9[window; WAL goes: 4",
		},
		"not too few": {nil, retention.Policy{Window: time.Hour, MinBackups: 3}, 9, "b7[min_backups | b8[window | b9[window; WAL goes: 7"},
		"WAL of a timeline without a history": {func(c *retention.Cluster) {
			c.WAL = append(c.WAL, repository.Entry{Key: "other", Kind: repository.KindSegment, Timeline: 3, Range: segSize.Range(20), Modified: at(9)})
		}, window, 9, "b0[unknown | b1[unknown | b2[unknown | b3[unknown | b4[unknown | b5[unknown | b6[unknown | b7[unknown | b8[unknown | b9[unknown; WAL goes: 0"},
		"a history file with a switch that is not where the record of a backup has it": {func(c *retention.Cluster) {
			c.Backups[9].Timeline, c.Backups[9].History = 2, []byte("1\t0/A00000\tno recovery target specified\n")
			c.Histories = map[wal.TimelineID]wal.History{2: {Timeline: 2, Parents: []wal.Switch{{Timeline: 1, At: 0x200000}}}}
		}, window, 9, "b0[unknown | b1[unknown | b2[unknown | b3[unknown | b4[unknown | b5[unknown | b6[unknown | b7[unknown | b8[unknown | b9[unknown; WAL goes: 0"},
		"a history file with a switch that is not where a later one has it": {func(c *retention.Cluster) {
			c.Histories = map[wal.TimelineID]wal.History{
				2: {Timeline: 2, Parents: []wal.Switch{{Timeline: 1, At: 0x200000}}},
				3: {Timeline: 3, Parents: []wal.Switch{{Timeline: 1, At: 0xA00000}, {Timeline: 2, At: 0xB00000}}},
			}
		}, window, 9, "b0[unknown | b1[unknown | b2[unknown | b3[unknown | b4[unknown | b5[unknown | b6[unknown | b7[unknown | b8[unknown | b9[unknown; WAL goes: 0"},
		"nothing was archived for a month": {func(c *retention.Cluster) {
			c.WAL[9].Modified, c.Backups[9].Made, c.Backups[9].Started, c.Backups[9].Stopped = at(39), at(39), at(39), at(39)
		}, window, 39, "b6[window | b7[window | b8[window | b9[window; WAL goes: 6"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := daily()
			if test.change != nil {
				test.change(&c)
			}
			plan := retention.Make(&retention.Catalog{Clusters: []retention.Cluster{c}}, test.policy, at(test.clock))
			got := "none"
			if len(plan.Clusters) > 0 {
				got = said(plan)
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// unverified is a cluster of which nobody verified anything.
func unverified(c *retention.Cluster) {
	for i := range c.Backups {
		c.Backups[i].Verified = time.Time{}
	}
}

// TestCalendar: the first backup of each period stays, counted from now on backwards, and none with a made-up date takes its place.
func TestCalendar(t *testing.T) {
	t.Parallel()
	var days []float64
	for d := range 120 { // 2026-01-01 is a Thursday
		days = append(days, float64(d)+0.1, float64(d)+0.6)
	}
	c := story(days...)
	forged := c.Backups[239]
	forged.ID, forged.Started, forged.Stopped = "forged", at(59.0), at(59.0)
	c.Backups = append(c.Backups, forged)
	policy := retention.Policy{Window: day, Daily: 3, Weekly: 3, Monthly: 3, Yearly: 2, MinBackups: 1}
	plan := retention.Make(&retention.Catalog{Clusters: []retention.Cluster{c}}, policy, at(119.7))
	var got []string
	for _, b := range plan.Clusters[0].Backups {
		if len(b.Keep) > 0 && !slices.Contains(b.Keep, retention.KeptWindow) {
			got = append(got, fmt.Sprint(b.Made.Format("Mon 01-02 15"), b.Keep))
		}
	}
	want := []string{
		"Thu 01-01 02[keep_yearly]", "Sun 02-01 02[keep_monthly]", "Sun 03-01 02[keep_monthly]", "Wed 04-01 02[keep_monthly]", "Mon 04-13 02[keep_weekly]", "Mon 04-20 02[keep_weekly]", "Mon 04-27 02[keep_weekly]",
		"Tue 04-28 02[keep_daily]", "Wed 04-29 02[keep_daily]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v,\nwant %v", got, want)
	}
}

// TestUpgrade: a cluster that another took over keeps nothing but what is pinned, and what lay in it goes with it; not before the window is the other's.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		clock float64
		want  string
	}{
		{6, "b1[window | b2[window | b3[window; WAL goes: 1"},
		{20, "; WAL goes: 4"},
	} {
		old := story(0, 1, 2, 3)
		old.Others = []repository.Object{{Key: "history", Class: repository.ClassHistory}}
		var later []float64
		for d := 3.5; d <= test.clock; d++ {
			later = append(later, d)
		}
		next := story(later...)
		next.SystemID++
		plan := retention.Make(&retention.Catalog{Clusters: []retention.Cluster{old, next}}, retention.Policy{Window: 4 * day, MinBackups: 2}, at(test.clock))
		if got := said(plan); got != test.want {
			t.Errorf("on day %g: got %s, want %s", test.clock, got, test.want)
		}
		if gone := slices.Contains(retention.Keys(&plan.Clusters[0]), "history"); gone != plan.Clusters[0].Retired {
			t.Errorf("on day %g: its history goes: %t", test.clock, gone)
		}
	}
}

// TestPinAfterABrokenRun: an expiry record names a backup that is there all the same, because whoever let it go was killed. One that was pinned since keeps its pin.
func TestPinAfterABrokenRun(t *testing.T) {
	t.Parallel()
	c := story(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	c.Expiry = repository.Expiry{Backups: []string{"b1", "b2", "gone"}}
	for _, id := range []string{"b1", "b2", "gone"} {
		c.Others = append(c.Others, repository.Object{Key: storage.Key("pin of " + id), Class: repository.ClassPin, Backup: id})
	}
	c.Pins["b1"] = repository.Pin{Backup: "b1", Number: 1, Change: repository.Pinned}
	c.Pins["b2"] = repository.Pin{Backup: "b2", Number: 1, Change: repository.Unpinned}
	plan := retention.Make(&retention.Catalog{Clusters: []retention.Cluster{c}}, retention.Policy{Window: 3 * day}, at(9))
	if got, want := said(plan), "b1[pin | b6[window | b7[window | b8[window | b9[window; WAL goes: 5"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for id, goes := range map[string]bool{"b1": false, "b2": true, "gone": true} {
		if slices.Contains(retention.Keys(&plan.Clusters[0]), storage.Key("pin of "+id)) != goes {
			t.Errorf("the pin of %s goes: want %t", id, goes)
		}
	}
}

// TestNewClusterBegins: one whose history files alone are there yet, beside the one that it follows, is not taken for one that was left.
func TestNewClusterBegins(t *testing.T) {
	t.Parallel()
	old := story(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	next := retention.Cluster{SystemID: old.SystemID + 1, Histories: map[wal.TimelineID]wal.History{2: {Timeline: 2, Parents: []wal.Switch{{Timeline: 1, At: wal.LSN(segSize)}}}}}
	next.Others = []repository.Object{{Key: "history", Class: repository.ClassHistory, Timeline: 2, Modified: at(8.9)}}
	plan := retention.Make(&retention.Catalog{Clusters: []retention.Cluster{old, next}}, retention.Policy{Window: 3 * day}, at(9))
	if keys := retention.Keys(&plan.Clusters[1]); plan.Clusters[1].Retired || len(keys) > 0 {
		t.Errorf("of the new one goes %v", keys)
	}
}
