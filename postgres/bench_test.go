package postgres_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/wal"
)

// BenchmarkBaseBackup receives a cluster of about 300 MB and throws it away.
func BenchmarkBaseBackup(b *testing.B) {
	for _, major := range []int{14, 15, 18} {
		v := postgrestest.Need(b, major)
		b.Run(v.String(), func(b *testing.B) {
			c := postgrestest.Start(b, v, postgrestest.Options{})
			c.Exec(b, "create table t as select g, md5(g::text) || repeat(md5((g+1)::text), 30) as filler from generate_series(1, 250000) g; checkpoint")
			cfg, err := postgres.ParseConfig(c.ConnString())
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
			defer cancel()
			conn, err := postgres.Connect(ctx, cfg)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = conn.Close(ctx) }()
			var total int64
			for b.Loop() {
				total = receiveBackup(ctx, b, conn)
			}
			b.SetBytes(total)
		})
	}
}

// receiveBackup returns the bytes of one base backup.
func receiveBackup(ctx context.Context, b *testing.B, conn *postgres.Conn) int64 {
	b.Helper()
	backup, err := conn.BaseBackup(ctx, postgres.BackupOptions{Fast: true})
	if err != nil {
		b.Fatal(err)
	}
	var total int64
	buf := make([]byte, 1<<20)
	for {
		_, r, err := backup.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, buf)
		if err != nil {
			b.Fatal(err)
		}
		total += n
	}
	if _, err := backup.Finish(ctx); err != nil {
		b.Fatal(err)
	}
	return total
}

// BenchmarkReceive streams 256 MB of WAL that the server has.
func BenchmarkReceive(b *testing.B) {
	v := postgrestest.Need(b, 15)
	c := postgrestest.Start(b, v, postgrestest.Options{Settings: map[string]string{"wal_keep_size": "4GB", "max_wal_size": "4GB"}})
	cfg, err := postgres.ParseConfig(c.ConnString())
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	asking, err := postgres.Connect(ctx, cfg)
	if err != nil {
		b.Fatal(err)
	}
	before, err := asking.System(ctx)
	if err != nil {
		b.Fatal(err)
	}
	c.Exec(b, "create table t as select g, md5(g::text) || repeat(md5((g+1)::text), 30) as filler from generate_series(1, 250000) g")
	after, err := asking.System(ctx)
	if err != nil {
		b.Fatal(err)
	}
	_ = asking.Close(ctx)
	from := before.SegmentSize.Floor(before.Flush)
	b.SetBytes(int64(after.Flush - from))
	for b.Loop() {
		conn, err := postgres.Connect(ctx, cfg)
		if err != nil {
			b.Fatal(err)
		}
		if err := conn.StartReplication(ctx, postgres.Start{Timeline: 1, LSN: from}); err != nil {
			b.Fatal(err)
		}
		for at := from; at < after.Flush; {
			m, err := conn.Receive(ctx)
			if err != nil {
				b.Fatal(err)
			}
			if d, ok := m.(*postgres.Data); ok {
				at = d.Start + wal.LSN(len(d.Bytes))
			}
		}
		_ = conn.Close(ctx)
	}
}
