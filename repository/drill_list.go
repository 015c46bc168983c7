package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

func drillPrefix(id wal.SystemID) storage.Key { return clusterPrefix(id) + drillsFolder }

func drillKey(id wal.SystemID, drill string) storage.Key {
	return drillPrefix(id) + storage.Key(drill+drillSuffix)
}

func namesKey(id wal.SystemID, drill string) storage.Key {
	return drillPrefix(id) + storage.Key(drill+namesSuffix)
}

// PutDrill writes the report of a drill, after the names of relations if names is not nil, and returns it as it stands; when the error is nil both
// are durable. Of d it sets format, system identifier and Names. A report is written once: the error is a *ConflictError if
// another drill has the id.
func (c *Cluster) PutDrill(ctx context.Context, d Drill, names *Names) (Drill, error) {
	d.Format, d.SystemID, d.Names = Format, c.id, nil
	seals, err := c.sealsNow(ctx)
	if err != nil {
		return Drill{}, fmt.Errorf("put report of drill %s: %w", d.ID, err)
	}
	if seals {
		d = d.withoutContents()
	}
	if names != nil {
		object, body, err := names.encode()
		if err == nil && seals {
			// Once for all repositories that get the report: it is the same in each.
			if names.sealed == nil {
				names.sealed, err = c.ring().seal(outline{}, body)
			}
			body = names.sealed
			object.StoredObject, object.Encrypted = storedObject(body), true
		}
		if err == nil {
			err = putEqual(ctx, c.store, object.key(c.id, d.ID), body)
		}
		if err != nil {
			return Drill{}, fmt.Errorf("put names of drill %s: %w", d.ID, err)
		}
		d.Names = &object
	}
	text, err := d.encode()
	if err == nil {
		err = putEqual(ctx, c.store, drillKey(c.id, d.ID), text)
	}
	if err != nil {
		return Drill{}, fmt.Errorf("put report of drill %s: %w", d.ID, err)
	}
	return d, nil
}

// withoutContents returns the report as it is put in clear beside encrypted contents: without what checks found in the database.
func (d Drill) withoutContents() Drill {
	d.Checks = slices.Clone(d.Checks)
	for i, check := range d.Checks {
		if check.Result == CheckPassed || check.Result == CheckFailed {
			d.Checks[i].Got, d.Checks[i].Detail = "", ""
		}
	}
	if d.Phase == DrillVerify {
		d.Failure = "a check failed; what it found was said by the drill alone, because contents are encrypted here"
	}
	return d
}

// key returns where the object lies.
func (o *NamesObject) key(id wal.SystemID, drill string) storage.Key {
	if o.Encrypted {
		return namesKey(id, drill) + sealSuffix
	}
	return namesKey(id, drill)
}

// Drill reads the report of one drill. The error is ErrNoDrill if there is none, a *CorruptError or a *FormatError.
func (c *Cluster) Drill(ctx context.Context, id string) (Drill, error) {
	if _, err := parseStamp(id); err != nil {
		return Drill{}, fmt.Errorf("read drill %q: %w: %w", id, ErrNoDrill, err)
	}
	d, _, err := c.readDrill(ctx, id)
	return d, err
}

// readDrill returns a report and its very bytes.
func (c *Cluster) readDrill(ctx context.Context, id string) (Drill, []byte, error) {
	key := drillKey(c.id, id)
	text, err := storage.ReadAll(ctx, c.store, key, drillLimit)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return Drill{}, nil, fmt.Errorf("read drill %s: %w: %w", id, ErrNoDrill, err)
	case errors.Is(err, storage.ErrTooLarge):
		return Drill{}, nil, &CorruptError{Key: key, Reason: "size", Err: err}
	case err != nil:
		return Drill{}, nil, fmt.Errorf("read drill %s: %w", id, err)
	}
	d, err := c.checkDrill(key, id, text)
	return d, text, err
}

// checkDrill reads the content of the report of the drill id. The error is a *CorruptError.
func (c *Cluster) checkDrill(key storage.Key, id string, text []byte) (Drill, error) {
	d, err := parseDrill(text)
	if err != nil {
		return Drill{}, &CorruptError{Key: key, Reason: "report", Err: err}
	}
	if d.ID != id || d.SystemID != c.id {
		return Drill{}, &CorruptError{Key: key, Reason: fmt.Sprintf("report is that of %s of system %s", d.ID, d.SystemID)}
	}
	return d, nil
}

// Drills reads the reports of the newest drills, at most n of them, or of all if n is 0, ordered by id: the time they began. A report that cannot be
// read does not hide the others: they are returned together with an error, which joins a *CorruptError, *FormatError or storage error for each.
func (c *Cluster) Drills(ctx context.Context, n int) ([]Drill, error) {
	ids, err := c.drillIDs(ctx)
	if err != nil {
		return nil, fmt.Errorf("list drills: %w", err)
	}
	if n > 0 && len(ids) > n {
		ids = ids[len(ids)-n:]
	}
	return readEach(ids, ErrNoDrill, func(id string) (Drill, error) { return c.Drill(ctx, id) }) // just expired
}

// drillIDs lists the ids of all drills that have a report, ascending.
func (c *Cluster) drillIDs(ctx context.Context) ([]string, error) {
	var ids []string
	for info, err := range c.store.List(ctx, drillPrefix(c.id), "") {
		if err != nil {
			return nil, err
		}
		if id, ok := parseDrillName(strings.TrimPrefix(string(info.Key), string(drillPrefix(c.id)))); ok {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// parseDrillName returns the id in the name of a report.
func parseDrillName(name string) (string, bool) {
	id, isReport := strings.CutSuffix(name, drillSuffix)
	_, err := parseStamp(id)
	return id, isReport && err == nil
}
