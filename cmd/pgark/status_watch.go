package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/pgark/pgark/config"
)

// watchEvery is the interval of --watch alone.
const watchEvery = 2 * time.Second

// interval is the value of --watch, a flag that may stand alone or be given a duration as --watch=5s.
// As package flag has it, a flag with a value apart, --watch 5s, cannot also stand alone.
type interval struct{ time.Duration }

// IsBoolFlag tells package flag that the flag may stand alone; it is set to "true" then.
func (i *interval) IsBoolFlag() bool { return true }

// Set implements flag.Value.
func (i *interval) Set(v string) error {
	switch v {
	case "true":
		i.Duration = watchEvery
		return nil
	case "false":
		i.Duration = 0
		return nil
	}
	d, err := config.ParseDuration(v)
	if err != nil || d < 100*time.Millisecond {
		return fmt.Errorf("watch %q: want a duration of 100ms or more, like --watch=5s", v)
	}
	i.Duration = d
	return nil
}

// String implements flag.Value.
func (i *interval) String() string {
	if i == nil || i.Duration == 0 {
		return ""
	}
	return i.Duration.String()
}

// watchStatus looks again and again until a signal or --timeout ends it. On a terminal each picture
// replaces the one before; elsewhere they follow one another. A look that fails is shown and does not
// end it, so that an outage can be watched to its end; only a mistake of the caller's does.
func (s *session) watchStatus(every time.Duration) error {
	redraw := s.program.isTerminal(s.program.stdout) && !s.json
	for first := true; ; first = false {
		frame, err := s.frame(every)
		switch {
		case s.ctx.Err() != nil:
			return s.watchEnded()
		case err != nil:
			return err
		case redraw:
			if first {
				s.printf(clearScreen)
			}
			s.printf(cursorHome)
			s.printf("%s", s.replacing(frame))
			s.printf(clearBelow)
		case first || s.json:
			s.printf("%s", frame)
		default:
			s.printf("\n%s", frame)
		}
		select {
		case <-s.ctx.Done():
			return s.watchEnded()
		case <-time.After(every):
		}
	}
}

// watchEnded is how a watch ends: a signal is the ordinary way, and nothing has to be said.
func (s *session) watchEnded() error {
	if s.program.interrupted() != nil {
		return &codeError{code: exitCancelled}
	}
	return context.Cause(s.ctx)
}

// frame looks once and returns the picture, or an error that looking again does not mend.
func (s *session) frame(every time.Duration) (string, error) {
	var picture bytes.Buffer
	out := s.stdout
	s.stdout = &picture
	defer func() { s.stdout = out }()
	if _, err := s.lookOnce(); err != nil {
		f := s.program.explain(s.sinceWhen(err))
		var printed *codeError
		switch {
		case s.ctx.Err() != nil || f.Code == exitUsage:
			return "", err
		case errors.As(err, &printed) && printed.cause == nil:
		case s.json:
			if err := s.printJSON(failedLook{Error: f}); err != nil {
				return "", err
			}
		default:
			s.printFailedLook(failedLook{Error: f})
		}
	}
	if !s.json {
		s.printf("\n")
		s.row("looked", "%s, again every %s; Ctrl-C ends", instant(s.program.now().Truncate(time.Second)), elapsed(every))
	}
	return picture.String(), nil
}

// replacing returns a frame that overwrites, from the first line on, the one before it, line by line so that nothing flickers. What
// does not fit below the last line of the screen is left out: the verdict on the first must stay.
func (s *session) replacing(frame string) string {
	lines := strings.Split(strings.TrimSuffix(frame, "\n"), "\n")
	if width, height, ok := s.screenSize(); ok {
		lines = fitting(lines, width, height-1)
	}
	return strings.Join(lines, clearRight+"\n") + clearRight + "\n"
}

// fitting returns the first lines that fill at most height rows of the screen, and says what is missing.
func fitting(lines []string, width, height int) []string {
	rows := 0
	for i, line := range lines {
		rows += max(1, (visibleWidth(line)+width-1)/width)
		last := i == len(lines)-1
		if rows > height || rows == height && !last {
			return append(lines[:i:i], fmt.Sprintf("  (%s do not fit on the screen)", count(len(lines)-i, "more line")))
		}
	}
	return lines
}

// visibleWidth counts the characters that take a place on the screen.
func visibleWidth(line string) int {
	return utf8.RuneCountInString(regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(line, ""))
}

// screenSize returns the columns and rows of the terminal that standard output is.
func (s *session) screenSize() (width, height int, ok bool) {
	f, isFile := s.program.stdout.(*os.File)
	if !isFile {
		return 0, 0, false
	}
	width, height, err := term.GetSize(int(f.Fd()))
	return width, height, err == nil && width > 0 && height > 1
}
