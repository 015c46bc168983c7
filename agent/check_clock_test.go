package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/limit"
	"github.com/pgark/pgark/storage/memory"
)

func TestJudgeClock(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		ahead, within time.Duration
		want          Verdict
		text          string
	}{
		{0, 500 * ms, Good, "the store's clock agrees with this host's, to within 500ms"},
		{-400 * ms, 600 * ms, Good, "with this host's, to within 600ms"},
		{3 * ms, ms, Good, "3ms ahead of this host's, give or take 1ms"},
		{-900 * ms, ms, Good, "900ms behind this host's"},
		{1400 * ms, 500 * ms, Good, "1.4s ahead of"}, // it may be no more than a second
		{1600 * ms, 500 * ms, Warning, "1.6s ahead of"},
		{-14 * time.Minute, 600 * ms, Warning, "14m0s behind this host's"},
	} {
		f := judgeClock(SectionStorage, "the store's", tt.ahead, tt.within)
		if f.Verdict != tt.want || !strings.Contains(f.Text, tt.text) || (f.Verdict == Warning) != (f.Fix != "") {
			t.Errorf("%s, give or take %s: got %+v, want %s, %q", tt.ahead, tt.within, f, tt.want, tt.text)
		}
	}
}

// TestJudgeWalsenders: the agent's own is counted where it is not at work yet, and a base backup's always.
func TestJudgeWalsenders(t *testing.T) {
	for _, tt := range []struct {
		free   int
		atWork bool
		want   Verdict
	}{{8, false, Good}, {2, false, Good}, {1, false, Warning}, {0, false, Warning}, {1, true, Good}, {0, true, Warning}} {
		f := walsenders{most: 10, free: tt.free, atWork: tt.atWork}.judge()
		if f.Verdict != tt.want || !strings.Contains(f.Text, "of 10 walsenders are free") || (f.Verdict == Warning) != (f.Fix != "") {
			t.Errorf("%d free, at work %t: got %+v, want %s", tt.free, tt.atWork, f, tt.want)
		}
	}
}

// TestMorePuts: how long a put takes is told of several, of which nothing stays; where the credential may not delete, or objects are locked, of one alone.
func TestMorePuts(t *testing.T) {
	store := memory.New()
	p := &checkedPlace{place: place{name: "primary", url: "s3://b/main", store: &Store{Store: limit.Wrap(store, limit.Options{})}}}
	took := p.more(t.Context(), trip{put: time.Hour})
	if len(took) != probePuts || took[probePuts-1] != time.Hour || len(store.Keys()) != 0 {
		t.Errorf("got %s, and %q are left", took, store.Keys())
	}
	if text := took.String(); !strings.Contains(text, "at most 1h0m0s (8 tried)") {
		t.Errorf("got %q", text)
	}
	if took = p.more(t.Context(), trip{put: time.Second, kept: true}); took.String() != "1s" {
		t.Errorf("may not delete: got %s", took)
	}
	p.lock = storage.Lock{Mode: storage.Governance, For: 24 * time.Hour}
	if took = p.more(t.Context(), trip{put: time.Second}); len(took) != 1 || store.Count(memory.Put, "*") != probePuts-1 {
		t.Errorf("locked: got %s", took)
	}
}
