package postgrestest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/wal"
)

// Options says how a cluster is made. The zero value is a cluster with page
// checksums, segments of 16 MiB and fsync off.
type Options struct {
	SegmentSize wal.SegmentSize // 0 is wal.DefaultSegmentSize
	NoChecksums bool            // no page checksums
	Superuser   string          // the one that initdb makes; "" is postgres
	// Settings go into postgresql.conf after ours; the values are quoted for it.
	Settings map[string]string
	// NoStart leaves the cluster stopped.
	NoStart bool
}

// StopMode is how a server is stopped.
type StopMode string

// The modes of pg_ctl stop.
const (
	Smart     StopMode = "smart"     // waits for all clients
	Fast      StopMode = "fast"      // ends their sessions and writes a checkpoint
	Immediate StopMode = "immediate" // a crash
)

// superuser is what initdb is told to call it, where a test does not say.
const superuser = "postgres"

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 60 * time.Second
)

// Cluster is a real server with a data directory of its own. Its superuser
// needs no password. It is stopped and removed with the test.
type Cluster struct {
	Version Version
	DataDir string
	// SocketDir holds its socket; it also listens on 127.0.0.1.
	SocketDir string
	Port      int
	Superuser string

	server *exec.Cmd
	exited chan struct{}
	log    string
}

// Start makes a cluster and starts it.
func Start(t testing.TB, v Version, o Options) *Cluster {
	t.Helper()
	if o.SegmentSize == 0 {
		o.SegmentSize = wal.DefaultSegmentSize
	}
	dir := TempDir(t)
	data := filepath.Join(dir, "data")
	args := []string{
		"-U", cmp.Or(o.Superuser, superuser), "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions",
		"--wal-segsize=" + strconv.Itoa(int(o.SegmentSize>>20)),
	}
	switch {
	case !o.NoChecksums:
		args = append(args, "--data-checksums")
	case v.Major >= 18: // where they are the default
		args = append(args, "--no-data-checksums")
	}
	makeCluster(t, v, data, args)
	c := attach(t, v, data)
	c.Superuser = cmp.Or(o.Superuser, superuser)
	c.Configure(t, map[string]string{
		"fsync": "off", "full_page_writes": "on", "max_wal_senders": "10", "log_line_prefix": "%m [%p] ",
		"log_checkpoints": "off", "max_prepared_transactions": "10", "shared_buffers": "64MB",
		"unix_socket_permissions": "0777",
	})
	if v.Major < 15 {
		c.Configure(t, map[string]string{"stats_temp_directory": "pg_stat_tmp"})
	}
	c.Configure(t, o.Settings)
	if !o.NoStart {
		c.Start(t)
	}
	return c
}

// StartFrom starts a server on an existing data directory, which becomes the
// server's user's. The settings of pgark's own tests, socket and port, are given
// on the command line, so the directory's configuration is not changed. It does
// not wait for the end of recovery; WaitReady does.
func StartFrom(t testing.TB, v Version, dataDir string) *Cluster {
	t.Helper()
	Own(t, dataDir)
	if err := os.Chmod(dataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	c := attach(t, v, dataDir)
	c.launch(t)
	return c
}

// attach prepares what a server on the data directory needs beside it.
func attach(t testing.TB, v Version, dataDir string) *Cluster {
	t.Helper()
	c := &Cluster{Version: v, DataDir: dataDir, SocketDir: TempDir(t), Port: freePort(t), Superuser: superuser}
	c.log = filepath.Join(c.SocketDir, "server.log")
	t.Cleanup(func() {
		c.Kill(t)
		if t.Failed() {
			t.Logf("log of PostgreSQL %s in %s:\n%s", v, dataDir, tail(c.Log(), 60))
		}
	})
	return c
}

// Configure appends settings to postgresql.conf. They hold after Restart.
func (c *Cluster) Configure(t testing.TB, settings map[string]string) {
	t.Helper()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.NewReplacer("'", "''", `\`, `\\`).Replace(settings[name]))
	}
	c.Append(t, "postgresql.conf", b.String())
}

// Append adds text to a file of the data directory.
func (c *Cluster) Append(t testing.TB, file, text string) {
	t.Helper()
	name := filepath.Join(c.DataDir, file)
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err = f.Close(); err != nil {
		t.Fatal(err)
	}
	if err = serverAccount(t).own(name); err != nil {
		t.Fatal(err)
	}
}

// Start starts the server and waits until it takes connections.
func (c *Cluster) Start(t testing.TB) {
	t.Helper()
	c.launch(t)
	c.WaitReady(t)
}

// launch starts the process.
func (c *Cluster) launch(t testing.TB) {
	t.Helper()
	if c.Running() {
		t.Fatalf("server in %s runs already", c.DataDir)
	}
	log, err := os.OpenFile(c.log, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the server has its own
	// Not CommandContext: the context of the test ends before its clean-up, and
	// a killed postmaster leaves its children behind.
	cmd := exec.Command(filepath.Join(c.Version.BinDir, "postgres"), "-D", c.DataDir, //nolint:noctx // see above
		"-c", "unix_socket_directories="+c.SocketDir, "-c", "listen_addresses=127.0.0.1", "-c", "port="+strconv.Itoa(c.Port),
		"-c", "logging_collector=off", "-c", "hot_standby=on")
	cmd.Stdout, cmd.Stderr = log, log
	AsServer(t, cmd)
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT // a test binary that is killed leaves no server behind
	if err := cmd.Start(); err != nil {
		t.Fatalf("start PostgreSQL %s: %v", c.Version, err)
	}
	c.server, c.exited = cmd, make(chan struct{})
	exited := c.exited
	go func() {
		_ = cmd.Wait() // how it ended stands in its log
		close(exited)
	}()
}

// Running reports whether the server process lives.
func (c *Cluster) Running() bool {
	if c.server == nil {
		return false
	}
	select {
	case <-c.exited:
		return false
	default:
		return true
	}
}

// Exited is closed when the server process has ended. A new one is made by
// each start.
func (c *Cluster) Exited() <-chan struct{} { return c.exited }

// WaitReady waits until the server takes connections, in recovery or not.
func (c *Cluster) WaitReady(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), startTimeout)
	defer cancel()
	for {
		err := c.ping(ctx)
		if err == nil {
			return
		}
		select {
		case <-c.exited:
			t.Fatalf("PostgreSQL %s ended at its start:\n%s", c.Version, tail(c.Log(), 30))
		case <-ctx.Done():
			t.Fatalf("PostgreSQL %s does not take connections after %s: %v\n%s", c.Version, startTimeout, err, tail(c.Log(), 30))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop stops the server and waits for its end.
func (c *Cluster) Stop(t testing.TB, mode StopMode) {
	t.Helper()
	if !c.Running() {
		return
	}
	signals := map[StopMode]syscall.Signal{Smart: syscall.SIGTERM, Fast: syscall.SIGINT, Immediate: syscall.SIGQUIT}
	if err := c.server.Process.Signal(signals[mode]); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("stop PostgreSQL %s: %v", c.Version, err)
	}
	select {
	case <-c.exited:
	case <-time.After(stopTimeout):
		t.Fatalf("PostgreSQL %s does not stop in %s mode after %s", c.Version, mode, stopTimeout)
	}
}

// Kill ends the server at once, whatever it does, and waits for its end.
func (c *Cluster) Kill(t testing.TB) {
	t.Helper()
	if !c.Running() {
		return
	}
	// An immediate stop first: the postmaster takes its children along.
	_ = c.server.Process.Signal(syscall.SIGQUIT)
	select {
	case <-c.exited:
	case <-time.After(10 * time.Second):
		_ = syscall.Kill(-c.server.Process.Pid, syscall.SIGKILL)
		<-c.exited
	}
}

// Restart stops the server in fast mode and starts it again.
func (c *Cluster) Restart(t testing.TB) {
	t.Helper()
	c.Stop(t, Fast)
	c.Start(t)
}

// Promote ends recovery and waits for that.
func (c *Cluster) Promote(t testing.TB) {
	t.Helper()
	// pg_promote itself does not wait: it would keep a snapshot meanwhile, for which the replay of what is left may stop, to cancel it in the end
	// (max_standby_streaming_delay).
	done := c.Text(t, "select pg_promote(false)") == "t"
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for done && c.Text(t, "select pg_is_in_recovery()") == "t" {
		select {
		case <-ctx.Done():
			done = false
		case <-time.After(20 * time.Millisecond):
		}
	}
	if !done {
		t.Fatalf("PostgreSQL %s was not promoted:\n%s", c.Version, tail(c.Log(), 30))
	}
}

// Remove stops the server and deletes its data directory: the host is lost.
func (c *Cluster) Remove(t testing.TB) {
	t.Helper()
	c.Kill(t)
	if err := os.RemoveAll(c.DataDir); err != nil {
		t.Fatal(err)
	}
}

// Log returns what the server has logged.
func (c *Cluster) Log() string {
	b, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// ConnString returns a connection string for the socket.
func (c *Cluster) ConnString() string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=postgres", c.SocketDir, c.Port, c.Superuser)
}

// TCPConnString returns a connection string for 127.0.0.1.
func (c *Cluster) TCPConnString() string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres sslmode=disable", c.Port, c.Superuser)
}

// run runs a server program as the server's user and fails the test when it
// does.
func run(t testing.TB, v Version, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(v.BinDir, program), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := AsServer(t, cmd).Run(); err != nil {
		t.Fatalf("%s of PostgreSQL %s: %v\n%s", program, v, err, out.String())
	}
}

// freePort returns a port of 127.0.0.1 that nobody listens on now.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := portOf(l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return port
}

// portOf returns the port that l listens on.
func portOf(l net.Listener) int {
	if address, ok := l.Addr().(*net.TCPAddr); ok {
		return address.Port
	}
	return 0
}

// tail returns the last n lines of a text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// ReadFile returns a file of the data directory.
func (c *Cluster) ReadFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.DataDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// WriteFile replaces a file of the data directory.
func (c *Cluster) WriteFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.Remove(filepath.Join(c.DataDir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	c.Append(t, name, text)
}
