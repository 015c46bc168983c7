package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/drill"
	"github.com/pgark/pgark/repository"
)

// withRepository opens what the drill restores from, and calls f. By hand that is all repositories, as a restore reads them, unless --from or drill.from
// name one: then it is proved of that one alone.
func (d *drilling) withRepository(f func() error) error {
	from := d.cli.String("from")
	switch {
	case from != "" && d.argument() != "":
		return usagef("two repositories: give the argument or --from")
	case from == "" && d.argument() == "" && d.whole.Drill.From != config.DrillEach:
		from = d.whole.Drill.From
	}
	var err error
	switch from {
	case config.DrillEach:
		return d.withTurn(f)
	case "", config.DrillAny:
		err = d.withAll(f)
	default:
		err = d.withOne(from, f)
	}
	return d.hintPast(d.configured, err)
}

// withAll opens all repositories as one.
func (d *drilling) withAll(f func() error) error {
	var err error
	if d.configured, err = d.readable(); err != nil {
		return err
	}
	d.options.Repositories = names(d.configured)
	id, err := d.systemID()
	if err != nil {
		return err
	}
	r, sources, err := agent.OpenSources(d.ctx, d.configured, d.storeOptions())
	if err != nil {
		return err
	}
	defer func() { _ = sources.Close() }() // only reads were made
	if d.cluster, err = agent.SelectCluster(d.ctx, r, id); err != nil {
		return err
	}
	d.archive, d.sources, d.options.Sources = r.Marker(), sources, sources.Sources
	d.lossy = func() []string { return lossyNotes(sources) }
	return f()
}

// readable is the cluster with the repositories that may be read as one: a URL on the command line that is not the configured one stands alone.
func (d *drilling) readable() (config.Cluster, error) {
	if d.argument() == "" {
		return d.whole, nil
	}
	return d.clusterToRead(d.argument())
}

// names are the names of a cluster's repositories, the primary first.
func names(c config.Cluster) []string {
	list := []string{config.Primary}
	for _, one := range c.Copies {
		list = append(list, one.Name)
	}
	return list
}

// withOne opens one repository alone.
func (d *drilling) withOne(from string, f func() error) error {
	var err error
	if d.configured, err = d.whole.From(from); err != nil {
		return err
	}
	d.options.Repositories = []string{repositoryName(d.whole, from)}
	id, err := d.systemID()
	if err != nil {
		return err
	}
	r, store, err := agent.OpenRepository(d.ctx, d.configured, d.storeOptions())
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }() // only reads were made
	if d.cluster, err = agent.SelectCluster(d.ctx, r, id); err != nil {
		return err
	}
	d.archive = r.Marker()
	d.lossy = func() []string {
		if !store.Lossy() {
			return nil
		}
		return []string{d.options.Repositories[0] + ": " + lossyText}
	}
	return f()
}

// repositoryName is what a repository is called where others read it: by --from, or by the URL of one that is configured.
func repositoryName(c config.Cluster, from string) string {
	if from == c.Repo.URL {
		return config.Primary
	}
	for _, one := range c.Copies {
		if from == one.URL {
			return one.Name
		}
	}
	if strings.Contains(from, "://") {
		return "url"
	}
	return from
}

// turnDrills is how many drills are looked through for each repository's last one.
const turnDrills = 8

// withTurn opens the repository whose turn it is: the one that was proved alone the longest ago. One that does not answer, or holds no base backup yet, is passed over, and the
// report says so.
func (d *drilling) withTurn(f func() error) error {
	turn := names(d.whole)
	err := d.withAll(func() error {
		held, err := d.cluster.Drills(d.ctx, turnDrills*len(turn))
		if err != nil && !repository.OnlyUnreadable(err) {
			return err
		}
		turn = drill.Turn(turn, held)
		return nil
	})
	if err != nil {
		return err
	}
	d.sources, d.options.Sources = nil, nil
	var first error
	for _, name := range turn {
		held := false
		err := d.withOne(name, func() error {
			if _, any, err := d.cluster.NewestRecord(d.ctx); err != nil || !any {
				return errors.Join(err, errNoBackup)
			}
			held = true
			return f()
		})
		if held || d.ctx.Err() != nil {
			return err
		}
		d.options.Notes = append(d.options.Notes, fmt.Sprintf("it was the turn of %s: %v", name, err))
		if first == nil {
			first = err
		}
	}
	return first
}

var errNoBackup = errors.New("it holds no base backup that could be restored")
