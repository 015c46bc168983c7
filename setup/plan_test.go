package setup_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/setup"
)

func stock() setup.Server {
	return setup.Server{
		Endpoints: []postgres.Endpoint{{Host: "/var/run/postgresql", Port: 5432}}, Version: "17.6", Number: 170006,
		WALLevel: "replica", WALSenders: 10, Slots: 10, SlotLimit: -1, Rules: debian(), Known: true,
	}
}

func wished() setup.Wish {
	return setup.Wish{Cluster: "main", Repo: "s3://acme-pg/main?region=eu-west-1", Role: "pgark", User: "pgark", Free: 100 << 30}
}

func TestPlanOfAStockServer(t *testing.T) {
	p := setup.Make(stock(), wished())
	if want := []string{"CREATE ROLE pgark LOGIN REPLICATION;", "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB';", "SELECT pg_reload_conf();"}; !slices.Equal(p.SQL, want) {
		t.Errorf("SQL: got %q, want %q", p.SQL, want)
	}
	if len(p.HBA)+len(p.Ident)+len(p.Problems) > 0 || p.NeedsPassword || p.Guessed {
		t.Errorf("a stock server wants more: %+v", p)
	}
	var lines []string
	for line := range strings.Lines(p.YAML) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	want := "clusters:\n  main:\n    postgres: host=/var/run/postgresql user=pgark\n    repo: s3://acme-pg/main?region=eu-west-1\n"
	if got := strings.Join(lines, ""); got != want {
		t.Errorf("configuration: got\n%s\nwant\n%s", got, want)
	}
}

func TestPlanOfWhatIsThere(t *testing.T) {
	s := stock()
	s.Role, s.SlotLimit = setup.RoleState{Exists: true, Login: true, Replication: true}, 1024
	if p := setup.Make(s, wished()); len(p.SQL) > 0 {
		t.Errorf("nothing is lacking: got %q", p.SQL)
	}
	s.Role.Replication = false
	if p := setup.Make(s, wished()); !slices.Equal(p.SQL, []string{"ALTER ROLE pgark LOGIN REPLICATION;"}) {
		t.Errorf("a role that may not replicate: got %q", p.SQL)
	}
}

func TestPlanOfAccess(t *testing.T) {
	s, w := stock(), wished()
	w.User = "postgres"
	p := setup.Make(s, w)
	if want := []string{"local  replication  pgark  peer map=pgark", "local  postgres     pgark  peer map=pgark"}; !slices.Equal(p.HBA, want) {
		t.Errorf("pg_hba.conf: got %q, want %q", p.HBA, want)
	}
	if want := []string{"pgark  postgres  pgark"}; !slices.Equal(p.Ident, want) {
		t.Errorf("pg_ident.conf: got %q, want %q", p.Ident, want)
	}
	s.Endpoints[0].Host = "127.0.0.1"
	if p := setup.Make(s, w); !p.NeedsPassword || len(p.HBA) > 0 {
		t.Errorf("over TCP: got %+v, want a password alone", p)
	}
	s.Rules = nil
	if p := setup.Make(s, w); !p.NeedsPassword || !slices.Contains(p.HBA, "host   replication  pgark  samehost  scram-sha-256") {
		t.Errorf("over TCP without rules: got %+v", p)
	}
	s.Known = false
	if p := setup.Make(s, w); !p.Guessed || len(p.HBA) > 0 {
		t.Errorf("rules that cannot be read: got %+v", p)
	}
}

func TestPlanOfAServerThatNeedsARestart(t *testing.T) {
	s := stock()
	s.WALLevel, s.WALSenders, s.Slots, s.Standby = "minimal", 0, 0, true
	p := setup.Make(s, wished())
	for i, want := range []string{"wal_level", "max_wal_senders", "max_replication_slots", "standby"} {
		if i >= len(p.Problems) || !strings.Contains(p.Problems[i], want) {
			t.Errorf("problems: got %q, want %s among them", p.Problems, want)
		}
	}
}

func TestConnection(t *testing.T) {
	w := wished()
	w.Role = "back up"
	s := stock()
	s.Endpoints = []postgres.Endpoint{{Host: "a", Port: 5432}, {Host: "b", Port: 5433}}
	if got, want := setup.Connection(s, w), "host=a,b port=5432,5433 user='back up'"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	w.Service = "main"
	if got, want := setup.Connection(s, w), "service=main user='back up'"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if p := setup.Make(stock(), setup.Wish{Cluster: "main", Repo: "file:///a", Role: `a"b`, User: "x"}); p.SQL[0] != `CREATE ROLE "a""b" LOGIN REPLICATION;` {
		t.Errorf("a role's name is not quoted: %s", p.SQL[0])
	}
}

func TestSlotLimit(t *testing.T) {
	for free, want := range map[uint64]string{0: "64GB", 1 << 20: "256MB", 3 << 30: "1GB", 1 << 30: "512MB", 1 << 40: "512GB"} {
		if got := setup.SlotLimit(free); got != want {
			t.Errorf("%d bytes free: got %s, want %s", free, got, want)
		}
	}
}

func TestSockets(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".s.PGSQL.5433", ".s.PGSQL.5432"} {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
	}
	if err := os.WriteFile(filepath.Join(dir, ".s.PGSQL.5432.lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := []postgres.Endpoint{{Host: dir, Port: 5432}, {Host: dir, Port: 5433}}
	if got := setup.Sockets([]string{dir, dir, "/nonexistent"}); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestServices(t *testing.T) {
	file := filepath.Join(t.TempDir(), "services")
	if err := os.WriteFile(file, []byte("# mine\n[main]\nhost=a\n[other]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := setup.Services(file); !slices.Equal(got, []string{"main", "other"}) {
		t.Errorf("got %q", got)
	}
}
