package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pgark/pgark/restore"
)

// unfetched says what is left of a restore whose files did not all come.
func (r *restoring) unfetched(err error) error {
	if r.inPlace {
		if !restore.Unfinished(r.into) {
			r.holding.Leave(false)
			return err
		}
		return r.unfinished(err,
			fmt.Sprintf("no server can start in %s: it has no pg_control until all of it is restored", r.into),
			"the same command goes on from the files that are right; another target may be given")
	}
	var left []string
	dirs := []string{r.into}
	for _, t := range r.site.Tablespaces {
		dirs = append(dirs, t.To)
	}
	for _, dir := range dirs {
		if restore.Interrupted(dir) {
			left = append(left, quoteWord(restore.Partial(dir)))
		}
	}
	if len(left) == 0 {
		r.holding.Leave(false)
		return err
	}
	return r.unfinished(err,
		fmt.Sprintf("no server can start: %s is not there; what was written lies in %s", r.into, strings.Join(left, " ")),
		"the same command goes on from the files that are right; to give the space back: rm -r "+strings.Join(left, " "))
}

// unrecovered says what is left of a restore whose server did not get to the target.
func (r *restoring) unrecovered(err error, dir string) error {
	why := fmt.Sprintf("the files are complete in %s; recovery did not get to its end, and no server runs", dir)
	fix := ""
	// A server that was found elsewhere than planned is not to be started again.
	if proof := new(restore.ProofError); !errors.As(err, &proof) {
		dirs := []string{quoteWord(dir)}
		for _, t := range r.site.Tablespaces {
			dirs = append(dirs, quoteWord(t.To))
		}
		fix = "to recover to the same target: " + r.pgCtl(dir, "start")
		if r.inPlace {
			fix += "\nor begin anew: the same command"
		} else {
			fix += fmt.Sprintf("\nor begin anew: rm -r %s, and the same command", strings.Join(dirs, " "))
		}
	}
	if server := new(restore.ServerError); errors.As(err, &server) {
		why += "\nthe server's log says more, also of pgark wal fetch where that did not get a file: " + server.Log
	}
	return r.unfinished(err, why, fix)
}

// unfinished adds to what is known of an error what it left behind.
func (r *restoring) unfinished(err error, why, fix string) error {
	f := r.program.explain(err)
	lines := func(a, b string) string { return strings.Trim(a+"\n"+b, "\n") }
	return &codeError{code: f.Code, cause: &reworded{err, f.Message}, why: lines(f.Cause, why), fix: lines(f.Fix, fix)}
}

// reworded is an error in words for a person.
type reworded struct {
	error

	words string
}

func (e *reworded) Error() string { return e.words }

func (e *reworded) Unwrap() error { return e.error }
