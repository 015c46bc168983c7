// Package wal knows PostgreSQL's write-ahead log by its bytes and its names:
// LSNs, timelines, segments and their file names, timeline history files, and
// the records in a stream of WAL that recovery can stop at.
//
// It is pure: it opens nothing, waits for nothing and knows neither servers
// nor repositories. It follows PostgreSQL 14 to 18:
// src/include/access/xlogdefs.h, xlog_internal.h, xlogrecord.h, xact.h,
// src/include/catalog/pg_control.h, src/backend/access/transam/xlogreader.c
// and timeline.c. WAL of big-endian servers, and of servers built with a WAL
// page size other than 8 KiB, is refused.
package wal
