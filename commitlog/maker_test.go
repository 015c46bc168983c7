package commitlog_test

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

const (
	mib        = wal.MinSegmentSize
	fakeSystem = wal.SystemID(7710460978105624599)
	day        = wal.Time(86_400_000_000)
)

// lsn is the start of a segment.
func lsn(n wal.SegmentNumber) wal.LSN { return mib.Start(n) }

// at is a time in November 2026, in milliseconds.
func at(ms int) wal.Time { return 9820*day + wal.Time(ms)*1000 }

// walMaker writes WAL of PostgreSQL 15 as a server would: pages, records that
// cross them, checksums.
type walMaker struct {
	tli   wal.TimelineID
	start wal.LSN
	bytes []byte
	prev  wal.LSN
}

func newWALMaker(start wal.LSN) *walMaker { return &walMaker{tli: 1, start: start} }

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
	if mib.Offset(m.pos()) == 0 {
		info |= 2
		h = le.AppendUint64(h, uint64(fakeSystem))
		h = le.AppendUint32(h, uint32(mib))
		h = le.AppendUint32(h, wal.PageSize)
	}
	le.PutUint16(h[2:], info)
	m.bytes = append(m.bytes, h...)
}

func (m *walMaker) align() {
	for m.pos()%8 != 0 {
		m.bytes = append(m.bytes, 0)
	}
}

// record appends one record with main data and returns its range, as PostgreSQL gives it.
func (m *walMaker) record(rm, info uint8, xid wal.XID, data []byte) wal.Range {
	return m.write(rm, info, xid, append(binary.LittleEndian.AppendUint32([]byte{254}, uint32(len(data))), data...))
}

func (m *walMaker) write(rm, info uint8, xid wal.XID, body []byte) wal.Range {
	m.align()
	m.page(0)
	start := m.pos()
	le := binary.LittleEndian
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

func (m *walMaker) commit(xid wal.XID, t wal.Time) wal.Range { return m.end(0x00, xid, t) }

func (m *walMaker) end(info uint8, xid wal.XID, t wal.Time) wal.Range {
	return m.record(1, info, xid, binary.LittleEndian.AppendUint64(nil, uint64(t)))
}

// rich ends a transaction with all that matters here: subtransactions, relations, the prepared one.
type rich struct {
	info     uint8 // xl_info without XLOG_XACT_HAS_INFO
	subs     []wal.XID
	rels     []uint32
	changed  []uint32 // OIDs in database 5
	prepared wal.XID
}

func (m *walMaker) rich(xid wal.XID, t wal.Time, r rich) wal.Range {
	var info uint32
	var rest []uint32
	if len(r.subs) > 0 {
		info, rest = info|1<<1, append(rest, uint32(len(r.subs)))
		for _, s := range r.subs {
			rest = append(rest, uint32(s))
		}
	}
	if len(r.rels) > 0 {
		info, rest = info|1<<2, append(rest, uint32(len(r.rels)))
		for _, n := range r.rels {
			rest = append(rest, wal.DefaultTablespace, 5, n)
		}
	}
	if len(r.changed) > 0 {
		info, rest = info|1<<3, append(rest, uint32(len(r.changed)))
		for _, oid := range r.changed {
			rest = append(rest, 0xfe, 5, oid, 0) // of the relation cache
		}
	}
	if r.prepared != 0 {
		info, rest = info|1<<4, append(rest, uint32(r.prepared))
	}
	return m.record(1, r.info|0x80, xid, append(binary.LittleEndian.AppendUint64(nil, uint64(t)), uint32s(append([]uint32{info}, rest...)...)...))
}

func uint32s(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func (m *walMaker) point(name string, t wal.Time) wal.Range {
	b := binary.LittleEndian.AppendUint64(nil, uint64(t))
	return m.record(0, 0x70, 0, append(append(b, name...), make([]byte, 64-len(name))...))
}

func (m *walMaker) filler(xid wal.XID, n int) wal.Range { return m.record(10, 0, xid, make([]byte, n)) }

// create makes the file 20.
func (m *walMaker) create(xid wal.XID) {
	m.record(2, 0x10, xid, uint32s(wal.DefaultTablespace, 5, 20, 0))
}

func (m *walMaker) running(next wal.XID) {
	m.record(8, 0x10, 0, uint32s(0, 0, 0, uint32(next), uint32(next), uint32(next-1)))
}

// mark is how a database is marked as invalid: an update in place of a shared catalog.
func (m *walMaker) mark(xid wal.XID) wal.Range {
	return m.write(10, 0x70, xid, append(append([]byte{0, 0, 0, 0}, uint32s(wal.GlobalTablespace, 0, 1262, 0)...), 255, 2, 5, 0))
}

// dropDatabase drops the database 16400.
func (m *walMaker) dropDatabase(xid wal.XID) {
	m.record(4, 0x20, xid, uint32s(16400, 1, wal.DefaultTablespace))
}

// finish switches to the next segment: the rest of this one is unused.
func (m *walMaker) finish() {
	m.write(0, 0x40, 0, nil)
	m.bytes = append(m.bytes, make([]byte, mib-wal.SegmentSize(mib.Offset(m.pos())))...)
}

// newCluster makes an empty repository.
func newCluster(t testing.TB) (*memory.Store, *repository.Cluster) {
	t.Helper()
	store := memory.New()
	repo, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	return store, repo.Cluster(fakeSystem)
}

// archive puts WAL into a cluster, cut at the LSNs given and at segment
// borders; whole segments become segments, the rest pieces. An object that
// begins at one of blind says that its writer did not see the record before.
func (m *walMaker) archive(t testing.TB, c *repository.Cluster, cuts, blind map[wal.LSN]bool) {
	t.Helper()
	m.align() // as a server's flush position is
	encoder := repository.NewWALEncoder(compression.Zstd())
	d := wal.NewDecoder(mib, m.start)
	for i := 0; i < len(m.bytes); {
		begin := m.start + wal.LSN(i)
		end := min(m.pos(), mib.End(mib.Number(begin)))
		for cut := range cuts {
			if begin < cut && cut < end {
				end = cut
			}
		}
		o := repository.WALObject{
			SystemID: fakeSystem, Timeline: m.tli, SegmentSize: mib, Kind: repository.KindPiece, Range: wal.Range{Start: begin, End: end},
		}
		if o.Range.Len() == uint64(mib) {
			o.Kind = repository.KindSegment
		}
		plain := m.bytes[i : i+int(o.Range.Len())]
		if blind[begin] {
			d = wal.NewDecoder(mib, begin)
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
		i += len(plain)
	}
}

// putPiece archives what is there as one piece that says nothing of itself.
func (m *walMaker) putPiece(t testing.TB, c *repository.Cluster) {
	t.Helper()
	e, err := repository.NewWALEncoder(compression.Zstd()).Encode(repository.WALObject{
		SystemID: fakeSystem, Timeline: m.tli, SegmentSize: mib, Kind: repository.KindPiece, Range: wal.Range{Start: m.start, End: m.pos()},
	}, m.bytes)
	if err == nil {
		err = c.PutWAL(t.Context(), e)
	}
	if err != nil {
		t.Fatal(err)
	}
}
