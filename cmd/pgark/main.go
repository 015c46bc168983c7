// Command pgark archives a PostgreSQL cluster's WAL and base backups into object storage and
// brings the cluster of any instant back.
//
// This package holds flags, output, exit codes and hints, and no decision about data: those
// are the rooms'. It alone ends the process, reads the terminal and prints.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
	_ "time/tzdata" // zones by name on hosts without a zone database
)

func main() { os.Exit(run()) }

// run is main without the exit, so that deferred clean-up happens first.
func run() (code int) {
	closeMemory()
	args := os.Args
	if isPlumbing(args) {
		guardPlumbing()
		// A panic makes Go exit 2, which PostgreSQL reads as "no such WAL" and opens the cluster short.
		defer func() {
			if r := recover(); r != nil {
				_, _ = io.WriteString(os.Stderr, "pgark: error: wal fetch: internal error\n")
				code = exitFetchUnknown
			}
		}()
	}
	ctx, interrupted, stop := withSignals(context.Background())
	defer stop()
	p := &program{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		environment: os.Environ(), now: time.Now, interrupted: interrupted,
	}
	return p.main(ctx, args)
}

// withSignals returns a context that ends at the first SIGINT or SIGTERM; a second one ends the
// process at once, as if it had not been caught. interrupted tells whether SIGINT came.
func withSignals(parent context.Context) (ctx context.Context, interrupted func() os.Signal, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(&signalError{s})
		case <-done:
		}
	}()
	interrupted = func() os.Signal {
		if s, ok := context.Cause(ctx).(*signalError); ok { //nolint:errorlint // the cause is set above and never wrapped
			return s.signal
		}
		return nil
	}
	return ctx, interrupted, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}

// signalError is the cause of a context that a signal ended.
type signalError struct{ signal os.Signal }

func (e *signalError) Error() string { return "stopped by " + e.signal.String() }
