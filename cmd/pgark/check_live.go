package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/pgark/pgark/config"
)

// liveTimeout is how long the agent may take to answer: it asks nobody.
const liveTimeout = 3 * time.Second

// errNoListen says that the agent answers nobody.
var errNoListen = errors.New("http.listen is not set: the agent answers nobody, so that it cannot be asked whether it works")

// checkLive asks the agent on this host, by its /healthz, whether it works; neither server nor store has a part in it.
func checkLive(s *session) error {
	c, err := s.loadWith(s.argument())
	if err != nil {
		return err
	}
	if c.HTTP.Listen == "" {
		return usagef("%w", errNoListen)
	}
	text, err := askLive(s.ctx, c.HTTP)
	if err != nil {
		return fmt.Errorf("ask the agent at %s: %w", c.HTTP.Listen, err)
	}
	s.printf("%s\n", text)
	return nil
}

// askLive returns what the agent answers. An agent behind a password is not told it, and lives if it asks for one.
func askLive(ctx context.Context, c config.HTTP) (string, error) {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	scheme := "http"
	if c.WebConfigFile != "" {
		scheme = "https"
	}
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	answer, err := getLive(ctx, scheme+"://"+net.JoinHostPort(host, port)+"/healthz")
	if scheme == "https" && err != nil && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		answer, err = getLive(ctx, "http://"+net.JoinHostPort(host, port)+"/healthz") // the file has passwords alone
	}
	return answer, err
}

func getLive(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	// The certificate is for the name that others call this host by. Nothing is sent, and nothing but a word is believed.
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}} //nolint:gosec // see above
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(body))
	switch response.StatusCode {
	case http.StatusOK:
		return text, nil
	case http.StatusUnauthorized:
		return "ALIVE behind a password", nil
	}
	return "", fmt.Errorf("it answers %s: %s", response.Status, text)
}
