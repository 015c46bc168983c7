// Package docker_test keeps the images and the trial on one host to what they promise, without an engine to build them.
package docker_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// instruction is one of a Dockerfile: its word in capitals, and the rest in one line.
type instruction struct{ word, rest string }

// stage is one FROM and what follows it.
type stage struct {
	name, base   string
	instructions []instruction
}

// of returns the rests of the instructions with that word.
func (s stage) of(word string) []string {
	var rests []string
	for _, i := range s.instructions {
		if i.word == word {
			rests = append(rests, i.rest)
		}
	}
	return rests
}

// dockerfile reads docker/Dockerfile: the arguments before the first stage, and the stages.
func dockerfile(t *testing.T) (arguments map[string]string, stages []stage) {
	t.Helper()
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	arguments = map[string]string{}
	lines := regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(string(text), "")
	lines = strings.ReplaceAll(lines, "\\\n", " ")
	for line := range strings.SplitSeq(lines, "\n") {
		word, rest, _ := strings.Cut(strings.Join(strings.Fields(line), " "), " ")
		word = strings.ToUpper(word)
		switch {
		case word == "":
		case word == "FROM":
			base, name, _ := strings.Cut(rest, " AS ")
			stages = append(stages, stage{name: name, base: base})
		case len(stages) == 0 && word == "ARG":
			name, value, _ := strings.Cut(rest, "=")
			arguments[name] = value
		case len(stages) == 0:
			t.Fatalf("%s before the first stage", word)
		default:
			last := &stages[len(stages)-1]
			last.instructions = append(last.instructions, instruction{word, rest})
		}
	}
	return arguments, stages
}

// pinned is an image with a tag that is no moving one, or a digest.
var pinned = regexp.MustCompile(`^[a-z0-9./-]+(:v?[0-9][0-9a-z.-]*|@sha256:[0-9a-f]{64})$`)

func TestBasesArePinned(t *testing.T) {
	arguments, stages := dockerfile(t)
	names := []string{"scratch"}
	for _, s := range stages {
		base := os.Expand(s.base, func(name string) string { return arguments[name] })
		base = os.Expand(base, func(name string) string { return arguments[name] })
		if !slices.Contains(names, base) && !pinned.MatchString(base) {
			t.Errorf("stage %s begins with %q: want a version", s.name, base)
		}
		names = append(names, s.name)
	}
}

// TestImagesRunAsNobody holds that whoever breaks out of the program is not root, and that an engine finds out that an agent is stuck.
func TestImagesRunAsNobody(t *testing.T) {
	_, stages := dockerfile(t)
	want := map[string]string{"agent": "65532:65532", "server": "postgres"}
	for _, s := range stages {
		user, ours := want[s.name]
		if !ours {
			continue
		}
		delete(want, s.name)
		if users := s.of("USER"); len(users) == 0 || users[len(users)-1] != user {
			t.Errorf("image %s runs as %v, want %s", s.name, users, user)
		}
		if health := s.of("HEALTHCHECK"); len(health) != 1 || !strings.Contains(health[0], `CMD ["/usr/bin/pgark", "check", "--only", "live"`) {
			t.Errorf("image %s: HEALTHCHECK %v", s.name, health)
		}
		if entry := s.of("ENTRYPOINT"); len(entry) != 1 || entry[0] != `["/usr/bin/pgark"]` {
			t.Errorf("image %s: ENTRYPOINT %v: want no shell between the engine's signals and pgark", s.name, entry)
		}
		if stop := s.of("STOPSIGNAL"); s.base != "scratch" && !slices.Equal(stop, []string{"SIGTERM"}) {
			t.Errorf("image %s: STOPSIGNAL %v: the one of its base would interrupt pgark", s.name, stop)
		}
		if s.name == "agent" && (s.base != "scratch" || len(s.of("RUN")) != 0) {
			t.Errorf("the agent's image is made from %s: want scratch, without a shell", s.base)
		}
	}
	for name := range want {
		t.Errorf("no stage %s", name)
	}
}

// TestImagesHoldNoSecret: what ENV and ARG say is read by everybody who has the image.
func TestImagesHoldNoSecret(t *testing.T) {
	arguments, stages := dockerfile(t)
	secret := regexp.MustCompile(`(?i)(passw|secret|token|credential|access_key|private)`)
	check := func(text string) {
		if secret.MatchString(text) {
			t.Errorf("Dockerfile: %s: give it when the container runs", text)
		}
	}
	for name := range arguments {
		check(name)
	}
	for _, s := range stages {
		for _, word := range []string{"ENV", "ARG", "LABEL"} {
			for _, rest := range s.of(word) {
				check(rest)
			}
		}
		for _, rest := range slices.Concat(s.of("COPY"), s.of("ADD")) {
			if strings.Contains(rest, ".env") || strings.Contains(rest, ".aws") {
				t.Errorf("Dockerfile copies %s", rest)
			}
		}
	}
}

// TestContextHoldsTheProgram finds a package that .dockerignore keeps out of the build, before a build does.
func TestContextHoldsTheProgram(t *testing.T) {
	text, err := os.ReadFile("../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	if !slices.Contains(lines, "*") {
		t.Error(".dockerignore lets through what it does not name: want * first")
	}
	sources, err := filepath.Glob("../*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	nested, err := filepath.Glob("../*/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range slices.Concat(sources, nested) {
		file = strings.TrimPrefix(filepath.ToSlash(file), "../")
		folder, _, _ := strings.Cut(file, "/")
		if strings.HasSuffix(file, "_test.go") || slices.Contains([]string{"integration", "deploy", "docker"}, folder) || strings.HasPrefix(folder, ".") {
			continue
		}
		seen++
		if !slices.Contains(lines, "!"+folder) && !slices.Contains(lines, "!"+path.Dir(file)) {
			t.Errorf(".dockerignore keeps %s out: the image does not build", file)
		}
	}
	if seen == 0 {
		t.Error("no source was found")
	}
	_, stages := dockerfile(t)
	for _, file := range []string{"go.mod", "go.sum", "LICENSE", "docker/passwd"} {
		if _, err := os.Stat(filepath.Join("..", file)); err != nil || !slices.Contains(lines, "!"+file) {
			t.Errorf("%s is not in the build: %v", file, err)
		}
	}
	if len(stages) == 0 {
		t.Error("no stage")
	}
}
