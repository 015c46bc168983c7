package restore

import (
	"cmp"
	"context"
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

// Site is where a restored cluster is to lie, looked at before anything is written.
type Site struct {
	Dir         string           // data directory, absolute
	Tablespaces []SiteTablespace // those that lie outside of the data directory
	FileSystems []FileSystem     // that of the data directory first
	// Held is how much lies where the cluster goes: of the cluster that is
	// replaced in place, or of a restore that was interrupted. Bytes.
	Held uint64
	// State is what pg_control of the cluster that is replaced says; nil if there is none.
	State *postgres.ClusterState
}

// SiteTablespace is a tablespace of the backup and where it goes.
type SiteTablespace struct {
	OID      uint32
	From, To string // To is empty where no place was given
}

// FileSystem is what a restore needs of one file system.
type FileSystem struct {
	Mount        string // where it is mounted
	Needed, Free uint64 // bytes
	Held         uint64 // bytes of what lies there and is kept or removed
}

// Partial returns the folder that LayDown writes a data directory or
// tablespace dir into until all of it is there.
func Partial(dir string) string { return dir + partialSuffix }

// Interrupted reports whether a restore into dir left its partial folder behind,
// and no other restore writes to that now.
func Interrupted(dir string) bool {
	f, err := os.Open(Partial(dir))
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // and lets go of the lock
	free, err := lockFile(f)
	return err == nil && free
}

// Look says where LayDown would write with these options, of which Dir,
// Tablespaces and Owner count. Its error is what LayDown would refuse, a
// *RefusedError or *SpaceError; the site is then returned too, as far as it is known.
func Look(ctx context.Context, cluster *repository.Cluster, plan *Plan, options LayOptions) (*Site, error) {
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, fmt.Errorf("restore into %s: %w", options.Dir, err)
	}
	site := &Site{Dir: dir}
	list, refused := placesOf(plan, options)
	for _, t := range plan.Backup.Tablespaces {
		oid := strconv.FormatUint(uint64(t.OID), 10)
		if t.Path != "pg_tblspc/"+oid {
			_, to := mappedTo(options.Tablespaces, oid, t.Path)
			for _, p := range list {
				if p.archive == oid {
					to = p.final
				}
			}
			site.Tablespaces = append(site.Tablespaces, SiteTablespace{OID: t.OID, From: t.Path, To: to})
		}
	}
	plain, err := plainOf(ctx, cluster, plan)
	if err != nil {
		return site, err
	}
	if site.FileSystems, err = site.fileSystems(plain); err != nil {
		return site, err
	}
	if refused != nil {
		return site, refused
	}
	if err := site.hold(list); err != nil {
		return site, err
	}
	uid := os.Geteuid()
	if options.Owner != nil {
		uid = options.Owner.UID
	}
	for _, p := range list {
		if p.prefix != "" {
			continue
		}
		if err := p.check(dir, uid); err != nil {
			return site, err
		}
		above := filepath.Dir(p.final)
		if p.inPlace {
			above = p.final
		}
		if err := writable(above); err != nil {
			return site, fmt.Errorf("make %s: %w", p.partial(), err)
		}
	}
	for _, f := range site.FileSystems {
		if f.Needed > f.Free+f.Held {
			return site, &SpaceError{Dir: f.Mount, Needed: f.Needed, Free: f.Free + f.Held}
		}
	}
	return site, nil
}

// hold adds up what lies in the places already.
func (s *Site) hold(list []*place) error {
	for _, p := range list {
		held, err := p.held()
		if err != nil {
			return err
		}
		mount, _, _, err := fileSystemOf(p.final)
		if err != nil {
			return err
		}
		for i := range s.FileSystems {
			if s.FileSystems[i].Mount == mount {
				s.FileSystems[i].Held += held
			}
		}
		s.Held += held
	}
	if b, err := os.ReadFile(filepath.Join(list[0].final, controlFile)); err == nil && list[0].inPlace {
		if c, err := postgres.ParseControl(b); err == nil {
			s.State = &c.State
		}
	}
	return nil
}

// plainOf returns the bytes of each archive of the plan's backup by its name,
// the WAL that recovery keeps at once with the data directory.
func plainOf(ctx context.Context, cluster *repository.Cluster, plan *Plan) (map[string]uint64, error) {
	if len(plan.Backup.Tablespaces) == 0 {
		return map[string]uint64{"base": plan.Needed}, nil
	}
	reader, err := cluster.OpenBackup(ctx, plan.Backup)
	if err != nil {
		return nil, fmt.Errorf("read the index of backup %s: %w", plan.Backup.ID, err)
	}
	plain := map[string]uint64{"base": plan.Needed - min(plan.Needed, uint64(max(plan.Backup.Plain, 0)))}
	for _, pack := range reader.Packs() {
		plain[pack.Archive] += uint64(max(pack.Plain, 0))
	}
	return plain, nil
}

// fileSystems adds up what each file system is to hold. An archive without a
// place of its own counts with the data directory.
func (s *Site) fileSystems(plain map[string]uint64) ([]FileSystem, error) {
	type demand struct {
		dir    string
		needed uint64
	}
	demands := []demand{{dir: s.Dir}}
	for _, t := range s.Tablespaces {
		oid := strconv.FormatUint(uint64(t.OID), 10)
		if filepath.IsAbs(t.To) {
			demands = append(demands, demand{t.To, plain[oid]})
			delete(plain, oid)
		}
	}
	for _, n := range plain {
		demands[0].needed += n
	}
	devices := map[uint64]int{}
	var list []FileSystem
	for _, d := range demands {
		mount, free, device, err := fileSystemOf(d.dir)
		if err != nil {
			return nil, err
		}
		i, known := devices[device]
		if !known {
			i = len(list)
			devices[device] = i
			list = append(list, FileSystem{Mount: mount, Free: free})
		}
		list[i].Needed += d.needed
	}
	slices.SortStableFunc(list[1:], func(a, b FileSystem) int { return cmp.Compare(a.Mount, b.Mount) })
	return list, nil
}

// fileSystemOf returns the mount point, the free bytes and the id of the file
// system on which path would be made.
func fileSystemOf(path string) (mount string, free, device uint64, err error) {
	mount = existing(path)
	if free, device, err = Free(mount); err != nil {
		return "", 0, 0, err
	}
	for mount != "/" {
		_, above, err := Free(filepath.Dir(mount))
		if err != nil || above != device {
			break // mounted here, or as far up as we may look
		}
		mount = filepath.Dir(mount)
	}
	return mount, free, device, nil
}

// existing returns the nearest folder at or above an absolute path that is there.
func existing(path string) string {
	for path != "/" {
		if _, err := os.Stat(path); err == nil {
			break
		}
		path = filepath.Dir(path)
	}
	return path
}

// writable returns an error if folders cannot be made in path, or, where that
// is not there, in the nearest above that is.
func writable(path string) error {
	const write, search = 2, 1 // W_OK, X_OK
	folder := existing(path)
	if err := syscall.Access(folder, write|search); err != nil {
		return &fs.PathError{Op: "write to", Path: folder, Err: err}
	}
	return nil
}
