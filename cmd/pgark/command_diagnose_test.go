package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unpack returns the files of a bundle.
func unpack(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it was read
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimPrefix(h.Name, "pgark-diagnose/")] = string(content)
	}
}

// TestDiagnoseHidesSecrets packs a bundle for every way in which a secret gets into pgark: none may be in it.
func TestDiagnoseHidesSecrets(t *testing.T) {
	secret := canary()
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	ways := append(waysIn(), hushed{
		name: "arguments of a hook",
		file: "clusters: { main: { repo: \"file://DIR/repo\", postgres: \"host=DIR\", standby: { hooks: [{ run: [/bin/dns, --key, SECRET] }] } } }\n",
	})
	for i, way := range ways {
		if testing.Short() && i%5 != 0 && i != len(ways)-1 || way.args != nil {
			continue
		}
		t.Run(way.name, func(t *testing.T) {
			dir := t.TempDir()
			fill := strings.NewReplacer("SECRET", secret, "DIR", dir).Replace
			for name, text := range way.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(fill(text)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			bundle := filepath.Join(dir, "bundle.tar.gz")
			words := []string{"diagnose", "--file", bundle, "--timeout", "1s"}
			if way.file != "" {
				file := filepath.Join(dir, "pgark.yml")
				if err := os.WriteFile(file, []byte(fill(way.file)), 0o600); err != nil {
					t.Fatal(err)
				}
				words = append(words, "--config", file)
			}
			environment := []string{"PGHOST=" + dir, "PGCONNECT_TIMEOUT=1"}
			for _, pair := range way.env {
				name, value, _ := strings.Cut(fill(pair), "=")
				t.Setenv(name, value) // what libraries read
				environment = append(environment, name+"="+value)
			}
			stdout, stderr, code := call(t, environment, words...)
			if code != exitOK {
				t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
			}
			if info, err := os.Stat(bundle); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the bundle: %v, %v", info.Mode(), err)
			}
			found := unpack(t, bundle)
			for _, name := range []string{"README.txt", "version.json", "config.json", "check.json", "status.json", "list.json", "drills.json", "host.txt", "server.txt"} {
				if found[name] == "" {
					t.Errorf("the bundle lacks %s", name)
				}
				if !strings.Contains(stdout, name) && name != "README.txt" {
					t.Errorf("it does not say that it packs %s:\n%s", name, stdout)
				}
			}
			for name, text := range found {
				for _, line := range strings.Split(text, "\n") {
					if strings.Contains(line, secret) {
						t.Errorf("%s has %q", name, strings.ReplaceAll(line, secret, secret[:6]+"…"))
					}
				}
			}
			if _, _, code := call(t, environment, words...); code == exitOK {
				t.Error("a file that is there was replaced")
			}
		})
	}
}
