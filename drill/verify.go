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

// amcheck checks tables and B-tree indexes of all databases, or only the tables of these patterns with their indexes. It installs the extension where it is
// missing: the cluster is thrown away.
func (o *Opened) amcheck(ctx context.Context, only []string) (repository.DrillCheck, error) {
	arguments := []string{"--maintenance-db=" + onlyName(o.Database), "--install-missing", "--no-password", "--progress"}
	by := ""
	if only == nil {
		arguments = append(arguments, "--all")
	} else {
		by = repository.BySample
		arguments = append(arguments, "--no-strict-names")
		for _, table := range only {
			arguments = append(arguments, "--table="+table)
		}
	}
	cmd, err := o.program(ctx, "pg_amcheck", arguments...)
	if errors.Is(err, exec.ErrNotFound) {
		return repository.DrillCheck{Result: repository.CheckSkipped, Detail: "pg_amcheck is not in " + o.Server.BinDir}, nil
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
	c := repository.DrillCheck{Result: repository.CheckPassed, By: by, Count: checkedRelations(progress.String())}
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

// onlyName returns the name of a database for an option that also takes a connection string, which a name may look like: it would lead to another server.
func onlyName(database string) string {
	return "dbname='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(database) + "'"
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

// noChecksums is what is said of a cluster whose pages have none: nothing can be proved of them, and that is no success.
func noChecksums() repository.DrillCheck {
	return repository.DrillCheck{Result: repository.CheckOff, Detail: "the cluster has no page checksums: damaged pages cannot be told from good ones"}
}

// hasChecksums reports whether the cluster's pages have checksums.
func (o *Opened) hasChecksums(ctx context.Context) (bool, error) {
	rows, err := postgres.Query(ctx, o.connString(o.Database), "show data_checksums")
	return err == nil && len(rows) == 1 && rows[0][0] == "on", err
}

// replicatorSQL finds a role that may open a replication connection. There is one: the cluster was archived.
const replicatorSQL = `select rolname from pg_roles where rolcanlogin and (rolsuper or rolreplication) order by rolname = current_user desc, rolsuper desc limit 1`

// pages has the server itself verify the checksums of its pages, as it does for a base backup whose data nobody wants.
func (o *Opened) pages(ctx context.Context) (repository.DrillCheck, error) {
	on, err := o.hasChecksums(ctx)
	if err != nil || !on {
		return noChecksums(), err
	}
	roles, err := postgres.Query(ctx, o.connString(o.Database), replicatorSQL)
	if err != nil {
		return repository.DrillCheck{}, err
	}
	user := o.User
	if len(roles) == 1 {
		user = roles[0][0]
	}
	config, err := postgres.ParseConfig(o.Server.ConnString(user, o.Database))
	if err != nil {
		return repository.DrillCheck{}, err
	}
	conn, err := postgres.Connect(ctx, config)
	if err != nil {
		return repository.DrillCheck{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // nothing is lost with it
	found, err := conn.CheckPages(ctx)
	if err != nil {
		return repository.DrillCheck{}, err
	}
	c := repository.DrillCheck{Result: repository.CheckPassed, By: repository.ByBaseBackup, Bytes: found.Bytes}
	if found.Checksums != postgres.ChecksumsVerified {
		c.Result, c.Detail = repository.CheckFailed, repository.DrillText(pageWords(found))
	}
	return c, nil
}

// pageWords says what a server found wrong.
func pageWords(found postgres.PageCheck) string {
	lines := make([]string, len(found.Warnings))
	for i, w := range found.Warnings {
		lines[i] = w.Message
	}
	if len(lines) == 0 {
		return fmt.Sprintf("%d pages with wrong checksums", found.Failures)
	}
	return firstLines(strings.Join(lines, "\n"))
}

// checkPages has pg_checksums read every page, which wants a cluster that was shut down cleanly, and the server itself where that program is missing: it passes over
// more (postgres.Conn.CheckPages).
func (s *Sandbox) checkPages(ctx context.Context) (repository.DrillCheck, error) {
	if _, err := s.Program(ctx, "pg_checksums"); errors.Is(err, exec.ErrNotFound) {
		return s.opened().pages(ctx)
	}
	if on, err := s.opened().hasChecksums(ctx); err != nil || !on {
		return noChecksums(), err
	}
	if err := s.Stop(ctx); err != nil {
		return repository.DrillCheck{}, err
	}
	cmd, err := s.Program(ctx, "pg_checksums", "--check", "-D", s.DataDir())
	if err != nil {
		return repository.DrillCheck{}, err
	}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	if ctx.Err() != nil {
		return repository.DrillCheck{}, ctx.Err()
	}
	c := repository.DrillCheck{Result: repository.CheckPassed, By: repository.ByChecksums, Count: countAfter(out.String(), "Blocks scanned:")}
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
