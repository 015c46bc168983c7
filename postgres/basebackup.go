package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgark/pgark/wal"
)

// BackupOptions says how a base backup is taken. The zero value is valid.
type BackupOptions struct {
	Label string // shown in backup_label; "pgark" if empty
	Fast  bool   // checkpoint at once instead of spread out
	// MaxRate limits what the server sends, in KiB per second, 32 to
	// 1048576; 0 is no limit.
	MaxRate int
	// NoSizes spares the server from walking through all files first; the
	// tablespaces' sizes are then -1.
	NoSizes bool

	// pagesOnly has the server read everything and give away nothing that it
	// need not: CheckPages.
	pagesOnly bool
}

// Tablespace is one archive of a base backup.
type Tablespace struct {
	OID  uint32 // 0 is the data directory
	Path string // where it lies on the server; "" for the data directory
	Size int64  // bytes, an estimate in whole KiB; -1 if not asked for
}

// Checksums is PostgreSQL's own verdict on the data pages it sent.
type Checksums string

// The verdicts; the words stand in the repository's backup record.
const (
	ChecksumsVerified Checksums = "verified" // every page was checked and is good
	ChecksumsFailed   Checksums = "failed"   // some pages are not
	ChecksumsOff      Checksums = "off"      // the cluster has no page checksums
)

// BackupEnd is what the server says at the end of a base backup.
type BackupEnd struct {
	Stop     wal.LSN // WAL [Start, Stop) makes the backup consistent
	Timeline wal.TimelineID
	// Checksums is ChecksumsFailed when the server ended the backup with
	// data_corrupted: it says so only after it has sent every byte, the
	// manifest and the stop position, so the backup is as complete as any other
	// and holds the pages as they are on the server's disk.
	Checksums        Checksums
	ChecksumFailures int64 // pages; 0 unless Checksums is ChecksumsFailed
	// Notices is what the server had to remark, at most 200, in order; with
	// bad pages among them where these lie.
	Notices []ServerError
}

// BaseBackup is a base backup under way on a connection. Read the archives one
// after the other with Next until it returns io.EOF, then Manifest and Finish.
// To give up, close the connection; the server leaves backup mode by itself.
// It is not safe for concurrent use.
type BaseBackup struct {
	Start       wal.LSN // where recovery must begin to read WAL
	Timeline    wal.TimelineID
	Tablespaces []Tablespace // the data directory is one of them

	conn     *Conn
	legacy   bool // PostgreSQL 14: one CopyOut for each archive
	archives int  // archives begun
	rest     []byte
	ahead    event // read and not yet handled
	manifest []byte
	end      BackupEnd
	hasEnd   bool
	// pagesOnly says that there is no manifest; read is how many bytes the server has read of its files then.
	pagesOnly bool
	read      int64
}

const (
	// taggedVersion is the first server_version_num whose archives all come in
	// one CopyOut of tagged messages, and that takes options in parentheses.
	taggedVersion = 150000
	// maxManifest bounds what is kept of a backup_manifest in memory: about
	// seven million files.
	maxManifest = 1 << 30
	kib         = 1024
)

// BaseBackup starts a base backup: it returns when the server's checkpoint is
// done, which takes minutes unless o.Fast is set. A manifest with CRC32C and a
// tablespace_map are always part of it, WAL never: the archive has it. For the
// same reason the server is not asked to wait for its own archive_command.
//
// The connection does nothing else until Finish has returned.
func (c *Conn) BaseBackup(ctx context.Context, o BackupOptions) (*BaseBackup, error) {
	const doing = "start base backup"
	version, err := c.versionNum(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	checksums, err := c.Setting(ctx, "data_checksums")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	sql, err := baseBackupCommand(version, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	b := &BaseBackup{conn: c, legacy: version < taggedVersion, pagesOnly: o.pagesOnly}
	b.end.Checksums = ChecksumsVerified
	if checksums != "on" {
		b.end.Checksums = ChecksumsOff
	}
	c.notices = nil
	if err := c.send(ctx, sql); err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	c.phase = phaseBackup
	if err := b.readHeader(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	return b, nil
}

// baseBackupCommand spells the command for a server version.
func baseBackupCommand(version int, o BackupOptions) (string, error) {
	label := o.Label
	if label == "" {
		label = "pgark"
	}
	if strings.ContainsFunc(label, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fmt.Errorf("label %q: has control characters", label)
	}
	if o.MaxRate != 0 && (o.MaxRate < 32 || o.MaxRate > 1<<20) {
		return "", fmt.Errorf("rate %d KiB/s: want 32 to 1048576", o.MaxRate)
	}
	quoted := "'" + strings.ReplaceAll(label, "'", "''") + "'"
	words := []string{"LABEL " + quoted}
	switch {
	case !o.pagesOnly:
		words = append(words, "TABLESPACE_MAP", "MANIFEST 'yes'", "MANIFEST_CHECKSUMS 'CRC32C'")
	case version >= taggedVersion:
		words = append(words, "TARGET 'blackhole'", "MANIFEST 'no'", "VERIFY_CHECKSUMS true")
	}
	if !o.NoSizes {
		words = append(words, "PROGRESS")
	}
	if o.MaxRate != 0 {
		words = append(words, "MAX_RATE "+strconv.Itoa(o.MaxRate))
	}
	if version < taggedVersion {
		words = append(words, "NOWAIT")
		if o.Fast {
			words = append(words, "FAST")
		}
		return "BASE_BACKUP " + strings.Join(words, " "), nil
	}
	words = append(words, "WAIT false", "WAL false")
	if o.Fast {
		words = append(words, "CHECKPOINT 'fast'")
	}
	return "BASE_BACKUP (" + strings.Join(words, ", ") + ")", nil
}

// readHeader reads the two results before the archives: (recptr, tli) and one
// row (spcoid, spclocation, size) for each tablespace.
func (b *BaseBackup) readHeader(ctx context.Context) error {
	results := 0
	for results < 2 {
		m, err := b.receive(ctx)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.DataRow:
			if results == 0 {
				b.Start, b.Timeline, err = position(m)
			} else {
				err = b.addTablespace(m)
			}
		case *pgproto3.CommandComplete:
			results++
		case *pgproto3.CopyOutResponse, *pgproto3.ReadyForQuery:
			err = fmt.Errorf("got %T, want the list of tablespaces", m)
		}
		if err != nil {
			b.conn.phase = phaseBroken
			return err
		}
	}
	if b.Start == 0 || len(b.Tablespaces) == 0 {
		b.conn.phase = phaseBroken
		return errors.New("server named no start position or no tablespaces")
	}
	return nil
}

// position reads a row (recptr text, tli int8).
func position(m *pgproto3.DataRow) (wal.LSN, wal.TimelineID, error) {
	if len(m.Values) < 2 {
		return 0, 0, fmt.Errorf("position: got %d columns, want 2", len(m.Values))
	}
	lsn, err := wal.ParseLSN(string(m.Values[0]))
	if err != nil {
		return 0, 0, fmt.Errorf("position: %w", err)
	}
	tli, err := parseTimeline(m.Values[1])
	if err != nil {
		return 0, 0, fmt.Errorf("position: %w", err)
	}
	return lsn, tli, nil
}

// addTablespace reads a row (spcoid oid, spclocation text, size int8 in KiB).
func (b *BaseBackup) addTablespace(m *pgproto3.DataRow) error {
	if len(m.Values) != 3 {
		return fmt.Errorf("tablespace: got %d columns, want 3", len(m.Values))
	}
	t := Tablespace{Path: string(m.Values[1]), Size: -1}
	if m.Values[0] != nil {
		oid, err := parseOID(string(m.Values[0]))
		if err != nil {
			return err
		}
		t.OID = oid
	}
	if m.Values[2] != nil {
		size, err := strconv.ParseInt(string(m.Values[2]), 10, 64)
		if err != nil || size < 0 || size > 1<<52 {
			return fmt.Errorf("tablespace %d: size %q: want KiB", t.OID, m.Values[2])
		}
		t.Size = size * kib
	}
	b.Tablespaces = append(b.Tablespaces, t)
	return nil
}

// parseOID reads the OID of a tablespace.
func parseOID(s string) (uint32, error) {
	v, err := strconv.ParseUint(s, 10, 32)
	if err != nil || v == 0 || s[0] == '+' {
		return 0, fmt.Errorf("tablespace %q: want an OID", s)
	}
	return uint32(v), nil
}

// receive reads the server's next message and turns its errors into ours.
func (b *BaseBackup) receive(ctx context.Context) (pgproto3.BackendMessage, error) {
	if b.conn.phase != phaseBackup {
		return nil, errors.New("base backup is not running")
	}
	m, err := b.conn.pg.ReceiveMessage(ctx)
	if err != nil {
		if ctx.Err() == nil {
			b.conn.phase = phaseBroken
		}
		return nil, receiveError(ctx, err)
	}
	e, failed := m.(*pgproto3.ErrorResponse)
	if !failed {
		return m, nil
	}
	s := serverError(e)
	b.conn.phase = phaseBroken
	if !fatal(s) {
		b.conn.drain(ctx)
	}
	return nil, s
}

// Next goes to the next archive, skipping what was not read of the last one,
// and returns its tablespace and its bytes as tar, or io.EOF after the last.
// The reader is valid until the next call; its reads end when ctx does, and can
// be taken up again only by another call of Next.
//
// The archives of PostgreSQL 14 lack tar's two zero blocks at the end.
func (b *BaseBackup) Next(ctx context.Context) (Tablespace, io.Reader, error) {
	if _, err := io.Copy(io.Discard, b.reader(ctx)); err != nil {
		return Tablespace{}, nil, err
	}
	switch b.ahead.kind {
	case eventArchive:
		t, err := b.tablespace(b.ahead.oid)
		if err != nil {
			b.conn.phase = phaseBroken
			return Tablespace{}, nil, fmt.Errorf("base backup: %w", err)
		}
		b.ahead = event{}
		b.archives++
		return t, b.reader(ctx), nil
	case eventManifest:
		b.ahead = event{}
		if err := b.readManifest(ctx); err != nil {
			return Tablespace{}, nil, err
		}
	case eventNone, eventData, eventEnd:
	}
	if b.archives != len(b.Tablespaces) {
		b.conn.phase = phaseBroken
		return Tablespace{}, nil, fmt.Errorf("base backup: got %d archives, want %d", b.archives, len(b.Tablespaces))
	}
	return Tablespace{}, nil, io.EOF
}

// tablespace returns the entry of the list that an archive belongs to.
func (b *BaseBackup) tablespace(oid uint32) (Tablespace, error) {
	if b.legacy { // they come in the order of the list
		if b.archives >= len(b.Tablespaces) {
			return Tablespace{}, errors.New("more archives than tablespaces")
		}
		return b.Tablespaces[b.archives], nil
	}
	for _, t := range b.Tablespaces {
		if t.OID == oid {
			return t, nil
		}
	}
	return Tablespace{}, fmt.Errorf("archive of tablespace %d, which is not in the list", oid)
}

// archiveReader reads the archive under way. It is a function so that it can
// hold the context of the Next that made it.
type archiveReader func(p []byte) (int, error)

// Read returns bytes of the archive, io.EOF at its end.
func (r archiveReader) Read(p []byte) (int, error) { return r(p) }

func (b *BaseBackup) reader(ctx context.Context) io.Reader {
	return archiveReader(func(p []byte) (int, error) {
		for len(b.rest) == 0 {
			if b.ahead.kind == eventNone {
				e, err := b.step(ctx)
				if err != nil {
					return 0, fmt.Errorf("read base backup: %w", err)
				}
				b.ahead = e
			}
			if b.ahead.kind != eventData {
				return 0, io.EOF
			}
			b.rest, b.ahead = b.ahead.data, event{}
		}
		n := copy(p, b.rest)
		b.rest = b.rest[n:]
		return n, nil
	})
}

// readManifest keeps the backup_manifest.
func (b *BaseBackup) readManifest(ctx context.Context) error {
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(b.reader(ctx), maxManifest+1))
	if err == nil && n > maxManifest {
		err = fmt.Errorf("backup manifest is larger than %d bytes", maxManifest)
	}
	b.manifest = buf.Bytes()
	return err
}

// Manifest returns the bytes of backup_manifest once Next has returned io.EOF,
// nil before. The caller owns them.
func (b *BaseBackup) Manifest() []byte { return b.manifest }

// Finish returns what the server says at the end, after Next has returned
// io.EOF. Then the connection is idle again.
func (b *BaseBackup) Finish(ctx context.Context) (BackupEnd, error) {
	end, err := b.finish(ctx)
	if err != nil {
		return BackupEnd{}, fmt.Errorf("finish base backup: %w", err)
	}
	return end, nil
}

func (b *BaseBackup) finish(ctx context.Context) (BackupEnd, error) {
	if b.ahead.kind != eventEnd || b.manifest == nil && !b.pagesOnly {
		return BackupEnd{}, errors.New("archives or manifest were not read to their end")
	}
	for b.conn.phase == phaseBackup {
		m, err := b.receive(ctx)
		var e *ServerError
		switch {
		case errors.As(err, &e) && e.Code == dataCorrupted && b.hasEnd:
			b.fail()
			continue // receive has read to the end
		case err != nil:
			return BackupEnd{}, err
		}
		if _, ready := m.(*pgproto3.ReadyForQuery); ready {
			b.conn.phase = phaseIdle
		}
	}
	if b.conn.phase != phaseIdle {
		return BackupEnd{}, ErrUnreachable
	}
	b.end.Notices = b.conn.notices
	return b.end, nil
}

// fail counts the bad pages. The server names their number in the last
// warning of perform_base_backup, and gives none if it is one
// (src/backend/backup/basebackup.c, 15 to 18; src/backend/replication in 14).
func (b *BaseBackup) fail() {
	b.end.Checksums, b.end.ChecksumFailures = ChecksumsFailed, 1
	for _, n := range b.conn.notices {
		if n.Routine != "perform_base_backup" || n.Severity != "WARNING" {
			continue
		}
		digits := strings.TrimLeftFunc(n.Message, func(r rune) bool { return r < '0' || r > '9' })
		digits, _, _ = strings.Cut(digits, " ")
		if v, err := strconv.ParseInt(digits, 10, 64); err == nil && v > 0 {
			b.end.ChecksumFailures = v
		}
	}
}
