package postgres_test

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/postgres/postgrestest"
)

// TestTCPParameters reads back what the kernel was told of a connection: libpq's parameters where the string has them, and otherwise what
// finds out within half a minute that the other side has vanished. None of them goes to the server, which would refuse the connection.
func TestTCPParameters(t *testing.T) {
	for params, want := range map[string][5]int{
		"": {1, 15, 5, 3, 30000},
		" keepalives=1 keepalives_idle=40 keepalives_interval=7 keepalives_count=4 tcp_user_timeout=2500": {1, 40, 7, 4, 2500},
		" keepalives=0 tcp_user_timeout=0":       {0, -1, -1, -1, 0},
		" keepalives_idle=0 keepalives_count=-1": {1, -1, 5, -1, 30000},
	} {
		conn := postgrestest.Serve(t, func(s *postgrestest.Session) {
			if start := s.Accept(nil); len(start) != 3 { // user, application_name, replication
				t.Errorf("%q: the server was told %v", params, start)
			}
			s.ExpectEnd()
		})
		connect(t, conn+params)
		_, port := host(conn)
		got := tcpOptions(t, port)
		for i, name := range []string{"SO_KEEPALIVE", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"} {
			if want[i] >= 0 && got[i] != want[i] {
				t.Errorf("%q: %s: got %d, want %d", params, name, got[i], want[i])
			}
		}
	}
}

// tcpOptions asks the kernel about this process's connection to a port.
func tcpOptions(t *testing.T, port string) (options [5]int) {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("this system does not list what is open: %v", err)
	}
	for _, entry := range open {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		peer, err := unix.Getpeername(fd)
		if err != nil {
			continue // no socket, or not connected
		}
		if to, ok := peer.(*unix.SockaddrInet4); !ok || strconv.Itoa(to.Port) != port {
			continue
		}
		for i, option := range [5][2]int{
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
			{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
		} {
			if options[i], err = unix.GetsockoptInt(fd, option[0], option[1]); err != nil {
				t.Fatal(err)
			}
		}
		return options
	}
	t.Fatalf("no connection to port %s is open", port)
	return options
}

func TestTCPParametersThatAreNoNumbers(t *testing.T) {
	for _, params := range []string{"keepalives=yes", "keepalives_count=", "tcp_user_timeout=5s"} {
		if _, err := postgres.ParseConfig("host=127.0.0.1 " + params); err == nil {
			t.Errorf("%s: got no error", params)
		}
	}
}
