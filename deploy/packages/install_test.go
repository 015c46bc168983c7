package packages_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// edited is what an administrator writes into the configuration.
const edited = "PGARK_REPO=s3://acme-pg/main\n"

// manager is a package manager at work in a scratch root.
type manager struct {
	t    *testing.T
	root string
	// install takes a package of either version; remove leaves configuration, purge does not.
	install, remove, purge []string
	// beside is where a changed default is put when the administrator's file is kept.
	beside string
}

// scratch makes a root that has no more than what the packages' scripts call, so that they run in it and not on this host.
func scratch(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // it is a root
		t.Fatal(err)
	}
	for _, folder := range []string{"etc", "bin", "usr/bin", "tmp", "dev", "var/lib/dpkg/updates", "var/lib/dpkg/info", "var/lib/rpm", "usr/share/doc"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil { //nolint:gosec // it is a root
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n", "var/lib/dpkg/status": "", "var/lib/dpkg/available": "", "dev/null": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil { //nolint:gosec // everybody reads these
			t.Fatal(err)
		}
	}
	library := regexp.MustCompile(`(?m)(/\S+) \(0x`)
	for _, name := range []string{"sh", "getent", "chgrp", "chmod", "systemd-sysusers", "systemctl"} {
		program := part(t, name)
		out, err := exec.CommandContext(t.Context(), part(t, "ldd"), program).Output()
		if err != nil {
			t.Fatalf("ldd %s: %v", program, err)
		}
		needed := []string{program}
		for _, found := range library.FindAllStringSubmatch(string(out), -1) {
			needed = append(needed, found[1])
		}
		for _, file := range needed {
			bring(t, file, filepath.Join(dir, file))
		}
	}
	bring(t, part(t, "sh"), filepath.Join(dir, "bin/sh"))
	return dir
}

// bring copies a program or a library, whatever links lead to it.
func bring(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // it is a root
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o755); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
}

// run carries out one act of the manager, which asks nothing.
func (m *manager) run(act []string, arguments ...string) {
	m.t.Helper()
	command := exec.CommandContext(m.t.Context(), act[0], slices.Concat(act[1:], arguments)...)
	if out, err := command.CombinedOutput(); err != nil {
		m.t.Fatalf("%v %v: %v\n%s", act, arguments, err, out)
	}
}

// read returns a file of the root, or nothing where there is none.
func (m *manager) read(path string) string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.root, path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.t.Fatal(err)
	}
	return string(text)
}

// files lists the root, without what the manager and the agent's user keep of themselves.
func (m *manager) files() []string {
	m.t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(m.root, func(path string, _ fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, m.root)
		if !strings.HasPrefix(name, "/var/lib/") && !slices.Contains([]string{"/etc/passwd-", "/etc/group-", "/etc/shadow", "/etc/gshadow", "/etc/.pwd.lock"}, name) {
			found[name] = true
		}
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(found))
}

// needRoot skips the test where nothing can be installed, and fails it under REQUIRE_ALL=1.
func needRoot(t *testing.T) {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("a package is installed into a scratch root")
	case os.Geteuid() == 0:
	case os.Getenv("REQUIRE_ALL") == "1":
		t.Fatal("a package is installed by root alone")
	default:
		t.Skip("a package is installed by root alone")
	}
}

func TestDebInstalls(t *testing.T) {
	needRoot(t)
	dir := scratch(t)
	dpkg := []string{part(t, "dpkg"), "--root=" + dir, "--log=/dev/null", "--force-confold", "--force-not-root"}
	installs(t, &manager{
		t: t, root: dir, beside: "/etc/pgark/pgark.env.dpkg-dist",
		install: append(slices.Clone(dpkg), "--install"), remove: append(slices.Clone(dpkg), "--remove", "pgark"), purge: append(slices.Clone(dpkg), "--purge", "pgark"),
	}, "deb")
}

func TestRPMInstalls(t *testing.T) {
	needRoot(t)
	dir := scratch(t)
	// /bin/sh is there without being a package.
	rpm := []string{part(t, "rpm"), "--root=" + dir, "--dbpath=/var/lib/rpm", "--nodeps"}
	installs(t, &manager{
		t: t, root: dir, beside: "/etc/pgark/pgark.env.rpmnew",
		install: append(slices.Clone(rpm), "--upgrade"), remove: append(slices.Clone(rpm), "--erase", "pgark"),
	}, "rpm")
}

// installs goes through the life of a package: it is installed, configured, upgraded to one with another default, and removed.
func installs(t *testing.T, m *manager, packager string) {
	before := m.files()
	m.run(m.install, pack(t, packager, "1.2.3", root))
	if got := m.read("/usr/bin/pgark"); got != "pgark-linux-amd64 1.2.3" {
		t.Errorf("the program is %q", got)
	}
	user := regexp.MustCompile(`(?m)^pgark:[^:]*:(\d+):(\d+):[^:]*:/var/lib/pgark:/usr/sbin/nologin$`).FindStringSubmatch(m.read("/etc/passwd"))
	if user == nil || !strings.Contains(m.read("/etc/group"), "\npgark:x:"+user[2]+":") {
		t.Fatalf("the agent's user is not there:\n%s%s", m.read("/etc/passwd"), m.read("/etc/group"))
	}
	m.owned("/etc/pgark", 0o750, user[2])
	m.owned("/etc/pgark/pgark.env", 0o600, "0")

	if err := os.WriteFile(filepath.Join(m.root, "etc/pgark/pgark.env"), []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	m.run(m.install, pack(t, packager, "1.2.4", changed(t)))
	if got := m.read("/usr/bin/pgark"); got != "pgark-linux-amd64 1.2.4" {
		t.Errorf("after the upgrade the program is %q", got)
	}
	if got := m.read("/etc/pgark/pgark.env"); got != edited {
		t.Errorf("the upgrade wrote over the configuration: %q", got)
	}
	if !strings.Contains(m.read(m.beside), "# another default") {
		t.Errorf("the new default is not in %s", m.beside)
	}
	m.owned("/etc/pgark", 0o750, user[2])
	m.owned("/etc/pgark/pgark.env", 0o600, "0")

	wants := filepath.Join(m.root, "etc/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil { //nolint:gosec // as systemd has it
		t.Fatal(err)
	}
	if err := os.Symlink("/usr/lib/systemd/system/pgark.service", filepath.Join(wants, "pgark.service")); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(m.root, "etc/pgark/repo.key")
	if err := os.WriteFile(own, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.run(m.remove)
	if m.read("/usr/bin/pgark") != "" || m.read("/etc/pgark/pgark.env")+m.read("/etc/pgark/pgark.env.rpmsave") != edited {
		t.Error("removed, the program is still there, or the configuration is gone")
	}
	if _, err := os.Lstat(filepath.Join(wants, "pgark.service")); err == nil {
		t.Error("removed, the agent's unit is still one of those that are to be started")
	}
	if m.purge != nil {
		m.run(m.purge)
	}
	if m.read("/etc/pgark/repo.key") != "key" {
		t.Error("a key that the administrator put there is gone")
	}
	if m.purge == nil {
		return // rpm knows no purge: what was edited, and what it saved, stays
	}
	for _, folder := range []string{"etc/pgark", "etc/systemd"} {
		if err := os.RemoveAll(filepath.Join(m.root, folder)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range m.files() {
		if !slices.Contains(before, path) {
			t.Errorf("purged, it leaves %s", path)
		}
	}
}

// owned holds who may look into a file or folder: root, and the group of that number.
func (m *manager) owned(path string, mode fs.FileMode, group string) {
	m.t.Helper()
	info, err := os.Stat(filepath.Join(m.root, path))
	if err != nil {
		m.t.Fatal(err)
	}
	of, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		m.t.Fatalf("%s: whose it is is not known here", path)
	}
	if got := info.Mode().Perm(); got != mode || of.Uid != 0 || fmt.Sprint(of.Gid) != group {
		m.t.Errorf("%s: mode %o of %d:%d, want %o of 0:%s", path, got, of.Uid, of.Gid, mode, group)
	}
}

// changed returns a checkout in which the default of pgark.env is another one.
func changed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range []string{"deploy/packages", "deploy/systemd"} {
		if err := os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join(root, folder))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"deploy/nfpm.yaml", "LICENSE", "README.md", "CHANGELOG.md"} {
		bring(t, filepath.Join(root, name), filepath.Join(dir, name))
	}
	path := filepath.Join(dir, "deploy/packages/pgark.env")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Join([][]byte{text, []byte("# another default\n")}, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
