package backup

import (
	"fmt"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/wal"
)

// findings are what the files of a backup say of it.
type findings struct {
	label   postgres.BackupLabel
	control postgres.ControlFile
	// started is when the backup began by the server's clock; zero if its label does not tell.
	started time.Time
}

// verify checks that what the server sent is one whole backup of the cluster that it should be of.
func (b *run) verify(p *pipeline, stop Stop) (findings, error) {
	if stop.Timeline != b.start.Timeline {
		return findings{}, &TimelineError{Start: b.start.Timeline, Stop: stop.Timeline}
	}
	if stop.LSN < b.start.LSN {
		return findings{}, fmt.Errorf("stop LSN %s lies before start LSN %s", stop.LSN, b.start.LSN)
	}
	if err := b.verifyArchives(p.archives); err != nil {
		return findings{}, err
	}
	found, err := b.readFindings(p.kept)
	if err != nil {
		return findings{}, err
	}
	manifest, err := postgres.ParseManifest(stop.Manifest)
	if err != nil {
		return findings{}, err
	}
	if err := b.verifyManifest(manifest, stop); err != nil {
		return findings{}, err
	}
	return found, p.contents.check(manifest)
}

// verifyArchives checks that each tablespace and the data directory came, and nothing else.
func (b *run) verifyArchives(came map[uint32]bool) error {
	if !came[0] {
		return fmt.Errorf("archive %s did not come", archiveName(0))
	}
	for _, t := range b.start.Tablespaces {
		if !came[t.OID] {
			return fmt.Errorf("archive %s did not come", archiveName(t.OID))
		}
	}
	if len(came) != len(b.start.Tablespaces)+1 {
		return fmt.Errorf("%d archives came, want %d", len(came), len(b.start.Tablespaces)+1)
	}
	return nil
}

// readFindings reads backup_label and pg_control and compares them with what the server said.
func (b *run) readFindings(kept map[string][]byte) (found findings, err error) {
	for _, path := range []string{labelFile, controlFile} {
		if kept[path] == nil {
			return found, &ContentError{Path: path, Reason: "the server did not send it"}
		}
	}
	if found.label, err = postgres.ParseBackupLabel(kept[labelFile]); err != nil {
		return found, err
	}
	if l := found.label; l.Start != b.start.LSN || l.Timeline != b.start.Timeline {
		return found, &ContentError{Path: labelFile, Reason: fmt.Sprintf("starts at %s on timeline %s, the server said %s on %s",
			l.Start, l.Timeline, b.start.LSN, b.start.Timeline)}
	}
	if found.control, err = postgres.ParseControl(kept[controlFile]); err != nil {
		return found, &ContentError{Path: controlFile, Reason: err.Error()}
	}
	if c := found.control; c.SystemID != b.start.SystemID || c.WALSegmentSize != b.start.SegmentSize {
		return found, &ContentError{Path: controlFile, Reason: fmt.Sprintf("is of system %s with segments of %d bytes, the server said %s and %d",
			c.SystemID, c.WALSegmentSize, b.start.SystemID, b.start.SegmentSize)}
	}
	found.started = startTime(found.label, b.start.Location)
	return found, nil
}

// startTime reads the start time in backup_label, which the server writes in its log_timezone. Of the two
// times that one clock time may mean when summer ends it takes the one whose abbreviation it has.
func startTime(l postgres.BackupLabel, zone *time.Location) time.Time {
	if t, ok := l.Started(); ok {
		return t.UTC()
	}
	if zone == nil || len(l.StartTime) <= len(time.DateTime) {
		return time.Time{}
	}
	t, err := time.ParseInLocation(time.DateTime, l.StartTime[:len(time.DateTime)], zone)
	if err != nil {
		return time.Time{}
	}
	abbreviation := l.StartTime[len(time.DateTime)+1:]
	for _, other := range []time.Duration{0, time.Hour, -time.Hour} {
		u := t.Add(other)
		name, _ := u.Zone()
		if name == abbreviation && u.Format(time.DateTime) == t.Format(time.DateTime) {
			return u.UTC()
		}
	}
	return time.Time{}
}

// verifyManifest compares what the manifest says of the backup as a whole.
func (b *run) verifyManifest(m postgres.Manifest, stop Stop) error {
	if m.SystemID != 0 && m.SystemID != b.start.SystemID { // version 1 has none
		return &ContentError{Path: manifestFile, Reason: fmt.Sprintf("is of system %s, want %s", m.SystemID, b.start.SystemID)}
	}
	want := postgres.WALRange{Timeline: b.start.Timeline, Range: wal.Range{Start: b.start.LSN, End: stop.LSN}}
	if len(m.WALRanges) != 1 || m.WALRanges[0] != want {
		return &ContentError{Path: manifestFile, Reason: fmt.Sprintf("needs WAL %v, the server said %s on timeline %s",
			m.WALRanges, want.Range, want.Timeline)}
	}
	return nil
}
