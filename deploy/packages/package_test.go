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

// pack makes a package of a version, with stand-ins for what is built. What the packages bring of the checkout is read below root.
func pack(t *testing.T, packager, version, root string) string {
	t.Helper()
	program, dir := nfpm(t), t.TempDir()
	for _, name := range []string{"pgark-linux-amd64", "completion/bash", "completion/zsh", "completion/fish", "man/pgark.1.gz", "man/pgark-run.1.gz"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name+" "+version), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "pgark."+packager)
	command := exec.CommandContext(t.Context(), program, "package", "-f", "deploy/nfpm.yaml", "-p", packager, "-t", file)
	command.Dir = root
	command.Env = append(os.Environ(), "VERSION="+version, "ARCH=amd64", "DIST="+dir, "SOURCE_DATE_EPOCH=1700000000")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("make the %s: %v\n%s", packager, err, out)
	}
	return file
}

// opened are the files of a package that everybody may read, but for those of zsh and of the licence, whose places differ.
var opened = []string{
	"/usr/lib/systemd/system/pgark.service", "/usr/lib/systemd/system/pgark-drill@.service", "/usr/lib/systemd/system/pgark-drill@.timer",
	"/usr/lib/sysusers.d/pgark.conf", "/usr/lib/tmpfiles.d/pgark.conf", "/usr/share/man/man1/pgark.1.gz", "/usr/share/man/man1/pgark-run.1.gz",
	"/usr/share/bash-completion/completions/pgark", "/usr/share/fish/vendor_completions.d/pgark.fish",
	"/usr/share/doc/pgark/README.md", "/usr/share/doc/pgark/CHANGELOG.md", "/usr/share/doc/pgark/examples/pgark.yml",
}

// compare holds what lies where, whose it is and who may read it: got is the mode by path.
func compare(t *testing.T, got map[string]string, more ...string) {
	t.Helper()
	want := map[string]string{"/usr/bin/pgark": "-rwxr-xr-x", "/etc/pgark": "drwxr-x---", "/etc/pgark/pgark.env": "-rw-------"}
	for _, path := range slices.Concat(opened, more) {
		want[path] = "-rw-r--r--"
	}
	for path, mode := range want {
		if got[path] != mode+" root/root" {
			t.Errorf("%s: %q, want %s of root", path, got[path], mode)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("the package brings %s", path)
		}
	}
}

// TestDeb looks at what dpkg will unpack.
func TestDeb(t *testing.T) {
	program, file := part(t, "dpkg-deb"), pack(t, "deb", "1.2.3", root)
	out, err := exec.CommandContext(t.Context(), program, "--contents", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		path := strings.TrimPrefix(f[5], ".")
		if !strings.HasSuffix(path, "/") || path == "/etc/pgark/" {
			got[strings.TrimSuffix(path, "/")] = f[0] + " " + f[1]
		}
	}
	compare(t, got, "/usr/share/zsh/vendor-completions/_pgark", "/usr/share/doc/pgark/copyright")
}

// TestRPM looks at what rpm will unpack, and that an upgrade leaves what an administrator changed.
func TestRPM(t *testing.T) {
	program, file := part(t, "rpm"), pack(t, "rpm", "1.2.3", root)
	query := func(arguments ...string) string {
		out, err := exec.CommandContext(t.Context(), program, append(arguments, "-qp", file)...).Output()
		if err != nil {
			t.Fatalf("rpm %v: %v", arguments, err)
		}
		return string(out)
	}
	got := map[string]string{}
	for line := range strings.Lines(query("--queryformat", `[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME}\n]`)) {
		path, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		got[path] = rest
	}
	compare(t, got, "/usr/share/zsh/site-functions/_pgark", "/usr/share/licenses/pgark/LICENSE")
	if kept := strings.TrimSpace(query("--configfiles")); kept != "/etc/pgark/pgark.env" {
		t.Errorf("configuration: %q", kept)
	}
	if host := query("--queryformat", "%{BUILDHOST}"); host != "pgark" {
		t.Errorf("the host that made it, %q, is in it", host)
	}
}

// TestPackagesAreReproducible makes each twice.
func TestPackagesAreReproducible(t *testing.T) {
	for _, packager := range []string{"deb", "rpm"} {
		var made [2][]byte
		for i := range made {
			text, err := os.ReadFile(pack(t, packager, "1.2.3", root))
			if err != nil {
				t.Fatal(err)
			}
			made[i] = text
		}
		if !slices.Equal(made[0], made[1]) {
			t.Errorf("two of the %s differ", packager)
		}
	}
}

// TestDebScripts holds that an upgrade keeps what an administrator changed, and that nothing starts by itself.
func TestDebScripts(t *testing.T) {
	program, file, dir := part(t, "dpkg-deb"), pack(t, "deb", "1.2.3", root), t.TempDir()
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
