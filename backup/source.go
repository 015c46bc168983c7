package backup

import (
	"context"
	"io"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// Source yields the files of one running cluster, once. The calls come in this order, from one
// goroutine: Begin, then NextArchive until it returns io.EOF, each archive's members read to their
// end, then Finish. Whoever made the source closes what lies under it, also after an error.
type Source interface {
	// Begin puts the server into backup mode and returns when its checkpoint is done.
	Begin(ctx context.Context) (Start, error)
	// NextArchive returns the next archive, or io.EOF after the last.
	NextArchive(ctx context.Context) (Archive, error)
	// Finish ends backup mode. It is called after the last archive only, and nothing after it.
	Finish(ctx context.Context) (Stop, error)
}

// Start is what is known of a backup when it begins.
type Start struct {
	// SystemID of the cluster.
	SystemID wal.SystemID
	// VersionNum is the server's server_version_num, 150018 for 15.18.
	VersionNum int
	// SegmentSize is the server's wal_segment_size.
	SegmentSize wal.SegmentSize
	// Timeline and LSN are where replay of the backup begins.
	Timeline wal.TimelineID
	LSN      wal.LSN
	// Label is the backup label the server was given.
	Label string
	// Tablespaces lists the tablespaces beside pg_default and pg_global, and where the server has them.
	Tablespaces []repository.Tablespace
	// Total is the server's estimate of the bytes to come, tar headers and padding included. It is 0
	// where the server did not say.
	Total int64
	// History is the timeline's history file, byte for byte; empty for timeline 1.
	History []byte
	// Location is the server's log_timezone, in which it writes the start time into backup_label; nil
	// if it is not known.
	Location *time.Location
}

// Archive is a run of members that lie under one directory of the server.
type Archive struct {
	// Tablespace is the tablespace's OID, 0 for the data directory.
	Tablespace uint32
	// Members reads the archive.
	Members Members
}

// Members reads the members of one archive in order. It is not safe for concurrent use.
type Members interface {
	// Next returns the next member, or io.EOF at the proper end of the archive. The content of the
	// member before must have been read to its end.
	Next() (Member, error)
	// Read reads the content of the member that Next returned, Size bytes in all, then gives io.EOF.
	io.Reader
}

// Member is one file, directory or symbolic link of an archive.
type Member struct {
	// Header is the tar header, 512 bytes as they go into the pack. It is valid until the next call
	// of Next.
	Header []byte
	// Path is relative to the archive's root, with slashes, clean and local: never empty, absolute or
	// with a "..". It may hold any bytes but NUL.
	Path string
	// Type is a file, a directory or a symbolic link.
	Type repository.FileType
	// Mode holds the permission bits, within 07777.
	Mode uint32
	// Size of the content in bytes; 0 for directories and links.
	Size int64
	// ModTime is the time of the last change, in seconds, UTC.
	ModTime time.Time
	// Link is a link's target; empty for the others.
	Link string
}

// Stop is what is known of a backup when its last file has been sent.
type Stop struct {
	// Timeline and LSN are where the backup becomes consistent.
	Timeline wal.TimelineID
	LSN      wal.LSN
	// Time is the server's clock at or after that; zero where it did not tell.
	Time time.Time
	// Manifest is the server's backup_manifest, byte for byte.
	Manifest []byte
	// Checksums is the server's verdict on the page checksums of what it read, and ChecksumFailures the
	// number of pages whose checksum is wrong.
	Checksums        repository.Checksums
	ChecksumFailures int64
}
