package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
)

const (
	// beginTimeout bounds the wait for the checkpoint, which a server spreads over most of its
	// checkpoint_timeout.
	beginTimeout = 6 * time.Hour
	// finishTimeout bounds the end of backup mode.
	finishTimeout = 10 * time.Minute
	// stallTimeout is how long the server may send nothing while it is being read.
	stallTimeout = 10 * time.Minute
)

var errStalled = errors.New("the server sent nothing for too long")

// StreamOptions say how a server takes a backup. The zero value is valid.
type StreamOptions struct {
	// Label goes into backup_label; empty means "pgark".
	Label string
	// Fast makes the checkpoint at once, at the price of a burst of writes, instead of spreading it.
	Fast bool
	// MaxRate bounds what the server sends, in bytes per second, from 32 KiB to 1 GiB; 0 means no bound.
	MaxRate int64
}

// Stream returns the source that reads BASE_BACKUP from conn, a connection that does nothing else
// meanwhile. The caller closes conn after Run has returned; after an error that is what ends backup mode
// on the server.
func Stream(conn *postgres.Conn, o StreamOptions) Source {
	return &streamSource{conn: conn, options: o}
}

type streamSource struct {
	conn    *postgres.Conn
	options StreamOptions
	backup  *postgres.BaseBackup
}

// Begin implements Source.
func (s *streamSource) Begin(ctx context.Context) (Start, error) {
	ctx, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	system, err := s.conn.System(ctx)
	if err != nil {
		return Start{}, err
	}
	start := Start{SystemID: system.ID, VersionNum: system.VersionNum, SegmentSize: system.SegmentSize}
	zone, err := s.conn.Setting(ctx, "log_timezone")
	if err != nil {
		return Start{}, err
	}
	if location, err := time.LoadLocation(zone); err == nil && zone != "" && zone != "Local" {
		start.Location = location // otherwise a zone in POSIX form, or no zone data here
	}
	// Asked for before the backup: nothing else can be asked during it. A timeline that comes between
	// the two makes the histories differ, which is found below.
	if system.Timeline > 1 {
		if _, start.History, err = s.conn.TimelineHistory(ctx, system.Timeline); err != nil {
			return Start{}, err
		}
	}
	s.backup, err = s.conn.BaseBackup(ctx, postgres.BackupOptions{
		Label: s.options.Label, Fast: s.options.Fast, MaxRate: int((s.options.MaxRate + 1023) / 1024),
	})
	if err != nil {
		return Start{}, err
	}
	if s.backup.Timeline != system.Timeline {
		return Start{}, &TimelineError{Start: system.Timeline, Stop: s.backup.Timeline}
	}
	start.Timeline, start.LSN = s.backup.Timeline, s.backup.Start
	for _, t := range s.backup.Tablespaces {
		start.Total += max(t.Size, 0)
		if t.OID != 0 {
			start.Tablespaces = append(start.Tablespaces, repository.Tablespace{OID: t.OID, Path: t.Path})
		}
	}
	return start, nil
}

// NextArchive implements Source.
func (s *streamSource) NextArchive(ctx context.Context) (Archive, error) {
	ctx, stop := context.WithCancelCause(ctx)
	stall := time.AfterFunc(stallTimeout, func() { stop(errStalled) })
	t, r, err := s.backup.Next(ctx)
	stall.Stop()
	if err != nil {
		stop(nil)
		return Archive{}, err
	}
	// ctx lives on in r, until the context it was made of ends.
	return Archive{Tablespace: t.OID, Members: ReadTar(&watchedReader{r: r, stall: stall})}, nil
}

// watchedReader keeps stall running while the server is awaited, and only then: a slow store may hold
// the reading up for as long as it needs.
type watchedReader struct {
	r     io.Reader
	stall *time.Timer
}

// Read implements io.Reader.
func (w *watchedReader) Read(p []byte) (int, error) {
	w.stall.Reset(stallTimeout)
	n, err := w.r.Read(p)
	w.stall.Stop()
	return n, err
}

// Finish implements Source.
func (s *streamSource) Finish(ctx context.Context) (Stop, error) {
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	end, err := s.backup.Finish(ctx)
	if err != nil {
		return Stop{}, fmt.Errorf("end backup: %w", err)
	}
	var now time.Time
	if t, err := s.conn.Clock(ctx); err == nil { // a backup is whole without it
		now = t.Go()
	}
	return Stop{
		Time: now, Timeline: end.Timeline, LSN: end.Stop, Manifest: s.backup.Manifest(),
		Checksums: repository.Checksums(end.Checksums), ChecksumFailures: end.ChecksumFailures,
	}, nil
}
