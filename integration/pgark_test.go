package integration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// build makes one pgark for all tests of the run, in a folder that the servers' user can read: PostgreSQL calls it as restore_command.
// buildMutants makes one that has faults put in.
var (
	build        = sync.OnceValues(func() (string, error) { return buildWith("") })
	buildMutants = sync.OnceValues(func() (string, error) { return buildWith("mutants") })
	built        []string // folders
)

func buildWith(tags string) (string, error) {
	dir, err := os.MkdirTemp("", "pgark-bin-")
	if err != nil {
		return "", err
	}
	built = append(built, dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "pgark")
	out, err := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-tags", tags, "-o", bin, "../cmd/pgark").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return bin, os.Chmod(bin, 0o755)
}

// removeBuild removes what was built.
func removeBuild() {
	for _, dir := range built {
		_ = os.RemoveAll(dir)
	}
}

// tool is pgark with the environment and the user it runs with.
type tool struct {
	bin     string
	env     []string
	network string            // name of the network namespace it runs in; "" for this host's
	flags   map[string]string // what commands of a runbook get besides, by command
	private bool              // where all tests archive encrypted, its agent holds the private key too: it holds drills, or compares what no proof can
}

// newTool gives pgark; env are further variables, later ones win. With PGARK_TEST_ENCRYPT=1 every test archives to public keys alone and restores with a recovery key.
func newTool(t testing.TB, env ...string) tool {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	base := append([]string{"PATH=/usr/bin:/bin", "HOME=/nonexistent", "LC_ALL=C.UTF-8", "TZ=UTC"}, planted().environment()...)
	if encrypting() {
		k := sharedKeys(t)
		base = append(base, "PGARK_ENCRYPTION_RECIPIENTS_FILE="+k.recipients, "PGARK_ENCRYPTION_PROOF_KEY_FILE="+k.proof)
		env = append(env, "PGARK_ENCRYPTION_IDENTITY_FILE="+k.recovery)
	}
	return tool{bin: bin, env: append(base, env...)}
}

// serverUser is the account that servers and what works on their files run as: not root.
func serverUser() (uid, gid uint32, ok bool) {
	if os.Geteuid() != 0 {
		return 0, 0, false
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, false
	}
	id, _ := strconv.ParseUint(u.Uid, 10, 32)
	group, _ := strconv.ParseUint(u.Gid, 10, 32)
	return uint32(id), uint32(group), true
}

func (p tool) command(ctx context.Context, args ...string) *exec.Cmd {
	planted().watchEnvironment(p.env)
	archives := len(args) > 0 && args[0] == "run"
	uid, gid, ok := serverUser()
	if p.network != "" { // root's to enter, so that the user changes behind it
		enter := []string{"netns", "exec", p.network}
		if ok {
			enter = append(enter, "setpriv", fmt.Sprint("--reuid=", uid), fmt.Sprint("--regid=", gid), "--clear-groups")
		}
		args = append(append(enter, p.bin), args...)
		p.bin, ok = "ip", false
	}
	cmd := exec.CommandContext(ctx, p.bin, args...)
	cmd.Env = p.env
	if encrypting() && archives && !p.private { // who archives has no private key
		cmd.Env = slices.DeleteFunc(slices.Clone(p.env), func(v string) bool { return strings.HasPrefix(v, "PGARK_ENCRYPTION_IDENTITY_FILE=") })
	}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if ok {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	}
	return cmd
}

// outcome is what a command printed and how it ended.
type outcome struct {
	stdout, stderr string
	code           int
}

// run runs a command to its end.
func (p tool) run(ctx context.Context, args ...string) outcome {
	cmd := p.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	code := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		code = -2
		stderr.WriteString(err.Error())
	}
	planted().look(fmt.Sprintf("the output of pgark %v", args), append(stdout.Bytes(), stderr.Bytes()...))
	return outcome{stdout: stdout.String(), stderr: stderr.String(), code: code}
}

// must runs a command that has to end well and returns its output.
func (p tool) must(ctx context.Context, t testing.TB, args ...string) string {
	t.Helper()
	o := p.run(ctx, args...)
	if o.code != 0 {
		t.Fatalf("pgark %v: exit %d\n%s%s", args, o.code, o.stdout, o.stderr)
	}
	return o.stdout
}

// process is a pgark that runs in the background.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error
}

// start runs a command in the background; what it prints goes to a file that is shown when the test fails.
func (p tool) start(t testing.TB, args ...string) *process {
	t.Helper()
	return begin(t, p.command(context.WithoutCancel(t.Context()), args...), fmt.Sprintf("pgark %v", args))
}

// begin is start of a command that what names.
func begin(t testing.TB, cmd *exec.Cmd, what string) *process {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "pgark-log-")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	proc := &process{cmd: cmd, log: log.Name(), done: make(chan struct{})}
	go func() {
		proc.err = cmd.Wait()
		_ = log.Close()
		close(proc.done)
	}()
	t.Cleanup(func() {
		proc.kill()
		if printed, err := os.ReadFile(proc.log); err == nil {
			planted().look(fmt.Sprintf("what %s printed in %s", what, t.Name()), printed)
		}
		if t.Failed() {
			t.Logf("%s printed:\n%s", what, proc.output())
		}
		_ = os.Remove(proc.log)
	})
	return proc
}

func (p *process) output() string {
	raw, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	if len(raw) > 20000 {
		raw = raw[len(raw)-20000:]
	}
	return string(raw)
}

// kill ends the process as kill -9 does, at whatever instruction it is.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// pause stops the process where it is, until it is resumed.
func (p *process) pause() (resume func()) {
	_ = p.cmd.Process.Signal(syscall.SIGSTOP)
	return func() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }
}

// stop asks the process to end and waits until it has.
func (p *process) stop(t testing.TB) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		if p.err != nil {
			t.Errorf("pgark ended with %v:\n%s", p.err, p.output())
		}
	case <-time.After(60 * time.Second):
		p.kill()
		t.Errorf("pgark did not stop within a minute:\n%s", p.output())
	}
}

// eventually waits until ok returns true; it fails the test after d.
func eventually(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	// Also called from clean-up, when the test's own context has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), d)
	defer cancel()
	for {
		began := time.Now()
		if ok() {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("waited %v for %s", d, what)
		}
		// A question that starts a program is not asked without a break: the machine's processors are those of the servers too.
		wait(ctx, max(50*time.Millisecond, min(3*time.Since(began), time.Second)))
	}
}
