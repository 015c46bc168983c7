package repository_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// distant is a store some way off.
type distant struct {
	storage.Store

	away time.Duration
	gets int // of objects of contents
}

func (d *distant) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	time.Sleep(d.away)
	if key != "pgark.json" {
		d.gets++
	}
	return d.Store.Get(ctx, key, span)
}

// TestSourcesNear: objects come from the nearest repository that holds them whole, where that is clear; one that is behind is no damage, and what it holds damaged is told of where it was asked.
func TestSourcesNear(t *testing.T) {
	for name, tt := range map[string]struct {
		primary, dr time.Duration
		want        []string
	}{
		"an ocean away":       {90 * time.Millisecond, 2 * time.Millisecond, []string{"dr", "primary"}},
		"the other way round": {2 * time.Millisecond, 90 * time.Millisecond, []string{"primary", "dr"}},
		"the moment's luck":   {20 * time.Millisecond, 4 * time.Millisecond, []string{"primary", "dr"}},
		"both far":            {90 * time.Millisecond, 60 * time.Millisecond, []string{"primary", "dr"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				whole, want := archive(t)
				behind := whole.Clone()
				var bad storage.Key
				for _, key := range behind.Keys() {
					switch {
					case strings.HasSuffix(string(key), "/000000010000000000000002.zst"):
						bad = key
						text := behind.Bytes(key)
						text[len(text)/2] ^= 1
						behind.Replace(key, text)
					case strings.HasSuffix(string(key), "/000000010000000000000003.zst"):
						if err := behind.Delete(t.Context(), key); err != nil {
							t.Fatal(err)
						}
					}
				}
				primary, dr := &distant{Store: whole, away: tt.primary}, &distant{Store: behind, away: tt.dr}
				c, s := sources(t, primary, dr)
				if got, err := readAll(t, c); err != nil || got != want {
					t.Fatalf("got %v\n%s\nwant\n%s", err, got, want)
				}
				if got := s.Order(); !slices.Equal(got, tt.want) {
					t.Errorf("got order %v, want %v", got, tt.want)
				}
				primary.gets, dr.gets = 0, 0
				if _, err := c.ReadSegment(t.Context(), segSize, wal.SegmentID{Timeline: 1, Number: 1}); err != nil {
					t.Error(err)
				}
				if fromCopy := dr.gets > 0; fromCopy != (tt.want[0] == "dr") || dr.gets > 0 && primary.gets > 0 {
					t.Errorf("got %d reads of the primary and %d of the copy", primary.gets, dr.gets)
				}
				if _, err := c.ReadSegment(t.Context(), segSize, wal.SegmentID{Timeline: 1, Number: 3}); err != nil {
					t.Error(err)
				}
				list, all := s.Substitutes()
				if tt.want[0] == "primary" && all > 0 || tt.want[0] == "dr" && (all != 1 || list[0].Key != bad || list[0].Source != "primary") {
					t.Errorf("one object of the copy is damaged, and one not there yet: got %+v", list)
				}
			})
		})
	}
}
