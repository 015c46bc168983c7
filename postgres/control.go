package postgres

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/pgark/pgark/wal"
)

// ControlFile is what is read of global/pg_control
// (src/include/catalog/pg_control.h, 14 to 18). After a promotion it may name
// the old timeline for a while: a server's own is asked with Conn.System.
type ControlFile struct {
	SystemID       wal.SystemID
	Version        int // pg_control_version: 1300 in 14 to 16, 1700, 1800
	CatalogVersion int
	State          ClusterState
	Time           wal.Time // of the last change to the file, in whole seconds

	Checkpoint     wal.LSN // the last checkpoint record
	Redo           wal.LSN // where recovery from it begins
	Timeline       wal.TimelineID
	NextXID        uint64   // full, with epoch
	CheckpointTime wal.Time // in whole seconds

	MinRecovery         wal.LSN // recovery must reach it to be consistent; 0 if none
	MinRecoveryTimeline wal.TimelineID
	BackupStart         wal.LSN // start of the backup that is being recovered; 0 if none

	WALLevel         int // 0 minimal, 1 replica, 2 logical
	WALSegmentSize   wal.SegmentSize
	BlockSize        int // bytes of a page
	DataChecksums    bool
	MaxConnections   int // this and the next four: a standby needs as many
	MaxWorkers       int // max_worker_processes
	MaxWALSenders    int
	MaxPreparedXacts int
	MaxLocksPerXact  int
}

// ClusterState is DBState of pg_control.
type ClusterState int

// The states, in PostgreSQL's order.
const (
	StateStartup ClusterState = iota
	StateShutDown
	StateShutDownInRecovery
	StateShuttingDown
	StateCrashRecovery
	StateArchiveRecovery
	StateInProduction
)

// String returns the words of pg_controldata.
func (s ClusterState) String() string {
	switch s {
	case StateStartup:
		return "starting up"
	case StateShutDown:
		return "shut down"
	case StateShutDownInRecovery:
		return "shut down in recovery"
	case StateShuttingDown:
		return "shutting down"
	case StateCrashRecovery:
		return "in crash recovery"
	case StateArchiveRecovery:
		return "in archive recovery"
	case StateInProduction:
		return "in production"
	}
	return fmt.Sprintf("state %d", int(s))
}

// Offsets in ControlFileData with the alignment of 64-bit machines. Only what
// follows data_checksum_version differs between 14 and 18.
const (
	controlVersion       = 8
	controlCatalog       = 12
	controlState         = 16
	controlTime          = 24
	controlCheckpoint    = 32
	controlRedo          = 40
	controlTimeline      = 48
	controlNextXID       = 64
	controlCheckTime     = 104
	controlMinRecovery   = 136
	controlMinTimeline   = 144
	controlBackupStart   = 152
	controlWALLevel      = 172
	controlConnections   = 180
	controlWorkers       = 184
	controlSenders       = 188
	controlPrepared      = 192
	controlLocks         = 196
	controlMaxAlign      = 204
	controlFloat         = 208
	controlBlockSize     = 216
	controlSegmentSize   = 228
	controlChecksums     = 252
	controlCRC           = 288                // 14 to 17
	controlCRC18         = 292                // default_char_signedness came before it
	controlFloatConstant = 0x4132d68700000000 // 1234567.0
)

// ParseControl reads global/pg_control of PostgreSQL 14 to 18. It verifies the
// CRC32C, and refuses files of other majors and of machines with another byte
// order.
func ParseControl(b []byte) (ControlFile, error) {
	c, err := parseControl(b)
	if err != nil {
		return ControlFile{}, fmt.Errorf("parse pg_control: %w", err)
	}
	return c, nil
}

func parseControl(b []byte) (ControlFile, error) {
	if len(b) < controlCRC+4 {
		return ControlFile{}, fmt.Errorf("%d bytes: too short", len(b))
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	crcAt := controlCRC
	switch version := u32(controlVersion); version {
	case 1300, 1700:
	case 1800:
		crcAt = controlCRC18
	default:
		return ControlFile{}, fmt.Errorf("version %d: want that of PostgreSQL 14 to 18", version)
	}
	if len(b) < crcAt+4 {
		return ControlFile{}, fmt.Errorf("%d bytes: too short", len(b))
	}
	if got, want := crc32.Checksum(b[:crcAt], crc32.MakeTable(crc32.Castagnoli)), u32(crcAt); got != want {
		return ControlFile{}, fmt.Errorf("CRC is %08x, want %08x", got, want)
	}
	if u32(controlMaxAlign) != 8 || u64(controlFloat) != controlFloatConstant {
		return ControlFile{}, fmt.Errorf("written by a machine of another kind")
	}
	c := ControlFile{
		SystemID: wal.SystemID(u64(0)), Version: int(u32(controlVersion)), CatalogVersion: int(u32(controlCatalog)),
		State: ClusterState(u32(controlState)), Time: unixTime(u64(controlTime)),
		Checkpoint: wal.LSN(u64(controlCheckpoint)), Redo: wal.LSN(u64(controlRedo)),
		Timeline: wal.TimelineID(u32(controlTimeline)), NextXID: u64(controlNextXID),
		CheckpointTime: unixTime(u64(controlCheckTime)),
		MinRecovery:    wal.LSN(u64(controlMinRecovery)), MinRecoveryTimeline: wal.TimelineID(u32(controlMinTimeline)),
		BackupStart: wal.LSN(u64(controlBackupStart)), WALLevel: int(u32(controlWALLevel)),
		WALSegmentSize: wal.SegmentSize(u32(controlSegmentSize)), BlockSize: int(u32(controlBlockSize)),
		DataChecksums: u32(controlChecksums) != 0, MaxConnections: int(u32(controlConnections)),
		MaxWorkers: int(u32(controlWorkers)), MaxWALSenders: int(u32(controlSenders)),
		MaxPreparedXacts: int(u32(controlPrepared)), MaxLocksPerXact: int(u32(controlLocks)),
	}
	if c.SystemID == 0 || c.Timeline == 0 {
		return ControlFile{}, fmt.Errorf("system identifier %d, timeline %d: want others than 0", c.SystemID, c.Timeline)
	}
	return c, c.WALSegmentSize.Validate()
}

// unixTime turns pg_time_t, seconds since 1970, into a wal.Time.
func unixTime(seconds uint64) wal.Time {
	const epoch, microseconds = 946684800, 1_000_000
	return wal.Time((int64(seconds) - epoch) * microseconds)
}
