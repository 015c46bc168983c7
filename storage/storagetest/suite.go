// Package storagetest holds what tests need of storage: the suite that every store and wrapper passes,
// a real S3 server as a child process, and a proxy in front of it that makes faults.
package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/storage"
)

// Run runs the conformance suite. Each test of it calls open for a store that is empty.
func Run(t *testing.T, open func(t *testing.T) storage.Store) {
	t.Helper()
	tests := []struct {
		name string
		run  func(t *testing.T, s storage.Store)
	}{
		{"put and get", testPutGet},
		{"sizes", testSizes},
		{"spans", testSpans},
		{"put exists", testPutExists},
		{"put race", testPutRace},
		{"not found", testNotFound},
		{"invalid keys", testInvalidKeys},
		{"stat", testStat},
		{"list order", testListOrder},
		{"list after", testListAfter},
		{"list many", testListMany},
		{"list break", testListBreak},
		{"folders", testFolders},
		{"delete", testDelete},
		{"upload sizes", testUploadSizes},
		{"upload out of order", testUploadOutOfOrder},
		{"upload part again", testUploadPartAgain},
		{"upload exists", testUploadExists},
		{"upload race", testUploadRace},
		{"upload abort", testUploadAbort},
		{"upload invisible", testUploadInvisible},
		{"upload faults", testUploadFaults},
		{"supersede", testSupersede},
		{"versions", testVersions},
		{"body reused", testBodyReused},
		{"concurrent", testConcurrent},
		{"cancelled", testCancelled},
		{"cancelled body", testCancelledBody},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
}

// some returns the first n cases with -short, and otherwise all.
func some[T any](n int, cases []T) []T {
	if testing.Short() {
		return cases[:n]
	}
	return cases
}

// Random returns n bytes that depend only on n and seed and do not repeat.
func Random(n int, seed uint64) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return b
}

func put(t *testing.T, s storage.Store, key storage.Key, body []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, body); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func get(t *testing.T, s storage.Store, key storage.Key) []byte {
	t.Helper()
	b, err := storage.ReadAll(t.Context(), s, key, 1<<30)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	return b
}

func keys(t *testing.T, s storage.Store, prefix, after storage.Key) []storage.Key {
	t.Helper()
	var got []storage.Key
	for info, err := range s.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatalf("list %q after %q: %v", prefix, after, err)
		}
		got = append(got, info.Key)
	}
	return got
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func wantBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got %d bytes, want %d other ones", what, len(got), len(want))
	}
}

func testPutGet(t *testing.T, s storage.Store) {
	for _, key := range []storage.Key{"one", "a/b/c/d", "~x+y=z,@:;!$&'()/-_.q", storage.Key(strings.Repeat("k", 200))} {
		body := []byte("body of " + key)
		put(t, s, key, body)
		wantBytes(t, string(key), get(t, s, key), body)
	}
}

func testSizes(t *testing.T, s storage.Store) {
	for _, n := range []int{0, 1, 511, 512, 4095, 4096, 4097, 1<<20 - 1, 1 << 20, 1<<20 + 1, storage.MinPart + 1} {
		key := storage.Key(fmt.Sprintf("size/%d", n))
		body := Random(n, uint64(n))
		put(t, s, key, body)
		wantBytes(t, string(key), get(t, s, key), body)
		if info, err := s.Stat(t.Context(), key); err != nil || info.Size != int64(n) {
			t.Errorf("stat %s: got size %d, %v, want %d", key, info.Size, err, n)
		}
	}
}

func at(offset, length int64) storage.Span { return storage.Span{Offset: offset, Length: length} }

func testSpans(t *testing.T, s storage.Store) {
	body := Random(10000, 1)
	put(t, s, "object", body)
	put(t, s, "empty", nil)
	for _, span := range []storage.Span{at(0, -1), at(0, 10000), at(0, 1), at(9999, 1), at(9999, -1), at(5, 4096), at(4096, 4096), at(176, -1), at(0, 0), at(5000, 0), at(10000, 0)} {
		end := span.Offset + span.Length
		if span.Length < 0 {
			end = int64(len(body))
		}
		r, err := s.Get(t.Context(), "object", span)
		if err != nil {
			t.Errorf("%v: %v", span, err)
			continue
		}
		got, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Errorf("read %v: %v", span, err)
		}
		wantBytes(t, span.String(), got, body[span.Offset:end])
	}
	for _, span := range []storage.Span{at(0, 10001), at(9999, 2), at(10000, 1), at(10001, -1), at(10001, 0), at(-1, 1), at(20000, 5)} {
		_, err := s.Get(t.Context(), "object", span)
		wantErr(t, "get "+span.String(), err, storage.ErrSpan)
	}
	if got := get(t, s, "empty"); len(got) != 0 {
		t.Errorf("empty: got %d bytes", len(got))
	}
	_, err := s.Get(t.Context(), "empty", storage.Span{Offset: 0, Length: 1})
	wantErr(t, "one byte of an empty object", err, storage.ErrSpan)
}

func testPutExists(t *testing.T, s storage.Store) {
	put(t, s, "a/key", []byte("first"))
	wantErr(t, "same content", s.Put(t.Context(), "a/key", []byte("first")), storage.ErrExists)
	wantErr(t, "other content", s.Put(t.Context(), "a/key", []byte("second")), storage.ErrExists)
	wantBytes(t, "a/key", get(t, s, "a/key"), []byte("first"))
}

func testPutRace(t *testing.T, s storage.Store) {
	const writers = 8
	for round := range 5 {
		key := storage.Key(fmt.Sprintf("race/%d", round))
		errs := make([]error, writers)
		g, ctx := errgroup.WithContext(t.Context())
		for i := range writers {
			g.Go(func() error {
				errs[i] = s.Put(ctx, key, bytes.Repeat([]byte{byte(i)}, 1000))
				return nil
			})
		}
		_ = g.Wait() // the errors are in errs
		wantOneWinner(t, s, key, errs)
	}
}

// wantOneWinner checks that one writer won and its content, whose bytes are its number, is there.
func wantOneWinner(t *testing.T, s storage.Store, key storage.Key, errs []error) {
	t.Helper()
	won := -1
	for i, err := range errs {
		switch {
		case err == nil && won >= 0:
			t.Errorf("%s: writers %d and %d both won", key, won, i)
		case err == nil:
			won = i
		default:
			wantErr(t, string(key), err, storage.ErrExists)
		}
	}
	if won < 0 {
		t.Fatalf("%s: no writer won", key)
	}
	got := get(t, s, key)
	if len(got) == 0 || slices.ContainsFunc(got, func(b byte) bool { return b != byte(won) }) {
		t.Errorf("%s: the content is not writer %d's", key, won)
	}
}

func testNotFound(t *testing.T, s storage.Store) {
	put(t, s, "dir/there", []byte("x"))
	for _, key := range []storage.Key{"none", "dir/none", "none/none", "dir", "dir/there/below", "dir/the"} {
		_, err := s.Get(t.Context(), key, storage.All())
		wantErr(t, "get "+string(key), err, storage.ErrNotFound)
		_, err = s.Get(t.Context(), key, storage.Span{Offset: 0, Length: 0})
		wantErr(t, "get nothing of "+string(key), err, storage.ErrNotFound)
		_, err = s.Get(t.Context(), key, storage.Span{Offset: 5, Length: 5})
		wantErr(t, "get span of "+string(key), err, storage.ErrNotFound)
		_, err = s.Stat(t.Context(), key)
		wantErr(t, "stat "+string(key), err, storage.ErrNotFound)
		if key != "dir" { // versitygw answers 500 when the key is a folder of others
			if err := s.Delete(t.Context(), key); err != nil {
				t.Errorf("delete %s: got %v, want nil", key, err)
			}
		}
		if got := keys(t, s, key+"x", ""); len(got) != 0 {
			t.Errorf("list %sx: got %v, want nothing", key, got)
		}
	}
	wantBytes(t, "dir/there", get(t, s, "dir/there"), []byte("x"))
}

func testInvalidKeys(t *testing.T, s storage.Store) {
	for _, key := range []storage.Key{"", "/", "../outside", "a/../../b", "a//b", "a/", ".hidden", "a/.b", "a\x00b"} {
		wantErr(t, fmt.Sprintf("put %q", key), s.Put(t.Context(), key, []byte("x")), storage.ErrKey)
		_, err := s.Begin(t.Context(), key)
		wantErr(t, fmt.Sprintf("begin %q", key), err, storage.ErrKey)
		_, err = s.Get(t.Context(), key, storage.All())
		wantErr(t, fmt.Sprintf("get %q", key), err, storage.ErrKey)
		_, err = s.Stat(t.Context(), key)
		wantErr(t, fmt.Sprintf("stat %q", key), err, storage.ErrKey)
		wantErr(t, fmt.Sprintf("delete %q", key), s.Delete(t.Context(), key), storage.ErrKey)
	}
	for _, err := range s.List(t.Context(), "../", "") {
		wantErr(t, "list ../", err, storage.ErrKey)
	}
}

func testStat(t *testing.T, s storage.Store) {
	put(t, s, "x/y", []byte("12345"))
	info, err := s.Stat(t.Context(), "x/y")
	if err != nil || info.Key != "x/y" || info.Size != 5 || info.Modified.IsZero() {
		t.Errorf("got %+v, %v", info, err)
	}
	for listed, err := range s.List(t.Context(), "x", "") {
		if err != nil || listed.Key != info.Key || listed.Size != 5 || listed.Modified.IsZero() {
			t.Errorf("listed: got %+v, %v", listed, err)
		}
	}
}

func testDelete(t *testing.T, s storage.Store) {
	put(t, s, "d/one", []byte("1"))
	put(t, s, "d/two", []byte("2"))
	for range 2 {
		if err := s.Delete(t.Context(), "d/one"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Stat(t.Context(), "d/one")
	wantErr(t, "stat", err, storage.ErrNotFound)
	if got := keys(t, s, "", ""); !slices.Equal(got, []storage.Key{"d/two"}) {
		t.Errorf("got %v, want d/two", got)
	}
	// versitygw takes a delete marker for an object; S3 does not.
	err = s.Put(t.Context(), "d/one", []byte("again"))
	if errors.Is(err, storage.ErrExists) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "d/one", get(t, s, "d/one"), []byte("again"))
}
