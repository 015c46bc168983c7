package web_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/pgark/pgark/web"
)

// serve answers "here" until the test ends, and returns the address.
func serve(t *testing.T, configFile string) string {
	t.Helper()
	listener, err := web.Listen(t.Context(), web.Options{Address: "127.0.0.1:0", ConfigFile: configFile, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- listener.Serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }))
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return listener.Address()
}

func TestPortInUse(t *testing.T) {
	address := serve(t, "")
	_, err := web.Listen(t.Context(), web.Options{Address: address, Logger: slog.New(slog.DiscardHandler)})
	var listen *web.ListenError
	if !errors.As(err, &listen) || !errors.Is(err, syscall.EADDRINUSE) || strings.Count(err.Error(), address) != 1 {
		t.Errorf("got %v, want one that names %s", err, address)
	}
}

// TestTLSAndPassword: with a web configuration file there is no way in without TLS, or without the password.
func TestTLSAndPassword(t *testing.T) {
	dir := t.TempDir()
	pool := writeCertificate(t, dir)
	hash, err := bcrypt.GenerateFromPassword([]byte("open"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "web.yml")
	text := "tls_server_config: { cert_file: cert.pem, key_file: key.pem }\nbasic_auth_users: { probe: '" + string(hash) + "' }\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := serve(t, file)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer client.CloseIdleConnections()
	ask := func(scheme, password string) int {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+"://"+address+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if password != "" {
			request.SetBasicAuth("probe", password)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	for _, test := range []struct {
		scheme, password string
		want             int
	}{{"https", "open", 200}, {"https", "wrong", 401}, {"https", "", 401}, {"http", "open", 400}} {
		if got := ask(test.scheme, test.password); got != test.want {
			t.Errorf("%s with password %q: got %d, want %d", test.scheme, test.password, got, test.want)
		}
	}
}

func TestConfigFileThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"key":         "tls_server: {}\n",
		"certificate": "tls_server_config: { cert_file: none.pem, key_file: none.pem }\n",
		"password":    "basic_auth_users: { probe: open }\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := web.Listen(t.Context(), web.Options{Address: "127.0.0.1:0", ConfigFile: file, Logger: slog.New(slog.DiscardHandler)})
		var wrong *web.ConfigError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: got %v, want a *web.ConfigError that names the file", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "open") && name == "password" {
			t.Errorf("the password is in the message: %v", err)
		}
	}
	if err := web.Validate(filepath.Join(dir, "none")); err == nil {
		t.Error("a file that is not there is taken")
	}
}

// TestSlowClients: who sends a request a byte at a time is left, and keeps nobody else from being answered.
func TestSlowClients(t *testing.T) {
	address := serve(t, "")
	var slow []net.Conn
	for range 20 {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
	}
	response, err := http.Get("http://" + address + "/") //nolint:noctx // bounded by the test
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	long, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = long.Close() }()
	if _, err := io.WriteString(long, "GET / HTTP/1.1\r\nHost: x\r\nX-Long: "+strings.Repeat("x", 64<<10)+"\r\n\r\n"); err == nil {
		if answer, err := http.ReadResponse(bufio.NewReader(long), nil); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("a header of 64 KiB: got %d", answer.StatusCode)
			}
		}
	}
	if testing.Short() {
		return // the rest takes as long as a client may
	}
	for _, conn := range slow {
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil {
			t.Fatalf("a slow client is not left: %v", err)
		}
	}
}

// writeCertificate makes cert.pem and key.pem for 127.0.0.1, and a pool that trusts it.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(cert)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return pool
}
