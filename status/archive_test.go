package status_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/status"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

const (
	system  = wal.SystemID(7)
	segSize = wal.DefaultSegmentSize
	stored  = 500 // bytes of a WAL object behind its header
)

// walName is a WAL object: a whole segment, or a piece of it if it has a range.
type walName struct {
	tli   wal.TimelineID
	seg   wal.SegmentNumber
	piece wal.Range
	// sealed objects are encrypted; nothing reads their headers.
	sealed bool
}

func compareNames(a, b walName) int {
	whole := func(n walName) int { // a piece sorts before its segment: ".part" < ".zst"
		if n.piece.Empty() {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.tli, b.tli), cmp.Compare(a.seg, b.seg), cmp.Compare(whole(a), whole(b)), cmp.Compare(a.piece.Start, b.piece.Start), cmp.Compare(len(suffix(a)), len(suffix(b))))
}

func suffix(n walName) string {
	if n.sealed {
		return ".zst.age"
	}
	return ".zst"
}

// archive is a store that has the names of millions of WAL objects, and makes their headers as they are read. Everything else lies in memory. It counts requests as S3
// would have them, a thousand keys to a page, and answers each after a delay.
type archive struct {
	*memory.Store

	wal      []walName // in the order of their keys
	sealed   bool      // of what is put from now on
	delay    time.Duration
	requests atomic.Int64
}

func newArchive(tb testing.TB) (*archive, *repository.Cluster) {
	tb.Helper()
	a := &archive{Store: memory.New()}
	r, err := repository.Create(context.Background(), a)
	if err != nil {
		tb.Fatal(err)
	}
	return a, r.Cluster(system)
}

func (a *archive) key(n walName) storage.Key {
	key := fmt.Sprintf("%s/wal/%s/%s", system, n.tli, segSize.FileName(wal.SegmentID{Timeline: n.tli, Number: n.seg}))
	if !n.piece.Empty() {
		key += ".part/" + n.piece.Start.Hex() + "-" + n.piece.End.Hex()
	}
	return storage.Key(key + suffix(n))
}

// put adds WAL objects, in any order.
func (a *archive) put(names ...walName) {
	for _, n := range names {
		n.sealed = a.sealed
		a.wal = append(a.wal, n)
	}
	slices.SortFunc(a.wal, compareNames)
	a.wal = slices.Compact(a.wal)
}

// segments adds the whole segments [from, to).
func (a *archive) segments(tli wal.TimelineID, from, to wal.SegmentNumber) {
	var names []walName
	for n := from; n < to; n++ {
		names = append(names, walName{tli: tli, seg: n})
	}
	a.put(names...)
}

// lose removes the WAL objects for which it returns true.
func (a *archive) lose(which func(walName) bool) { a.wal = slices.DeleteFunc(a.wal, which) }

// spans is what a survey must find: what the names themselves say.
func (a *archive) spans() []status.Span {
	var spans []status.Span
	for _, n := range a.wal {
		r := n.piece
		if r.Empty() {
			r = segSize.Range(n.seg)
		}
		i := len(spans) - 1
		if i < 0 || spans[i].Timeline != n.tli || r.Start > spans[i].End {
			spans = append(spans, status.Span{Timeline: n.tli, Start: r.Start})
			i++
		}
		spans[i].End = max(spans[i].End, r.End)
		spans[i].Stored += repository.HeaderSize + stored
		spans[i].Objects++
	}
	return spans
}

func (a *archive) ask(ctx context.Context) error {
	a.requests.Add(1)
	if a.delay == 0 {
		return nil
	}
	timer := time.NewTimer(a.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

const page = 1000

// List implements storage.Store.
func (a *archive) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		given := 0
		give := func(info storage.Info) bool {
			if given%page == 0 {
				if err := a.ask(ctx); err != nil {
					yield(storage.Info{}, err)
					return false
				}
			}
			given++
			return yield(info, nil)
		}
		at, _ := slices.BinarySearchFunc(a.wal, max(prefix, after), func(n walName, k storage.Key) int { return strings.Compare(string(a.key(n)), string(k)) })
		next := func() (storage.Key, bool) {
			for ; at < len(a.wal); at++ {
				if key := a.key(a.wal[at]); key > after {
					return key, strings.HasPrefix(string(key), string(prefix))
				}
			}
			return "", false
		}
		key, more := next()
		walOf := func() bool {
			ok := give(storage.Info{Key: key, Size: repository.HeaderSize + stored, Modified: time.Unix(0, 0)})
			at++
			key, more = next()
			return ok
		}
		for info, err := range a.Store.List(ctx, prefix, after) {
			if err != nil {
				yield(info, err)
				return
			}
			for more && key < info.Key {
				if !walOf() {
					return
				}
			}
			if !give(info) {
				return
			}
		}
		for more {
			if !walOf() {
				return
			}
		}
		if given == 0 {
			_ = a.ask(ctx)
		}
	}
}

// Folders implements storage.Folderer.
func (a *archive) Folders(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Key, error] {
	return func(yield func(storage.Key, error) bool) {
		if err := a.ask(ctx); err != nil {
			yield("", err)
			return
		}
		a.Store.Folders(ctx, prefix, after)(yield) // nobody asks it for those of WAL
	}
}

// Get implements storage.Store.
func (a *archive) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	if err := a.ask(ctx); err != nil {
		return nil, err
	}
	i, found := slices.BinarySearchFunc(a.wal, key, func(n walName, k storage.Key) int { return strings.Compare(string(a.key(n)), string(k)) })
	if found && a.wal[i].sealed {
		return nil, storage.ErrNotFound
	}
	if found {
		header, err := headerOf(a.wal[i])
		if err != nil {
			return nil, err
		}
		if span.Length >= 0 { // otherwise somebody wants the WAL, which is damaged then
			header = header[:min(int64(len(header)), span.Length)]
		}
		return io.NopCloser(bytes.NewReader(header)), nil
	}
	return a.Store.Get(ctx, key, span)
}

// headerOf tells of one transaction in every third segment.
func headerOf(n walName) ([]byte, error) {
	h := repository.Header{
		WALObject: repository.WALObject{SystemID: system, Timeline: n.tli, SegmentSize: segSize, Kind: repository.KindSegment, Range: segSize.Range(n.seg)},
		Stored:    stored,
	}
	if !n.piece.Empty() {
		h.Kind, h.Range = repository.KindPiece, n.piece
	}
	h.Plain = h.Range.Len()
	if n.seg%3 == 0 {
		at := wal.FromGo(time.Unix(int64(n.seg)*15, 0))
		h.Summary = repository.Summary{Ends: 1, FirstXID: 5, LastXID: 5, FirstTime: at, LastTime: at, MinTime: at, MaxTime: at}
	}
	return h.MarshalBinary()
}

// putRecord makes the record of a backup that was taken at a time, and needs a segment of WAL.
func (a *archive) putRecord(tb testing.TB, at time.Time, tli wal.TimelineID, seg wal.SegmentNumber) {
	tb.Helper()
	b := repository.Backup{
		Format: 1, ID: repository.NewBackupID(at), Type: "full", SystemID: system, PGVersionNum: 170006, SegmentSize: segSize, CatalogVersion: 202406281, Timeline: tli,
		StartLSN: segSize.Start(seg) + 0x28, StopLSN: segSize.Start(seg) + 0x130, Started: at.UTC().Truncate(time.Second), Stopped: at.UTC().Truncate(time.Second).Add(time.Minute),
		Checksums: repository.ChecksumsVerified, Files: 1, Plain: 1 << 30, Stored: 1 << 28, Codec: "zstd", Writer: "test",
		Manifest: repository.StoredObject{Size: 1000},
		Index:    repository.IndexObject{StoredObject: repository.StoredObject{Size: 2000}, Top: repository.StoredObject{Size: 1000}},
	}
	text, err := b.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	a.Replace(storage.Key(fmt.Sprintf("%s/backups/%s/record.json", system, b.ID)), text)
}
