package repository

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pgark/pgark/wal"
)

// drills copies the reports that to lacks, each after the names it speaks of, both verified. Corrupt ones are left out and told at the end.
func (c copier) drills(ctx context.Context, id wal.SystemID, expired *Expiry) error {
	lacks, err := c.missing(ctx, drillPrefix(id))
	if err != nil {
		return err
	}
	var corrupt error
	for _, info := range lacks {
		drill, ours := parseDrillName(strings.TrimPrefix(string(info.Key), string(drillPrefix(id))))
		if !ours || expired.HasDrill(drill) {
			continue // the names of a report come with it
		}
		if err := c.drill(ctx, &Cluster{store: c.from, id: id}, drill); err != nil && !isCorrupt(err) {
			return fmt.Errorf("drill %s: %w", drill, err)
		} else if err != nil {
			corrupt = errors.Join(corrupt, err)
		}
	}
	return corrupt
}

func (c copier) drill(ctx context.Context, from *Cluster, id string) error {
	d, text, err := from.readDrill(ctx, id)
	if errors.Is(err, ErrNoDrill) {
		return nil // just expired
	}
	if err != nil {
		return err
	}
	if d.Names != nil {
		body, err := from.readNames(ctx, d)
		if err == nil {
			err = putEqual(ctx, c.to, d.Names.key(from.id, id), body)
		}
		if err != nil {
			return err
		}
	}
	return putEqual(ctx, c.to, drillKey(from.id, id), text)
}
