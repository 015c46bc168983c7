package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/repository"
)

// Exit codes of pg_amcheck ("pg_amcheck" in PostgreSQL's documentation; src/bin/pg_amcheck/pg_amcheck.c).
const amcheckFound = 2

// amcheck checks tables and B-tree indexes of all databases. It installs the extension where it is missing: the cluster is thrown away.
func (s *Sandbox) amcheck(ctx context.Context) (repository.DrillCheck, error) {
	cmd, err := s.Program(ctx, "pg_amcheck", "--all", "--install-missing", "--no-password", "--progress")
	if errors.Is(err, exec.ErrNotFound) {
		return repository.DrillCheck{Result: repository.CheckSkipped, Detail: "pg_amcheck is not in " + s.bin}, nil
	}
	if err != nil {
		return repository.DrillCheck{}, err
	}
	var out, progress bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &progress
	err = cmd.Run()
	if ctx.Err() != nil {
		return repository.DrillCheck{}, ctx.Err()
	}
	c := repository.DrillCheck{Result: repository.CheckPassed, Count: checkedRelations(progress.String())}
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && exit.ExitCode() == amcheckFound:
		c.Result, c.Detail = repository.CheckFailed, repository.DrillText(firstLines(out.String()))
	default:
		// Most likely the packages of this host lack the extension's files; that says nothing of the data.
		c.Result, c.Detail = repository.CheckSkipped, repository.DrillText("pg_amcheck could not check: "+lastLine(progress.String(), err))
	}
	return c, nil
}

// relationsDone is what pg_amcheck --progress prints: "12/345 relations (3%), …".
var relationsDone = regexp.MustCompile(`(\d+)/\d+ relations`)

// checkedRelations returns the last count of relations in what pg_amcheck printed.
func checkedRelations(progress string) int64 {
	all := relationsDone.FindAllStringSubmatch(progress, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(all[len(all)-1][1], 10, 64)
	return n
}

// ask asks one query of the user's. An error of the server's is an answer too.
func (s *Sandbox) ask(ctx context.Context, c Check, names *repository.Names, target time.Time) repository.DrillCheck {
	done := repository.DrillCheck{Name: repository.DrillText(c.Name), Database: c.Database, Want: repository.DrillText(c.Want), Result: repository.CheckFailed}
	if done.Database == "" {
		done.Database = "postgres"
	}
	if !hasDatabase(names, done.Database) {
		done.Detail = "there is no database " + quote(done.Database)
		return done
	}
	prefix := "set pgark.target_time = '" + target.UTC().Format("2006-01-02 15:04:05.999999Z07:00") + "';\n"
	rows, err := postgres.LongQuery(ctx, s.ConnString(done.Database), prefix+c.Query)
	if err != nil {
		done.Detail = repository.DrillText(err.Error())
		return done
	}
	got := answerText(rows)
	done.Got = repository.DrillText(got)
	if got == c.Want {
		done.Result = repository.CheckPassed
	}
	return done
}

func hasDatabase(names *repository.Names, name string) bool {
	for _, d := range names.Databases {
		if d.OID != 0 && d.Name == name {
			return true
		}
	}
	return false
}

// checkPages stops the server and has pg_checksums read every page: it wants a cluster that was shut down cleanly.
func (s *Sandbox) checkPages(ctx context.Context) (repository.DrillCheck, error) {
	rows, err := postgres.Query(ctx, s.ConnString("postgres"), "show data_checksums")
	if err != nil {
		return repository.DrillCheck{}, err
	}
	if err := s.Stop(ctx); err != nil {
		return repository.DrillCheck{}, err
	}
	if len(rows) == 1 && rows[0][0] != "on" {
		return repository.DrillCheck{Result: repository.CheckOff, Detail: "the cluster has no page checksums"}, nil
	}
	cmd, err := s.Program(ctx, "pg_checksums", "--check", "-D", s.DataDir())
	if errors.Is(err, exec.ErrNotFound) {
		return repository.DrillCheck{Result: repository.CheckSkipped, Detail: "pg_checksums is not in " + s.bin}, nil
	}
	if err != nil {
		return repository.DrillCheck{}, err
	}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	if ctx.Err() != nil {
		return repository.DrillCheck{}, ctx.Err()
	}
	c := repository.DrillCheck{Result: repository.CheckPassed, Count: countAfter(out.String(), "Blocks scanned:")}
	var exit *exec.ExitError
	switch {
	case err == nil && c.Count > 0:
	case err == nil || !errors.As(err, &exit):
		return c, fmt.Errorf("pg_checksums: %s", lastLine(said.String(), err))
	default:
		c.Result, c.Detail = repository.CheckFailed, repository.DrillText(firstLines(said.String()))
	}
	return c, nil
}

// countAfter returns the number behind a label on a line of its own, 0 if there is none.
func countAfter(text, label string) int64 {
	_, rest, _ := strings.Cut(text, label)
	line, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return n
}

// shownLines is how many lines of what a program found are kept.
const shownLines = 10

func firstLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if more := len(lines) - shownLines; more > 0 {
		lines = append(lines[:shownLines], fmt.Sprintf("… %d more lines", more))
	}
	return strings.Join(lines, "\n")
}

// lastLine returns the last line a program printed, or what err says if it printed nothing.
func lastLine(text string, err error) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	if len(lines) == 0 {
		return fmt.Sprint("it printed nothing: ", err)
	}
	return strings.TrimSpace(lines[len(lines)-1])
}
