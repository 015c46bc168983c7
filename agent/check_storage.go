package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/limit"
)

// checkedPlace is one repository on its way through a check.
type checkedPlace struct {
	place

	label string // before what is found, where there are several
	// writes says that an object could be stored and read back.
	writes bool
	// away says that the store did not answer, and that this was told.
	away bool
}

// giveUp notes that a store does not answer. Nobody waits for it again: what else is asked of it gets this error at once.
func (p *checkedPlace) giveUp(stores *places, err error) {
	if p.away || !errors.Is(err, storage.ErrUnavailable) {
		return
	}
	gone := &Store{Store: limit.Wrap(unopened{err}, limit.Options{})}
	for i := range stores.all {
		if stores.all[i].store == p.store {
			stores.all[i].store, stores.all[i].closed = gone, true
		}
	}
	_ = p.store.Close() // nothing of ours is left in it
	p.store, p.closed, p.away = gone, true, true
}

// stores looks at each repository, and whether they belong together.
func (k *check) stores(ctx context.Context, stores *places) {
	for _, p := range k.places {
		var err error
		if p.byBucket {
			err = k.read(ctx, p)
		} else {
			err = k.storage(ctx, p)
		}
		if err != nil {
			k.bad(SectionStorage, p.says(err))
			p.giveUp(stores, err)
		}
	}
	if _, err := stores.agree(stores.look(ctx)); err != nil {
		k.bad(SectionStorage, err)
	}
	k.versions(ctx)
	k.encryption(ctx)
	k.limits(ctx)
	k.cost(ctx)
	k.replication(ctx, stores)
}

// storage looks at one repository that is written. It returns the error with which the store refuses what all else needs.
func (k *check) storage(ctx context.Context, p *checkedPlace) error {
	conditional, err := storage.Probe(ctx, p.store)
	if errors.Is(err, storage.ErrNoLock) {
		k.noLock(ctx, p)
		return nil
	}
	if err != nil {
		return err
	}
	trip, err := p.roundTrip(ctx, storage.ProbeKey+"-check", []byte("pgark check\n"))
	if err != nil {
		return err
	}
	p.writes = true
	k.good(SectionStorage, "%s%s   put %s, get %s", p.label, p.url, p.more(ctx, trip), round(trip.get))
	k.skew(ctx, p)
	if trip.kept {
		k.good(SectionStorage, "%sthis credential may not delete: whoever steals it cannot destroy the archive", p.label)
	}
	k.lock(ctx, p, trip)
	k.powers(ctx, p)
	if conditional == storage.ConditionalIgnored {
		k.report(Finding{
			Section: SectionStorage, Verdict: Warning,
			Text: p.label + "this store ignores If-None-Match: two writers at one instant could overwrite each other", Fix: "use one agent only, or another store",
		})
	}
	if strings.HasPrefix(p.url, "file:") {
		k.report(Finding{
			Section: SectionStorage, Verdict: Warning,
			Text: p.label + "a folder on this host protects against mistakes, not against losing this host", Fix: "use a bucket, or a mount from elsewhere",
		})
	}
	k.classes(p)
	r, err := repository.Open(ctx, p.store)
	switch {
	case errors.Is(err, repository.ErrNoRepository):
		k.report(Finding{Section: SectionStorage, Verdict: Pending, Text: p.label + "no repository there yet: pgark run makes it"})
	case err != nil:
		k.bad(SectionStorage, p.says(err))
	case k.asked:
		if err := refuseForeign(ctx, r, k.system.ID); err != nil {
			k.bad(SectionStorage, p.says(err))
			p.writes = false
		}
	}
	if err == nil {
		k.lifecycle(ctx, p, r)
	}
	return nil
}

// says names the repository in an error, where there are several.
func (p *checkedPlace) says(err error) error {
	if p.label == "" {
		return err
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

// trip is how long an object took to the store and back.
type trip struct {
	put, get time.Duration
	// kept says that the credential may not delete, so that the object stays.
	kept bool
	// lock is that of the object, as the store showed it right after; lockErr is why it did not.
	lock    storage.LockMode
	until   time.Time
	lockErr error
}

// roundTrip puts an object, reads it back, compares it and deletes it. Its name is new each time:
// an earlier check may have left one, because it was killed or may not delete.
func (p *checkedPlace) roundTrip(ctx context.Context, key storage.Key, body []byte) (trip, error) {
	key = storage.Key(fmt.Sprintf("%s-%d", key, time.Now().UnixNano()))
	var t trip
	began := time.Now()
	if err := p.store.Put(ctx, key, body); err != nil {
		return t, err
	}
	t.put = time.Since(began)
	got, err := storage.ReadAll(ctx, p.store, key, int64(len(body)))
	t.get = time.Since(began) - t.put
	if err == nil && !p.lock.IsZero() {
		t.lock, t.until, t.lockErr = storage.Locked(ctx, p.store, storage.Info{Key: key})
	}
	deleteErr := p.store.Delete(ctx, key)
	switch {
	case err != nil:
		return t, err
	case !bytes.Equal(got, body):
		return t, fmt.Errorf("get %s: %d bytes came back that are not those put: %w", key, len(got), storage.ErrUnavailable)
	case errors.Is(deleteErr, storage.ErrDenied):
		t.kept = true
	case deleteErr != nil:
		return t, deleteErr
	}
	return t, nil
}

func round(d time.Duration) time.Duration {
	switch {
	case d < time.Millisecond:
		return d.Round(10 * time.Microsecond)
	case d < time.Second:
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Millisecond)
}
