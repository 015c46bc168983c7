package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// ReadAll returns the whole object key. It returns ErrTooLarge, having read no more than limit bytes,
// if the object is larger than limit.
func ReadAll(ctx context.Context, store Store, key Key, limit int64) ([]byte, error) {
	return ReadAllInto(ctx, nil, store, key, limit)
}

// ReadAllInto is ReadAll into the memory of buffer, whose content is lost, or into new memory where that is too small.
func ReadAllInto(ctx context.Context, buffer []byte, store Store, key Key, limit int64) ([]byte, error) {
	body, err := store.Get(ctx, key, All())
	if err != nil {
		return nil, err
	}
	b, err := readInto(buffer[:0], io.LimitReader(body, limit+1))
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read %s: %w: more than %d bytes", key, ErrTooLarge, limit)
	}
	return b, nil
}

// readInto appends what r yields to b.
func readInto(b []byte, r io.Reader) ([]byte, error) {
	if cap(b) == 0 {
		return io.ReadAll(r) // wastes less than growing step by step
	}
	for {
		if len(b) == cap(b) {
			b = slices.Grow(b, cap(b))
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return b, err
		}
	}
}

// ReadSettled is ReadAll for an object that nothing proves the bytes of, where much hangs on them: it reads twice. Two readings that
// differ are an ErrUnavailable, because the next may be right.
func ReadSettled(ctx context.Context, store Store, key Key, limit int64) ([]byte, error) {
	return twice(key, func() ([]byte, error) { return ReadAll(ctx, store, key, limit) })
}

// ReadSpanSettled is to ReadSpan what ReadSettled is to ReadAll.
func ReadSpanSettled(ctx context.Context, store Store, key Key, span Span) ([]byte, error) {
	return twice(key, func() ([]byte, error) { return ReadSpan(ctx, store, key, span) })
}

func twice(key Key, read func() ([]byte, error)) ([]byte, error) {
	first, err := read()
	if err != nil {
		return nil, err
	}
	second, err := read()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, fmt.Errorf("read %s: %w: two readings differ", key, ErrUnavailable)
	}
	return first, nil
}

// ReadSpan returns the bytes of span, whose length must be given, of the object key.
func ReadSpan(ctx context.Context, store Store, key Key, span Span) ([]byte, error) {
	if span.Length < 0 {
		return nil, fmt.Errorf("read %s: %w: %s has no length", key, ErrSpan, span)
	}
	body, err := store.Get(ctx, key, span)
	if err != nil {
		return nil, err
	}
	b := make([]byte, span.Length)
	_, err = io.ReadFull(body, b)
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return b, nil
}
