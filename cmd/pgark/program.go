package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/agent"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/restore"
)

// program is one call of pgark with all that it touches of the outside.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	// args are the words of the command line, the program's name first.
	args []string
	// environment is in the form of os.Environ.
	environment []string
	now         func() time.Time
	// ran is the command whose action began, and fetched what became of wal fetch's file.
	ran     string
	fetched restore.FetchResult
	// lookAnswer is how long a store may take to answer who only looks; 0 is agent.LookAnswer.
	lookAnswer time.Duration
	// interrupted returns the signal that ended the context, or nil.
	interrupted func() os.Signal
}

// main runs the command line and returns the exit code.
func (p *program) main(ctx context.Context, args []string) int {
	args, ok := guardCompletion(args)
	if !ok {
		return exitOK
	}
	p.args = args
	plumbing := isPlumbing(args)
	err := p.app().RunContext(ctx, args) //nolint:contextcheck // an agent is asked since when also after what ended the command
	if plumbing && (p.ran == "" || p.ran == fetchName) {
		return p.fetchCode(err)
	}
	return p.report(err)
}

// report prints an error, if there is one that was not printed yet, and returns its exit code.
func (p *program) report(err error) int {
	if err == nil {
		return exitOK
	}
	var coded *codeError
	if errors.As(err, &coded) && coded.cause == nil {
		return coded.code
	}
	f, format := p.explain(err), outputFormat(err)
	if format.form == "nagios" && strings.HasSuffix(format.help, " check") {
		return p.reportUnknown(f)
	}
	p.printFailure(f, format)
	return f.Code
}

func (p *program) app() *cli.App {
	app := &cli.App{
		Name:                 "pgark",
		Usage:                "continuous archiving and recovery for PostgreSQL",
		HideVersion:          true,
		EnableBashCompletion: true,
		Suggest:              true,
		Reader:               p.stdin,
		Writer:               p.stdout,
		ErrWriter:            p.stderr,
		Flags:                appFlags(),
		OnUsageError:         p.onUsageError,
		ExitErrHandler:       func(*cli.Context, error) {},
		Action:               onlySubcommands,
		Commands: []*cli.Command{
			initCommand(p),
			checkCommand(p),
			runCommand(p),
			statusCommand(p),
			dashboardCommand(p),
			listCommand(p),
			logCommand(p),
			restoreCommand(p),
			drillCommand(p),
			exportCommand(p),
			backupCommand(p),
			keepCommand(p),
			pruneCommand(p),
			verifyCommand(p),
			repoCommand(p),
			standbyCommand(p),
			walCommand(p),
			configCommand(p),
			runbookCommand(p),
			diagnoseCommand(p),
			manCommand(p),
			versionCommand(p),
			completionCommand(p),
		},
	}
	// The version is asked for in both ways.
	app.Flags = append(app.Flags, &cli.BoolFlag{Name: "version", Usage: "print the version", Action: func(c *cli.Context, _ bool) error {
		if _, err := fmt.Fprintln(c.App.Writer, versionLine()); err != nil {
			return err
		}
		return &codeError{code: exitOK}
	}})
	return app
}

// onlySubcommands is the action of the app and of a group: help, or what is wrong with the word.
func onlySubcommands(c *cli.Context) error {
	if !c.Args().Present() {
		if c.Command.Name == "pgark" || c.Command.Name == "" {
			return cli.ShowAppHelp(c)
		}
		return cli.ShowSubcommandHelp(c)
	}
	name := c.Args().First()
	err := usagef("unknown command %q", strings.TrimSpace(strings.TrimPrefix(c.Command.HelpName+" "+name, "pgark ")))
	var known []string
	for _, sub := range c.Command.Subcommands {
		known = append(known, sub.Names()...)
	}
	if s := config.Nearest(name, known); s != "" {
		err.fix = "did you mean " + s + "?"
	}
	return inFormat(c, err)
}

// onUsageError turns what the flag package says into a usage error. The context's own flags are not
// set then, so that the output format is looked for in the words of the command line.
func (p *program) onUsageError(c *cli.Context, err error, _ bool) error {
	u := usagef("%s", err.Error())
	if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: "); ok {
		// The flag package names it with one dash however it was written.
		name = strings.TrimLeft(name, "-")
		u = usagef("unknown flag %s", dashed(name))
		var known []string
		for _, f := range c.Command.Flags {
			known = append(known, f.Names()...)
		}
		if s := config.Nearest(name, known); s != "" {
			u.fix = "did you mean " + dashed(s) + "?"
		}
	}
	return &formattedError{error: u, form: wantedForm(p.args), help: strings.TrimSpace(c.Command.HelpName), plain: slices.Contains(p.args, "--no-color")}
}

// dashed is a flag as it is written.
func dashed(name string) string {
	if len(name) > 1 {
		return "--" + name
	}
	return "-" + name
}

// wantedForm looks for --output in words that could not be parsed.
func wantedForm(words []string) string {
	for i, word := range words {
		name, value, joined := strings.Cut(strings.TrimLeft(word, "-"), "=")
		if !strings.HasPrefix(word, "-") || name != "o" && name != "output" {
			continue
		}
		if !joined && i+1 < len(words) {
			value = words[i+1]
		}
		return value
	}
	return ""
}

// argumentRule checks the arguments of a command and names what it wants.
type argumentRule func(args []string) error

func noArguments(args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	return nil
}

func oneArgument(what string) argumentRule { return arguments(what) }

// arguments wants exactly the named ones.
func arguments(names ...string) argumentRule {
	return func(args []string) error {
		if len(args) < len(names) {
			return usagef("missing argument: %s", names[len(args)])
		}
		return noArguments(args[len(names):])
	}
}

func atMostOne(args []string) error {
	if len(args) > 1 {
		return noArguments(args[1:])
	}
	return nil
}

// lateFlag refuses a flag after an argument and shows the line in the right order.
func lateFlag(command string, args []string) error {
	for i, a := range args {
		if len(a) < 2 || a[0] != '-' {
			continue
		}
		line := []string{command, "…"}
		for _, word := range append(slices.Clone(args[i:]), args[:i]...) {
			line = append(line, quoteWord(word))
		}
		late := usagef("flag %s stands after an argument: put flags before arguments", a)
		late.fix = strings.Join(line, " ")
		return late
	}
	return nil
}

// command completes a leaf: common flags, argument check, session. The flag package stops at the
// first argument, so that a flag after it would be silently ignored: that is refused.
func (p *program) command(c *cli.Command, rule argumentRule, run func(*session) error) *cli.Command {
	c.Flags = append(c.Flags, commonFlags()...)
	c.OnUsageError = p.onUsageError
	c.HideHelpCommand = true
	c.Action = func(ctx *cli.Context) error {
		p.ran = strings.TrimSpace(ctx.Command.HelpName)
		args := ctx.Args().Slice()
		before, _ := p.splitArguments(args) // what stands behind -- is no flag
		if err := lateFlag(p.ran, before); err != nil {
			return inFormat(ctx, err)
		}
		if err := rule(args); err != nil {
			return inFormat(ctx, err)
		}
		s, err := p.open(ctx, args)
		if err != nil {
			return inFormat(ctx, err)
		}
		defer s.close()
		return inFormat(ctx, s.sinceWhen(run(s)))
	}
	return c
}

// group completes a command that only holds others.
func (p *program) group(c *cli.Command) *cli.Command {
	c.Flags = commonFlags()
	c.OnUsageError = p.onUsageError
	c.Action = onlySubcommands
	c.HideHelpCommand = true
	return c
}

// load reads the configuration as the common flags say.
func (s *session) load() (config.Config, error) { return s.loadFrom(text(s.cli, "repo")) }

func (s *session) loadFrom(repo string) (config.Config, error) {
	from := config.Sources{
		File: text(s.cli, "config"), Environment: s.program.environment,
		Repo: repo, Cluster: text(s.cli, "cluster"),
	}
	if from.File == "" {
		if _, err := os.Stat(config.DefaultFile); err == nil {
			from.File = config.DefaultFile
		}
	}
	c, err := config.Load(from)
	if err != nil {
		return c, err
	}
	if err := s.limit(&c); err != nil {
		return c, err
	}
	s.loaded = &c
	return c, nil
}

// rateLimitFlag is a bandwidth in the place of those that are configured.
func rateLimitFlag(usage string) cli.Flag {
	return &cli.StringFlag{Name: rateLimit, Usage: usage + " no more than `RATE`, like 50MB/s, instead of what is configured; 0 for no limit"}
}

const rateLimit = "rate-limit"

// limit makes the bandwidth that the stores of this process share.
func (s *session) limit(c *config.Config) error {
	if s.cli.IsSet(rateLimit) {
		rate, err := config.ParseLimit(s.cli.String(rateLimit))
		if err != nil {
			return usagef("rate-limit: %w", err)
		}
		c.Limit(rate)
	}
	if s.bandwidth == nil {
		s.bandwidth = agent.NewBandwidth(c.Limits)
	}
	return nil
}

// loadWith is load with a repository URL from the command's argument; --repo says the same.
func (s *session) loadWith(argument string) (config.Config, error) {
	if argument == "" {
		return s.load()
	}
	if text(s.cli, "repo") != "" {
		return config.Config{}, usagef("two repository URLs: give the argument or --repo")
	}
	return s.loadFrom(argument)
}

// clusterWith is cluster with a repository URL from the command's argument.
func (s *session) clusterWith(argument string) (config.Cluster, error) {
	c, err := s.loadWith(argument)
	if err != nil {
		return config.Cluster{}, err
	}
	return c.Select(text(s.cli, "cluster"))
}

// fromFlag chooses one repository where a cluster has copies.
func fromFlag() cli.Flag {
	return &cli.StringFlag{Name: "from", Usage: "read this `REPOSITORY` alone: primary, a copy's name, or a URL"}
}

// clusterFrom is clusterWith with the one repository that --from chooses, or the primary alone.
func (s *session) clusterFrom(argument string) (config.Cluster, error) {
	if argument != "" && s.cli.String("from") != "" {
		return config.Cluster{}, usagef("two repositories: give the argument or --from")
	}
	c, err := s.clusterWith(argument)
	if err != nil {
		return c, err
	}
	return c.From(s.cli.String("from"))
}

// clusterToRead is clusterWith with the one repository that --from chooses, or without it with all of them. A URL on the command line that is not the
// configured one stands alone: the configured copies are those of another repository, perhaps of another cluster.
func (s *session) clusterToRead(argument string) (config.Cluster, error) {
	if s.cli.String("from") != "" {
		return s.clusterFrom(argument)
	}
	c, err := s.clusterWith(argument)
	if err != nil || len(c.Copies) == 0 {
		return c, err
	}
	file, err := s.loadFrom("")
	if err != nil {
		return c, nil //nolint:nilerr // there is none but on the command line
	}
	configured, err := file.Select(text(s.cli, "cluster"))
	if err != nil || configured.Repo.URL == c.Repo.URL {
		return c, nil //nolint:nilerr // as before
	}
	return c.From(config.Primary)
}

// argument returns the only argument, or "".
func (s *session) argument() string {
	if len(s.args) == 0 {
		return ""
	}
	return s.args[0]
}
