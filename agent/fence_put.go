package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// Unreached is a repository that did not answer, and why.
type Unreached struct {
	Repository string // primary, or a copy's name
	Err        error
}

// FenceReport is what became of a fence.
type FenceReport struct {
	Fence repository.Fence
	// In are the repositories that have the record now, by name; Missing those that did not answer, or did not take it.
	In      []string
	Missing []Unreached
}

// TakenError says that a standby has fenced a timeline for itself.
type TakenError struct {
	Fence      repository.Fence
	Repository string // by name
}

// Error names the standby.
func (e *TakenError) Error() string {
	f := e.Fence
	return fmt.Sprintf("the standby in %s on host %s takes over, or did: it fenced timeline %d in %s at %s", f.Directory, f.Host, uint32(f.Timeline), e.Repository, f.Time.UTC().Format(time.RFC3339))
}

// LeftError says that a fence cannot be lifted: a timeline left the fenced one.
type LeftError struct{ Fenced, Newest wal.TimelineID }

// Error names both.
func (e *LeftError) Error() string {
	return fmt.Sprintf("timeline %d was left for timeline %d: its fence stays", uint32(e.Fenced), uint32(e.Newest))
}

// fenced is a repository in which fences are put.
type fencedPlace struct {
	name    string
	cluster *repository.Cluster
}

// fencing puts fences into all repositories of a cluster that answer.
type fencing struct {
	places  []fencedPlace // that answer, the one that this host goes by first
	missing []Unreached
	close   func() error
}

// openFencing opens the repositories of a cluster. The one that a standby here follows, or else the primary, must answer: it is the one that this host goes by, and
// the first that is fenced.
func openFencing(ctx context.Context, c config.Cluster, id wal.SystemID, so StoreOptions) (*fencing, error) {
	stores, err := openPlaces(ctx, c, so)
	if err != nil {
		return nil, err
	}
	looking, cancel := context.WithTimeout(ctx, fenceTime)
	defer cancel()
	found, errs := stores.look(looking)
	var emptied *EmptiedError // that one gets no fence, and keeps nobody from taking over
	if _, err := stores.agree(found, errs); err != nil && !errors.As(err, &emptied) {
		return nil, errors.Join(err, stores.Close())
	}
	lead := max(0, slices.IndexFunc(stores.all, func(one place) bool { return one.name == c.Standby.From || one.url == c.Standby.From }))
	if errs[lead] != nil {
		return nil, errors.Join(opening(stores.all[lead].url, errs[lead]), stores.Close())
	}
	f := &fencing{close: stores.Close}
	first, err := SelectCluster(ctx, found[lead], id)
	if err != nil {
		return nil, errors.Join(err, stores.Close())
	}
	for i, one := range stores.all {
		if errs[i] != nil {
			f.missing = append(f.missing, Unreached{one.name, errs[i]})
			continue
		}
		at := len(f.places)
		if i == lead {
			at = 0
		}
		f.places = slices.Insert(f.places, at, fencedPlace{one.name, found[i].Cluster(first.SystemID())})
	}
	return f, nil
}

// newest returns the newest timeline that any of the repositories has.
func (f *fencing) newest(ctx context.Context) (wal.TimelineID, error) {
	newest := wal.TimelineID(0)
	for _, one := range f.places {
		timelines, err := one.cluster.Timelines(ctx)
		if err != nil {
			return 0, err
		}
		if len(timelines) > 0 {
			newest = max(newest, slices.Max(timelines))
		}
	}
	if newest == 0 {
		return 0, repository.ErrNoWAL
	}
	return newest, nil
}

// madeFence is a record that was put in a repository.
type madeFence struct {
	fencedPlace

	fence    repository.Fence
	replaced repository.Fence // what counted before
}

// put fences a timeline in all repositories, the first one first, and returns what it put. In one that has that server's fence already nothing is put. Where another server's fence stands it takes back what it
// put before and returns a *TakenError, unless by force.
func (f *fencing) put(ctx context.Context, fence repository.Fence, force bool) (FenceReport, error) {
	report := FenceReport{Missing: slices.Clone(f.missing)}
	var made []madeFence
	for i, one := range f.places {
		stands, replaced, err := putOne(ctx, one, fence, force)
		var taken *TakenError
		switch {
		case errors.As(err, &taken):
			for _, before := range made {
				if err := before.giveBack(context.WithoutCancel(ctx), "another standby was first in "+one.name); err != nil {
					return report, errors.Join(taken, err)
				}
			}
			return report, taken
		case err != nil && i > 0 && ctx.Err() == nil:
			report.Missing = append(report.Missing, Unreached{one.name, err})
			continue
		case err != nil:
			return report, fmt.Errorf("%s: %w", one.name, err)
		}
		if i == 0 {
			report.Fence = stands
		}
		report.In = append(report.In, one.name)
		if stands.Number > replaced.Number {
			made = append(made, madeFence{one, stands, replaced})
		}
	}
	return report, nil
}

// putOne puts a record in one repository, under the next number, and returns the one that counts then, and the one that counted before: the same if that says as much.
func putOne(ctx context.Context, one fencedPlace, fence repository.Fence, force bool) (stands, replaced repository.Fence, err error) {
	for {
		newest, err := one.cluster.NewestFence(ctx, fence.Timeline)
		if err != nil {
			return repository.Fence{}, repository.Fence{}, err
		}
		if newest.Stands() && fence.Stands() {
			switch {
			case newest.SameServer(fence), fence.Directory == "":
				return newest, newest, nil
			case newest.Directory != "" && !force:
				return repository.Fence{}, repository.Fence{}, &TakenError{newest, one.name}
			}
		}
		if !newest.Stands() && !fence.Stands() {
			return newest, newest, nil
		}
		fence.Number = newest.Number + 1
		err = one.cluster.PutFence(ctx, fence)
		if errors.Is(err, storage.ErrExists) && ctx.Err() == nil {
			continue // another was first: its record is read
		}
		return fence, newest, err
	}
}

// giveBack has what counted before count again: a fence that a person had put, or none. It does nothing where another record came since: that is another server's, which may be promoted by now.
func (m madeFence) giveBack(ctx context.Context, why string) error {
	again := m.replaced
	if !again.Stands() {
		again = m.fence
		again.Change, again.Note = repository.FenceLift, why
	}
	again.Number, again.Time = m.fence.Number+1, time.Now()
	err := m.cluster.PutFence(ctx, again)
	if errors.Is(err, storage.ErrExists) {
		return nil
	}
	return err
}

// check returns a *TakenError if a fence does not stand any more, or another's does.
func (f *fencing) check(ctx context.Context, ours repository.Fence, in []string) error {
	for _, one := range f.places {
		if !slices.Contains(in, one.name) {
			continue
		}
		newest, err := one.cluster.NewestFence(ctx, ours.Timeline)
		if err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		switch {
		case !newest.Stands():
			return fmt.Errorf("%w in %s by host %s", ErrLifted, one.name, newest.Host)
		case !newest.SameServer(ours):
			return &TakenError{newest, one.name}
		}
	}
	return nil
}

// ErrLifted says that somebody lifted the fence that a takeover had put.
var ErrLifted = errors.New("the fence was lifted")

// machine tells this machine from others of its name, and says nothing else of it: a hash of machine-id(5), which stays, or in a container without one of what the kernel drew when it
// started (random(4)); empty without both.
func machine() string {
	for _, file := range []string{"/etc/machine-id", "/proc/sys/kernel/random/boot_id"} {
		if id, err := os.ReadFile(file); err == nil && len(bytes.TrimSpace(id)) > 0 {
			sum := sha256.Sum256(append([]byte("pgark fence "), bytes.TrimSpace(id)...))
			return hex.EncodeToString(sum[:8])
		}
	}
	return ""
}

// hostName is this host's, or empty.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(name, "?")
}

// ByHand is a fence that a person puts, or lifts.
type ByHand struct {
	SystemID wal.SystemID // the cluster's, where the repository holds several; 0 for the only one
	Change   repository.FenceChange
	Note     string
}

// PutFence fences the newest timeline of a cluster by hand, or lifts its fence, in all repositories that answer. The error is a *LeftError if the fence of an older timeline is all there is
// to lift.
func PutFence(ctx context.Context, c config.Cluster, by ByHand, so StoreOptions) (FenceReport, error) {
	f, err := openFencing(ctx, c, by.SystemID, so)
	if err != nil {
		return FenceReport{}, err
	}
	defer func() { _ = f.close() }() // the records are durable, or are not
	tli, err := f.newest(ctx)
	if err != nil {
		return FenceReport{}, err
	}
	if by.Change == repository.FenceLift {
		if err := f.liftable(ctx, tli); err != nil {
			return FenceReport{}, err
		}
	}
	return f.put(ctx, repository.Fence{Timeline: tli, Change: by.Change, Time: time.Now(), Host: hostName(), Note: by.Note}, false)
}

// liftable returns a *LeftError if the newest timeline has no fence, and the one before has.
func (f *fencing) liftable(ctx context.Context, tli wal.TimelineID) error {
	for _, one := range f.places {
		newest, err := one.cluster.NewestFence(ctx, tli)
		if err != nil || newest.Number > 0 {
			return err
		}
	}
	h, _, err := f.places[0].cluster.History(ctx, tli)
	if err != nil || len(h.Parents) == 0 {
		return nil //nolint:nilerr // then there is none before it
	}
	before := h.Parents[len(h.Parents)-1].Timeline
	fence, err := f.places[0].cluster.NewestFence(ctx, before)
	if err == nil && fence.Stands() {
		err = &LeftError{Fenced: before, Newest: tli}
	}
	return err
}
