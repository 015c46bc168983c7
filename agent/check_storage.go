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
)

// checkedPlace is one repository on its way through a check.
type checkedPlace struct {
	place

	label string // before what is found, where there are several
	// writes says that an object could be stored and read back.
	writes bool
}

// stores looks at each repository, and whether they belong together.
func (k *check) stores(ctx context.Context, stores *places) {
	for _, p := range k.places {
		if p.byBucket {
			k.read(ctx, p)
		} else {
			k.storage(ctx, p)
		}
	}
	if _, err := stores.agree(stores.look(ctx)); err != nil {
		k.bad(SectionStorage, err)
	}
	k.versions(ctx)
	k.encryption(ctx)
	k.limits(ctx)
	k.replication(ctx, stores)
}

func (k *check) storage(ctx context.Context, p *checkedPlace) {
	conditional, err := storage.Probe(ctx, p.store)
	if errors.Is(err, storage.ErrNoLock) {
		k.noLock(ctx, p)
		return
	}
	if err != nil {
		k.bad(SectionStorage, p.says(err))
		return
	}
	trip, err := p.roundTrip(ctx, storage.ProbeKey+"-check", []byte("pgark check\n"))
	if err != nil {
		k.bad(SectionStorage, p.says(err))
		return
	}
	p.writes = true
	k.good(SectionStorage, "%s%s   put %s, get %s", p.label, p.url, round(trip.put), round(trip.get))
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
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Millisecond)
}
