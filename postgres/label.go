package postgres

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pgark/pgark/wal"
)

// BackupLabel is the file backup_label, which makes recovery begin at the
// backup's checkpoint (src/backend/access/transam/xlogbackup.c; xlog.c in 14).
type BackupLabel struct {
	Start      wal.LSN // START WAL LOCATION
	StartFile  string  // name of the segment that holds Start
	Checkpoint wal.LSN
	Method     string // "streamed"
	From       string // "primary" or "standby"
	// StartTime is as the server printed it, in its log_timezone:
	// "2026-11-21 02:40:00 UTC". Most zones are abbreviations that name no
	// single offset; Started reads those that do.
	StartTime string
	Label     string
	Timeline  wal.TimelineID
}

// Started returns the time the backup began, false if the server printed it in
// a zone that is not UTC under any of its names.
func (l BackupLabel) Started() (time.Time, bool) {
	for _, zone := range []string{" UTC", " GMT", " UCT", " Universal", " Zulu", " +00"} {
		if text, found := strings.CutSuffix(l.StartTime, zone); found {
			t, err := time.Parse(time.DateTime, text)
			return t, err == nil
		}
	}
	return time.Time{}, false
}

// ParseBackupLabel reads the file. Lines that it does not know are passed over.
func ParseBackupLabel(b []byte) (BackupLabel, error) {
	var l BackupLabel
	for line := range bytes.SplitSeq(b, []byte("\n")) {
		key, value, found := strings.Cut(string(line), ": ")
		if !found {
			continue
		}
		if err := l.set(key, value); err != nil {
			return BackupLabel{}, fmt.Errorf("parse backup_label: %w", err)
		}
	}
	if l.Start == 0 || l.Checkpoint == 0 || l.Timeline == 0 {
		return BackupLabel{}, fmt.Errorf("parse backup_label: start, checkpoint or timeline is missing")
	}
	return l, nil
}

func (l *BackupLabel) set(key, value string) (err error) {
	switch key {
	case "START WAL LOCATION":
		lsn, file, found := strings.Cut(value, " (file ")
		if !found || !strings.HasSuffix(file, ")") {
			return fmt.Errorf("%s: %q: want an LSN and a file", key, value)
		}
		l.StartFile = strings.TrimSuffix(file, ")")
		l.Start, err = wal.ParseLSN(lsn)
	case "CHECKPOINT LOCATION":
		l.Checkpoint, err = wal.ParseLSN(value)
	case "BACKUP METHOD":
		l.Method = value
	case "BACKUP FROM":
		l.From = value
	case "START TIME":
		l.StartTime = value
	case "LABEL":
		l.Label = value
	case "START TIMELINE":
		l.Timeline, err = parseTimeline([]byte(value))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// TablespaceMap is the file tablespace_map: where each tablespace lies, in the
// order of the file.
type TablespaceMap []TablespaceLink

// TablespaceLink is one line: pg_tblspc/<OID> is a link to Path.
type TablespaceLink struct {
	OID  uint32
	Path string
}

// ParseTablespaceMap reads the file. A backslash before a newline, a carriage
// return or a backslash makes it part of the path
// (read_tablespace_map in src/backend/access/transam/xlogrecovery.c).
func ParseTablespaceMap(b []byte) (TablespaceMap, error) {
	var m TablespaceMap
	var line []byte
	escaped := false
	for _, ch := range b {
		switch {
		case !escaped && (ch == '\n' || ch == '\r'):
			if len(line) == 0 {
				continue
			}
			link, err := parseTablespaceLink(string(line))
			if err != nil {
				return nil, fmt.Errorf("parse tablespace_map: %w", err)
			}
			m = append(m, link)
			line = line[:0]
		case !escaped && ch == '\\':
			escaped = true
		default:
			line = append(line, ch)
			escaped = false
		}
	}
	if len(line) != 0 || escaped {
		return nil, fmt.Errorf("parse tablespace_map: last line has no end")
	}
	return m, nil
}

func parseTablespaceLink(line string) (TablespaceLink, error) {
	oid, path, found := strings.Cut(line, " ")
	if !found || path == "" || strings.ContainsRune(path, 0) {
		return TablespaceLink{}, fmt.Errorf("line %q: want an OID and a path", line)
	}
	v, err := parseOID(oid)
	if err != nil {
		return TablespaceLink{}, err
	}
	return TablespaceLink{OID: v, Path: path}, nil
}

// Encode writes the file that ParseTablespaceMap reads.
func (m TablespaceMap) Encode() []byte {
	var b []byte
	for _, l := range m {
		b = strconv.AppendUint(b, uint64(l.OID), 10)
		b = append(b, ' ')
		for i := range len(l.Path) {
			if ch := l.Path[i]; ch == '\n' || ch == '\r' || ch == '\\' {
				b = append(b, '\\')
			}
			b = append(b, l.Path[i])
		}
		b = append(b, '\n')
	}
	return b
}
