package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// mute listens, accepts and never answers.
func mute(t *testing.T) (address string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	var taken []net.Conn
	accepting.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			taken = append(taken, conn)
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		accepting.Wait()
		for _, conn := range taken {
			_ = conn.Close()
		}
	})
	return listener.Addr().String()
}

// dropping listens and lets nobody in: its backlog is full, so that Linux drops what comes to begin a connection, as a firewall does.
func dropping(t *testing.T) (address string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	inet, ok := bound.(*syscall.SockaddrInet4)
	if !ok {
		t.Fatalf("got %T", bound)
	}
	address = fmt.Sprintf("127.0.0.1:%d", inet.Port)
	for range 8 { // a backlog of 0 holds one or two
		conn, err := (&net.Dialer{Timeout: 300 * time.Millisecond}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("nothing is dropped")
	return ""
}

// silentStore writes a configuration whose repository is a bucket at an address, beside an agent, and returns the file's name.
func silentStore(t *testing.T, address, agent string) string {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "pgark.yml")
	text := "http: { listen: \"" + agent + "\" }\nclusters: { main: { postgres: \"host=" + dir + " user=ark\", " +
		"repo: \"s3://bucket/main?region=us-east-1&endpoint=http://" + address + "\" } }\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "x")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	return name
}

// answering is an agent on this host; its address.
func answering(t *testing.T, live, rpo string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/live":
			_, _ = w.Write([]byte(live))
		case "/rpo":
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(rpo + "\n"))
		default:
			t.Errorf("asked for %s", r.URL)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// TestStoreSaysNothing: who only looks at a store that does not answer is told so soon, and status says besides how the cluster stands as its agent on this host knows.
func TestStoreSaysNothing(t *testing.T) {
	const rpo = "AT RISK rpo=252.0s max=30.0s"
	const refusing = `{"cluster":"main","last_durable_commit":"2026-11-20T10:36:54.871Z","repositories":[{"name":"primary","refusing":{"since":"2026-11-20T10:36:55Z","tries":12}}]}`
	known := answering(t, refusing, rpo)
	for name, address := range map[string]string{"accepts": mute(t), "drops": dropping(t)} {
		file := silentStore(t, address, known)
		for _, words := range [][]string{
			{"status"}, {"status", "--all"}, {"list"}, {"log"}, {"drill", "list"}, {"wal", "ls"}, {"restore", "--dry-run"}, {"check", "--only", "storage"}, {"check", "--from", "primary"},
		} {
			began := time.Now()
			stdout, stderr, code := callWith(t, &program{lookAnswer: 80 * time.Millisecond}, append(words, "-c", file)...)
			said := stdout + stderr
			if code != exitStorage || !strings.Contains(said, "no good answer in") || !strings.Contains(said, "--timeout 40s") {
				t.Errorf("%s: %v: exit %d\n%s", name, words, code, said)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("%s: %v took %s", name, words, took)
			}
			if tells := strings.Contains(said, rpo); tells != (words[0] == "status") {
				t.Errorf("%s: %v tells what the agent knows: %t\n%s", name, words, tells, said)
			}
			if !strings.Contains(said, "2026-11-20 10:36:55Z (4m 12s ago, 12 tries)") {
				t.Errorf("%s: %v does not say since when\n%s", name, words, said)
			}
		}
	}
}

// TestAgentVerdict: what another program says there is no verdict, nor what an agent says that only follows the archive.
func TestAgentVerdict(t *testing.T) {
	const rpo = "AT RISK rpo=252.0s max=30.0s"
	for name, test := range map[string]struct {
		live, rpo string
		want      bool
	}{
		"archives, and knows of no trouble": {`{"cluster":"main","repositories":[]}`, rpo, true},
		"follows":                           {`{"cluster":"main","follows":true,"repositories":[]}`, rpo, false},
		"another program":                   {`{"cluster":"main","repositories":[]}`, "<html>busy</html>", false},
		"no agent":                          {`<html>`, rpo, false},
	} {
		file := silentStore(t, mute(t), answering(t, test.live, test.rpo))
		_, stderr, code := callWith(t, &program{lookAnswer: 50 * time.Millisecond}, "status", "-o", "json", "-c", file)
		if code != exitStorage || strings.Contains(stderr, `"agent":"`+rpo+`"`) != test.want {
			t.Errorf("%s: exit %d\n%s", name, code, stderr)
		}
	}
}
