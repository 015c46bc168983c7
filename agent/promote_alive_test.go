package agent

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// refusingServer is a server that answers each connection with an error, and the connection string to it.
func refusingServer(t *testing.T, code, message string) string {
	t.Helper()
	dir := t.TempDir()
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1024)) // the startup message, which is short
			fields := "SFATAL\x00VFATAL\x00C" + code + "\x00M" + message + "\x00\x00"
			n := len(fields) + 4
			_, _ = conn.Write(append([]byte{'E', 0, 0, byte(n >> 8), byte(n)}, fields...))
			_ = conn.Close()
		}
	}()
	return "host=" + dir + " user=probe dbname=postgres connect_timeout=5"
}

// TestProbeThatIsRefused guards I5: a primary that does not let the probe in lives. One that nobody answers for, or a string that cannot be read, are told apart.
func TestProbeThatIsRefused(t *testing.T) {
	var alive *AliveError
	f, _ := quietPrimary(t)
	for name, test := range map[string]struct {
		probe string
		want  func(error) bool
	}{
		"a wrong password":    {refusingServer(t, "28P01", "password authentication failed"), func(err error) bool { return errors.As(err, &alive) }},
		"no connection left":  {refusingServer(t, "53300", "sorry, too many clients already"), func(err error) bool { return errors.As(err, &alive) }},
		"it begins":           {refusingServer(t, "57P03", "the database system is starting up"), func(err error) bool { return errors.As(err, &alive) }},
		"nobody is there":     {"host=" + t.TempDir() + " user=probe", func(err error) bool { return err == nil }},
		"a string of nothing": {"host=/x port=many", func(err error) bool { return err != nil && !errors.As(err, &alive) }},
	} {
		p := &promotion{fencing: f, options: PromoteOptions{Silence: 30 * time.Second, Probe: test.probe}}
		p.reach.Timeline, p.state.Replayed = 1, 3<<20
		if err := p.alive(t.Context()); !test.want(err) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// quietPrimary are two repositories to which a primary sent its last segment an hour ago, and their stores.
func quietPrimary(t *testing.T) (*fencing, []*memory.Store) {
	t.Helper()
	const mib = 1 << 20
	f, stores := fencePlaces(t, 2)
	began := time.Now()
	for i, store := range stores {
		store.SetClock(func() time.Time { return began.Add(-time.Hour) })
		e, err := repository.NewWALEncoder(compression.Zstd()).Encode(repository.WALObject{
			SystemID: 42, Timeline: 1, SegmentSize: mib, Kind: repository.KindSegment, Range: wal.Range{Start: 2 * mib, End: 3 * mib},
		}, make([]byte, mib))
		if err == nil {
			err = f.places[i].cluster.PutWAL(t.Context(), e)
		}
		if err != nil {
			t.Fatal(err)
		}
		store.SetClock(func() time.Time { return began })
	}
	return f, stores
}

// TestSilenceOfAnotherRepository: one in which no hold can be put, as one that a bucket fills, or that fails after it was opened, keeps nobody from taking over; its word that the primary
// lives counts.
func TestSilenceOfAnotherRepository(t *testing.T) {
	readOnly := func(s *memory.Store) { s.Fail(memory.Put, "*/holds/*", 0, storage.ErrDenied) }
	for name, test := range map[string]struct {
		script func(*memory.Store)
		alive  bool
	}{
		"it is read-only": {readOnly, false},
		"it fails":        {func(s *memory.Store) { s.Fail(memory.List, "", 0, storage.ErrUnavailable) }, false},
		"it is read-only, and the primary lives": {func(s *memory.Store) {
			for _, key := range s.Keys() {
				if strings.Contains(string(key), "/wal/") {
					s.Replace(key, s.Bytes(key)) // by its clock, now
				}
			}
			readOnly(s)
		}, true},
	} {
		f, stores := quietPrimary(t)
		test.script(stores[1])
		p := &promotion{fencing: f, options: PromoteOptions{Silence: 30 * time.Second}}
		p.reach.Timeline, p.state.Replayed = 1, 3<<20
		var alive *AliveError
		err := p.alive(t.Context())
		if got := errors.As(err, &alive); got != test.alive || !got && err != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestPromoteNamesOneServer guards I5: with several hosts in the connection string the question how far a standby is could go to one, and the order to be the primary to another.
func TestPromoteNamesOneServer(t *testing.T) {
	c := config.Cluster{Postgres: "host=" + t.TempDir() + "," + t.TempDir() + " user=postgres"}
	c.Repo.URL = "file://" + t.TempDir()
	var several *ConnectionError
	if _, err := Promote(t.Context(), c, PromoteOptions{}); !errors.As(err, &several) {
		t.Errorf("got %v, want a *ConnectionError", err)
	}
}

// TestHookThatRages: of what a hook prints without end the last is kept, and no more held.
func TestHookThatRages(t *testing.T) {
	var b lastBytes
	for range 100 {
		if n, err := b.Write([]byte(strings.Repeat("x", 3*hookSaid))); n != 3*hookSaid || err != nil {
			t.Fatal(n, err)
		}
		_, _ = b.Write([]byte("end"))
	}
	if len(b) != hookSaid || cap(b) > 4*hookSaid || !strings.HasSuffix(string(b), "xend") {
		t.Errorf("kept %d bytes in %d", len(b), cap(b))
	}
	run := runHook(t.Context(), config.Hook{Run: []string{"/bin/sh", "-c", "yes | head -c 1000000; echo done"}, Timeout: time.Minute}, []string{"PATH=" + hookPath})
	if run.Err != nil || len(run.Said) > hookSaid || !strings.HasSuffix(run.Said, "y\ndone") {
		t.Errorf("got %d bytes, %v", len(run.Said), run.Err)
	}
}
