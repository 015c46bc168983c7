package postgres_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/postgres/postgrestest"
	"github.com/pgark/pgark/wal"
)

// selfSigned makes a key and a certificate for 127.0.0.1.
func selfSigned(t *testing.T) (key, cert string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestStreamTLS lets deadlines pass all the time, in the middle of TLS records
// too, while status updates go the other way: the bytes are those of the
// server's own files.
func TestStreamTLS(t *testing.T) {
	c := postgrestest.Start(t, postgrestest.Need(t, 15), postgrestest.Options{
		SegmentSize: 1 << 20, Settings: map[string]string{"ssl": "on", "wal_keep_size": "1GB"}, NoStart: true,
	})
	key, cert := selfSigned(t)
	c.WriteFile(t, "server.key", key)
	c.WriteFile(t, "server.crt", cert)
	c.Start(t)
	c.Exec(t, "create table t as select g, md5(g::text) from generate_series(1, 100000) g")
	ctx := deadline(t)
	conn := connect(t, c.TCPConnString()+" sslmode=require")
	if got := c.Text(t, "select count(*) from pg_stat_ssl where ssl"); got != "1" {
		t.Fatalf("%s connections with TLS, want 1", got)
	}
	s, err := conn.System(ctx)
	if err != nil {
		t.Fatal(err)
	}
	from := s.SegmentSize.Start(s.SegmentSize.Number(s.Flush) - 6)
	if err := conn.StartReplication(ctx, postgres.Start{Timeline: 1, LSN: from}); err != nil {
		t.Fatal(err)
	}
	// One update for each attempt to read: as long as updates keep coming the server sends no WAL (ProcessRepliesIfAny in
	// src/backend/replication/walsender.c reads them all first).
	attempts := make(chan struct{}, 1)
	var g errgroup.Group
	g.Go(func() error {
		for range attempts {
			if err := conn.SendStatus(ctx, postgres.Status{Write: from, RequestReply: true}); err != nil {
				return err
			}
		}
		return nil
	})
	var read bytes.Buffer
	timeouts := 0
	for wait := time.Microsecond; from+wal.LSN(read.Len()) < s.Flush; wait = wait%(200*time.Microsecond) + 7*time.Microsecond {
		select {
		case attempts <- struct{}{}:
		default:
		}
		short, done := context.WithTimeout(ctx, wait)
		m, err := conn.Receive(short)
		done()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			timeouts++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := m.(*postgres.Data); ok {
			if d.Start != from+wal.LSN(read.Len()) {
				t.Fatalf("data at %s, want %s", d.Start, from+wal.LSN(read.Len()))
			}
			read.Write(d.Bytes)
		}
	}
	close(attempts)
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if timeouts == 0 {
		t.Error("no deadline passed: the test saw nothing")
	}
	t.Logf("%d deadlines passed in %d bytes", timeouts, read.Len())
	checkSegments(t, c, s.SegmentSize, from, read.Bytes())
}
