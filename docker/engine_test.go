//go:build images

package docker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// patience is how long a thing may take that takes seconds on a quiet machine.
const patience = 5 * time.Minute

// said runs the docker command, and returns what it printed on its standard output; more is its standard error, and how it ended.
func said(ctx context.Context, arguments ...string) (out string, more string, err error) {
	var stdout, stderr strings.Builder
	command := exec.CommandContext(ctx, "docker", arguments...)
	command.Stdout, command.Stderr = &stdout, &stderr
	err = command.Run()
	return strings.TrimSpace(stdout.String()), stderr.String(), err
}

// docker runs the docker command, which must end well.
func docker(t *testing.T, arguments ...string) string {
	t.Helper()
	out, more, err := said(t.Context(), arguments...)
	if err != nil {
		t.Fatalf("docker %s: %v\n%s%s", strings.Join(arguments, " "), err, out, more)
	}
	return out
}

// compose runs docker compose on compose.yaml in a project of the test's own: the plugin of this host, or, in the engine that images.sh starts, Debian's
// program in a container.
func compose(t *testing.T, arguments ...string) string {
	t.Helper()
	_, _, err := said(t.Context(), "compose", "version")
	if err == nil {
		return docker(t, append([]string{"compose", "-f", "compose.yaml", "-p", project}, arguments...)...)
	}
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	socket := strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	above := strings.TrimSuffix(folder, "/docker")
	return docker(t, append([]string{
		"run", "--rm", "--network", "none", "-v", socket + ":/var/run/docker.sock", "-v", above + ":" + above + ":ro", "-w", folder,
		"pgark.test/debian", "docker-compose", "-f", "compose.yaml", "-p", project,
	}, arguments...)...)
}

// until asks again and again, until the answer is no error.
func until(t *testing.T, what string, ask func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		case <-again.C:
		}
	}
}

// inspected is what of docker inspect is judged.
type inspected struct {
	State struct {
		Status    string
		ExitCode  int
		OOMKilled bool
		Health    struct {
			Status string
			Log    []struct{ Output string }
		}
	}
	RestartCount int
	HostConfig   struct{ ReadonlyRootfs bool }
}

func inspect(t *testing.T, container string) inspected {
	t.Helper()
	var all []inspected
	if err := json.Unmarshal([]byte(docker(t, "inspect", container)), &all); err != nil || len(all) != 1 {
		t.Fatalf("docker inspect %s: %v", container, err)
	}
	return all[0]
}

// healthy waits for that word of the engine about a container.
func healthy(t *testing.T, container, want string) {
	t.Helper()
	until(t, container+" is "+want, func() error {
		state := inspect(t, container).State
		if state.Health.Status == want {
			return nil
		}
		return fmt.Errorf("%s, %s: %+v\n%s", state.Status, state.Health.Status, state.Health.Log, logs(t, container))
	})
}

// logs are the last lines of a container.
func logs(t *testing.T, container string) string {
	t.Helper()
	out, more, _ := said(t.Context(), "logs", "--tail", "30", container)
	return out + more
}

// ended stops a container as an engine does, and holds that it ended by itself, and well.
func ended(t *testing.T, container string) {
	t.Helper()
	docker(t, "stop", "-t", "120", container)
	if state := inspect(t, container).State; state.ExitCode != 0 || state.OOMKilled {
		t.Errorf("%s ended with %d at SIGTERM:\n%s", container, state.ExitCode, logs(t, container))
	}
}

// answer asks a server of the trial by HTTP.
func answer(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return string(text), err
}
