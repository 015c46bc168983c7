package main

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

//go:embed completion/bash completion/zsh completion/powershell
var completionScripts embed.FS

const completionFlag = "--generate-bash-completion"

// guardCompletion makes args safe to complete. urfave/cli runs the command itself when a word
// before the cursor is "--" or begins a flag (urfave/cli #1993): pressing TAB must never act.
// ok is false when there is nothing to complete.
func guardCompletion(args []string) (safe []string, ok bool) {
	last := len(args) - 1
	if last < 1 || args[last] != completionFlag {
		return args, true
	}
	safe = slices.Clone(args)
	if last > 1 && strings.HasPrefix(safe[last-1], "-") {
		safe[last-1] = "-"
	}
	return safe, !slices.Contains(safe[1:last], "--")
}

func completionCommand(p *program) *cli.Command {
	return p.command(&cli.Command{
		Name:      "completion",
		Usage:     "print the completion script of a shell: bash, zsh, fish or powershell",
		ArgsUsage: "bash|zsh|fish|powershell",
		Description: "bash:        pgark completion bash > /etc/bash_completion.d/pgark\n" +
			"zsh:         pgark completion zsh > \"${fpath[1]}/_pgark\"\n" +
			"fish:        pgark completion fish > ~/.config/fish/completions/pgark.fish\n" +
			"powershell:  pgark completion powershell >> $PROFILE",
		BashComplete: func(c *cli.Context) {
			_, _ = fmt.Fprintln(c.App.Writer, "bash\nzsh\nfish\npowershell")
		},
	}, oneArgument("shell"), func(s *session) error {
		switch shell := s.args[0]; shell {
		case "bash", "zsh", "powershell":
			script, err := completionScripts.ReadFile("completion/" + shell)
			if err != nil {
				return err
			}
			_, err = s.stdout.Write(script)
			return err
		case "fish":
			script, err := s.cli.App.ToFishCompletion()
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(s.stdout, script)
			return err
		default:
			return usagef("unknown shell %q: want bash, zsh, fish or powershell", shell)
		}
	})
}
