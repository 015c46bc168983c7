package integration_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// canaries are secrets that every pgark of the suite has, and does not need: nothing that it prints, stores or starts may show them. What a test gives it besides is
// watched for too: passwords, secret keys and private keys.
type canaries struct {
	password, sslPassword, secretKey, header string

	mu     sync.Mutex
	names  map[string]string // of each secret
	read   map[string]bool   // files of secrets
	shown  []string          // where one was
	looked int               // at how many outputs
}

// planted are the canaries of this run.
var planted = sync.OnceValue(func() *canaries {
	c := &canaries{password: newCanary(), sslPassword: newCanary(), secretKey: newCanary(), header: newCanary(), names: map[string]string{}, read: map[string]bool{}}
	c.watchEnvironment(c.environment())
	return c
})

func newCanary() string {
	var b [12]byte
	_, _ = rand.Read(b[:])
	return "canary" + hex.EncodeToString(b[:])
}

// environment is what every pgark is given besides.
func (c *canaries) environment() []string {
	return []string{
		"PGPASSWORD=" + c.password, "PGSSLPASSWORD=" + c.sslPassword, "AWS_SECRET_ACCESS_KEY=" + c.secretKey, "OTEL_EXPORTER_OTLP_HEADERS=" + headerOf + c.header,
	}
}

// headerOf begins the variable with the header that a receiver of spans gets.
const headerOf = "authorization=Bearer%20"

// without returns an environment without the canaries, for what is no pgark.
func (c *canaries) without(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(pair string) bool { return slices.Contains(c.environment(), pair) })
}

// watchEnvironment takes note of the secrets in an environment, and of those in the files that it names.
func (c *canaries) watchEnvironment(env []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		switch name {
		case "PGPASSWORD", "PGSSLPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN":
			if len(value) >= 8 {
				c.names[value] = name
			}
		case "OTEL_EXPORTER_OTLP_HEADERS":
			c.names[strings.TrimPrefix(value, headerOf)] = name
		case "PGARK_ENCRYPTION_IDENTITY_FILE", "PGARK_ENCRYPTION_PROOF_KEY_FILE":
			c.watchFile(name, value)
		}
	}
}

// watchFile takes note of the keys in a file.
func (c *canaries) watchFile(name, path string) {
	if c.read[path] {
		return
	}
	c.read[path] = true
	text, err := os.ReadFile(path)
	if err != nil {
		return // a test of just that
	}
	for word := range strings.FieldsSeq(string(text)) {
		if len(word) >= 32 && !strings.HasPrefix(word, "age1") {
			c.names[word] = "a key of " + name
		}
	}
}

// look looks for secrets in what comes from somewhere.
func (c *canaries) look(where string, text []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked++
	for secret, name := range c.names {
		at := bytes.Index(text, []byte(secret))
		if at < 0 {
			continue
		}
		start, end := bytes.LastIndexByte(text[:at], '\n')+1, len(text)
		if n := bytes.IndexByte(text[at:], '\n'); n >= 0 {
			end = at + n
		}
		line := strings.ReplaceAll(string(text[max(start, at-200):min(end, at+200)]), secret, secret[:4]+"…")
		if found := fmt.Sprintf("%s: %s shows %s: %q", testName(), where, name, line); !slices.Contains(c.shown, found) {
			c.shown = append(c.shown, found)
		}
	}
}

// testName is the test on whose behalf this is called, as far as the stack tells.
func testName() string {
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	name := "a test"
	for {
		frame, more := frames.Next()
		if _, function, ok := strings.Cut(frame.Function, "integration_test."); ok && strings.HasPrefix(strings.ToLower(function), "test") {
			name = function
		}
		if !more {
			return name
		}
	}
}

// lookIn looks into the files below a folder that are not compressed or encrypted.
func (c *canaries) lookIn(dir string) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || slices.Contains([]string{".zst", ".s2", ".age"}, filepath.Ext(path)) {
			return nil //nolint:nilerr // what is gone again holds nothing
		}
		if info, err := e.Info(); err != nil || info.Size() > 8<<20 {
			return nil //nolint:nilerr // as above
		}
		if text, err := os.ReadFile(path); err == nil {
			c.look(path, text)
		}
		return nil
	})
}

// watchProcesses looks at the command lines of all processes, and at the environment of PostgreSQL's that pgark started, until ctx ends. Those that tests start
// have no canaries.
func (c *canaries) watchProcesses(ctx context.Context) {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		all, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			return
		}
		for _, process := range all {
			c.lookAtProcess(process)
		}
	}
}

func (c *canaries) lookAtProcess(process string) {
	comm, err := os.ReadFile(filepath.Join(process, "comm"))
	line, errLine := os.ReadFile(filepath.Join(process, "cmdline"))
	if err != nil || errLine != nil || len(line) == 0 {
		return // it has ended
	}
	name := strings.TrimSpace(string(comm))
	if name != "versitygw" { // the tests' own, which takes no other way
		c.look("the command line of "+name, line)
	}
	if !strings.HasPrefix(name, "pg_") && name != "postgres" {
		return
	}
	if env, err := os.ReadFile(filepath.Join(process, "environ")); err == nil {
		for pair := range bytes.SplitSeq(env, []byte{0}) {
			if !bytes.HasPrefix(pair, []byte("AWS_")) { // restore_command needs them
				c.look("the environment of "+name, pair)
			}
		}
	}
}

// verdict is what was shown, for the end of the suite.
func (c *canaries) verdict() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown
}

// TestCanaries: what looks for secrets finds them, and never shows a whole one.
func TestCanaries(t *testing.T) {
	c := &canaries{password: newCanary(), sslPassword: newCanary(), secretKey: newCanary(), header: newCanary(), names: map[string]string{}, read: map[string]bool{}}
	c.watchEnvironment(c.environment())
	dir := t.TempDir()
	key := "AGE-SECRET-KEY-1" + strings.Repeat("Q", 58)
	for name, text := range map[string]string{
		"key": "# public key: age1xyz\n" + key + "\n", "report.json": `{"failure":"password=` + c.password + `"}`, "pack.tar.zst": c.password,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.watchEnvironment([]string{"PGARK_ENCRYPTION_IDENTITY_FILE=" + filepath.Join(dir, "key")})
	c.look("stdout", []byte("nothing\nto see\n"))
	if len(c.verdict()) != 0 {
		t.Errorf("got %v of an output without a secret", c.verdict())
	}
	c.look("stderr", []byte("first line\nerror: key "+c.secretKey+" is refused\nlast line"))
	c.look("log", []byte("read "+key))
	c.look("a span", []byte("sent "+c.header))
	c.lookIn(dir)
	found := strings.Join(c.verdict(), "\n")
	for _, want := range []string{"TestCanaries: stderr shows AWS_SECRET_ACCESS_KEY", "log shows a key of PGARK_ENCRYPTION_IDENTITY_FILE", "a span shows OTEL_EXPORTER_OTLP_HEADERS", "report.json shows PGPASSWORD"} {
		if !strings.Contains(found, want) {
			t.Errorf("%s was not found in:\n%s", want, found)
		}
	}
	for secret := range c.names {
		if strings.Contains(found, secret) {
			t.Error("what was found shows the secret")
		}
	}
	if strings.Contains(found, "line") && strings.Contains(found, "first line") {
		t.Errorf("more than the line is shown:\n%s", found)
	}
}

// TestMemoryIsClosed: no other process of the agent's user reads its memory or environment, and no core dump holds them: what is in /proc is root's (proc(5)).
func TestMemoryIsClosed(t *testing.T) {
	t.Parallel()
	uid, _, ok := serverUser()
	if !ok {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatal("REQUIRE_ALL=1: the agent's user must be another than ours, who is root")
		}
		t.Skip("the agent's user must be another than ours, who is root")
	}
	dir := postgrestest.TempDir(t)
	agent := newTool(t, "PGHOST="+dir).start(t, "run", "file://"+dir+"/repo")
	eventually(t, 20*time.Second, "the agent to close its memory", func() bool {
		var st syscall.Stat_t
		err := syscall.Stat(fmt.Sprintf("/proc/%d/environ", agent.cmd.Process.Pid), &st)
		return err == nil && st.Uid == 0 && uid != 0
	})
	agent.kill()
}
