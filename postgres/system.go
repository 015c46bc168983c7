package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pgark/pgark/wal"
)

// System is what a server says of itself.
type System struct {
	ID       wal.SystemID
	Timeline wal.TimelineID // the one it writes, or replays if it is a standby
	// Flush is the end of the WAL on its disk; on a standby of what was
	// received or replayed, whichever is more (IDENTIFY_SYSTEM's xlogpos).
	Flush       wal.LSN
	SegmentSize wal.SegmentSize
	VersionNum  int // 170010 is 17.10
}

// minVersion is the oldest server_version_num that is spoken to.
const minVersion = 140000

// System asks the server who it is. It refuses servers older than
// PostgreSQL 14.
func (c *Conn) System(ctx context.Context) (System, error) {
	s, err := c.identify(ctx)
	if err != nil {
		return System{}, err
	}
	if s.VersionNum, err = c.versionNum(ctx); err != nil {
		return System{}, err
	}
	size, err := c.Setting(ctx, "wal_segment_size")
	if err != nil {
		return System{}, err
	}
	if s.SegmentSize, err = parseSegmentSize(size); err != nil {
		return System{}, fmt.Errorf("read wal_segment_size: %w", err)
	}
	return s, nil
}

// identify runs IDENTIFY_SYSTEM.
func (c *Conn) identify(ctx context.Context) (System, error) {
	const doing = "identify system"
	row, err := c.row(ctx, doing, "IDENTIFY_SYSTEM", 3)
	if err != nil {
		return System{}, err
	}
	var s System
	if s.ID, err = wal.ParseSystemID(string(row[0])); err != nil {
		return System{}, fmt.Errorf("%s: %w", doing, err)
	}
	if s.Timeline, err = parseTimeline(row[1]); err != nil {
		return System{}, fmt.Errorf("%s: %w", doing, err)
	}
	if s.Flush, err = wal.ParseLSN(string(row[2])); err != nil {
		return System{}, fmt.Errorf("%s: %w", doing, err)
	}
	return s, nil
}

// parseTimeline reads a timeline as the server prints it: int8, or int4 before
// 16, where one past 2^31 comes out negative.
func parseTimeline(b []byte) (wal.TimelineID, error) {
	v, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || v == 0 || v > 1<<32-1 || v < -1<<31 {
		return 0, fmt.Errorf("parse timeline %q: want a number of 32 bits", b)
	}
	return wal.TimelineID(uint32(v)), nil
}

// versionNum returns server_version_num.
func (c *Conn) versionNum(ctx context.Context) (int, error) {
	if c.version != 0 {
		return c.version, nil
	}
	text, err := c.Setting(ctx, "server_version_num")
	if err != nil {
		return 0, err
	}
	v, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("read server_version_num %q: want a number", text)
	}
	if v < minVersion {
		return 0, fmt.Errorf("server is PostgreSQL %d.%d: want 14 or later", v/10000, v%10000)
	}
	c.version = v
	return v, nil
}

// Setting returns a setting of the server as SHOW prints it, units included.
// name is letters, digits, underscores and dots.
func (c *Conn) Setting(ctx context.Context, name string) (string, error) {
	if err := checkSettingName(name); err != nil {
		return "", fmt.Errorf("show: %w", err)
	}
	row, err := c.row(ctx, "show "+name, "SHOW "+name, 1)
	if err != nil {
		return "", err
	}
	return string(row[0]), nil
}

// checkSettingName refuses what needs quoting.
func checkSettingName(name string) error {
	if name == "" || strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789_.") != "" {
		return fmt.Errorf("%q is no name of a setting", name)
	}
	return nil
}

// parseSegmentSize reads what SHOW wal_segment_size prints: "16MB", "1GB".
func parseSegmentSize(s string) (wal.SegmentSize, error) {
	digits := strings.TrimRight(s, "kMGB")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("parse size %q: want a number and a unit", s)
	}
	switch s[len(digits):] {
	case "", "B":
	case "kB":
		n <<= 10
	case "MB":
		n <<= 20
	case "GB":
		n <<= 30
	default:
		return 0, fmt.Errorf("parse size %q: unknown unit", s)
	}
	if n > uint64(wal.MaxSegmentSize) {
		return 0, fmt.Errorf("parse size %q: larger than a segment can be", s)
	}
	size := wal.SegmentSize(n)
	return size, size.Validate()
}

// TimelineHistory returns the history of a timeline and the bytes of its file
// as the server has it. ErrNoHistory if it has none, as for timeline 1.
func (c *Conn) TimelineHistory(ctx context.Context, tli wal.TimelineID) (wal.History, []byte, error) {
	doing := fmt.Sprintf("read history of timeline %d", tli)
	if tli == 1 {
		return wal.History{}, nil, fmt.Errorf("%s: %w", doing, ErrNoHistory)
	}
	row, err := c.row(ctx, doing, fmt.Sprintf("TIMELINE_HISTORY %d", tli), 2)
	if err != nil {
		var e *ServerError
		if errors.As(err, &e) && e.Code == undefinedFile {
			e.kind = ErrNoHistory
		}
		return wal.History{}, nil, err
	}
	if got := string(row[0]); got != tli.HistoryFileName() {
		return wal.History{}, nil, fmt.Errorf("%s: got file %q", doing, got)
	}
	h, err := wal.ParseHistory(tli, row[1])
	if err != nil {
		return wal.History{}, nil, fmt.Errorf("%s: %w", doing, err)
	}
	return h, bytes.Clone(row[1]), nil
}
