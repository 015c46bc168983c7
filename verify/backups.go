package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
)

// copyTime is how long a base backup may take until a copy of the repository holds all of it.
const copyTime = 24 * time.Hour

// copied is one base backup in all places.
type copied struct {
	record repository.Backup
	right  []int        // places that hold the record
	late   map[int]bool // places that may yet get it
	counts bool         // an index is read in this run, so that what it says is counted
}

// findBackups reads the records of all backups in all places.
func (v *verification) findBackups(ctx context.Context) error {
	holders := map[string]map[int]bool{} // ids under which anything lies
	for _, p := range v.alive() {
		ids, err := p.cluster.BackupIDs(ctx)
		if err != nil {
			if err := v.fail(ctx, p, err); err != nil {
				return err
			}
		}
		for _, id := range ids {
			if holders[id] == nil {
				holders[id] = map[int]bool{}
			}
			holders[id][p.index] = true
		}
	}
	ids := make([]string, 0, len(holders))
	for id := range holders {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	read, err := v.readRecords(ctx, ids)
	if err != nil {
		return err
	}
	for i, id := range ids {
		if err := v.findBackup(ctx, id, holders[id], read[i]); err != nil {
			return err
		}
	}
	return nil
}

// recordsAtOnce is how many records of backups are read at a time: they are small, a year has hundreds, and nothing else waits for the store meanwhile.
const recordsAtOnce = 16

// readRecord is what reading the record of one backup in one place came to.
type readRecord struct {
	found

	body []byte
	made bool // false where the place failed before
}

// readRecords reads the records of backups in all places that answer: of each id, by the index of the place. The error is one that ends the run.
func (v *verification) readRecords(ctx context.Context, ids []string) ([][]readRecord, error) {
	read := make([][]readRecord, len(ids))
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(recordsAtOnce)
	for i, id := range ids {
		read[i] = make([]readRecord, len(v.places))
		for _, p := range v.alive() {
			group.Go(func() (err error) {
				one := &read[i][p.index]
				if p.failed() != nil { // since it was asked for another
					return nil
				}
				o := p.cluster.RecordObject(id)
				one.made = true
				one.found, err = v.examine(reading, p, o, func(ctx context.Context) (err error) { one.body, err = p.cluster.CheckRecord(ctx, o); return err })
				return err
			})
		}
	}
	return read, group.Wait()
}

func (v *verification) findBackup(ctx context.Context, id string, holders map[int]bool, read []readRecord) error {
	b := &copied{late: map[int]bool{}}
	var contents []content
	var missing []*place
	faulty := false
	for _, p := range v.places {
		o, f := p.cluster.RecordObject(id), read[p.index]
		switch {
		case !f.made:
		case f.kind != "":
			faulty = true
			v.damaged(p.damageOf(o, f.kind, f.reason))
		case !f.gone:
			p.lists()
			contents = append(contents, content{p.index, f.body})
		case p.failed() == nil:
			missing = append(missing, p)
		}
	}
	if len(contents) == 0 {
		if !faulty {
			return v.noteUnrecorded(ctx, id, holders)
		}
		v.note("the data of backup %s cannot be judged: no repository holds its record", id)
		return nil
	}
	b.right = v.settle(v.places[0].cluster.RecordObject(id), contents, v.recordWitnesses(ctx, contents), bytesEqual)
	believed := contents[0].body
	for _, c := range contents {
		if len(b.right) > 0 && c.place == b.right[0] {
			believed = c.body
		}
	}
	var err error
	if b.record, err = repository.ParseBackup(believed); err != nil {
		return fmt.Errorf("read the record of backup %s: %w", id, err)
	}
	for _, p := range missing {
		if v.Grace >= 0 && v.began.Sub(b.record.Stopped) < max(v.Grace, copyTime) {
			b.late[p.index] = true
			v.note("backup %s is not in %s yet", id, p.Name)
			continue
		}
		d := p.damageOf(p.cluster.RecordObject(id), Missing, "is missing")
		d.Elsewhere = v.namesOf(b.right)
		v.damaged(d)
	}
	v.backups = append(v.backups, b)
	return nil
}

// recordWitnesses are, where records of one backup differ, the indexes: one that no repository holds speaks against the record that names it.
func (v *verification) recordWitnesses(ctx context.Context, contents []content) []witness {
	if !slices.ContainsFunc(contents, func(c content) bool { return !bytesEqual(c.body, contents[0].body) }) {
		return nil
	}
	return []witness{func(body []byte) string {
		record, err := repository.ParseBackup(body)
		if err != nil {
			return err.Error()
		}
		for _, p := range v.alive() {
			var key *repository.KeyError
			if _, err := p.cluster.OpenBackup(ctx, record); err == nil || errors.As(err, &key) {
				return ""
			}
		}
		return "names an index that no repository holds"
	}}
}

// noteUnrecorded tells of a backup without a record: it is being taken, or failed, or its record was deleted everywhere.
func (v *verification) noteUnrecorded(ctx context.Context, id string, holders map[int]bool) error {
	for _, p := range v.alive() {
		if !holders[p.index] {
			continue
		}
		there, err := p.cluster.BackupFolder(ctx, id)
		if err != nil {
			if err := v.fail(ctx, p, err); err != nil {
				return err
			}
			continue
		}
		var newest time.Time
		for _, info := range there {
			if info.Modified.After(newest) {
				newest = info.Modified
			}
		}
		if v.Grace < 0 || v.began.Sub(newest) > copyTime {
			v.note("%s holds %d objects of backup %s and no record of it: it failed, or the record was deleted", p.Name, len(there), id)
		}
	}
	return nil
}

// readBackups reads the data of all backups in all places.
func (v *verification) readBackups(ctx context.Context) error {
	for _, b := range v.backups {
		if err := v.readBackup(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// readBackup reads the data of one backup. What it must hold is told by its record and its index, wherever these are right.
func (v *verification) readBackup(ctx context.Context, b *copied) error {
	folders := map[int]map[storage.Key]storage.Info{}
	for _, p := range v.alive() {
		if b.late[p.index] {
			continue
		}
		there, err := p.cluster.BackupFolder(ctx, b.record.ID)
		if err != nil {
			if err := v.fail(ctx, p, err); err != nil {
				return err
			}
			continue
		}
		folders[p.index] = there
		for _, o := range p.cluster.Parts(b.record) {
			o, listed := asListed(o, there)
			b.counts = b.counts || o.Class == repository.ClassIndex && v.due(p, o)
			check := func(ctx context.Context) error { return p.cluster.CheckPart(ctx, b.record, o) }
			if err := v.readPart(ctx, p, part{b.record, nil, o, listed}, check); err != nil {
				return err
			}
		}
	}
	if err := v.readPacks(ctx, b, folders); err != nil {
		return err
	}
	v.setElsewhere(b, folders)
	return nil
}

// setElsewhere says of the data of a backup that are not right which places hold them right: those of which nothing else was said.
func (v *verification) setElsewhere(b *copied, folders map[int]map[storage.Key]storage.Info) {
	wrong := map[storage.Key][]string{}
	for _, d := range v.damage {
		wrong[d.Key] = append(wrong[d.Key], d.Repository)
	}
	for i := range v.damage {
		d := &v.damage[i]
		if d.Backup != b.record.ID || !lasting(d.Class) {
			continue
		}
		for _, p := range v.places {
			if _, judged := folders[p.index]; judged && !slices.Contains(wrong[d.Key], p.Name) {
				d.Elsewhere = append(d.Elsewhere, p.Name)
			}
		}
	}
}

// asListed gives an object that a backup must have the size and time of the one that is there.
func asListed(o repository.Object, there map[storage.Key]storage.Info) (repository.Object, *storage.Info) {
	info, ok := there[o.Key]
	if !ok {
		return o, nil
	}
	o.Modified = info.Modified
	return o, &info
}

func (p *place) unusable(id, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.usable[id], reason) {
		p.usable[id] = append(p.usable[id], reason)
	}
}

// part is one object of a backup.
type part struct {
	record repository.Backup
	table  *repository.PackTable // of a pack
	object repository.Object     // as it must be
	listed *storage.Info         // as it is; nil if it is missing
}

// readPart judges one object of a backup in one place: whether it is there, as long as it must be and, if it is due, right.
func (v *verification) readPart(ctx context.Context, p *place, one part, check func(context.Context) error) error {
	d := p.damageOf(one.object, Missing, "is missing")
	d.backup, d.pack = one.record, one.table
	switch {
	case one.listed == nil:
	case one.listed.Size != one.object.Size:
		p.lists()
		d.Kind, d.Reason = Damaged, fmt.Sprintf("has %d bytes, must have %d", one.listed.Size, one.object.Size)
	case !v.due(p, one.object):
		p.lists()
		return nil
	default:
		p.lists()
		f, err := v.examine(ctx, p, one.object, check)
		switch {
		case err != nil:
			return err
		case f.kind != "":
			d.Kind, d.Reason = f.kind, f.reason
		case !f.gone:
			return nil
		default:
			if _, err := p.cluster.Backup(ctx, one.record.ID); isGone(err) || p.failed() != nil {
				return nil // the backup was deleted meanwhile, or nothing can be told
			}
		}
	}
	v.damaged(d)
	return nil
}

// readSealedPacks judges the packs of an encrypted backup by what its record says of them; for that no key is needed.
func (v *verification) readSealedPacks(ctx context.Context, b *copied, folders map[int]map[storage.Key]storage.Info) error {
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(v.Jobs)
	for _, t := range v.places[0].cluster.SealedTables(b.record) {
		for i, there := range folders {
			p := v.places[i]
			o, listed := asListed(p.cluster.PackObject(b.record, t.Pack), there)
			group.Go(func() error {
				check := func(ctx context.Context) error { return p.cluster.CheckPack(ctx, b.record, t) }
				return v.readPart(reading, p, part{b.record, t, o, listed}, check)
			})
		}
	}
	return group.Wait()
}

// readPacks judges the packs of a backup.
func (v *verification) readPacks(ctx context.Context, b *copied, folders map[int]map[storage.Key]storage.Info) error {
	if b.record.Sealed() {
		return v.readSealedPacks(ctx, b, folders)
	}
	readers, err := v.openBackup(ctx, b)
	if err != nil {
		return err
	}
	if len(readers) == 0 {
		v.note("the packs of backup %s cannot be judged: no repository holds its index", b.record.ID)
		return nil
	}
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(v.Jobs)
	var files, plain int64
	whole := true
	for _, pack := range readers[0].Packs() {
		needed := b.counts
		for i, there := range folders {
			o, listed := asListed(v.places[i].cluster.PackObject(b.record, pack), there)
			needed = needed || listed == nil || listed.Size != o.Size || v.due(v.places[i], o)
		}
		var t *repository.PackTable
		if needed {
			if t, err = v.table(ctx, readers, pack); err != nil {
				break
			}
		}
		if t == nil {
			whole = false
		} else {
			for _, f := range t.Files {
				if f.Type == repository.TypeFile {
					files, plain = files+1, plain+f.Size
				}
			}
		}
		for i, there := range folders {
			p := v.places[i]
			o, listed := asListed(p.cluster.PackObject(b.record, pack), there)
			group.Go(func() error {
				if t == nil && needed {
					p.unusable(b.record.ID, "the index of "+pack.Name+" cannot be read")
					return nil
				}
				check := func(ctx context.Context) error { return p.cluster.CheckPack(ctx, b.record, t) }
				return v.readPart(reading, p, part{b.record, t, o, listed}, check)
			})
		}
	}
	if err := errors.Join(err, group.Wait()); err != nil {
		return err
	}
	if b.counts && whole && (files != b.record.Files || plain != b.record.Plain) {
		reason := fmt.Sprintf("its index lists %d files of %d bytes, its record %d of %d", files, plain, b.record.Files, b.record.Plain)
		for i := range folders {
			v.places[i].unusable(b.record.ID, reason)
		}
	}
	return nil
}

// openBackup returns a reader for each place whose index can be used.
func (v *verification) openBackup(ctx context.Context, b *copied) ([]*repository.BackupReader, error) {
	var readers []*repository.BackupReader
	for _, p := range v.alive() {
		r, err := p.cluster.OpenBackup(ctx, b.record)
		var corrupt *repository.CorruptError
		switch {
		case err == nil:
			readers = append(readers, r)
		case errors.Is(err, storage.ErrArchived): // it was told of before
		case !errors.As(err, &corrupt):
			if err := v.fail(ctx, p, err); err != nil {
				return nil, err
			}
		}
	}
	return readers, nil
}

// table reads the index of one pack from the first place that holds it right; nil if none does.
func (v *verification) table(ctx context.Context, readers []*repository.BackupReader, pack repository.Pack) (*repository.PackTable, error) {
	for _, r := range readers {
		t, err := r.Table(ctx, pack)
		var corrupt *repository.CorruptError
		switch {
		case err == nil:
			return t, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !errors.As(err, &corrupt) && !storage.Retryable(err):
			return nil, err
		}
	}
	return nil, nil
}
