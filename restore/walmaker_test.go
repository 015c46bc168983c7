package restore_test

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// walMaker writes WAL of PostgreSQL 15 as a server would: pages, records that
// cross them, checksums. Only what restoring reads is in it.
type walMaker struct {
	size  wal.SegmentSize
	tli   wal.TimelineID
	start wal.LSN
	bytes []byte
	prev  wal.LSN
}

func newWALMaker(start wal.LSN) *walMaker {
	return &walMaker{size: mib, tli: 1, start: start}
}

func (m *walMaker) pos() wal.LSN { return m.start + wal.LSN(len(m.bytes)) }

// page begins a page if one is due. rest is what is left of a record.
func (m *walMaker) page(rest int) {
	if m.pos()%wal.PageSize != 0 {
		return
	}
	h := make([]byte, 24)
	le := binary.LittleEndian
	le.PutUint16(h, 0xD110)
	le.PutUint32(h[4:], uint32(m.tli))
	le.PutUint64(h[8:], uint64(m.pos()))
	info := uint16(0)
	if rest > 0 {
		info |= 1
		le.PutUint32(h[16:], uint32(rest))
	}
	if m.size.Offset(m.pos()) == 0 {
		info |= 2
		h = le.AppendUint64(h, uint64(fakeSystem))
		h = le.AppendUint32(h, uint32(m.size))
		h = le.AppendUint32(h, wal.PageSize)
	}
	le.PutUint16(h[2:], info)
	m.bytes = append(m.bytes, h...)
}

// record appends one record and returns its range, as PostgreSQL gives it.
func (m *walMaker) record(rm, info uint8, xid wal.XID, data []byte) wal.Range {
	for m.pos()%8 != 0 {
		m.bytes = append(m.bytes, 0)
	}
	m.page(0)
	start := m.pos()
	le := binary.LittleEndian
	body := []byte{254} // XLR_BLOCK_ID_DATA_LONG
	body = le.AppendUint32(body, uint32(len(data)))
	body = append(body, data...)
	r := make([]byte, 24, 24+len(body))
	le.PutUint32(r, uint32(24+len(body)))
	le.PutUint32(r[4:], uint32(xid))
	le.PutUint64(r[8:], uint64(m.prev))
	r[16], r[17] = info, rm
	table := crc32.MakeTable(crc32.Castagnoli)
	le.PutUint32(r[20:], crc32.Update(crc32.Checksum(body, table), table, r[:20]))
	r = append(r, body...)
	for len(r) > 0 {
		m.page(len(r))
		n := min(len(r), int(wal.PageSize-m.pos()%wal.PageSize))
		m.bytes = append(m.bytes, r[:n]...)
		r = r[n:]
	}
	m.prev = start
	return wal.Range{Start: start, End: (m.pos() + 7) &^ 7}
}

func (m *walMaker) end(info uint8, xid wal.XID, t wal.Time) wal.Range {
	return m.record(1, info, xid, binary.LittleEndian.AppendUint64(nil, uint64(t)))
}

func (m *walMaker) point(name string, t wal.Time) wal.Range {
	b := binary.LittleEndian.AppendUint64(nil, uint64(t))
	return m.record(0, 0x70, 0, append(append(b, name...), make([]byte, 64-len(name))...))
}

func (m *walMaker) filler(xid wal.XID, n int) wal.Range { return m.record(10, 0, xid, make([]byte, n)) }

// archive puts WAL into a cluster, cut at the LSNs given and at segment
// borders; whole segments become segments, the rest pieces. An object that
// begins at one of blind says that its writer did not see the record before.
func (m *walMaker) archive(t testing.TB, c *repository.Cluster, cuts, blind map[wal.LSN]bool) {
	t.Helper()
	for m.pos()%8 != 0 { // as a server's flush position is
		m.bytes = append(m.bytes, 0)
	}
	encoder := repository.NewWALEncoder(compression.Zstd())
	d := wal.NewDecoder(m.size, m.start)
	for at := 0; at < len(m.bytes); {
		begin := m.start + wal.LSN(at)
		end := min(m.pos(), m.size.End(m.size.Number(begin)))
		for cut := range cuts {
			if begin < cut && cut < end {
				end = cut
			}
		}
		n := int(end - begin)
		o := repository.WALObject{
			SystemID: fakeSystem, Timeline: m.tli, SegmentSize: m.size, Kind: repository.KindPiece,
			Range: wal.Range{Start: begin, End: begin + wal.LSN(n)},
		}
		if n == int(m.size) {
			o.Kind = repository.KindSegment
		}
		plain := m.bytes[at : at+n]
		if blind[begin] {
			d = wal.NewDecoder(m.size, begin)
		}
		if err := d.Write(plain); err != nil {
			t.Fatal(err)
		}
		for r, ok := d.Next(); ok; r, ok = d.Next() {
			o.Summary.Add(r)
		}
		o.Summary.HeadUnknown = blind[begin] && d.SkippedHead()
		e, err := encoder.Encode(o, plain)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.PutWAL(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		at += n
	}
}
