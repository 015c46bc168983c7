package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/setup"
)

func initCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "init", Usage: "find the server, write the configuration, and print or apply the SQL that is lacking",
		ArgsUsage: "[URL]",
		Description: "Looks for PostgreSQL's socket, or asks where PG* variables or --postgres say, and for region and profile in the AWS settings.\n" +
			"Writes the file that --config names if there is none. Everything else it prints: the SQL for a role that may log in and replicate,\n" +
			"and for a limit of what the slot keeps; lines for pg_hba.conf where the server does not let that role in yet.\n" +
			"Run it as a user who may connect as a superuser: sudo -u postgres pgark init --apply s3://bucket/prefix",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "postgres", Usage: "`CONNECTION` to look by, as libpq takes it; by default the PG* variables, or the socket that is found"},
			&cli.StringFlag{Name: "role", Usage: "`NAME` of the agent's role in PostgreSQL", Value: "pgark"},
			&cli.StringFlag{Name: "run-as", Usage: "`USER` of the operating system that the agent will run as; by default the one named like the role, or you"},
			&cli.BoolFlag{Name: "apply", Usage: "run the SQL; asks before"},
			&cli.BoolFlag{Name: "print-sql", Usage: "print the SQL and nothing else; writes nothing"},
			&cli.BoolFlag{Name: "force", Usage: "replace a configuration file that is there"},
		},
	}, atMostOne, initialize)
}

// firstRun is what init found and planned.
type firstRun struct {
	File    string   `json:"file"`
	Written bool     `json:"written"`
	Why     string   `json:"not_written,omitempty"`
	YAML    string   `json:"yaml"`
	SQL     []string `json:"sql"`
	Applied bool     `json:"applied"`
	HBA     []string `json:"pg_hba"`
	Ident   []string `json:"pg_ident"`
	HBAFile string   `json:"pg_hba_file,omitempty"`
	// Password says that the server asks the role for one. Its name in the document is none that is redacted.
	Password bool     `json:"needs_pgpass"`
	Problems []string `json:"problems"`
	// Storage is what the bucket answered; nil for a folder.
	Storage *printedFinding `json:"storage,omitempty"`
	Next    string          `json:"next"`

	server setup.Server
	wish   setup.Wish
	plan   setup.Plan
	others []postgres.Endpoint
	// services are the names in libpq's service file.
	services []string
}

func initialize(s *session) error {
	if s.cli.Bool("print-sql") && s.cli.Bool("apply") {
		return usagef("--print-sql and --apply exclude each other")
	}
	conn, others, err := s.serverToLookAt()
	if err != nil {
		return err
	}
	wish, err := s.wish(conn)
	if err != nil {
		return err
	}
	server, err := setup.Look(s.ctx, conn, wish.Role)
	if err != nil {
		return s.hintUser(err)
	}
	if dir := server.WALDir(); dir != "" && server.Endpoints[0].Local() {
		if free, _, err := restore.Free(dir); err == nil {
			wish.Free = free
		} else if free, _, err := restore.Free(server.DataDir); err == nil { // the folder is the server's own user's alone
			wish.Free = free
		}
	}
	r := firstRun{server: server, wish: wish, plan: setup.Make(server, wish), others: others, services: setup.Services(s.serviceFile())}
	if s.cli.Bool("print-sql") {
		for _, command := range r.plan.SQL {
			s.printf("%s\n", command)
		}
		return nil
	}
	if err := s.writeConfig(&r); err != nil {
		return err
	}
	if err := s.applySQL(conn, &r); err != nil {
		return err
	}
	return s.printFirstRun(r)
}

// serverToLookAt returns the connection string that init looks by, and the other servers whose sockets were found.
func (s *session) serverToLookAt() (conn string, others []postgres.Endpoint, err error) {
	if conn = s.cli.String("postgres"); conn != "" {
		return conn, nil, nil
	}
	for _, name := range []string{"PGHOST", "PGHOSTADDR", "PGSERVICE"} {
		if s.program.variable(name) != "" {
			return "", nil, nil
		}
	}
	var found []postgres.Endpoint
	for _, one := range setup.Sockets(setup.SocketDirs()) {
		if port := s.program.variable("PGPORT"); port == "" || port == fmt.Sprint(one.Port) {
			found = append(found, one)
		}
	}
	return s.chooseServer(found, setup.Services(s.serviceFile()))
}

// chooseServer returns the connection string of the first server that was found, or of the one that a person chooses where there are several, libpq's
// services among them; and the other servers.
func (s *session) chooseServer(found []postgres.Endpoint, services []string) (conn string, others []postgres.Endpoint, err error) {
	var choices, shown []string
	for _, one := range found {
		choices = append(choices, fmt.Sprintf("host=%s port=%d", one.Host, one.Port))
		shown = append(shown, fmt.Sprintf("the server on port %d of this host, by its socket in %s", one.Port, one.Host))
	}
	for _, name := range services {
		choices, shown = append(choices, "service="+name), append(shown, "service "+name+" of "+s.serviceFile())
	}
	chosen, asks := 0, len(choices) > 1 && s.mayAsk()
	if asks {
		for i, text := range shown {
			_, _ = fmt.Fprintf(s.stderr, "  %d  %s\n", i+1, text)
		}
		_, _ = fmt.Fprintf(s.stderr, "Which one is to be archived? [1-%d] ", len(choices))
		word, err := s.readWord()
		if err != nil {
			return "", nil, err
		}
		if chosen, err = strconv.Atoi(cmp.Or(word, "1")); err != nil || chosen < 1 || chosen > len(choices) {
			return "", nil, usagef("%q: want a number from 1 to %d; or say which with --postgres", word, len(choices))
		}
		chosen--
	}
	switch {
	case asks && chosen >= len(found):
		return choices[chosen], found, nil // a service
	case len(found) == 0:
		return "", nil, nil // PostgreSQL's own defaults
	}
	return choices[chosen], append(append([]postgres.Endpoint{}, found[:chosen]...), found[chosen+1:]...), nil
}

// mayAsk tells whether there is somebody to ask.
func (s *session) mayAsk() bool {
	return !s.yes && !s.json && s.program.isTerminal(s.program.stdin) && s.program.variable("PGARK_NO_INPUT") == ""
}

// serviceFile is where libpq looks for services first.
func (s *session) serviceFile() string {
	if file := s.program.variable("PGSERVICEFILE"); file != "" {
		return file
	}
	return filepath.Join(s.program.variable("HOME"), ".pg_service.conf")
}

// wish is what the command line and the host say of the agent that is to be.
func (s *session) wish(conn string) (setup.Wish, error) {
	w := setup.Wish{Cluster: text(s.cli, "cluster"), Role: s.cli.String("role"), User: s.cli.String("run-as")}
	if w.Cluster == "" {
		w.Cluster = config.DefaultCluster
	}
	if w.Role == "" || strings.ContainsAny(w.Role, "\x00\n") {
		return w, usagef("role %q: want a name", w.Role)
	}
	if w.User == "" {
		w.User = w.Role
		if _, err := user.Lookup(w.Role); err != nil {
			if self, err := user.Current(); err == nil {
				w.User = self.Username
			}
		}
	}
	for word := range strings.FieldsSeq(conn) {
		if name, ok := strings.CutPrefix(word, "service="); ok {
			w.Service = name
		}
	}
	if conn == "" {
		w.Service = s.program.variable("PGSERVICE")
	}
	url, err := s.repositoryToBe()
	if err != nil {
		return w, err
	}
	w.Repo = agent.WithRegion(s.ctx, url, s.program.variable("AWS_PROFILE"))
	return w, nil
}

// repositoryToBe is the URL that was given, or that a person answers.
func (s *session) repositoryToBe() (string, error) {
	given := s.argument()
	switch {
	case given != "" && text(s.cli, "repo") != "":
		return "", usagef("two repository URLs: give the argument or --repo")
	case given == "":
		given = text(s.cli, "repo")
	}
	if given == "" {
		given = s.program.variable("PGARK_REPO")
	}
	if given != "" {
		return given, nil
	}
	if s.cli.Bool("print-sql") {
		return "file:///nowhere", nil // SQL says nothing of it
	}
	missing := usagef("no repository: where is the archive to be?")
	missing.fix = urlForms()
	if !s.mayAsk() {
		return "", missing
	}
	_, _ = fmt.Fprint(s.stderr, "Repository, like s3://bucket/prefix?region=eu-west-1: ")
	given, err := s.readWord()
	if err == nil && given == "" {
		err = missing
	}
	return given, err
}

// hintUser says who could look at a server that refuses this user.
func (s *session) hintUser(err error) error {
	if !errors.Is(err, postgres.ErrAuth) {
		return err
	}
	f := s.program.explain(err)
	hint := "run it as the server's own user: sudo -u postgres pgark init …; or name a superuser with --postgres 'user=NAME …'"
	return &codeError{code: f.Code, cause: err, why: f.Cause, fix: hint}
}

// writeConfig writes the configuration where there is none, once it was read as an agent will read it, and the store it names was asked.
func (s *session) writeConfig(r *firstRun) error {
	r.YAML = r.plan.YAML
	r.File = text(s.cli, "config")
	chosen := r.File != ""
	if !chosen {
		r.File = config.DefaultFile
	}
	c, err := config.Load(config.Sources{Text: r.YAML})
	if err == nil {
		err = agent.Validate(c.Clusters[0])
	}
	if err != nil {
		return err
	}
	r.Storage = s.lookAtStore(c.Clusters[0])
	write := createFile
	if s.cli.Bool("force") {
		write = replaceFile
	}
	err = write(r.File, r.YAML)
	switch {
	case err == nil:
		r.Written = true
	case errors.Is(err, os.ErrExist):
		r.Why = "there is one; --force replaces it"
	case chosen:
		return err
	default:
		r.Why = "this user may not write there; put this there, or give --config FILE"
	}
	return nil
}

// createFile writes a file that is not there yet. Others may read it, for it holds no secret.
func createFile(file, content string) error {
	return writeWhole(file, content, os.O_EXCL)
}

// replaceFile writes a file anew as a whole, or leaves the one that is there.
func replaceFile(file, content string) error {
	if err := writeWhole(file+".new", content, os.O_TRUNC); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func writeWhole(file, content string, how int) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|how, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

// applySQL runs the SQL if it is to be run.
func (s *session) applySQL(conn string, r *firstRun) error {
	r.SQL = r.plan.SQL
	if !s.cli.Bool("apply") || len(r.SQL) == 0 {
		return nil
	}
	if !s.yes && !s.json {
		for _, command := range r.SQL {
			_, _ = fmt.Fprintf(s.stderr, "  %s\n", command)
		}
	}
	run, err := s.ask("Run this SQL as " + r.server.Self + "?")
	if err != nil || !run {
		return err
	}
	if err := setup.Apply(s.ctx, conn, r.SQL); err != nil {
		f := s.program.explain(err)
		if !r.server.Superuser {
			f.Code, f.Cause = exitDenied, r.server.Self+" is no superuser"
			f.Fix = "run it as one: sudo -u postgres pgark init --apply …; or have one run what pgark init --print-sql prints"
		}
		return &codeError{code: f.Code, cause: err, why: f.Cause, fix: f.Fix}
	}
	r.Applied = true
	// Who may connect is asked again: a role that is new could not be judged as it is now.
	server, err := setup.Look(s.ctx, conn, r.wish.Role)
	if err != nil {
		return err
	}
	r.server, r.plan = server, setup.Make(server, r.wish)
	return nil
}

// checkCommandLine is what to call next.
func (r firstRun) checkCommandLine() string {
	line := "pgark check"
	switch {
	case !r.Written && r.Why != "" && !strings.HasPrefix(r.Why, "there is one"):
		line += " --config FILE"
	case r.File != config.DefaultFile:
		line += " --config " + quoteWord(r.File)
	}
	if self, err := user.Current(); err == nil && self.Username != r.wish.User {
		line = "sudo -u " + r.wish.User + " " + line
		if !filepath.IsAbs(r.File) {
			if abs, err := filepath.Abs(r.File); err == nil {
				line = strings.Replace(line, quoteWord(r.File), quoteWord(abs), 1)
			}
		}
	}
	return line
}
