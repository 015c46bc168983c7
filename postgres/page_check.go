package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// PageCheck is what a server found in its own pages.
type PageCheck struct {
	// Checksums is ChecksumsFailed also where the server could not verify a
	// file to its end, because that is not whole pages.
	Checksums Checksums
	Failures  int64 // pages whose checksum is wrong
	Bytes     int64 // that the server read of its files, with the headers of a tar archive
	// Warnings say which files and pages, in the server's words; at most 200.
	Warnings []ServerError
}

// errNothingRead says that a server verified nothing, although it said that all is right.
var errNothingRead = errors.New("the server read no file")

// CheckPages has the server read all files of the cluster and verify the
// checksums of their pages, as it does for a base backup. Nothing of what it
// reads is kept: from 15 on the server sends nothing (TARGET 'blackhole'),
// PostgreSQL 14 sends all, which is thrown away. The server makes a checkpoint
// first. It needs wal_level above minimal and a free walsender.
//
// The server passes over pages that say they were changed after that checkpoint
// and such that are new, which pg_checksums does with the latter only; over files
// that no backup has, such as those of temporary relations and the contents of
// unlogged ones; and names at most five pages of a file (verify_page_checksum and
// sendFile, src/backend/backup/basebackup.c; "BASE_BACKUP" in PostgreSQL's
// documentation of the streaming replication protocol). The errors are those of
// BaseBackup.
func (c *Conn) CheckPages(ctx context.Context) (PageCheck, error) {
	check, err := c.checkPages(ctx)
	if err != nil {
		return PageCheck{}, fmt.Errorf("check pages: %w", err)
	}
	return check, nil
}

func (c *Conn) checkPages(ctx context.Context) (PageCheck, error) {
	b, err := c.BaseBackup(ctx, BackupOptions{Label: "pgark page check", Fast: true, NoSizes: true, pagesOnly: true})
	if err != nil {
		return PageCheck{}, err
	}
	for {
		_, _, err := b.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return PageCheck{}, err
		}
	}
	end, err := b.Finish(ctx)
	if err != nil {
		return PageCheck{}, err
	}
	if b.read == 0 {
		return PageCheck{}, errNothingRead
	}
	check := PageCheck{Checksums: end.Checksums, Failures: end.ChecksumFailures, Bytes: b.read}
	check.Warnings = slices.DeleteFunc(end.Notices, func(n ServerError) bool {
		// sendDir warns of sockets and the like, such as that of a restored server in its own folder: no pages.
		return n.Severity != "WARNING" || n.File != "basebackup.c" || n.Routine == "sendDir"
	})
	if len(check.Warnings) > 0 && check.Checksums == ChecksumsVerified {
		check.Checksums = ChecksumsFailed
	}
	return check, nil
}
