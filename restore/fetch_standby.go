package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// standbySegment serves a segment to a standby. Near the end of the archive that asks every few seconds for the same segment,
// and each answer costs it the writing of a whole file: it gets one only if there is more than it was given last.
func (f *fetcher) standbySegment(ctx context.Context, r reader, id wal.SegmentID) (FetchResult, error) {
	given := f.given()
	if given > 0 {
		end, err := r.end(ctx, id)
		if err != nil {
			return 0, err
		}
		if end <= given {
			return FetchAbsent, nil
		}
	}
	plain, err := r.read(ctx, id)
	if errors.Is(err, repository.ErrNoWAL) {
		return r.absent(ctx, id)
	}
	if err != nil {
		return 0, err
	}
	if len(plain) == int(f.size) { // there may be more behind it
		f.spool.ahead(ctx, r, id)()
	}
	if err := f.handOver(f.size, bytes.NewReader(plain)); err != nil {
		return 0, err
	}
	if err := install(f.path, plain, int64(f.size)); err != nil {
		return 0, err
	}
	f.give(f.size.Start(id.Number) + wal.LSN(len(plain)))
	return FetchFound, nil
}

// end returns where the archive's part of a segment ends, by a listing; its start if there is nothing.
func (r reader) end(ctx context.Context, id wal.SegmentID) (wal.LSN, error) {
	var objects []repository.Entry
	for e, err := range r.cluster.ListWAL(ctx, id.Timeline, r.size.Start(id.Number)) {
		if err != nil {
			return 0, err
		}
		if r.size.Number(e.Range.Start) != id.Number {
			break
		}
		objects = append(objects, e)
	}
	end := r.size.Start(id.Number)
	for _, e := range repository.Assemble(end, objects) {
		end = e.Range.End
	}
	return end, nil
}

// given returns up to where the standby has this segment from us, 0 if it does not have it any more.
func (f *fetcher) given() wal.LSN {
	b, err := os.ReadFile(filepath.Join(f.spool.dir, tailName))
	if err != nil {
		return 0
	}
	var name, lsn string
	if n, _ := fmt.Sscan(string(b), &name, &lsn); n != 2 || name != f.name {
		return 0
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(f.path), f.name)); errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	end, err := wal.ParseLSN(lsn)
	if err != nil {
		return 0
	}
	return end
}

// give notes up to where the standby has this segment. Without the note it is given once more.
func (f *fetcher) give(end wal.LSN) {
	note := filepath.Join(f.spool.dir, tailName)
	if os.MkdirAll(f.spool.dir, 0o700) == nil && writeFile(note+lockSuffix, []byte(f.name+" "+end.String()), 0) == nil {
		_ = os.Rename(note+lockSuffix, note)
	}
}
