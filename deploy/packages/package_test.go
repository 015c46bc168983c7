// Package packages_test looks into the packages before anybody installs them.
package packages_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the module's.
const root = "../.."

// part returns a program's path. One that is missing skips the test, and fails it under REQUIRE_ALL=1.
func part(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("REQUIRE_ALL") == "1" {
			t.Fatalf("part missing: %v", err)
		}
		t.Skipf("part missing: %v", err)
	}
	return path
}

// nfpm returns the path of the packager that the Makefile pins.
func nfpm(t *testing.T) string {
	t.Helper()
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	pin := regexp.MustCompile(`(?m)^NFPM +:= (\S+)$`).FindSubmatch(makefile)
	if pin == nil {
		t.Fatal("the Makefile pins no nfpm")
	}
	path, err := filepath.Abs(filepath.Join(root, ".parts/bin/nfpm-"+string(pin[1])))
	if err != nil {
		t.Fatal(err)
	}
	return part(t, path)
}

// pack makes a package with stand-ins for what is built.
func pack(t *testing.T, packager string) string {
	t.Helper()
	program, dir := nfpm(t), t.TempDir()
	for _, name := range []string{"pgark-linux-amd64", "completion/bash", "completion/zsh", "completion/fish"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "pgark."+packager)
	command := exec.CommandContext(t.Context(), program, "package", "-f", "deploy/nfpm.yaml", "-p", packager, "-t", file)
	command.Dir = root
	command.Env = append(os.Environ(), "VERSION=1.2.3", "ARCH=amd64", "DIST="+dir, "SOURCE_DATE_EPOCH=1700000000")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("make the %s: %v\n%s", packager, err, out)
	}
	return file
}

// TestDeb holds what lies where, whose it is and who may read it.
func TestDeb(t *testing.T) {
	program, file := part(t, "dpkg-deb"), pack(t, "deb")
	out, err := exec.CommandContext(t.Context(), program, "--contents", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{} // mode and owner by path
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if !strings.HasSuffix(f[5], "/") {
			got[strings.TrimPrefix(f[5], ".")] = f[0] + " " + f[1]
		}
	}
	open, private, executable := "-rw-r--r-- root/root", "-rw------- root/root", "-rwxr-xr-x root/root"
	want := map[string]string{
		"/usr/bin/pgark":       executable,
		"/etc/pgark/pgark.env": private,
	}
	for _, path := range []string{
		"/usr/lib/systemd/system/pgark.service", "/usr/lib/systemd/system/pgark-drill@.service", "/usr/lib/systemd/system/pgark-drill@.timer",
		"/usr/lib/sysusers.d/pgark.conf", "/usr/lib/tmpfiles.d/pgark.conf",
		"/usr/share/bash-completion/completions/pgark", "/usr/share/zsh/vendor-completions/_pgark", "/usr/share/fish/vendor_completions.d/pgark.fish",
		"/usr/share/doc/pgark/README.md", "/usr/share/doc/pgark/CHANGELOG.md", "/usr/share/doc/pgark/copyright", "/usr/share/doc/pgark/examples/pgark.yml",
	} {
		want[path] = open
	}
	for path, is := range want {
		if got[path] != is {
			t.Errorf("%s: %q, want %q", path, got[path], is)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("the package brings %s", path)
		}
	}
}

// TestDebScripts holds that an upgrade keeps what an administrator changed, and that nothing starts by itself.
func TestDebScripts(t *testing.T) {
	program, file, dir := part(t, "dpkg-deb"), pack(t, "deb"), t.TempDir()
	if out, err := exec.CommandContext(t.Context(), program, "--control", file, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got := strings.Fields(read("conffiles")); !slices.Equal(got, []string{"/etc/pgark/pgark.env"}) {
		t.Errorf("conffiles %v", got)
	}
	starts := regexp.MustCompile(`systemctl +(--\S+ +)*(start|enable|restart|try-restart|preset)|deb-systemd|invoke-rc`)
	for _, name := range []string{"postinst", "prerm", "postrm"} {
		if word := starts.FindString(read(name)); word != "" {
			t.Errorf("%s: %s", name, word)
		}
	}
}

// TestRPMIsMade holds only that it can be made: nothing here reads one.
func TestRPMIsMade(t *testing.T) {
	if info, err := os.Stat(pack(t, "rpm")); err != nil || info.Size() == 0 {
		t.Errorf("the rpm: %v", err)
	}
}
