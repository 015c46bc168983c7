package retention_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/retention"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/verify"
)

// TestExpiryTakenBack: what a run that was killed was about to let go, and a longer window or a pin keeps by now, is no more said to have been let go: a copy gets it, and if it is lost
// `verify` says so.
func TestExpiryTakenBack(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		keep func(t *testing.T, store *memory.Store, o *retention.Options)
		want string
		lost storage.Key // of what is kept again
	}{
		"a longer window": {func(_ *testing.T, _ *memory.Store, o *retention.Options) { o.Policy.Window = 5 * day }, "[2 3 4 5 6 7]", "/wal/00000001/000000010000000000000008.zst"},
		"a pin": {func(t *testing.T, store *memory.Store, o *retention.Options) {
			t.Helper()
			if err := open(t, store).Cluster(system).PutPin(t.Context(), repository.Pin{Backup: backupID(3), Number: 1, Change: repository.Pinned, Time: o.Now}); err != nil {
				t.Fatal(err)
			}
		}, "[2 3 4 5 6 7]", "/wal/00000001/000000010000000000000008.zst"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, till := archive(t)
			o := threeDays(till)
			// Killed when it has deleted the records of two backups of three, the third of which is that of day 3.
			store.Fail(memory.Delete, "*/backups/"+backupID(3)+"/record.json", 1, errKilled)
			if _, _, err := retention.Prune(t.Context(), open(t, store), o); !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			store.Reset()
			copied := memory.New()
			if err := repository.CatchUp(t.Context(), store, copied); err != nil {
				t.Fatal(err)
			}
			test.keep(t, store, &o)
			prune(t, store, o)
			for range 2 { // a later run changes nothing
				expiry, err := open(t, store).Cluster(system).Expiry(t.Context())
				if err != nil || expiry.HasBackup(backupID(3)) || !expiry.HasBackup(backupID(1)) || expiry.Covers(1, segSize.Range(8)) || !expiry.Covers(1, segSize.Range(4)) {
					t.Errorf("it says that this was let go: %+v, %v", expiry, err)
				}
				prune(t, store, o)
			}
			if err := repository.CatchUp(t.Context(), store, copied); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(days(t, copied)); got != test.want {
				t.Errorf("the copy has the backups of days %s, want %s", got, test.want)
			}
			sound(t, "both", store, copied)
			if err := store.Delete(t.Context(), storage.Key(system.String())+test.lost); err != nil {
				t.Fatal(err)
			}
			r, err := verify.Run(t.Context(), []verify.Place{{Name: "alone", ID: "alone", Store: store}}, verify.Options{SystemID: system, Deep: true, Forget: true, Grace: -1})
			if err != nil || r.Verdict == verify.Sound {
				t.Errorf("%s is lost, and verify says %s, %v", test.lost, r.Verdict, err)
			}
		})
	}
}

// days are those whose backups a store holds.
func days(t *testing.T, store storage.Store) (all []int) {
	t.Helper()
	for d := range 8 {
		if _, err := open(t, store).Cluster(system).Backup(t.Context(), backupID(d)); err == nil {
			all = append(all, d)
		}
	}
	return all
}
