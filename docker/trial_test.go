//go:build images

package docker_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// project is the trial's name in the engine, other than that of a trial which somebody looks at.
const project = "pgarktest"

// container is that of a service.
func container(service string) string { return project + "-" + service + "-1" }

// services are those of compose.yaml whose images can be had: the environment names the ones that cannot.
func services(t *testing.T) []string {
	t.Helper()
	all := strings.Fields(compose(t, "config", "--services"))
	missing := strings.Fields(os.Getenv("PGARK_TEST_NO_IMAGES"))
	for _, name := range missing {
		t.Logf("no image for %s: it is not started", name)
	}
	slices.Sort(all)
	return slices.DeleteFunc(all, func(name string) bool { return slices.Contains(missing, name) })
}

// sql asks a server of the trial on its own socket.
func sql(t *testing.T, service, query string) (string, error) {
	t.Helper()
	out, more, err := said(t.Context(), "exec", "-u", "postgres", container(service), "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", query)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, more)
	}
	return out, nil
}

// TestTrial starts all of compose.yaml, and asks of it what is promised: a server under load whose WAL and base backup get to both regions, a standby that
// lives on the second one alone, measures in Prometheus; an agent that is nobody, writes nowhere, does not fall ill with S3, and ends when it is told to.
func TestTrial(t *testing.T) {
	built(t, "agent", "pgark:trial")
	built(t, "server", "pgark:trial-pg17")
	compose(t, "config", "--quiet")
	names := services(t)
	defer func() {
		for _, name := range names {
			if t.Failed() {
				t.Logf("%s: %s", name, logs(t, container(name)))
			}
		}
		compose(t, "down", "--volumes", "--remove-orphans", "--timeout", "120")
	}()
	compose(t, append([]string{"up", "--no-build", "--detach"}, names...)...)
	for _, service := range []string{"postgres", "pgark", "standby", "pgark-standby"} {
		healthy(t, container(service), "healthy")
	}

	t.Run("the standby", follows)
	t.Run("the agent", isNobody)
	t.Run("what is measured", isMeasured)
	t.Run("the tools", toolsWork)
	t.Run("S3 away", outlivesS3)
	t.Run("the end", endsWell)
}

// follows: what is committed on the primary is seen on the standby, which knows the second region alone.
func follows(t *testing.T) {
	until(t, "the load runs", func() error {
		count, err := sql(t, "postgres", "select count(*) from pgbench_history")
		if err == nil && count == "0" {
			err = errors.New("pgbench did nothing yet")
		}
		return err
	})
	if _, err := sql(t, "postgres", "create table trial as select 'from the first region' as said"); err != nil {
		t.Fatal(err)
	}
	until(t, "the standby follows", func() error {
		_, err := sql(t, "standby", "select said from trial")
		return err
	})
	if in, err := sql(t, "standby", "select pg_is_in_recovery()"); err != nil || in != "t" {
		t.Errorf("the standby is in recovery: %q, %v", in, err)
	}
}

// isNobody: whoever breaks out of the agent is no user of the host's, with no capability and nothing to write to.
func isNobody(t *testing.T) {
	top := strings.Split(docker(t, "top", container("pgark"), "-eo", "pid,uid,gid,args"), "\n")
	if len(top) != 2 || !slices.Equal(strings.Fields(top[1])[1:], []string{"65532", "65532", "/usr/bin/pgark", "run"}) {
		t.Errorf("in the agent's container runs %q", top)
	}
	state := inspect(t, container("pgark"))
	if !state.HostConfig.ReadonlyRootfs || state.RestartCount != 0 {
		t.Errorf("the agent's root may be written (%t), or it was started again (%d)", !state.HostConfig.ReadonlyRootfs, state.RestartCount)
	}
	status := docker(t, "run", "--rm", "--pid", "container:"+container("pgark"), "--user", "65532", "--entrypoint", "/bin/cat", "pgark:trial-pg17", "/proc/1/status")
	for _, want := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want) {
			t.Errorf("the agent lacks %q:\n%s", want, status)
		}
	}
}

// isMeasured: Prometheus sees the agent, and so does this host.
func isMeasured(t *testing.T) {
	until(t, "Prometheus asks the agent", func() error {
		text, err := answer(t.Context(), "http://127.0.0.1:9090/api/v1/query?query=pgark_wal_durable_lsn_bytes")
		if err == nil && !strings.Contains(text, `"cluster":"main"`) {
			err = errors.New(text)
		}
		return err
	})
	if said, err := answer(t.Context(), "http://127.0.0.1:9868/healthz"); err != nil {
		t.Errorf("the agent's own answer is not published: %v: %s", err, said)
	}
}

// inAgentsPlace are the arguments that put a container of the second image where the agent's is: its network, its socket and its stores.
func inAgentsPlace(t *testing.T) []string {
	t.Helper()
	environment := strings.Split(docker(t, "inspect", "-f", `{{range .Config.Env}}{{println .}}{{end}}`, container("pgark")), "\n")
	arguments := []string{"--network", project + "_default", "--volumes-from", container("pgark"), "--cap-drop", "ALL"}
	for _, variable := range environment {
		if strings.HasPrefix(variable, "PGARK_") || strings.HasPrefix(variable, "AWS_") {
			arguments = append(arguments, "-e", variable)
		}
	}
	return arguments
}

// toolsWork: both images do what a person asks of them, beside an agent at work.
func toolsWork(t *testing.T) {
	until(t, "the archive is whole in both regions", func() error {
		out, more, err := said(t.Context(), "exec", container("pgark"), "/usr/bin/pgark", "check")
		if err != nil {
			return fmt.Errorf("pgark check: %w: %s%s", err, out, more)
		}
		return nil
	})
	t.Log(docker(t, "exec", container("pgark"), "/usr/bin/pgark", "status"))
	t.Log(docker(t, append(append([]string{"run", "--rm"}, inAgentsPlace(t)...), "pgark:trial-pg17", "check", "--only", "postgres,storage,recovery")...))
	drill := docker(t, append(append([]string{"run", "--rm"}, inAgentsPlace(t)...), "pgark:trial-pg17", "drill", "run", "--dir", "/tmp/drill", "--to", "latest", "--progress", "none")...)
	t.Log(drill)
}

// outlivesS3: neither region answers, and the agent stays as healthy as it is; it goes on when they are back.
func outlivesS3(t *testing.T) {
	docker(t, "stop", "-t", "5", container("s3-eu"), container("s3-us"))
	out, more, err := said(t.Context(), "exec", container("pgark"), "/usr/bin/pgark", "check", "--only", "live", "--quiet")
	if err != nil {
		t.Errorf("without S3 the agent is said to be ill: %v: %s%s", err, out, more)
	}
	if _, err := sql(t, "postgres", "insert into trial values ('while S3 was away')"); err != nil {
		t.Fatal(err)
	}
	docker(t, "start", container("s3-eu"), container("s3-us"))
	until(t, "what was written meanwhile reaches the standby", func() error {
		found, err := sql(t, "standby", "select count(*) from trial")
		if err == nil && found != "2" {
			err = fmt.Errorf("%s rows", found)
		}
		return err
	})
	if got := inspect(t, container("pgark")); got.RestartCount != 0 || got.State.Health.Status != "healthy" {
		t.Errorf("the agent was started %d times again, and is %s", got.RestartCount, got.State.Health.Status)
	}
}

// endsWell: the agent ends at SIGTERM, the second image does its work in its place, is found out when it hangs, and ends as well.
func endsWell(t *testing.T) {
	ended(t, container("pgark"))
	second := project + "-second"
	docker(t, append(append([]string{
		"run", "--detach", "--name", second, "--health-interval", "1s", "--health-timeout", "10s", "--health-retries", "2", "--health-start-period", "1s",
	}, inAgentsPlace(t)...), "pgark:trial-pg17")...)
	defer docker(t, "rm", "--force", second)
	healthy(t, second, "healthy")
	docker(t, "kill", "--signal", "STOP", second)
	healthy(t, second, "unhealthy")
	docker(t, "kill", "--signal", "CONT", second)
	healthy(t, second, "healthy")
	ended(t, second)
	docker(t, "start", container("pgark"))
	healthy(t, container("pgark"), "healthy")
}
