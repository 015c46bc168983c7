package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
)

const (
	controlFile    = "global/pg_control"
	controlPartial = "global/pg_control.pgark-partial"
	autoConf       = "postgresql.auto.conf"
	labelFile      = "backup_label"
	mapFile        = "tablespace_map"
)

// settle turns the files of the backup into a data directory that recovers to
// the plan's stop, makes it durable, and puts it into place.
func (l *layer) settle(ctx context.Context) error {
	data := l.places[0]
	control, err := l.checkControl(data)
	if err != nil {
		return err
	}
	if err := errors.Join(l.checkLabel(data), l.folders(data), l.links(data), l.recovery(data, control), l.configuration(data, control)); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if data.inPlace {
		return l.commitInPlace()
	}
	if err := data.root.Rename(controlPartial, controlFile); err != nil {
		return fmt.Errorf("put pg_control in place: %w", err)
	}
	if err := l.sync(); err != nil {
		return err
	}
	return l.commit()
}

// sync makes all that was written durable.
func (l *layer) sync() error {
	for _, p := range l.places {
		if p.prefix == "" {
			if err := syncFolder(p.dir); err != nil {
				return l.full(err)
			}
		}
	}
	if linked := l.places[0].wal; linked != nil {
		folder, err := linked.Open(".")
		if err != nil {
			return fmt.Errorf("sync pg_wal: %w", err)
		}
		return errors.Join(syncFolder(folder), folder.Close())
	}
	return nil
}

// checkControl reads pg_control and refuses that of another cluster.
func (l *layer) checkControl(data *place) (postgres.ControlFile, error) {
	b, err := data.root.ReadFile(controlPartial)
	if err != nil {
		return postgres.ControlFile{}, &CorruptFileError{Path: controlFile, Reason: "missing"}
	}
	c, err := postgres.ParseControl(b)
	if err != nil {
		return c, &CorruptFileError{Path: controlFile, Reason: err.Error()}
	}
	if c.SystemID != l.plan.SystemID {
		return c, &CorruptFileError{Path: controlFile, Reason: fmt.Sprintf("system identifier is %s, want %s", c.SystemID, l.plan.SystemID)}
	}
	return c, nil
}

// checkLabel refuses a backup without backup_label: a server would take
// pg_control's checkpoint for the place to begin at, and miss what was
// written during the backup.
func (l *layer) checkLabel(data *place) error {
	b, err := data.root.ReadFile(labelFile)
	if err != nil {
		return &CorruptFileError{Path: labelFile, Reason: "missing"}
	}
	label, err := postgres.ParseBackupLabel(b)
	if err != nil {
		return &CorruptFileError{Path: labelFile, Reason: err.Error()}
	}
	if label.Start != l.plan.Backup.StartLSN || label.Timeline != l.plan.Backup.Timeline {
		return &CorruptFileError{Path: labelFile, Reason: fmt.Sprintf("starts at %s on timeline %d, the record says %s on %d",
			label.Start, label.Timeline, l.plan.Backup.StartLSN, l.plan.Backup.Timeline)}
	}
	return nil
}

// emptyFolders must be there for a server to start. A backup has them, but
// those that were links to other places.
func emptyFolders() []string {
	return []string{
		"global", "base", "pg_wal", "pg_wal/archive_status", "pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_logical/mappings",
		"pg_logical/snapshots", "pg_multixact", "pg_multixact/members", "pg_multixact/offsets", "pg_notify", "pg_replslot",
		"pg_serial", "pg_snapshots", "pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_twophase", "pg_xact",
	}
}

func (l *layer) folders(data *place) error {
	for _, name := range emptyFolders() {
		if err := l.mkdirs(data, name); err != nil {
			return err
		}
	}
	return nil
}

// links puts the tablespaces' links in place, and rewrites tablespace_map:
// the server makes the links that it names anew when it first starts
// (read_tablespace_map in src/backend/access/transam/xlogrecovery.c).
func (l *layer) links(data *place) error {
	var m postgres.TablespaceMap
	if err := l.unlink(data); err != nil {
		return err
	}
	for _, p := range l.places {
		if p.archive == "base" || p.prefix != "" {
			continue
		}
		oid, err := strconv.ParseUint(p.archive, 10, 32)
		if err != nil {
			return fmt.Errorf("tablespace %q: %w", p.archive, err)
		}
		m = append(m, postgres.TablespaceLink{OID: uint32(oid), Path: p.final})
		name := "pg_tblspc/" + p.archive
		if err := data.root.Symlink(p.final, name); err != nil {
			return fmt.Errorf("link tablespace: %w", l.full(err))
		}
		if l.options.Owner != nil {
			if err := data.root.Lchown(name, l.options.Owner.UID, l.options.Owner.GID); err != nil {
				return fmt.Errorf("link tablespace: %w", err)
			}
		}
	}
	if err := data.root.Remove(mapFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rewrite %s: %w", mapFile, err)
	}
	if len(m) == 0 {
		return nil
	}
	return l.write(data, mapFile, m.Encode())
}

// unlink removes the links to tablespaces that were there before.
func (l *layer) unlink(data *place) error {
	entries, err := fs.ReadDir(data.root.FS(), "pg_tblspc")
	if err != nil {
		return fmt.Errorf("link tablespace: %w", err)
	}
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		name := "pg_tblspc/" + e.Name()
		to, err := data.root.Readlink(name)
		if err == nil {
			err = data.root.Remove(name)
		}
		if err != nil {
			return fmt.Errorf("link tablespace: %w", err)
		}
		if !slices.ContainsFunc(l.places, func(p *place) bool { return p.archive == e.Name() }) {
			l.notes = append(l.notes, fmt.Sprintf("tablespace %s is not in the backup: its files in %s were left as they are", e.Name(), to))
		}
	}
	return nil
}

// recovery tells the server where to stop, or to follow. What the cluster was told in its
// earlier life goes.
func (l *layer) recovery(data *place, c postgres.ControlFile) error {
	for _, name := range []string{"standby.signal", "recovery.signal", lockName, "postmaster.opts"} {
		if err := data.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	old, err := data.root.ReadFile(autoConf)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rewrite %s: %w", autoConf, err)
	}
	settings, signal := l.settings(), "recovery.signal"
	if l.options.Standby != nil {
		settings, signal = l.standbySettings(c), "standby.signal"
	}
	b, err := postgres.RewriteAutoConf(old, settings)
	if err != nil {
		return err
	}
	if err := data.root.Remove(autoConf); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rewrite %s: %w", autoConf, err)
	}
	return errors.Join(l.write(data, autoConf, b), l.write(data, signal, nil))
}

// settings returns the plan's stop in PostgreSQL's words.
func (l *layer) settings() postgres.RecoverySettings {
	return postgres.RecoverySettings{
		VersionNum:     l.plan.Backup.PGVersionNum,
		RestoreCommand: l.options.RestoreCommand,
		Target:         postgres.TargetLSN,
		TargetValue:    l.plan.Stop.LSN.String(),
		Exclusive:      l.plan.Stop.Rule == StopBefore,
		Timeline:       strconv.FormatUint(uint64(l.plan.Timeline), 10),
		Action:         string(l.options.Action),
	}
}

// retryInterval is how soon a standby asks again where there was nothing: five seconds by default, which the follower's absence would add to its lag.
const retryInterval = "1s"

// standbySettings make the server follow the newest timeline. A standby that answers queries needs these limits to be no lower than the
// primary's, or its recovery stops (PostgreSQL documentation, "Hot Standby", Administrator's Overview); pg_control has the primary's.
func (l *layer) standbySettings(c postgres.ControlFile) postgres.RecoverySettings {
	s := postgres.RecoverySettings{
		VersionNum: l.plan.Backup.PGVersionNum, RestoreCommand: l.options.RestoreCommand, PrimaryConninfo: l.options.Standby.Conninfo,
		Extra: []postgres.Setting{{Name: "hot_standby", Value: "on"}, {Name: "wal_retrieve_retry_interval", Value: retryInterval}},
	}
	if d := l.options.Standby.Silence; d > 0 {
		s.Extra = append(s.Extra, postgres.Setting{Name: "wal_receiver_timeout", Value: strconv.FormatInt(d.Milliseconds(), 10)})
	}
	for _, limit := range []struct {
		name  string
		value int
	}{
		{"max_connections", c.MaxConnections},
		{"max_worker_processes", c.MaxWorkers},
		{"max_wal_senders", c.MaxWALSenders},
		{"max_prepared_transactions", c.MaxPreparedXacts},
		{"max_locks_per_transaction", c.MaxLocksPerXact},
	} {
		s.Extra = append(s.Extra, postgres.Setting{Name: limit.name, Value: strconv.Itoa(limit.value)})
	}
	return s
}

// configuration writes what Debian and others keep outside of the data
// directory, so that a server can start.
func (l *layer) configuration(data *place, c postgres.ControlFile) error {
	files := map[string]string{
		"postgresql.conf": fmt.Sprintf(`# Written by pgark: the backup has no postgresql.conf, since the server kept it
# outside of its data directory. Recovery needs at least these values.
max_connections = %d
max_worker_processes = %d
max_wal_senders = %d
max_prepared_transactions = %d
max_locks_per_transaction = %d
`, c.MaxConnections, c.MaxWorkers, c.MaxWALSenders, c.MaxPreparedXacts, c.MaxLocksPerXact),
		"pg_hba.conf": `# Written by pgark: the backup has no pg_hba.conf, since the server kept it
# outside of its data directory. Only local users under their own names are let in.
local all all peer
local replication all peer
`,
		"pg_ident.conf": "# Written by pgark: the backup has no pg_ident.conf.\n",
	}
	for _, name := range []string{"postgresql.conf", "pg_hba.conf", "pg_ident.conf"} {
		_, err := data.root.Lstat(name)
		if err == nil {
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := l.write(data, name, []byte(files[name])); err != nil {
			return err
		}
		l.notes = append(l.notes, fmt.Sprintf("the backup has no %s: a minimal one was written", name))
	}
	return nil
}

// write makes a file that is not there yet.
func (l *layer) write(p *place, name string, b []byte) error {
	file, err := l.create(p, &repository.File{Path: name})
	if err != nil {
		return err
	}
	_, err = file.Write(b)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, l.full(err))
	}
	return nil
}

// commit renames the folders into place, the data directory last: it stands
// for the whole.
func (l *layer) commit() error {
	data := l.places[0]
	for _, p := range append(l.places[1:len(l.places):len(l.places)], data) {
		if p.prefix != "" {
			continue
		}
		if p.claimed(data.final) { // left by an interrupted commit
			if err := os.RemoveAll(p.final); err != nil {
				return fmt.Errorf("clear %s: %w", p.final, err)
			}
		}
		// Not os.Rename, which refuses to replace a folder even if it is empty.
		if err := syscall.Rename(p.partial(), p.final); err != nil {
			return fmt.Errorf("put %s in place: %w", p.final, err)
		}
		if err := syncParent(p.final); err != nil {
			return err
		}
	}
	for _, p := range l.places[1:] {
		if p.prefix == "" {
			_ = p.root.Remove(claimName) // it says nothing any more
		}
	}
	return nil
}

// syncParent makes a rename durable.
func syncParent(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}
