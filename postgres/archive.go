package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// eventKind is what comes next in a base backup.
type eventKind int

const (
	eventNone     eventKind = iota
	eventArchive            // an archive begins
	eventData               // bytes of what has begun
	eventManifest           // the manifest begins
	eventEnd                // all data was sent; stop position read
)

type event struct {
	kind eventKind
	data []byte // valid until the next step
	oid  uint32 // eventArchive, tagged form: 0 is the data directory
}

// step reads messages until something happened, in either form of the
// protocol.
func (b *BaseBackup) step(ctx context.Context) (event, error) {
	for {
		m, err := b.receive(ctx)
		if err != nil {
			return event{}, err
		}
		var e event
		switch m := m.(type) {
		case *pgproto3.CopyOutResponse:
			e = b.copyBegins()
		case *pgproto3.CopyData:
			e, err = b.copyData(m.Data)
		case *pgproto3.DataRow:
			b.end.Stop, b.end.Timeline, err = position(m)
			b.hasEnd = err == nil
			e.kind = eventEnd
		case *pgproto3.ReadyForQuery:
			err = fmt.Errorf("server ended the backup without a stop position")
		}
		if err != nil {
			b.conn.phase = phaseBroken
			return event{}, err
		}
		if e.kind != eventNone {
			return e, nil
		}
	}
}

// copyBegins says what a CopyOutResponse stands for: in PostgreSQL 14 the next
// archive or, after them, the manifest; later on the start of everything.
func (b *BaseBackup) copyBegins() event {
	switch {
	case !b.legacy:
		return event{}
	case b.archives < len(b.Tablespaces):
		return event{kind: eventArchive}
	default:
		return event{kind: eventManifest}
	}
}

// copyData reads a CopyData message: bytes in PostgreSQL 14, one of the tagged
// messages n, m, d, p later on (protocol.sgml, BASE_BACKUP).
func (b *BaseBackup) copyData(p []byte) (event, error) {
	if b.legacy {
		b.read += int64(len(p))
		return event{kind: eventData, data: p}, nil
	}
	if len(p) == 0 {
		return event{}, fmt.Errorf("empty message in the backup")
	}
	switch p[0] {
	case 'n':
		oid, err := archiveName(p[1:])
		return event{kind: eventArchive, oid: oid}, err
	case 'm':
		return event{kind: eventManifest}, nil
	case 'd':
		return event{kind: eventData, data: p[1:]}, nil
	case 'p':
		if len(p) == 9 {
			b.read = int64(binary.BigEndian.Uint64(p[1:]))
		}
		return event{}, nil
	}
	return event{}, fmt.Errorf("message %q of %d bytes in the backup is not known", p[0], len(p))
}

// archiveName reads "base.tar\0…\0" or "<oid>.tar\0<path>\0".
func archiveName(p []byte) (uint32, error) {
	name, rest, found := bytes.Cut(p, []byte{0})
	if !found || len(rest) == 0 || rest[len(rest)-1] != 0 {
		return 0, fmt.Errorf("archive name %q: want two strings", p)
	}
	stem, isTar := strings.CutSuffix(string(name), ".tar")
	if !isTar {
		return 0, fmt.Errorf("archive %q: want a tar file", name)
	}
	if stem == "base" {
		return 0, nil
	}
	return parseOID(stem)
}
