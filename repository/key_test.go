package repository_test

import (
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
)

func TestKeys(t *testing.T) {
	whole := segSize.Range(4097)
	for want, o := range map[storage.Key]repository.WALObject{
		"7/wal/00000001/000000010000000100000001.zst":                                        object(repository.KindSegment, 1, segSize, whole),
		"7/wal/00000001/000000010000000100000001.part/0000000100100000-0000000100100010.zst": object(repository.KindPiece, 1, segSize, r(whole.Start, whole.Start+16)),
	} {
		o.SystemID = 7
		got := repository.WALKey(o, compression.Zstd())
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if err := got.Validate(); err != nil {
			t.Error(err)
		}
		e, ok := repository.ParseWALKey(segSize, got)
		if !ok || e.Kind != o.Kind || e.Range != o.Range || e.Timeline != 1 {
			t.Errorf("got %+v, %t", e, ok)
		}
	}
}

func FuzzWALKey(f *testing.F) {
	f.Add("7/wal/00000001/000000010000000100000001.zst")
	f.Add("7/wal/00000001/000000010000000100000001.part/0000000100100000-0000000100100010.s2")
	f.Fuzz(func(t *testing.T, s string) {
		e, ok := repository.ParseWALKey(segSize, storage.Key(s))
		if !ok {
			return
		}
		codec, err := compression.BySuffix(s)
		if err != nil {
			t.Fatal(err)
		}
		o := repository.WALObject{SystemID: 7, Timeline: e.Timeline, SegmentSize: segSize, Kind: e.Kind, Range: e.Range}
		if got := repository.WALKey(o, codec); got != storage.Key(s) {
			t.Errorf("got %s, want %s", got, s)
		}
	})
}
