//go:build images

package docker_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// version is what the images are told that they are.
const version = "v0.0.0-tried"

// built builds an image of the Dockerfile under the name that compose.yaml gives it.
func built(t *testing.T, target, name string) {
	t.Helper()
	docker(t, "build", "-f", "Dockerfile", "--target", target, "--build-arg", "VERSION="+version, "-t", name, "..")
}

// confined are the arguments by which a container gets nothing that it can do without.
func confined(more ...string) []string {
	return append([]string{"run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"}, more...)
}

// TestImagesAreBuilt looks into both before anything is at work in them.
func TestImagesAreBuilt(t *testing.T) {
	built(t, "agent", "pgark:trial")
	built(t, "server", "pgark:trial-pg17")
	for _, image := range []string{"pgark:trial", "pgark:trial-pg17"} {
		if got := docker(t, confined(image, "version")...); !strings.Contains(got, version) {
			t.Errorf("%s says it is %q", image, got)
		}
	}
	t.Logf("bytes: %s the agent, %s with PostgreSQL", docker(t, "image", "inspect", "-f", "{{.Size}}", "pgark:trial"),
		docker(t, "image", "inspect", "-f", "{{.Size}}", "pgark:trial-pg17"))
	if got := docker(t, confined("--entrypoint", "/usr/bin/id", "pgark:trial-pg17", "-un")...); got != "postgres" {
		t.Errorf("the server's image runs as %s", got)
	}
	if got := docker(t, confined("--entrypoint", "/usr/lib/postgresql/17/bin/postgres", "pgark:trial-pg17", "--version")...); !strings.Contains(got, " 17.") {
		t.Errorf("the server's image has %s", got)
	}
}

// TestAgentImageHoldsNothingElse reads the image's files: what is not there can be used by nobody, and what was forgotten would be missed when it is needed.
func TestAgentImageHoldsNothingElse(t *testing.T) {
	built(t, "agent", "pgark:trial")
	container := docker(t, "create", "pgark:trial")
	defer docker(t, "rm", container)
	out, err := exec.CommandContext(t.Context(), "docker", "export", container).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"LICENSE", "etc/passwd", "etc/ssl/certs/ca-certificates.crt", "usr/bin/pgark"}
	engines := []string{".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"}
	var got []string
	for reader := tar.NewReader(bytes.NewReader(out)); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeDir || slices.Contains(engines, header.Name) {
			continue
		}
		got = append(got, header.Name)
		if header.Mode&0o6022 != 0 {
			t.Errorf("%s may be written by everybody, or becomes another user: %o", header.Name, header.Mode)
		}
		if header.Name == "etc/ssl/certs/ca-certificates.crt" {
			text, err := io.ReadAll(reader)
			if n := bytes.Count(text, []byte("BEGIN CERTIFICATE")); err != nil || n < 100 {
				t.Errorf("%d certificates, %v: no bucket would be trusted", n, err)
			}
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the agent's image holds %q, want %q", got, want)
	}
}
