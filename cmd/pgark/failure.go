package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
)

// failure is what is printed of an error: what, how safe all is nevertheless, since when, why, what to do, and the code.
type failure struct {
	Message string `json:"message"`
	Since   string `json:"since,omitempty"`
	// Agent is how safe the cluster is, as the agent on this host says.
	Agent string `json:"agent,omitempty"`
	Cause string `json:"cause,omitempty"`
	Fix   string `json:"fix,omitempty"`
	Code  int    `json:"code"`
	// Faults are the single faults of a configuration.
	Faults []string `json:"faults,omitempty"`
}

// codeError is an error whose exit code and fix are known where it is made. Without a cause all
// was printed already, and only the code is left to return.
type codeError struct {
	code  int
	cause error
	fix   string
	// why explains the cause, where the cause's own words do not.
	why string
}

func (e *codeError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.cause.Error()
}

func (e *codeError) Unwrap() error { return e.cause }

// usagef is a mistake on the command line.
func usagef(format string, args ...any) *codeError {
	return &codeError{code: exitUsage, cause: fmt.Errorf(format, args...)}
}

// formattedError carries the output format of the command that failed to where it is printed.
type formattedError struct {
	error

	// form is what --output says: text, json, yaml or nagios.
	form string
	help string
	// plain is --no-color.
	plain bool
}

func (e *formattedError) Unwrap() error { return e.error }

func inFormat(c *cli.Context, err error) error {
	if err == nil {
		return nil
	}
	var done *formattedError
	if errors.As(err, &done) {
		return err
	}
	return &formattedError{error: err, form: text(c, "output"), help: strings.TrimSpace(c.Command.HelpName), plain: set(c, "no-color")}
}

// outputFormat returns how an error is to be printed, and the command whose help may say more.
func outputFormat(err error) formattedError {
	var f *formattedError
	if errors.As(err, &f) {
		return *f
	}
	return formattedError{error: err, help: "pgark"}
}

// explain finds the code, the cause and the fix of an error.
func (p *program) explain(err error) failure {
	f := failure{Message: err.Error(), Code: exitFailed}
	var faulty *config.Error
	var coded *codeError
	switch {
	case p.interrupted() != nil && isCancelled(err):
		f.Message, f.Code = "cancelled", exitCancelled
		if errors.As(err, &coded) {
			f.Cause, f.Fix = coded.why, coded.fix
		}
	case errors.As(err, &faulty) && isURLFault(faulty):
		f.Code, f.Message, f.Fix = exitUsage, "wrong repository URL: "+faulty.Faults[0].Message, urlForms()
	case errors.As(err, &faulty) && isSelection(faulty):
		f.Code, f.Message = exitUsage, faulty.Faults[0].String()
		f.Fix = "pgark config show lists the clusters"
	case errors.As(err, &faulty):
		f.Code = exitUsage
		f.Message = fmt.Sprintf("%d faults in the configuration", len(faulty.Faults))
		if len(faulty.Faults) == 1 {
			f.Message = "a fault in the configuration"
		}
		for _, fault := range faulty.Faults {
			text := fault.String()
			if excerpt := fault.Excerpt(); excerpt != "" {
				text += "\n" + excerpt
			}
			f.Faults = append(f.Faults, text)
		}
		f.Fix = "pgark config validate checks without doing anything; docs/CONFIGURATION.md lists the keys"
	case errors.As(err, &coded):
		f.Code, f.Fix, f.Cause = coded.code, coded.fix, coded.why
	default:
		explainRoom(err, &f)
	}
	var since *sinceError
	if errors.As(err, &since) {
		f.Since, f.Agent = since.text, since.verdict
	}
	var past *pastError
	switch {
	case errors.As(err, &past) && errors.Is(err, repository.ErrNoRepository):
		// What made a new one would put it over the old.
		f.Cause, f.Fix = "there was one, and it was deleted", past.hint
	case past != nil:
		f.Fix = strings.Trim(past.hint+"\n"+f.Fix, "\n")
	}
	return f
}

// isURLFault tells whether all that is wrong is the URL on the command line: no file is at fault then.
func isURLFault(e *config.Error) bool {
	return len(e.Faults) == 1 && e.Faults[0].File == "" && e.Faults[0].Key == "repository URL"
}

// isSelection tells whether all that is wrong is which cluster the command line names: no file is at fault then.
func isSelection(e *config.Error) bool {
	return len(e.Faults) == 1 && e.Faults[0].File == "" && e.Faults[0].Key == "--cluster"
}

// urlForms shows how a repository URL is written.
func urlForms() string {
	return strings.Join([]string{
		"write one of",
		"'s3://bucket/prefix?region=eu-west-1'                   a bucket of Amazon S3",
		"'s3://bucket/prefix?endpoint=https://host:9000'         a bucket of another S3 server",
		"'file:///folder'                                        a folder, with three slashes",
		"docs/CONFIGURATION.md lists all that a URL may hold",
	}, "\n")
}

// isCancelled tells whether err is how an interrupted call ends.
func isCancelled(err error) bool {
	var s *signalError
	return errors.Is(err, context.Canceled) || errors.As(err, &s)
}

// printFailure prints f on standard error: for a person, or as one JSON document.
func (p *program) printFailure(f failure, format formattedError) {
	w := &redactingWriter{p.stderr, newRedactor(p.environment)}
	if format.form == "json" || format.form == "yaml" {
		document := struct {
			Error failure `json:"error"`
		}{f}
		b, err := json.Marshal(document)
		if err != nil {
			b = []byte(`{"error":{"message":"internal error","code":1}}`)
		}
		b = append(b, '\n')
		if format.form == "yaml" {
			if text, err := config.FromJSON(b); err == nil {
				b = text
			}
		}
		_, _ = w.Write(b)
		return
	}
	var b strings.Builder
	label := "error:"
	if p.hasColour(p.stderr) && !format.plain {
		label = "\x1b[1;31merror:\x1b[0m"
	}
	fmt.Fprintf(&b, "%s %s\n", label, f.Message)
	for _, fault := range f.Faults {
		b.WriteString("\n  " + strings.ReplaceAll(fault, "\n", "\n  ") + "\n")
	}
	if len(f.Faults) > 0 {
		b.WriteString("\n")
	}
	for _, line := range []struct{ label, text string }{{"agent", f.Agent}, {"since", f.Since}, {"cause", f.Cause}, {"fix", f.Fix}} {
		if line.text != "" {
			fmt.Fprintf(&b, "  %-7s %s\n", line.label, strings.ReplaceAll(line.text, "\n", "\n          "))
		}
	}
	if f.Code != exitCancelled {
		fmt.Fprintf(&b, "  %-7s %s --help  ·  code %d\n", "docs", format.help, f.Code)
	}
	_, _ = w.Write([]byte(b.String()))
}

// systemCause explains errors of the operating system that many commands meet.
func systemCause(err error, f *failure) bool {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		f.Cause, f.Fix = "the file system is full", "free space there, or choose another place"
	case errors.Is(err, os.ErrPermission):
		f.Code, f.Cause = exitDenied, "this user may not do that"
		f.Fix = "run as the user who may (restores usually as postgres), or change the permissions"
	default:
		return false
	}
	return true
}
