package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// network is a network namespace: what runs in it reaches this host by two links and nothing else, one for the server and one for the store,
// so that it can be parted from each alone.
type network struct {
	name   string
	server *link
	store  *link
}

// link is a pair of network interfaces, one of them in the namespace.
type link struct {
	t       testing.TB
	network string
	near    string // the interface on this host
	far     string // the interface in the namespace
	host    string // address on this host, for proxies to listen at

	parted  bool
	crossed uint64 // packets that had come through when it was parted
}

var networks atomic.Int32 // made by this process

// newNetwork makes a namespace, which goes with the test. Call it before what runs in it is started: clean-up takes the other way.
func newNetwork(t testing.TB) *network {
	t.Helper()
	needNetworks(t)
	sweepNetworks(t)
	serial := networks.Add(1)
	n := &network{name: fmt.Sprintf("pgark-%d-%d", os.Getpid(), serial)}
	mustIP(t, "netns", "add", n.name)
	t.Cleanup(func() {
		if err := removeNetwork(t, n.name); err != nil {
			t.Error(err)
		}
	})
	mustIP(t, "-n", n.name, "link", "set", "lo", "up")
	free := freePairs(t, 2)
	n.server = newLink(t, n.name, "server", free[0])
	n.store = newLink(t, n.name, "store", free[1])
	return n
}

// needNetworks skips the test, or fails it where nothing may be missing, unless namespaces can be made here.
func needNetworks(t testing.TB) {
	t.Helper()
	missing := ""
	for _, program := range []string{"ip", "tc"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = program + " is missing: run integration/parts.sh iproute2"
		}
	}
	if os.Geteuid() != 0 {
		missing = "network namespaces are root's to make"
	}
	switch {
	case missing == "":
	case os.Getenv("REQUIRE_ALL") == "1":
		t.Fatal(missing)
	default:
		t.Skip(missing)
	}
}

// newLink joins this host and a namespace by a pair of addresses.
//
// Each side knows the other's hardware address for good: when packets vanish nobody can ask for it any more, and a connection would fail with
// EHOSTUNREACH within seconds, as only a neighbour's does. Nor do the interfaces speak IPv6 by themselves: each packet is the agent's or for it.
func newLink(t testing.TB, network, far string, address netip.Addr) *link {
	t.Helper()
	l := &link{t: t, network: network, near: nearName(network, far), far: far, host: address.String()}
	other := address.Next().String()
	const nearMAC, farMAC = "02:70:67:00:00:01", "02:70:67:00:00:02" // locally administered; nobody else is on the wire
	mustIP(t, "link", "add", l.near, "address", nearMAC, "type", "veth", "peer", "name", l.far, "address", farMAC, "netns", network)
	for _, side := range []struct{ in, name, address, peer, mac string }{
		{"", l.near, l.host, other, farMAC},
		{network, l.far, other, l.host, nearMAC},
	} {
		ip := func(args ...string) {
			if side.in != "" {
				args = append([]string{"-n", side.in}, args...)
			}
			mustIP(t, args...)
		}
		ip("link", "set", side.name, "addrgenmode", "none")
		ip("address", "add", side.address+"/30", "dev", side.name)
		ip("link", "set", side.name, "up")
		ip("neighbour", "replace", side.peer, "lladdr", side.mac, "dev", side.name, "nud", "permanent")
	}
	return l
}

// nearName is unique on this host and fits into the 15 bytes of an interface's name.
func nearName(network, far string) string {
	return strings.Replace(network, "pgark-", "pg", 1) + far[:2]
}

// freePairs finds networks of four addresses that this host is in none of, and returns the first host's address of each. They are of the range
// for tests between networks (RFC 2544), which no real network has.
func freePairs(t testing.TB, count int) (found []netip.Addr) {
	t.Helper()
	const pairs = 1 << 15 // in 198.18.0.0/15
	taken, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for i := range pairs {
		at := (os.Getpid()*8 + i) % pairs * 4
		pair := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18 + byte(at>>16), byte(at >> 8), byte(at)}), 30)
		if slices.ContainsFunc(taken, func(a net.Addr) bool {
			prefix, err := netip.ParsePrefix(a.String())
			return err == nil && prefix.Overlaps(pair)
		}) {
			continue
		}
		if found = append(found, pair.Addr().Next()); len(found) == count {
			return found
		}
	}
	t.Fatal("no addresses are free for a network")
	return nil
}

// part lets every packet vanish on its way, in both directions. Nobody is told: an interface that is down, or a route that is gone, would
// answer at once (ENETUNREACH), and the other side of a link that is down sees that it has no carrier. A queue that drops what it is given
// (blackhole, in every kernel that has queues at all; netem often is not there) says nothing, and counts.
func (l *link) part() {
	l.t.Helper()
	l.tc("qdisc", "add", "dev", l.near, "root", "blackhole")
	l.tc("-n", l.network, "qdisc", "add", "dev", l.far, "root", "blackhole")
	l.parted, l.crossed = true, l.packets()
}

// vanished counts the packets from the namespace that were lost since the link was parted.
func (l *link) vanished() (n int) {
	l.t.Helper()
	var queues []struct {
		Kind  string
		Drops int
	}
	out := l.tc("-n", l.network, "-s", "-j", "qdisc", "show", "dev", l.far)
	if err := json.Unmarshal(out, &queues); err != nil {
		l.t.Fatalf("tc: %v\n%s", err, out)
	}
	for _, q := range queues {
		if q.Kind == "blackhole" {
			n += q.Drops
		}
	}
	return n
}

// mend lets packets through again, checks that none came through before, and returns how many from the namespace were lost.
func (l *link) mend() (lost int) {
	l.t.Helper()
	if !l.parted {
		return 0
	}
	l.parted = false
	lost = l.vanished()
	if n := l.packets() - l.crossed; n > 0 {
		l.t.Errorf("%d packets came through a network that was parted", n)
	}
	l.tc("qdisc", "delete", "dev", l.near, "root")
	l.tc("-n", l.network, "qdisc", "delete", "dev", l.far, "root")
	return lost
}

// packets counts what came through, either way.
func (l *link) packets() (n uint64) {
	l.t.Helper()
	for _, name := range []string{"rx_packets", "tx_packets"} {
		raw, err := os.ReadFile(filepath.Join("/sys/class/net", l.near, "statistics", name))
		if err != nil {
			l.t.Fatal(err)
		}
		count, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
		if err != nil {
			l.t.Fatal(err)
		}
		n += count
	}
	return n
}

func (l *link) tc(args ...string) []byte {
	l.t.Helper()
	out, err := networkCommand(l.t, "tc", args...)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

func mustIP(t testing.TB, args ...string) {
	t.Helper()
	if _, err := networkCommand(t, "ip", args...); err != nil {
		t.Fatal(err)
	}
}

// networkCommand runs ip or tc, also in clean-up.
func networkCommand(t testing.TB, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	return out, nil
}

// removeNetwork removes the links first: a namespace lives on while a socket of a process that has ended still tries to say goodbye in it.
func removeNetwork(t testing.TB, name string) error {
	var errs []error
	for _, far := range []string{"server", "store"} {
		near := nearName(name, far)
		if _, err := os.Stat(filepath.Join("/sys/class/net", near)); err == nil {
			_, err := networkCommand(t, "ip", "link", "delete", near)
			errs = append(errs, err)
		}
	}
	_, err := networkCommand(t, "ip", "netns", "delete", name)
	return errors.Join(append(errs, err)...)
}

var networkName = regexp.MustCompile(`^pgark-(\d+)-\d+$`)

// sweepNetworks removes what a test process left behind that was killed.
func sweepNetworks(t testing.TB) {
	t.Helper()
	names, err := os.ReadDir("/run/netns")
	if errors.Is(err, os.ErrNotExist) {
		return // there has been none yet
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range names {
		m := networkName.FindStringSubmatch(entry.Name())
		if m == nil {
			continue
		}
		pid, err := strconv.Atoi(m[1])
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			if err := removeNetwork(t, entry.Name()); err != nil {
				t.Log(err) // another test process may be at it too
			}
		}
	}
}

// in returns the tool that runs within a namespace. `ip netns exec` and setpriv become what they start: its process is pgark.
func (p tool) in(n *network) tool {
	p.network = n.name
	return p
}
