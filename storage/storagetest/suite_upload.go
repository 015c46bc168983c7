package storagetest

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/storage"
)

func begin(t *testing.T, s storage.Store, key storage.Key) storage.Upload {
	t.Helper()
	u, err := s.Begin(t.Context(), key)
	if err != nil {
		t.Fatalf("begin %s: %v", key, err)
	}
	t.Cleanup(func() {
		if err := u.Abort(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("abort %s: %v", key, err)
		}
	})
	return u
}

func sendPart(t *testing.T, u storage.Upload, n int, body []byte) {
	t.Helper()
	if err := u.Part(t.Context(), n, body); err != nil {
		t.Fatalf("part %d: %v", n, err)
	}
}

func commit(t *testing.T, u storage.Upload) {
	t.Helper()
	if err := u.Commit(t.Context()); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

func testUploadSizes(t *testing.T, s storage.Store) {
	for i, sizes := range some(3, [][]int{
		{1},
		{0},
		{storage.MinPart, 1},
		{storage.MinPart},
		{storage.MinPart, storage.MinPart},
		{storage.MinPart, storage.MinPart + 1, 7},
		{storage.MinPart + 1, storage.MinPart, storage.MinPart + 3},
	}) {
		key := storage.Key(fmt.Sprintf("u/%d", i))
		u := begin(t, s, key)
		var want []byte
		for n, size := range sizes {
			body := Random(size, uint64(n))
			want = append(want, body...)
			sendPart(t, u, n+1, body)
			clear(body)
		}
		commit(t, u)
		wantBytes(t, fmt.Sprintf("parts %v", sizes), get(t, s, key), want)
		if err := u.Abort(t.Context()); err != nil {
			t.Errorf("abort after commit: %v", err)
		}
		wantBytes(t, fmt.Sprintf("parts %v after abort", sizes), get(t, s, key), want)
	}
}

func testUploadOutOfOrder(t *testing.T, s storage.Store) {
	parts := [][]byte{Random(storage.MinPart, 1), Random(storage.MinPart, 2), Random(storage.MinPart+5, 3), Random(100, 4)}
	for i, order := range some(1, [][]int{{2, 4, 1, 3}, {4, 3, 2, 1}, {3, 1, 2, 4}}) {
		key := storage.Key(fmt.Sprintf("order/%d", i))
		u := begin(t, s, key)
		for _, n := range order {
			sendPart(t, u, n, parts[n-1])
		}
		commit(t, u)
		wantBytes(t, string(key), get(t, s, key), bytes.Join(parts, nil))
	}
	u := begin(t, s, "order/parallel")
	g, ctx := errgroup.WithContext(t.Context())
	for i := range parts {
		g.Go(func() error { return u.Part(ctx, i+1, parts[i]) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	commit(t, u)
	wantBytes(t, "parallel", get(t, s, "order/parallel"), bytes.Join(parts, nil))
}

func testUploadPartAgain(t *testing.T, s storage.Store) {
	u := begin(t, s, "again")
	first, last := Random(storage.MinPart, 1), Random(10, 2)
	sendPart(t, u, 1, Random(storage.MinPart, 9))
	sendPart(t, u, 2, Random(20, 9))
	sendPart(t, u, 1, first)
	sendPart(t, u, 2, last)
	commit(t, u)
	wantBytes(t, "again", get(t, s, "again"), append(first, last...))
}

func testUploadExists(t *testing.T, s storage.Store) {
	put(t, s, "taken", []byte("first"))
	u := begin(t, s, "taken")
	sendPart(t, u, 1, []byte("second"))
	wantErr(t, "commit", u.Commit(t.Context()), storage.ErrExists)
	wantBytes(t, "taken", get(t, s, "taken"), []byte("first"))

	late := begin(t, s, "late")
	sendPart(t, late, 1, []byte("second"))
	put(t, s, "late", []byte("first"))
	wantErr(t, "commit", late.Commit(t.Context()), storage.ErrExists)
	wantBytes(t, "late", get(t, s, "late"), []byte("first"))
}

func testUploadRace(t *testing.T, s storage.Store) {
	const writers = 8
	uploads := make([]storage.Upload, writers)
	for i := range uploads {
		uploads[i] = begin(t, s, "race")
		sendPart(t, uploads[i], 1, bytes.Repeat([]byte{byte(i)}, 1000))
	}
	errs := make([]error, writers)
	g, ctx := errgroup.WithContext(t.Context())
	for i, u := range uploads {
		g.Go(func() error {
			errs[i] = u.Commit(ctx)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	wantOneWinner(t, s, "race", errs)
}

func testUploadAbort(t *testing.T, s storage.Store) {
	u := begin(t, s, "aborted/key")
	sendPart(t, u, 1, Random(storage.MinPart, 1))
	for range 2 {
		if err := u.Abort(t.Context()); err != nil {
			t.Fatalf("abort: %v", err)
		}
	}
	wantInvisible(t, s, "aborted/key")
	if err := u.Commit(t.Context()); err == nil {
		t.Error("commit after abort: got nil, want an error")
	}
	if err := u.Part(t.Context(), 2, []byte("x")); err == nil {
		t.Error("part after abort: got nil, want an error")
	}
	wantInvisible(t, s, "aborted/key")
	put(t, s, "aborted/key", []byte("x"))
}

func testUploadInvisible(t *testing.T, s storage.Store) {
	u := begin(t, s, "hidden/key")
	wantInvisible(t, s, "hidden/key")
	sendPart(t, u, 1, Random(storage.MinPart, 1))
	sendPart(t, u, 2, Random(100, 2))
	wantInvisible(t, s, "hidden/key")
	commit(t, u)
	if got := keys(t, s, "", ""); len(got) != 1 || got[0] != "hidden/key" {
		t.Errorf("after commit: got %v, want hidden/key", got)
	}
}

func wantInvisible(t *testing.T, s storage.Store, key storage.Key) {
	t.Helper()
	_, err := s.Stat(t.Context(), key)
	wantErr(t, "stat", err, storage.ErrNotFound)
	_, err = s.Get(t.Context(), key, storage.All())
	wantErr(t, "get", err, storage.ErrNotFound)
	if got := keys(t, s, "", ""); len(got) != 0 {
		t.Errorf("list: got %v, want nothing", got)
	}
}

func testUploadFaults(t *testing.T, s storage.Store) {
	u := begin(t, s, "faulty")
	for _, n := range []int{-1, 0, storage.MaxParts + 1} {
		if err := u.Part(t.Context(), n, []byte("x")); err == nil {
			t.Errorf("part %d: got nil, want an error", n)
		}
	}
	if err := u.Commit(t.Context()); err == nil {
		t.Error("commit of no part: got nil, want an error")
	}
	gap := begin(t, s, "gap")
	sendPart(t, gap, 1, Random(storage.MinPart, 1))
	sendPart(t, gap, 3, Random(100, 1))
	if err := gap.Commit(t.Context()); err == nil {
		t.Error("commit without part 2: got nil, want an error")
	}
	small := begin(t, s, "small")
	sendPart(t, small, 1, Random(100, 1))
	sendPart(t, small, 2, Random(100, 1))
	if err := small.Commit(t.Context()); err == nil {
		t.Error("commit of a small first part: got nil, want an error")
	}
	wantInvisible(t, s, "faulty")
}
