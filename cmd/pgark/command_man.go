package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
)

func manCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name: "man", Usage: "print a manual page, or write all of them into a folder",
		ArgsUsage:   "[COMMAND…]",
		Description: "pgark man restore | man -l -       shows one\npgark man --dir /usr/local/share/man/man1",
		Flags:       []cli.Flag{&cli.StringFlag{Name: "dir", Usage: "write a page for every command into this `FOLDER`, which is there"}},
	}, anyArguments, printManual)
}

// anyArguments takes the words of a command's name.
func anyArguments([]string) error { return nil }

func printManual(s *session) error {
	root := s.cli.App
	if dir := s.cli.String("dir"); dir != "" {
		if len(s.args) > 0 {
			return usagef("--dir writes all pages: leave out %s", s.args[0])
		}
		pages := manuals(root)
		for _, m := range pages {
			if err := os.WriteFile(filepath.Join(dir, m.name()+".1"), []byte(m.roff()), 0o644); err != nil {
				return err
			}
		}
		s.note("%s written into %s", count(len(pages), "page"), dir)
		return nil
	}
	wanted := strings.Join(append([]string{"pgark"}, s.args...), "-")
	for _, m := range manuals(root) {
		if m.name() == wanted {
			_, err := s.stdout.Write([]byte(m.roff()))
			return err
		}
	}
	return usagef("no page for %q", strings.Join(s.args, " "))
}

// manual is the page of one command; words is empty for that of the program.
type manual struct {
	words []string
	usage string
	about string
	args  string
	flags []cli.Flag
	subs  []*cli.Command
}

// manuals returns the page of the program and those of all commands that are no plumbing of ours.
func manuals(app *cli.App) []manual {
	all := []manual{{usage: app.Usage, flags: app.Flags, subs: visibleCommands(app.Commands)}}
	var walk func(above []string, commands []*cli.Command)
	walk = func(above []string, commands []*cli.Command) {
		for _, c := range visibleCommands(commands) {
			words := append(append([]string{}, above...), c.Name)
			all = append(all, manual{words, c.Usage, c.Description, c.ArgsUsage, c.Flags, visibleCommands(c.Subcommands)})
			walk(words, c.Subcommands)
		}
	}
	walk(nil, app.Commands)
	return all
}

func visibleCommands(commands []*cli.Command) []*cli.Command {
	var all []*cli.Command
	for _, c := range commands {
		if !c.Hidden && c.Name != "help" {
			all = append(all, c)
		}
	}
	return all
}

func (m manual) name() string { return strings.Join(append([]string{"pgark"}, m.words...), "-") }

func (m manual) command() string { return strings.Join(append([]string{"pgark"}, m.words...), " ") }

// roff writes the page in man(7)'s macros.
func (m manual) roff() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	// Without a date: the page is the same for the same program.
	line(`.TH %s 1 "" "pgark" "pgark"`, roffText(strings.ToUpper(m.name())))
	line(".SH NAME\n%s \\- %s", roffText(m.name()), roffText(m.usage))
	synopsis := ".B " + roffText(m.command())
	line(".SH SYNOPSIS\n%s\n%s", synopsis, roffText(strings.TrimSpace("[FLAG…] "+m.arguments())))
	if m.about != "" {
		line(".SH DESCRIPTION\n.nf\n%s\n.fi", roffText(m.about))
	}
	if len(m.subs) > 0 {
		line(".SH COMMANDS")
		for _, c := range m.subs {
			line(".TP\n.B %s\n%s", roffText(c.Name), roffText(c.Usage))
		}
	}
	m.options(line)
	line(".SH ENVIRONMENT")
	for _, v := range programVariables() {
		line(".TP\n.B %s\n%s", roffText(v.name), roffText(v.meaning))
	}
	line(".SH EXIT STATUS")
	for _, c := range m.codes() {
		line(".TP\n.B %d\n%s", c.code, roffText(c.meaning))
	}
	line(".SH FILES\n.TP\n.B /etc/pgark/pgark.yml\n%s\n.TP\n.B ~/.pgpass, ~/.pg_service.conf, ~/.aws\n%s",
		roffText("the configuration, where --config names no other"), roffText("libpq's and AWS's own, by their own rules"))
	line(".SH EXAMPLES\n.nf\n%s\n.fi", roffText(strings.Join(examplesOf(m.words), "\n")))
	line(".SH SEE ALSO")
	if len(m.words) == 0 {
		line("docs/CONFIGURATION.md, docs/EXIT\\-CODES.md")
	} else {
		line(".BR pgark (1)")
	}
	return b.String()
}

func (m manual) arguments() string {
	if len(m.subs) > 0 {
		return "COMMAND"
	}
	return m.args
}

// options lists the flags that are shown.
func (m manual) options(line func(string, ...any)) {
	line(".SH OPTIONS")
	for _, f := range m.flags {
		if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		names := make([]string, 0, 2)
		for _, name := range f.Names() {
			dash := "--"
			if len(name) == 1 {
				dash = "-"
			}
			names = append(names, dash+name)
		}
		usage, placeholder := "", ""
		if d, ok := f.(cli.DocGenerationFlag); ok {
			usage = d.GetUsage()
			if d.TakesValue() {
				placeholder = " VALUE"
			}
		}
		// The word in backquotes is what stands for the value, as in the help.
		if before, rest, ok := strings.Cut(usage, "`"); ok {
			if word, after, ok := strings.Cut(rest, "`"); ok {
				placeholder, usage = " "+word, before+word+after
			}
		}
		line(".TP\n.B %s\n%s", roffText(strings.Join(names, ", ")+placeholder), roffText(usage))
	}
}

// codes are the exit codes of the command.
func (m manual) codes() []exitCode {
	if strings.Join(m.words, " ") == "wal fetch" {
		return []exitCode{
			{exitOK, "the file is in place"},
			{exitFetchAbsent, "the repository was reached, and proves that it holds no such file"},
			{exitFetchUnknown, "anything else"},
		}
	}
	return exitCodes()
}

// roffText escapes what roff would read as its own.
func roffText(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...", "`", `\(ga`, "'", `\(aq`, "·", `\(bu`, "→", "->", "≥", ">=").Replace(text)
	lines := strings.Split(text, "\n")
	for i, one := range lines {
		if strings.HasPrefix(one, ".") {
			lines[i] = `\&` + one
		}
	}
	return strings.Join(lines, "\n")
}

// variableOfProgram is a variable of the environment that no key of the configuration has.
type variableOfProgram struct{ name, meaning string }

func programVariables() []variableOfProgram {
	return []variableOfProgram{
		{"PGARK_CONFIG, PGARK_CLUSTER", "as --config and --cluster, which are stronger"},
		{"PGARK_REPO and other PGARK_ variables", "each key of the configuration; pgark config env lists them"},
		{"PGHOST, PGPORT, PGUSER, PGPASSFILE, PGSERVICE …", "the server, by libpq's rules"},
		{"AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL_S3 …", "the bucket, by the rules of the AWS tools"},
		{"NO_COLOR, CLICOLOR_FORCE", "no colour, or colour also where no terminal is"},
		{"PGARK_FORCE_TTY", "take all streams for terminals"},
		{"PGARK_NO_INPUT", "ask nothing: what would be asked is refused without --yes"},
	}
}
