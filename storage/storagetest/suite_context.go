package storagetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/storage"
)

func testBodyReused(t *testing.T, s storage.Store) {
	body := []byte("original")
	put(t, s, "reused", body)
	copy(body, "XXXXXXXX")
	wantBytes(t, "reused", get(t, s, "reused"), []byte("original"))
}

func testConcurrent(t *testing.T, s storage.Store) {
	g, ctx := errgroup.WithContext(t.Context())
	for w := range 8 {
		g.Go(func() error { return concurrentWriter(ctx, s, w) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := len(keys(t, s, "c/", "")); got != 8*8/2 {
		t.Errorf("got %d objects, want %d", got, 8*8/2)
	}
}

func concurrentWriter(ctx context.Context, s storage.Store, w int) error {
	for i := range 8 {
		key := storage.Key(fmt.Sprintf("c/%d/%d", i, w))
		body := Random(1000+i, uint64(w))
		if err := s.Put(ctx, key, body); err != nil {
			return err
		}
		got, err := storage.ReadSpan(ctx, s, key, storage.Span{Offset: 500, Length: 500})
		if err != nil {
			return err
		}
		if !bytes.Equal(got, body[500:1000]) {
			return fmt.Errorf("%s: other bytes", key)
		}
		for _, err := range s.List(ctx, "c/", "") {
			if err != nil {
				return err
			}
		}
		if i%2 == 1 {
			if err := s.Delete(ctx, key); err != nil {
				return err
			}
		}
	}
	return nil
}

func testCancelled(t *testing.T, s storage.Store) {
	put(t, s, "there", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, "put", s.Put(ctx, "new", []byte("x")), context.Canceled)
	_, err := s.Begin(ctx, "new")
	wantErr(t, "begin", err, context.Canceled)
	_, err = s.Get(ctx, "there", storage.All())
	wantErr(t, "get", err, context.Canceled)
	_, err = s.Stat(ctx, "there")
	wantErr(t, "stat", err, context.Canceled)
	wantErr(t, "delete", s.Delete(ctx, "there"), context.Canceled)
	ended := false
	for _, err := range s.List(ctx, "", "") {
		wantErr(t, "list", err, context.Canceled)
		ended = true
	}
	if !ended {
		t.Error("list: got no error, want context.Canceled")
	}
	ctx, cancel = context.WithCancel(t.Context())
	for _, err := range s.List(ctx, "", "") {
		if err != nil {
			t.Errorf("list: got %v", err)
		}
		cancel() // by a reader that wants no more: it is not called again
		break
	}
	cancel()
	if got := keys(t, s, "", ""); !slices.Equal(got, []storage.Key{"there"}) {
		t.Errorf("got %v, want there", got)
	}
}

func testCancelledBody(t *testing.T, s storage.Store) {
	put(t, s, "large", Random(8<<20, 3))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := s.Get(ctx, "large", storage.All())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	_, err = io.Copy(io.Discard, r)
	wantErr(t, "read", err, context.Canceled)
	_ = r.Close() // it was cancelled
}
