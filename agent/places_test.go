package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/copies"
	"github.com/pgark/pgark/storage/limit"
	"github.com/pgark/pgark/storage/memory"
)

// TestNeededCopyDoesNotWait: a copy that must hold WAL before it counts as durable is brought up to date without waiting for the limits: no commit that waits for the
// archive returns before. Another one keeps to them.
func TestNeededCopyDoesNotWait(t *testing.T) {
	for _, test := range []struct {
		required copies.Policy
		want     copies.State
	}{{copies.All(), copies.Live}, {copies.Primary(), copies.Joining}} {
		synctest.Test(t, func(t *testing.T) {
			primary := memory.New()
			slow := limit.Wrap(memory.New(), limit.Options{Upload: []*limit.Limiter{limit.New(1)}}) // one byte a second
			store, err := copies.New([]copies.Member{{Name: "primary", Store: primary}, {Name: "dr", Store: slow}}, copies.Options{
				Required: test.required, CatchUp: StoreOptions{}.catchUp, Marker: repository.MarkerKey,
			})
			if err == nil {
				_, err = repository.Create(t.Context(), primary)
			}
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go store.Run(ctx)
			time.Sleep(time.Minute)
			if st := store.Status()[1]; st.State != test.want {
				t.Errorf("required %s: the copy is %+v after a minute, want %s", test.required, st, test.want)
			}
		})
	}
}

// TestCopyJoinsDuringABackup guards I15: a copy missed an object of the backup that is being taken and is brought up to date before its record
// is written. It must not be live, and get the record, without that object.
func TestCopyJoinsDuringABackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		primary, copied := memory.New(), memory.New()
		store, err := copies.New([]copies.Member{{Name: "primary", Store: primary}, {Name: "dr", Store: copied}}, copies.Options{
			CatchUp: StoreOptions{}.catchUp, Marker: repository.MarkerKey,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go store.Run(ctx)
		if _, err := repository.Create(ctx, primary); err != nil {
			t.Fatal(err)
		}
		live := func() {
			t.Helper()
			time.Sleep(time.Minute)
			if st := store.Status()[1]; st.State != copies.Live {
				t.Fatalf("the copy is %+v", st)
			}
		}
		live()
		const folder = "7/backups/20261121T024000Z/"
		copied.Fail(memory.Commit, "", 1, storage.ErrDenied)
		for _, name := range []storage.Key{"base-00001.tar.zst", "base-00002.tar.zst"} {
			u, err := store.Begin(ctx, folder+name)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(u.Part(ctx, 1, []byte("pack")), u.Commit(ctx)); err != nil {
				t.Fatal(err)
			}
		}
		live()
		for _, key := range primary.Keys() {
			if strings.Contains(string(key), "/backups/") && copied.Bytes(key) == nil {
				t.Errorf("the copy is live without %s", key)
			}
		}
	})
}
