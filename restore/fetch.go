package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// FetchResult is what became of a file that the server asked for.
type FetchResult uint8

// The results. The zero value is none, so that forgetting one never reads as
// the end of WAL.
const (
	// FetchFound says that the file is in place, whole.
	FetchFound FetchResult = iota + 1
	// FetchAbsent says that the archive was reached and proves that the file
	// is not in it and lies past the end of its timeline, or past
	// FetchOptions.Until. The server ends recovery there.
	FetchAbsent
)

// Exit codes of a restore_command. The server takes 1 to 125 for "no such
// file": it ends recovery and opens what it has. From 126 on it gives up
// (RestoreArchivedFile in src/backend/access/transam/xlogarchive.c and
// wait_result_is_any_signal in src/common/wait_error.c).
const (
	exitFound  = 0
	exitAbsent = 1
	exitFailed = 200
)

// ExitCode returns what a restore_command exits with: 0, 1 only for proved
// absence, and 200 for everything else. A standby is given 1 for an error too:
// recovery does not end there, and 200 would end the server (WaitForWALToBecomeAvailable
// in src/backend/access/transam/xlogrecovery.c).
func ExitCode(r FetchResult, err error, standby bool) int {
	switch {
	case err != nil && standby:
		return exitAbsent
	case err != nil && absentOnError:
		return exitAbsent
	case err != nil:
		return exitFailed
	case r == FetchFound:
		return exitFound
	case r == FetchAbsent:
		return exitAbsent
	}
	return exitFailed
}

// FetchOptions says what a server that recovers may be given. The zero value
// serves all there is.
type FetchOptions struct {
	// Until is the end of the last byte that may be served, 0 for no limit. The
	// bytes behind it are zero. Timeline is the plan's, which the server follows;
	// it counts only with Until.
	Until    wal.LSN
	Timeline wal.TimelineID
	// SegmentSize saves a request or two if it is known; otherwise 0.
	SegmentSize wal.SegmentSize
	// Ahead is the number of segments read ahead at the same time, into a
	// folder beside the file asked for; 0 for none.
	Ahead int
	// Standby says that the server is a standby, which asks again where there is nothing: it is given the end of the archive once for
	// each time that it grew, and an error need not end the server.
	Standby bool
	// Within is the folder outside of which replay must make no tablespace; empty: it may in any folder that is there and empty. Replaces are folders of tablespaces of the
	// cluster whose place this one takes, which need not be empty.
	Within   string
	Replaces []string
	// Timeout bounds the whole call, 0 for ten minutes, of a standby for half a minute: while it waits it can neither stream nor be promoted.
	Timeout time.Duration
}

// GapError says that WAL is missing which the archive should hold: there is
// more behind it, or the plan counted on it.
type GapError struct {
	File string
	At   wal.LSN // first missing byte
}

// Error names the place.
func (e *GapError) Error() string {
	return fmt.Sprintf("WAL file %s: the archive has a hole at %s", e.File, e.At)
}

// Fetch puts the WAL or history file called name at path, as the server's
// restore_command: under a temporary name first, then renamed, so that it is
// never seen incomplete. Segments that are not complete are padded with zeros
// to their full size. open is called only if the file was not read ahead
// already. An error of any kind is no proof of absence; it is a *TablespaceError
// where replay would make a tablespace in a folder that is not free.
func Fetch(ctx context.Context, open func(context.Context) (*repository.Cluster, error), name, path string, o FetchOptions) (FetchResult, error) {
	timeout := o.Timeout
	if timeout <= 0 {
		timeout = 10 * time.Minute
		if o.Standby {
			timeout = 30 * time.Second
		}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	f := fetcher{name: name, path: path, options: o, spool: newSpool(filepath.Dir(path), o)}
	result, err := f.fetch(ctx, open)
	if err != nil {
		return 0, fmt.Errorf("fetch %s: %w", name, err)
	}
	return result, nil
}

// fetcher serves one file.
type fetcher struct {
	name, path string
	options    FetchOptions
	spool      *spool
	cluster    *repository.Cluster
	size       wal.SegmentSize
}

// segmentNameLen is the length of a WAL segment's file name.
const segmentNameLen = 24

func (f *fetcher) fetch(ctx context.Context, open func(context.Context) (*repository.Cluster, error)) (FetchResult, error) {
	if len(f.name) == segmentNameLen && f.options.Ahead > 0 {
		taken, err := f.spool.take(ctx, f.name, f.path, f.handOver)
		if taken || err != nil {
			return FetchFound, err
		}
	}
	var err error
	if f.cluster, err = open(ctx); err != nil {
		return 0, err
	}
	if tli, err := wal.ParseHistoryFileName(f.name); err == nil {
		return f.history(ctx, tli)
	}
	base, suffix, _ := strings.Cut(f.name, ".")
	if suffix != "" && len(base) == segmentNameLen {
		// 000000010000000000000007.partial and ….00000028.backup: an archive of
		// streamed WAL has none, by its format.
		return FetchAbsent, nil
	}
	f.size = f.options.SegmentSize
	if f.size == 0 {
		if f.size, err = f.cluster.SegmentSize(ctx); err != nil {
			return 0, err
		}
	}
	id, err := f.size.ParseFileName(f.name)
	if err != nil {
		return 0, err
	}
	return f.segment(ctx, id)
}

// history serves a history file. One that should be there and is not is no absence.
func (f *fetcher) history(ctx context.Context, tli wal.TimelineID) (FetchResult, error) {
	_, raw, err := f.cluster.History(ctx, tli)
	if err == nil {
		return FetchFound, install(f.path, raw, int64(len(raw)))
	}
	if !errors.Is(err, repository.ErrNoWAL) {
		return 0, err
	}
	known, err := f.cluster.Timelines(ctx)
	if err != nil {
		return 0, err
	}
	for _, k := range known {
		if k == tli && tli > 1 {
			return 0, fmt.Errorf("timeline %d is archived, but its history file is missing", tli)
		}
	}
	if f.options.Until == 0 || tli <= f.options.Timeline {
		if err := f.cluster.AbsenceProved(); err != nil {
			return 0, err
		}
	}
	if tli > f.options.Timeline {
		f.spool.remove() // the server looks for a number for its new timeline: recovery is over
	}
	return FetchAbsent, nil
}

// segment serves a WAL segment, and reads the next ones ahead.
func (f *fetcher) segment(ctx context.Context, id wal.SegmentID) (FetchResult, error) {
	r := reader{cluster: f.cluster, size: f.size, options: f.options}
	if r.pastEnd(id) {
		return FetchAbsent, nil
	}
	if f.options.Standby {
		return f.standbySegment(ctx, r, id)
	}
	wait := f.spool.ahead(ctx, r, id)
	plain, err := r.read(ctx, id)
	wait()
	if errors.Is(err, repository.ErrNoWAL) {
		return r.absent(ctx, id)
	}
	if err != nil {
		return 0, err
	}
	if err := f.handOver(f.size, bytes.NewReader(plain)); err != nil {
		return 0, err
	}
	return FetchFound, install(f.path, plain, int64(f.size))
}

// handOver judges the segment that was asked for before the server has it.
func (f *fetcher) handOver(size wal.SegmentSize, segment io.ReadSeeker) error {
	id, err := size.ParseFileName(f.name)
	if err != nil {
		return err
	}
	l := landlord{dataDir: filepath.Dir(filepath.Dir(f.path)), within: f.options.Within, replaced: f.options.Replaces}
	return l.handOver(size, id, segment)
}

// reader reads segments as a server may see them.
type reader struct {
	cluster  *repository.Cluster
	size     wal.SegmentSize
	options  FetchOptions
	segments *repository.SegmentReader // nil: each segment has memory of its own
}

// pastEnd reports whether the segment lies past the end that was planned.
func (r reader) pastEnd(id wal.SegmentID) bool {
	return r.options.Until > 0 && r.size.Start(id.Number) >= r.options.Until
}

// readAgain is how often a segment is read again because it seemed to grow
// while it was read.
const readAgain = 3

// read returns the bytes of a segment up to Until, valid until r.segments reads
// the next. ErrNoWAL is not yet proof that recovery may end. The error is a *GapError if bytes are missing that
// must be there.
func (r reader) read(ctx context.Context, id wal.SegmentID) ([]byte, error) {
	start, end := r.size.Start(id.Number), r.size.End(id.Number)
	segments := r.segments
	if segments == nil {
		segments = new(repository.SegmentReader)
	}
	for try := 0; ; try++ {
		plain, err := segments.Read(ctx, r.cluster, r.size, id)
		if err != nil {
			return nil, r.damage(ctx, id, err)
		}
		have := start + wal.LSN(len(plain))
		if until := r.options.Until; until > 0 && have >= until {
			return plain[:min(have, until)-start], nil
		}
		if have == end {
			return plain, nil
		}
		gap, err := r.gapAfter(ctx, id, have)
		if err != nil || !gap {
			return plain, err
		}
		if try == readAgain {
			return nil, &GapError{File: r.size.FileName(id), At: have}
		}
	}
}

// gapAfter reports whether the byte at lsn, in the segment, is missing though
// it should be there: a listing of the timeline shows bytes at or behind it, or
// the plan needs it.
func (r reader) gapAfter(ctx context.Context, id wal.SegmentID, lsn wal.LSN) (bool, error) {
	for e, err := range r.cluster.ListWAL(ctx, id.Timeline, r.size.Start(id.Number)) {
		if err != nil {
			return false, err
		}
		if e.Range.End > lsn {
			return true, nil
		}
	}
	return r.planned(ctx, id, lsn)
}

// planned reports whether the plan takes the byte at lsn from this timeline.
func (r reader) planned(ctx context.Context, id wal.SegmentID, lsn wal.LSN) (bool, error) {
	if r.options.Until == 0 || lsn >= r.options.Until || r.options.Timeline == 0 {
		return false, nil
	}
	h, err := r.historyOf(ctx, r.options.Timeline)
	if err != nil {
		return false, err
	}
	last := min(r.size.End(id.Number), r.options.Until) - 1
	return h.TimelineAt(last) == id.Timeline, nil
}

// historyOf returns the ancestry of a timeline.
func (r reader) historyOf(ctx context.Context, tli wal.TimelineID) (wal.History, error) {
	if tli == 1 {
		return wal.History{Timeline: 1}, nil
	}
	h, _, err := r.cluster.History(ctx, tli)
	return h, err
}

// absent judges a segment of whose start a listing shows nothing.
func (r reader) absent(ctx context.Context, id wal.SegmentID) (FetchResult, error) {
	h, err := r.historyOf(ctx, id.Timeline)
	if err == nil {
		if own, ok := h.RangeOf(id.Timeline); ok && r.size.End(id.Number) <= own.Start {
			return FetchAbsent, nil // the timeline had not begun
		}
	} else if !errors.Is(err, repository.ErrNoWAL) {
		return 0, err
	}
	gap, err := r.gapAfter(ctx, id, r.size.Start(id.Number))
	if err != nil {
		return 0, err
	}
	if gap {
		return 0, &GapError{File: r.size.FileName(id), At: r.size.Start(id.Number)}
	}
	if r.options.Until == 0 { // with a plan it is known already what there is
		if err := r.cluster.AbsenceProved(); err != nil {
			return 0, err
		}
	}
	return FetchAbsent, nil
}

// install writes a file of size bytes that begins with b and is zero behind it,
// and renames it to path.
func install(path string, b []byte, size int64) error {
	temporary := path + ".pgark-" + strconv.Itoa(os.Getpid())
	if err := writeFile(temporary, b, size); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(fmt.Errorf("put WAL file in place: %w", err), os.Remove(temporary))
	}
	return nil
}

// writeFile writes b and pads it with zeros to size bytes. It need not be
// durable: after a crash the server asks for the file again.
func writeFile(path string, b []byte, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write WAL file: %w", err)
	}
	_, err = f.Write(b)
	if err == nil && int64(len(b)) < size {
		err = f.Truncate(size)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write WAL file: %w", err)
	}
	return nil
}
