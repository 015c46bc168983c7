// Package web is the one listener for HTTP: its address, how long a client may take, TLS and passwords. What is answered there is its
// callers' affair.
//
// TLS and basic authentication are as a file of Prometheus' exporters says
// (https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md): certificates, and the users in it, are read anew for
// each connection and each request, so that they change without a restart.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	exporter "github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/net/netutil"
)

const (
	// headerTimeout is how long a client may take to send its request, and answerTimeout how long the answer may take to reach it.
	headerTimeout = 5 * time.Second
	answerTimeout = 15 * time.Second
	// idleTimeout is how long a connection may stay open between two requests: longer than the pauses of most that look again and again.
	idleTimeout = 60 * time.Second
	// goodbye is how long answers that are on their way may take when the listener closes.
	goodbye = 3 * time.Second
	// headerBytes is how long a request's header may be: no request here needs more than a line and a password.
	headerBytes = 16 << 10
	// connections is how many may be open; more wait until one is closed.
	connections = 128
)

// Options say where and how to listen.
type Options struct {
	// Address is host:port.
	Address string
	// ConfigFile is the path of a web configuration file of Prometheus' exporters; "" is neither TLS nor passwords.
	ConfigFile string
	// Logger is told what clients and the configuration file do wrong.
	Logger *slog.Logger
}

// ListenError says that nothing can be answered at an address. It unwraps to the system's error: syscall.EADDRINUSE where another program listens
// there.
type ListenError struct {
	Address string
	Err     error
}

// Error names the address.
func (e *ListenError) Error() string { return fmt.Sprintf("listen on %s: %v", e.Address, e.Err) }

// Unwrap returns the cause.
func (e *ListenError) Unwrap() error { return e.Err }

// ConfigError says that a web configuration file cannot be used.
type ConfigError struct {
	File string
	Err  error
}

// Error names the file.
func (e *ConfigError) Error() string { return fmt.Sprintf("web configuration %s: %v", e.File, e.Err) }

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

// Validate returns a *ConfigError if a web configuration file, or a certificate or password that it names, cannot be used. "" is none.
func Validate(file string) error {
	if err := exporter.Validate(file); err != nil {
		return &ConfigError{file, err}
	}
	return nil
}

// Listener is an open listener, on which nothing is answered before Serve.
type Listener struct {
	inner   net.Listener
	options Options
}

// Listen opens the listener. The error is a *ListenError or a *ConfigError.
func Listen(ctx context.Context, o Options) (*Listener, error) {
	if err := Validate(o.ConfigFile); err != nil {
		return nil, err
	}
	var way net.ListenConfig
	inner, err := way.Listen(ctx, "tcp", o.Address)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err // the rest of its words is the address again
		}
		return nil, &ListenError{o.Address, err}
	}
	return &Listener{inner, o}, nil
}

// Address is host:port as it was bound.
func (l *Listener) Address() string { return l.inner.Addr().String() }

// Close closes a listener that does not serve. After Serve it does nothing.
func (l *Listener) Close() error { return l.inner.Close() }

// Serve answers until ctx ends, and returns nil then. It closes the listener.
func (l *Listener) Serve(ctx context.Context, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, MaxHeaderBytes: headerBytes,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: answerTimeout, IdleTimeout: idleTimeout,
		// Scanners and checks that only connect would fill the log.
		ErrorLog: slog.NewLogLogger(l.options.Logger.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() {
		ended <- exporter.Serve(netutil.LimitListener(l.inner, connections), server, &exporter.FlagConfig{WebConfigFile: &l.options.ConfigFile}, l.options.Logger)
	}()
	select {
	case err := <-ended:
		return errors.Join(&ListenError{l.options.Address, err}, server.Close())
	case <-ctx.Done():
	}
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	if server.Shutdown(leaving) != nil {
		_ = server.Close() // who has not read its answer by now does without
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return &ListenError{l.options.Address, err}
	}
	return nil
}
