package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pgark/pgark/repository"
)

// Choose is Resolve with a base backup whose objects are all there, by name and size. One that lacks any is passed over with a note: in a
// bucket that another bucket copies, a record may come before its packs. The facts stay in inv, and so do the notes. The errors are
// those of Resolve; a *repository.CorruptError if the only backups that would do lack something; and a *repository.KeyError if the plan needs what is encrypted
// and the keys do not open it.
func Choose(ctx context.Context, cluster *repository.Cluster, inv *Inventory, target Target) (*Plan, error) {
	var lacking error
	for {
		plan, err := Resolve(ctx, cluster, inv, target)
		var refused *TargetError
		if lacking != nil && errors.As(err, &refused) {
			return nil, lacking // without it the target could be restored
		}
		if err != nil {
			return nil, err
		}
		if plan.Archived, err = cluster.Archived(ctx, plan.Backup, plan.legsOf()); err != nil {
			return nil, fmt.Errorf("resolve target %s: %w", target, err)
		}
		if plan.Frozen(time.Now()) != nil {
			return plan, nil // its index may be among them, so that no more can be said
		}
		held, err := cluster.DataInventory(ctx, plan.Backup)
		if err != nil {
			return nil, fmt.Errorf("resolve target %s: %w", target, err)
		}
		if len(held.Lacks) == 0 {
			if err := openable(ctx, cluster, plan); err != nil {
				return nil, fmt.Errorf("resolve target %s: %w", target, err)
			}
			return plan, nil
		}
		id, first := plan.Backup.ID, held.Lacks[0]
		lacking = fmt.Errorf("base backup %s: %w", id, &repository.CorruptError{Key: first.Key, Reason: first.Reason})
		inv.Notes = append(inv.Notes, fmt.Sprintf("base backup %s is passed over: %s", id, first))
		inv.Backups = slices.DeleteFunc(slices.Clone(inv.Backups), func(b repository.Backup) bool { return b.ID == id })
	}
}
