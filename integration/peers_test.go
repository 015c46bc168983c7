//go:build peers

package integration_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgark/pgark/postgres/postgrestest"
)

// The comparison of docs/BENCHMARKS.md: whole processes side by side in one run, medians of the rounds, ratios in pairs. Debian's PostgreSQL 15 and
// pgBackRest, one S3 server over TLS on the same machine, one data set.
//
//	go test -tags peers -run TestAgainstPeers -timeout 60m -v ./integration -scale 40 -rows 3000000 -rounds 3

var (
	scale  = flag.Int("scale", 40, "pgbench scale of the data set")
	rows   = flag.Int("rows", 3_000_000, "rows of the realistic table")
	rounds = flag.Int("rounds", 3, "counted rounds")
	only   = flag.String("only", "backup,restore,wal,recover,copies,exposure,sync,encryption", "scenarios")
)

const debianBin = "/usr/lib/postgresql/15/bin/"

// figure is what one run of a contender cost.
type figure struct {
	wall   time.Duration
	cpu    time.Duration // of the contender's own processes
	server time.Duration // of PostgreSQL's processes, where it works for the contender
	rss    int64         // bytes, the largest of its processes
	stored int64         // bytes left in the store
}

type bench struct {
	t       *testing.T
	dir     string
	uid     uint32
	gid     uint32
	pgark   string
	port    int // PostgreSQL
	s3port  int
	ca      string
	conn    *pgx.Conn // for what is asked over and over
	results map[string]map[string][]figure
}

func TestAgainstPeers(t *testing.T) {
	b := newBench(t)
	b.startS3()
	b.startPostgres()
	if strings.Contains(*only, "backup") || strings.Contains(*only, "restore") {
		b.load()
		b.baseBackups()
	} else if strings.Contains(*only, "encryption") {
		b.load()
	}
	if strings.Contains(*only, "restore") {
		b.restores()
	}
	if strings.Contains(*only, "wal") {
		b.wal()
	}
	if strings.Contains(*only, "recover") {
		b.recovery()
	}
	if strings.Contains(*only, "copies") {
		b.copies()
	}
	if strings.Contains(*only, "encryption") {
		b.encryption()
	}
	b.report()
	if strings.Contains(*only, "exposure") {
		b.exposure()
	}
	if strings.Contains(*only, "sync") {
		b.sync()
	}
}

func newBench(t *testing.T) *bench {
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	dir := postgrestest.TempDir(t)
	b := &bench{t: t, dir: dir, uid: uint32(uid), gid: uint32(gid), results: map[string]map[string][]figure{}}
	b.pgark = filepath.Join(dir, "pgark")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", b.pgark, "../cmd/pgark").CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return b
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// folder makes a folder of the benchmark that the server's user owns.
func (b *bench) folder(name string) string {
	b.t.Helper()
	d := filepath.Join(b.dir, name)
	b.must(os.MkdirAll(d, 0o700))
	b.must(os.Chown(d, int(b.uid), int(b.gid)))
	return d
}

// command is a command as the server's user; it is not ended with the test, for what clears up is one too.
func (b *bench) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.WithoutCancel(b.t.Context()), name, args...)
	cmd.Dir = b.dir
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: b.uid, Gid: b.gid}}
	}
	cmd.Env = []string{
		"PATH=" + debianBin + ":/usr/bin:/bin", "HOME=" + b.dir, "LC_ALL=C.UTF-8", "TZ=UTC",
		"PGHOST=" + b.dir + "/pgdata-socket", "PGPORT=" + strconv.Itoa(b.port), "PGUSER=postgres", "PGDATABASE=postgres",
		"AWS_ACCESS_KEY_ID=benchkey", "AWS_SECRET_ACCESS_KEY=benchsecret", "AWS_REGION=us-east-1",
		"AWS_ENDPOINT_URL_S3=https://127.0.0.1:" + strconv.Itoa(b.s3port), "AWS_CA_BUNDLE=" + b.ca,
	}
	return cmd
}

// run runs a command to its end and returns what it cost.
func (b *bench) run(name string, args ...string) figure {
	b.t.Helper()
	return b.runWith(nil, name, args...)
}

// runWith is run with further variables.
func (b *bench) runWith(env []string, name string, args ...string) figure {
	b.t.Helper()
	cmd := b.command(name, args...)
	cmd.Env = append(cmd.Env, env...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		b.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out.String())
	}
	f := b.usage(cmd)
	f.wall = wall
	return f
}

// usage is what a command that has ended took.
func (b *bench) usage(cmd *exec.Cmd) figure {
	b.t.Helper()
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		b.t.Fatalf("%s: no resource usage", cmd.Path)
	}
	return figure{cpu: time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), rss: usage.Maxrss * 1024}
}

func (b *bench) sql(query string) string {
	b.t.Helper()
	out, err := b.command(debianBin+"psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", query).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", query, err, out)
	}
	return strings.TrimSpace(string(out))
}

// ask is a condition over one connection that stays open: while a contender is waited for, a psql for each question would take a fifth of the machine
// from it.
func (b *bench) ask(query string) bool {
	b.t.Helper()
	ctx := b.t.Context()
	if b.conn == nil {
		conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s/pgdata-socket port=%d user=postgres dbname=postgres", b.dir, b.port))
		b.must(err)
		b.conn = conn
		b.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	}
	var is bool
	b.must(b.conn.QueryRow(ctx, query).Scan(&is))
	return is
}

func freePort(t testing.TB) int {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("listening on %s", l.Addr())
	}
	return address.Port
}

// startS3 starts the S3 server with a certificate of its own; pgBackRest speaks TLS only.
func (b *bench) startS3() {
	b.s3port = freePort(b.t)
	cert, key := b.certificate()
	root := b.folder("s3root")
	server := exec.CommandContext(context.WithoutCancel(b.t.Context()), "../.parts/versitygw", "--access", "benchkey", "--secret", "benchsecret", "--quiet", "--keep-alive",
		"--port", fmt.Sprintf("127.0.0.1:%d", b.s3port), "--cert", cert, "--key", key,
		"posix", "--versioning-dir", b.folder("versions"), root)
	b.must(server.Start())
	b.t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	b.must(os.Mkdir(filepath.Join(root, "bench"), 0o755))
	var dialer net.Dialer
	b.waitFor("the S3 server", func() bool {
		c, err := dialer.DialContext(b.t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", b.s3port))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func (b *bench) certificate() (cert, key string) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	b.must(err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &priv.PublicKey, priv)
	b.must(err)
	raw, err := x509.MarshalECPrivateKey(priv)
	b.must(err)
	cert, key = filepath.Join(b.dir, "cert.pem"), filepath.Join(b.dir, "key.pem")
	b.must(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	b.must(os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}), 0o600))
	b.ca = cert
	return cert, key
}

func (b *bench) waitFor(what string, done func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			b.t.Fatalf("waited three minutes for %s", what)
		}
		wait(context.Background(), 10*time.Millisecond)
	}
}

func (b *bench) startPostgres() {
	b.port = freePort(b.t)
	data := filepath.Join(b.folder("pgdata-socket"), "..", "pgdata")
	b.folder("pgdata")
	b.run(debianBin+"initdb", "-k", "-A", "trust", "-U", "postgres", "-D", data)
	conf := "listen_addresses=''\nunix_socket_directories='" + b.dir + "/pgdata-socket'\nshared_buffers=512MB\nmax_wal_size=8GB\n" +
		"wal_keep_size=3GB\narchive_mode=on\narchive_command='/bin/true'\ncheckpoint_timeout=1h\nautovacuum=off\n"
	f, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	b.must(err)
	_, err = f.WriteString(conf)
	b.must(err)
	b.must(f.Close())
	b.run(debianBin+"pg_ctl", "-D", data, "-l", data+"/log", "-w", "start", "-o", "-p "+strconv.Itoa(b.port))
	b.t.Cleanup(func() { _ = b.command(debianBin+"pg_ctl", "-D", data, "-m", "immediate", "stop").Run() })
	b.must(os.WriteFile(filepath.Join(b.dir, "pgbackrest.conf"), []byte(b.pgbackrestConf(data)), 0o644))
}

func (b *bench) pgbackrestConf(data string) string {
	return fmt.Sprintf(`[global]
repo1-type=s3
repo1-path=/pgbackrest
repo1-s3-bucket=bench
repo1-s3-endpoint=localhost
repo1-storage-host=localhost
repo1-storage-port=%d
repo1-storage-ca-file=%s
repo1-s3-region=us-east-1
repo1-s3-key=benchkey
repo1-s3-key-secret=benchsecret
repo1-s3-uri-style=path
repo1-bundle=y
compress-type=zst
compress-level=1
process-max=2
start-fast=y
archive-check=n
archive-async=y
log-level-console=warn
log-level-file=off
lock-path=%s
spool-path=%s
[main]
pg1-path=%s
pg1-port=%d
pg1-socket-path=%s
`, b.s3port, b.ca, b.folder("lock"), b.folder("spool"), data, b.port, b.dir+"/pgdata-socket")
}

// load makes the data set: pgbench's tables and a table as applications have them (uuid, time, jsonb, two indexes).
func (b *bench) load() {
	b.run(debianBin+"pgbench", "-i", "-q", "-s", strconv.Itoa(*scale))
	b.sql(fmt.Sprintf(`create table events as select gen_random_uuid() as id, now() - random() * interval '90 days' as at,
		jsonb_build_object('user', (random()*1e6)::int, 'action', (array['click','view','buy'])[1+(random()*2)::int],
		'path', '/p/' || md5(random()::text), 'ms', (random()*1000)::int) as payload from generate_series(1, %d)`, *rows))
	b.sql("create index on events (id)")
	b.sql("create index on events (at)")
	b.sql("checkpoint")
	b.t.Logf("cluster: %s", b.sql("select pg_size_pretty(sum(pg_database_size(oid))) from pg_database"))
}

func (b *bench) keep(scenario, contender string, f figure) {
	if b.results[scenario] == nil {
		b.results[scenario] = map[string][]figure{}
	}
	b.results[scenario][contender] = append(b.results[scenario][contender], f)
	b.t.Logf("%-8s %-24s wall %6.2fs cpu %6.2fs server %5.2fs rss %4d MiB stored %7.2f MB",
		scenario, contender, f.wall.Seconds(), f.cpu.Seconds(), f.server.Seconds(), f.rss>>20, float64(f.stored)/1e6)
}

// stored is the size of what lies under a prefix of the bucket now.
func (b *bench) stored(prefix string) int64 {
	var sum int64
	_ = filepath.Walk(filepath.Join(b.dir, "s3root", "bench", prefix), func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}

// serverCPU is the CPU time of all processes of the server's user that are PostgreSQL's, ended children of the postmaster included.
func (b *bench) serverCPU() time.Duration {
	pid := strings.SplitN(string(b.read(filepath.Join(b.dir, "pgdata", "postmaster.pid"))), "\n", 2)[0]
	stat := string(b.read("/proc/" + pid + "/stat"))
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+2:])
	var ticks int64
	for _, i := range []int{11, 12, 13, 14} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		b.must(err)
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100)
}

func (b *bench) read(path string) []byte {
	b.t.Helper()
	raw, err := os.ReadFile(path)
	b.must(err)
	return raw
}

// median of one figure over the rounds.
func median[T int64 | time.Duration](fs []figure, of func(figure) T) T {
	var v []T
	for _, f := range fs {
		v = append(v, of(f))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// report prints the tables of docs/BENCHMARKS.md. The ratio is the other's time over pgark's, pair by pair: above 1 pgark is faster.
func (b *bench) report() {
	for _, scenario := range []string{"backup", "restore", "wal", "recover", "recover_oltp", "copies", "encrypted backup", "encrypted restore", "encrypted wal"} {
		contenders := b.results[scenario]
		if len(contenders) == 0 {
			continue
		}
		fmt.Printf("\n### %s\n\n| contender | wall s | CPU s | server CPU s | peak MiB | stored MB | wall ratio to pgark |\n|---|---:|---:|---:|---:|---:|---:|\n", scenario)
		names := make([]string, 0, len(contenders))
		for n := range contenders {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			fs := contenders[n]
			var ratios []float64
			for i, f := range fs {
				if mine := contenders["pgark"]; i < len(mine) {
					ratios = append(ratios, f.wall.Seconds()/mine[i].wall.Seconds())
				}
			}
			slices.Sort(ratios)
			ratio := "-"
			if len(ratios) > 0 {
				ratio = fmt.Sprintf("%.2f (%.2f–%.2f)", ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1])
			}
			fmt.Printf("| %s | %.2f | %.2f | %.2f | %d | %.2f | %s |\n", n,
				median(fs, func(f figure) time.Duration { return f.wall }).Seconds(),
				median(fs, func(f figure) time.Duration { return f.cpu }).Seconds(),
				median(fs, func(f figure) time.Duration { return f.server }).Seconds(),
				median(fs, func(f figure) int64 { return f.rss })>>20,
				float64(median(fs, func(f figure) int64 { return f.stored }))/1e6, ratio)
		}
	}
}
