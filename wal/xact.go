package wal

import (
	"encoding/binary"
	"errors"
)

// Bits of xl_info and xinfo (src/include/access/xact.h, the same in 14 to 18).
const (
	xactOpMask  = 0x70 // XLOG_XACT_OPMASK
	xactHasInfo = 0x80 // XLOG_XACT_HAS_INFO

	xactHasDBInfo   = 1 << 0
	xactHasSubxacts = 1 << 1
	xactHasRels     = 1 << 2
	xactHasInvals   = 1 << 3 // commits only
	xactHasTwoPhase = 1 << 4
	xactHasStats    = 1 << 8 // since 15

	keptSubxacts = 4096
	keptRels     = 4096
	keptChanged  = 4096

	// A SharedInvalidationMessage, and its id where it is of the relation cache (src/include/storage/sinval.h).
	invalSize     = 16
	invalRelcache = -2
)

// xactStep is what a commit or abort record says next, in the order of
// ParseCommitRecord and ParseAbortRecord (src/backend/access/rmgrdesc/xactdesc.c).
type xactStep uint8

const (
	stepTime xactStep = iota
	stepInfo
	stepSubxacts
	stepSubxact
	stepRels
	stepRel
	stepStats
	stepInvals
	stepInval
	stepTwoPhase
	stepDone
)

// xactParser reads the main data of a commit or abort record as it comes, cut
// anywhere. It holds a field at a time: such a record may be hundreds of
// megabytes long, and what matters can stand at its end.
type xactParser struct {
	end   TransactionEnd
	major int
	whole bool  // what it changed is wanted too
	info  uint8 // xl_info
	xinfo uint32

	step  xactStep
	field [invalSize]byte
	have  int    // bytes of field
	pass  uint64 // bytes to pass over before field
	subs  int    // subtransactions to come
	rels  int    // relations to come
	inval int    // invalidation messages to come
	bad   error
}

// open makes x ready for a record, and returns false where info is none of a
// transaction end. With x.whole it will tell what the transaction changed.
func (x *xactParser) open(info uint8, major int) bool {
	var kind EndKind
	switch info & xactOpMask {
	case 0x00:
		kind = Commit
	case 0x20:
		kind = Abort
	case 0x30:
		kind = CommitPrepared
	case 0x40:
		kind = AbortPrepared
	default:
		return false
	}
	*x = xactParser{end: TransactionEnd{Kind: kind}, info: info, major: major, whole: x.whole}
	return true
}

// write reads the next bytes of main data.
func (x *xactParser) write(p []byte) {
	for len(p) > 0 && x.bad == nil && (x.step != stepDone || x.pass > 0) {
		if x.pass > 0 {
			n := min(x.pass, uint64(len(p)))
			x.pass -= n
			p = p[n:]
			continue
		}
		want := x.fieldSize()
		n := copy(x.field[x.have:want], p)
		x.have += n
		p = p[n:]
		if x.have == want {
			x.have = 0
			x.take()
		}
	}
}

// fieldSize returns the length of the current step's field, in bytes.
func (x *xactParser) fieldSize() int {
	switch x.step {
	case stepTime:
		return 8
	case stepRel:
		return relFileSize
	case stepInval:
		return invalSize
	case stepInfo, stepSubxacts, stepSubxact, stepRels, stepStats, stepInvals, stepTwoPhase, stepDone:
	}
	return 4
}

// take reads the field that is now whole and goes on to the next.
func (x *xactParser) take() {
	v := binary.LittleEndian.Uint32(x.field[:])
	switch x.step {
	case stepTime:
		x.end.Time = Time(binary.LittleEndian.Uint64(x.field[:]))
	case stepInfo:
		x.xinfo = v
		if v&xactHasDBInfo != 0 {
			x.pass = 8 // xl_xact_dbinfo
		}
	case stepSubxacts:
		x.end.SubxactCount = x.array(v, 0)
		x.subs = x.end.SubxactCount
	case stepSubxact:
		x.subs--
		if len(x.end.Subxacts) < keptSubxacts {
			x.end.Subxacts = append(x.end.Subxacts, XID(v))
		}
		if x.subs > 0 {
			return
		}
	case stepRels:
		x.end.DroppedRelCount = x.array(v, 0)
		x.rels = x.end.DroppedRelCount
	case stepRel:
		x.rels--
		x.end.DroppedRels = append(x.end.DroppedRels, parseRelFile(x.field[:]))
		if x.rels > 0 && len(x.end.DroppedRels) < keptRels {
			return
		}
		x.pass, x.rels = uint64(x.rels)*relFileSize, 0
	case stepStats:
		x.array(v, x.statsItem())
	case stepInvals:
		n := x.array(v, invalSize)
		if x.whole && n > 0 {
			x.pass, x.inval = 0, n
		}
	case stepInval:
		x.inval--
		x.changed()
		if x.inval > 0 {
			return
		}
	case stepTwoPhase:
		x.end.XID = XID(v)
	case stepDone:
	}
	for x.step++; !x.present(); x.step++ {
	}
}

// changed takes an invalidation message.
func (x *xactParser) changed() {
	if int8(x.field[0]) != invalRelcache {
		return
	}
	x.end.ChangedCount++
	if len(x.end.Changed) < keptChanged {
		le := binary.LittleEndian
		x.end.Changed = append(x.end.Changed, RelationID{Database: le.Uint32(x.field[4:]), OID: le.Uint32(x.field[8:])})
	}
}

// array passes over count items of size bytes each.
func (x *xactParser) array(count uint32, size uint64) int {
	if int32(count) < 0 {
		x.bad = errors.New("negative count in a transaction end")
		return 0
	}
	x.pass = uint64(count) * size
	return int(count)
}

// statsItem returns the size of xl_xact_stats_item, whose object ID has 64
// bits since 18.
func (x *xactParser) statsItem() uint64 {
	if x.major >= 18 {
		return 16
	}
	return 12
}

// present reports whether the record has the field of the current step.
func (x *xactParser) present() bool {
	has := func(bit uint32) bool { return x.xinfo&bit != 0 }
	commit := x.end.Kind == Commit || x.end.Kind == CommitPrepared
	switch x.step {
	case stepInfo:
		return x.info&xactHasInfo != 0
	case stepSubxacts:
		return has(xactHasSubxacts)
	case stepSubxact:
		return x.subs > 0
	case stepRels:
		return has(xactHasRels)
	case stepRel:
		return x.rels > 0
	case stepStats:
		return has(xactHasStats)
	case stepInvals:
		return commit && has(xactHasInvals)
	case stepInval:
		return x.inval > 0
	case stepTwoPhase:
		return has(xactHasTwoPhase)
	case stepTime, stepDone:
	}
	return true
}

// close returns the transaction end of a record whose header has xid.
func (x *xactParser) close(xid XID) (*TransactionEnd, error) {
	if x.bad != nil {
		return nil, x.bad
	}
	if x.step != stepDone || x.pass > 0 {
		return nil, errors.New("transaction end is cut short")
	}
	prepared := x.end.Kind == CommitPrepared || x.end.Kind == AbortPrepared
	if prepared != (x.xinfo&xactHasTwoPhase != 0) {
		return nil, errors.New("transaction end does not say which transaction was prepared")
	}
	if !prepared {
		x.end.XID = xid
	}
	e := x.end
	return &e, nil
}
