package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/limit"
)

// silent is a store that does not answer. Each call would take as long as it is asked again.
type silent struct {
	unopened

	calls *int
}

func (s silent) Put(context.Context, storage.Key, []byte) error { *s.calls++; return s.err }

func (s silent) Get(context.Context, storage.Key, storage.Span) (io.ReadCloser, error) {
	*s.calls++
	return nil, s.err
}

func (s silent) List(ctx context.Context, prefix, after storage.Key) iter.Seq2[storage.Info, error] {
	*s.calls++
	return s.unopened.List(ctx, prefix, after)
}

// TestCheckWaitsOnceForAStore: a store that does not answer is waited for once, and told of once; not by each question that is left.
func TestCheckWaitsOnceForAStore(t *testing.T) {
	calls, told := 0, []Finding{}
	one := place{name: "primary", url: "s3://bucket/main", store: &Store{
		Store: limit.Wrap(silent{unopened{fmt.Errorf("dial: %w", storage.ErrUnavailable)}, &calls}, limit.Options{}),
	}}
	stores := &places{all: []place{one}}
	k := &check{
		places: []*checkedPlace{{place: one}}, report: func(f Finding) { told = append(told, f) },
		open: func(ctx context.Context, s storage.Store) (*repository.Repository, error) {
			return repository.Open(ctx, s)
		},
	}
	k.stores(t.Context(), stores)
	k.recovery(t.Context())
	if calls != 1 {
		t.Errorf("it was asked %d times", calls)
	}
	if len(told) != 1 || told[0].Verdict != Bad || !errors.Is(told[0].Err, storage.ErrUnavailable) {
		t.Errorf("told was %+v", told)
	}
	if err := stores.Close(); err != nil {
		t.Error(err)
	}
}
