package main

import (
	"context"
	"errors"
	"fmt"
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
	code, body, err := askAgent(ctx, c, "/healthz", 1<<10)
	text := strings.TrimSpace(string(body))
	switch {
	case err != nil:
		return "", err
	case code == http.StatusOK:
		return text, nil
	case code == http.StatusUnauthorized:
		return "ALIVE behind a password", nil
	}
	return "", fmt.Errorf("it answers %d %s: %s", code, http.StatusText(code), text)
}
