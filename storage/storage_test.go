package storage_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/pgark/pgark/storage"
)

func TestKeyValidate(t *testing.T) {
	valid := []storage.Key{
		"pgark.json", "7/wal/00000001/000000010000000000000001.zst", "a", "a-b_c+d=e,f@g:h~i", "a.", "a..b",
		storage.Key(strings.Repeat("x", 200)),
	}
	for _, k := range valid {
		if err := k.Validate(); err != nil {
			t.Errorf("%q: got %v, want nil", k, err)
		}
	}
	invalid := []storage.Key{
		"", "/", "a/", "/a", "a//b", ".", "..", "a/..", "../a", "a/./b", ".a", "a/.b", "a b", "a\x00", "a\\b", "é",
		"a\nb", "a\x7f", storage.Key(strings.Repeat("x", 201)), storage.Key(strings.Repeat("x/", 500) + "x"),
	}
	for _, k := range invalid {
		if err := k.Validate(); !errors.Is(err, storage.ErrKey) {
			t.Errorf("%q: got %v, want ErrKey", k, err)
		}
	}
}

func TestKeyValidatePrefix(t *testing.T) {
	for _, k := range []storage.Key{"", "a", "a/", "a/b", "a/b/"} {
		if err := k.ValidatePrefix(); err != nil {
			t.Errorf("%q: got %v, want nil", k, err)
		}
	}
	for _, k := range []storage.Key{"/", "//", "../", "a//", ".", "a/."} {
		if err := k.ValidatePrefix(); !errors.Is(err, storage.ErrKey) {
			t.Errorf("%q: got %v, want ErrKey", k, err)
		}
	}
}

func TestSpanResolve(t *testing.T) {
	tests := []struct {
		span storage.Span
		size int64
		want int64
		err  error
	}{
		{storage.All(), 0, 0, nil},
		{storage.All(), 10, 10, nil},
		{storage.Span{Offset: 3, Length: -1}, 10, 7, nil},
		{storage.Span{Offset: 3, Length: 7}, 10, 7, nil},
		{storage.Span{Offset: 3, Length: 8}, 10, 0, storage.ErrSpan},
		{storage.Span{Offset: 10, Length: 0}, 10, 0, nil},
		{storage.Span{Offset: 11, Length: 0}, 10, 0, storage.ErrSpan},
		{storage.Span{Offset: -1, Length: 1}, 10, 0, storage.ErrSpan},
		{storage.Span{Offset: 1, Length: 1<<63 - 1}, 10, 0, storage.ErrSpan},
	}
	for _, tt := range tests {
		got, err := tt.span.Resolve(tt.size)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%v of %d: got %d, %v, want %d, %v", tt.span, tt.size, got, err, tt.want, tt.err)
		}
	}
}

func TestErrorText(t *testing.T) {
	err := &storage.Error{Op: "put", Key: "wal/1", Place: "s3://bucket", Err: storage.ErrDenied, Detail: "403 AccessDenied"}
	if got, want := err.Error(), "put wal/1: s3://bucket: access denied (403 AccessDenied)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	bare := &storage.Error{Op: "list", Err: storage.ErrUnavailable}
	if got, want := bare.Error(), "list: unavailable"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRetryable(t *testing.T) {
	tests := []struct {
		err  error
		want bool
	}{
		{nil, false},
		{storage.ErrNotFound, false},
		{storage.ErrExists, false},
		{storage.ErrDenied, false},
		{storage.ErrNoStore, false},
		{storage.ErrExpired, true},
		{storage.ErrSkewed, true},
		{io.ErrUnexpectedEOF, false},
		{storage.ShortBody(1, 2), true},
		{fmt.Errorf("x: %w", &storage.Error{Op: "get", Err: storage.ErrUnavailable}), true},
	}
	for _, tt := range tests {
		if got := storage.Retryable(tt.err); got != tt.want {
			t.Errorf("%v: got %v, want %v", tt.err, got, tt.want)
		}
	}
	if !errors.Is(storage.ShortBody(1, 2), io.ErrUnexpectedEOF) {
		t.Error("a short body is not io.ErrUnexpectedEOF")
	}
}

// FuzzKeyValidate proves that a valid key is a safe relative path.
func FuzzKeyValidate(f *testing.F) {
	for _, s := range []string{"a/b", "../a", "a//b", "a/./b", "", "/", "a\x00b", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if storage.Key(s).Validate() != nil {
			return
		}
		for _, bad := range []string{"//", "/.", "\\", "\x00", " "} {
			if strings.Contains("/"+s+"/", bad) {
				t.Errorf("%q is valid and contains %q", s, bad)
			}
		}
		if err := storage.Key(s).ValidatePrefix(); err != nil {
			t.Errorf("%q is a valid key and no valid prefix: %v", s, err)
		}
	})
}
