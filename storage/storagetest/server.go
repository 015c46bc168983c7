package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	region       = "us-east-1"
	startTimeout = 30 * time.Second
	requestLimit = 30 * time.Second
)

// Server is a versitygw child process with an empty folder of objects. Its methods that take no t are
// safe for concurrent use with the clients' requests, but not with each other.
type Server struct {
	access, secret string
	addr           string // host:port
	dir            string // holds the folders and files below
	certificate    *certificate
	binary         string
	cmd            *exec.Cmd
	output         bytes.Buffer
	exited         chan string // how the process ended
	guard          Policies    // what its proxies enforce
}

// StartServer starts an S3 server over plain HTTP on a free loopback port. It is stopped at the end of
// the test. Servers of one process share their keys, so that Env of one serves for all.
func StartServer(t testing.TB) *Server {
	t.Helper()
	return start(t, &Server{})
}

// StartTLSServer starts an S3 server over HTTPS with a certificate that CAFile alone vouches for.
func StartTLSServer(t testing.TB) *Server {
	t.Helper()
	c, err := newCertificate()
	if err != nil {
		t.Fatalf("make a certificate: %v", err)
	}
	return start(t, &Server{certificate: c})
}

func start(t testing.TB, s *Server) *Server {
	t.Helper()
	s.binary = versitygw(t)
	dir, err := os.MkdirTemp("", "pgark-s3-") //nolint:usetesting // below t.TempDir no other user gets in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // child processes of another user read CAFile
		t.Fatal(err)
	}
	s.dir = dir
	s.access = "pgark-" + strconv.Itoa(os.Getpid())
	s.secret = "secret-" + strconv.Itoa(os.Getpid())
	for _, sub := range []string{"objects", "versions", "meta"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	if s.certificate != nil {
		if err := s.certificate.write(dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(s.Stop)
	for attempt := 1; ; attempt++ { // the free port may be taken by another process meanwhile
		if s.addr, err = freeAddress(t); err == nil {
			err = s.Start(t.Context())
		}
		if err == nil {
			return s
		}
		if attempt == 3 {
			t.Fatalf("start versitygw: %v", err)
		}
	}
}

// given are the addresses that freeAddress returned: between two servers of one process, which have the same keys, one would not notice that the other has its port.
var given sync.Map //nolint:gochecknoglobals // ports belong to the process

// freeAddress returns an address that nobody listens at, another one each time.
func freeAddress(t testing.TB) (string, error) {
	for {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		addr := l.Addr().String()
		if err := l.Close(); err != nil {
			return "", err
		}
		if _, taken := given.LoadOrStore(addr, true); !taken {
			return addr, nil
		}
	}
}

// Start starts a server that was stopped, at the same address over the same objects.
func (s *Server) Start(ctx context.Context) error {
	args := []string{"--access", s.access, "--secret", s.secret, "--region", region, "--quiet", "--keep-alive", "--port", s.addr}
	if s.certificate != nil {
		args = append(args, "--cert", filepath.Join(s.dir, certFile), "--key", filepath.Join(s.dir, keyFile))
	}
	args = append(args, "posix", "--versioning-dir", filepath.Join(s.dir, "versions"))
	if !hasAttributes(s.dir) {
		args = append(args, "--sidecar", filepath.Join(s.dir, "meta"))
	}
	//nolint:gosec,noctx // the binary is ours, and the process is to outlive the call
	s.cmd = exec.Command(s.binary, append(args, s.Dir())...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	if err := s.cmd.Start(); err != nil {
		return err
	}
	exited := make(chan string, 1)
	go func(cmd *exec.Cmd) { exited <- fmt.Sprint(cmd.Wait()) }(s.cmd) // Stop waits for it
	s.exited = exited
	return s.await(ctx)
}

// await returns nil when the server answers.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		status, _, err := s.do(ctx, request{method: http.MethodGet})
		if err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case exit := <-s.exited:
			s.exited <- exit
			return fmt.Errorf("versitygw ended: %s: %s", exit, s.output.String())
		case <-ctx.Done():
			return fmt.Errorf("versitygw does not answer: %w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Stop kills the server; what it has answered stays on its disk. Stopping twice is fine.
func (s *Server) Stop() {
	if s.exited == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended by itself
	<-s.exited
	s.exited = nil
}

// Pause stops the process with SIGSTOP: connections stay open and nothing answers.
func (s *Server) Pause() error { return s.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (s *Server) Resume() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// CreateBucket makes a bucket with versioning.
func (s *Server) CreateBucket(t testing.TB, bucket string) {
	t.Helper()
	status, body, err := s.do(t.Context(), request{method: http.MethodPut, path: "/" + bucket})
	if err != nil || status != http.StatusOK {
		t.Fatalf("create bucket %s: status %d, %v: %s", bucket, status, err, body)
	}
	s.setVersioning(t, bucket, "Enabled")
}

// SuspendVersioning makes a bucket keep no more versions than it has.
func (s *Server) SuspendVersioning(t testing.TB, bucket string) {
	t.Helper()
	s.setVersioning(t, bucket, "Suspended")
}

func (s *Server) setVersioning(t testing.TB, bucket, to string) {
	t.Helper()
	const versioning = `<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>%s</Status></VersioningConfiguration>`
	status, body, err := s.do(t.Context(), request{method: http.MethodPut, path: "/" + bucket, query: "versioning=", body: fmt.Appendf(nil, versioning, to)})
	if err != nil || status != http.StatusOK {
		t.Fatalf("versioning of bucket %s: status %d, %v: %s", bucket, status, err, body)
	}
}

// LockBucket turns Object Lock on in a bucket that CreateBucket made. With days of 0 it locks nothing by itself; mode is GOVERNANCE or COMPLIANCE.
func (s *Server) LockBucket(t testing.TB, bucket, mode string, days int) {
	t.Helper()
	rule := ""
	if days > 0 {
		rule = fmt.Sprintf("<Rule><DefaultRetention><Mode>%s</Mode><Days>%d</Days></DefaultRetention></Rule>", mode, days)
	}
	status, body, err := s.do(t.Context(), request{method: http.MethodPut, path: "/" + bucket, query: "object-lock=", body: []byte(
		`<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><ObjectLockEnabled>Enabled</ObjectLockEnabled>` + rule + `</ObjectLockConfiguration>`)})
	if err != nil || status != http.StatusOK {
		t.Fatalf("lock bucket %s: status %d, %v: %s", bucket, status, err, body)
	}
}

// DeleteVersion tries to delete a version of an object for good, and returns the status of the answer.
func (s *Server) DeleteVersion(t testing.TB, path, version string) int {
	t.Helper()
	status, _, err := s.do(t.Context(), request{method: http.MethodDelete, path: path, query: "versionId=" + url.QueryEscape(version)})
	if err != nil {
		t.Fatalf("delete version of %s: %v", path, err)
	}
	return status
}

// PutObject puts a new version of an object, whatever lies there, as anybody with the keys may.
func (s *Server) PutObject(t testing.TB, bucket, key string, body []byte) {
	t.Helper()
	status, answer, err := s.do(t.Context(), request{method: http.MethodPut, path: "/" + bucket + "/" + key, body: body})
	if err != nil || status != http.StatusOK {
		t.Fatalf("put %s/%s: status %d, %v: %s", bucket, key, status, err, answer)
	}
}

// DeleteObject deletes an object as anybody with the keys may: the bucket makes a delete marker of that.
func (s *Server) DeleteObject(t testing.TB, bucket, key string) {
	t.Helper()
	status, answer, err := s.do(t.Context(), request{method: http.MethodDelete, path: "/" + bucket + "/" + key})
	if err != nil || status != http.StatusNoContent {
		t.Fatalf("delete %s/%s: status %d, %v: %s", bucket, key, status, err, answer)
	}
}

// Query sends a signed GET to the server, such as Query(t, "bucket", "versions="), and returns the body
// of the answer. Names and values in the query must be sorted and escaped.
func (s *Server) Query(t testing.TB, bucket, query string) string {
	t.Helper()
	status, body, err := s.do(t.Context(), request{method: http.MethodGet, path: "/" + bucket, query: query})
	if err != nil || status != http.StatusOK {
		t.Fatalf("get %s?%s: status %d, %v: %s", bucket, query, status, err, body)
	}
	return string(body)
}

// Endpoint is the server's URL.
func (s *Server) Endpoint() string {
	if s.certificate != nil {
		return "https://" + s.addr
	}
	return "http://" + s.addr
}

// URL is the repository URL of a prefix, which may be empty, in a bucket.
func (s *Server) URL(bucket, prefix string) string { return storeURL(s.Endpoint(), bucket, prefix) }

func storeURL(endpoint, bucket, prefix string) string {
	u := "s3://" + bucket
	if prefix != "" {
		u += "/" + prefix
	}
	return u + "?region=" + region + "&endpoint=" + endpoint
}

// Env is the environment in which a child process reaches the server.
func (s *Server) Env() []string {
	env := []string{
		"AWS_ACCESS_KEY_ID=" + s.access,
		"AWS_SECRET_ACCESS_KEY=" + s.secret,
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
		"AWS_CA_BUNDLE=" + s.CAFile(),
	}
	return env
}

// Setenv sets Env in this process for the time of the test.
func (s *Server) Setenv(t testing.TB) {
	t.Helper()
	for _, e := range s.Env() {
		name, value, _ := bytes.Cut([]byte(e), []byte("="))
		t.Setenv(string(name), string(value))
	}
}

// CAFile is the certificate to trust, empty without TLS.
func (s *Server) CAFile() string {
	if s.certificate == nil {
		return ""
	}
	return filepath.Join(s.dir, certFile)
}

// Dir is the folder of the objects: bucket/key. Files in it may be changed to break objects.
func (s *Server) Dir() string { return filepath.Join(s.dir, "objects") }

// Keys returns the access key and the secret key.
func (s *Server) Keys() (access, secret string) { return s.access, s.secret }

// hasAttributes tells whether files in dir can have user attributes.
func hasAttributes(dir string) bool {
	err := syscall.Setxattr(dir, "user.pgark", []byte("1"), 0)
	return !errors.Is(err, syscall.ENOTSUP)
}
