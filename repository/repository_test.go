package repository_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

const goodMarker = `{"format":1,"repository_id":"0123456789abcdef0123456789abcdef","created":"2026-11-21T02:40:00Z"}`

func TestOpenAndCreate(t *testing.T) {
	store := memory.New()
	if _, err := repository.Open(t.Context(), store); !errors.Is(err, repository.ErrNoRepository) {
		t.Errorf("got %v, want ErrNoRepository", err)
	}
	if keys := store.Keys(); len(keys) != 0 {
		t.Errorf("Open wrote %v", keys)
	}
	var wg sync.WaitGroup
	ids := make([]string, 8)
	for i := range ids {
		wg.Go(func() {
			r, err := repository.Create(t.Context(), store)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = r.Marker().RepositoryID
		})
	}
	wg.Wait()
	if slices.Sort(ids); ids[0] != ids[len(ids)-1] || len(ids[0]) != 32 {
		t.Errorf("creators disagree: %v", ids)
	}
}

func TestMarkers(t *testing.T) {
	newer := strings.Replace(goodMarker, `:1,`, `:2,"shards":[],`, 1)
	for name, tt := range map[string]struct {
		text string
		want string
	}{
		"good":              {goodMarker, ""},
		"unknown field":     {strings.Replace(goodMarker, `{`, `{"note":"x",`, 1), ""},
		"newer":             {newer, "format"},
		"newer, other form": {`{"format":3,"repository_id":17}`, "format"},
		"empty":             {"", "corrupt"},
		"cut":               {goodMarker[:30], "corrupt"},
		"no format":         {`{"repository_id":"0123456789abcdef0123456789abcdef"}`, "corrupt"},
		"format 0":          {strings.Replace(goodMarker, `:1,`, `:0,`, 1), "corrupt"},
		"id":                {strings.Replace(goodMarker, "abcdef", "ABCDEF", 1), "corrupt"},
		"huge":              {goodMarker + strings.Repeat(" ", 1<<17), "large"},
	} {
		store := memory.New()
		store.Replace("pgark.json", []byte(tt.text))
		_, errOpen := repository.Open(t.Context(), store)
		_, errCreate := repository.Create(t.Context(), store)
		for _, err := range []error{errOpen, errCreate} {
			var format *repository.FormatError
			var corrupt *repository.CorruptError
			got := ""
			switch {
			case errors.As(err, &format):
				got = "format"
			case errors.As(err, &corrupt):
				got = "corrupt"
			case errors.Is(err, storage.ErrTooLarge):
				got = "large"
			case err != nil:
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("%s: got %v, want %q", name, err, tt.want)
			}
		}
		if string(store.Bytes("pgark.json")) != tt.text || len(store.Keys()) != 1 {
			t.Errorf("%s: something was written", name)
		}
	}
}

func TestCreateFails(t *testing.T) {
	store := memory.New()
	store.Fail(memory.Put, "", 1, errScripted)
	if _, err := repository.Create(t.Context(), store); !errors.Is(err, errScripted) {
		t.Errorf("got %v", err)
	}
	store.Reset()
	store.LoseResponse(memory.Put, "", 1)
	if _, err := repository.Create(t.Context(), store); !storage.Retryable(err) {
		t.Errorf("got %v", err)
	}
	if _, err := repository.Create(t.Context(), store); err != nil {
		t.Errorf("again: %v", err)
	}
	store.Reset()
	store.Fail(memory.Get, "", 1, storage.ErrDenied)
	if _, err := repository.Create(t.Context(), store); !errors.Is(err, storage.ErrDenied) {
		t.Errorf("got %v, want ErrDenied", err)
	}
}

func TestClusters(t *testing.T) {
	store := memory.New()
	r, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []storage.Key{"7/wal/00000001/a", "7/wal/00000001/b", "70/beats/x", "8/backups/x", "notes/a", "notes/b", "pgark-probe", "0/a", "18446744073709551615/a"} {
		store.Replace(key, []byte("x"))
	}
	got, err := r.Clusters(t.Context())
	slices.Sort(got)
	if want := []wal.SystemID{7, 8, 70, 18446744073709551615}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	store.Fail(memory.List, "", 2, storage.ErrUnavailable)
	if _, err := r.Clusters(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

func beat(seconds int, lsn wal.LSN) repository.Beat {
	return repository.Beat{Time: modTime.Add(time.Duration(seconds) * time.Second), Timeline: 1, LSN: lsn}
}

func TestBeats(t *testing.T) {
	c, store := cluster(t)
	if _, found, err := c.NewestBeat(t.Context()); found || err != nil {
		t.Errorf("no beat: got %t, %v", found, err)
	}
	late := beat(10, 500)
	late.Time = late.Time.Add(999 * time.Millisecond)
	for _, b := range []repository.Beat{beat(0, 400), late, late} {
		if err := c.PutBeat(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	got, found, err := c.NewestBeat(t.Context())
	if err != nil || !found || got != beat(10, 500) {
		t.Errorf("got %+v, %t, %v", got, found, err)
	}
	if n := len(store.Keys()); n != 2 {
		t.Errorf("%d objects, want the marker and a beat", n)
	}
	// A new process removes what another left.
	store.Fail(memory.Delete, "", 0, storage.ErrDenied)
	if err := c.PutBeat(t.Context(), beat(20, 600)); err != nil {
		t.Errorf("no right to delete: got %v, want nil", err)
	}
	store.Reset()
	if err := openCluster(t, store).PutBeat(t.Context(), beat(30, 700)); err != nil {
		t.Fatal(err)
	}
	if n := len(store.Keys()); n != 2 {
		t.Errorf("%d objects, want the marker and a beat: %v", n, store.Keys())
	}
	// An older beat, of a server whose clock went back, deletes no newer one.
	if err := openCluster(t, store).PutBeat(t.Context(), beat(25, 800)); err != nil {
		t.Fatal(err)
	}
	if got, _, err := c.NewestBeat(t.Context()); err != nil || got != beat(30, 700) {
		t.Errorf("got %+v, %v", got, err)
	}
	var corrupt *repository.CorruptError
	key := storage.Key(system.String()+"/beats/") + repository.BeatName(beat(30, 700))
	for _, text := range []string{"", "{}", strings.Replace(string(store.Bytes(key)), "2BC", "2BD", 1)} {
		store.Replace(key, []byte(text))
		if _, _, err := c.NewestBeat(t.Context()); !errors.As(err, &corrupt) {
			t.Errorf("%q: got %v, want a *CorruptError", text, err)
		}
	}
}

// TestNewestOfManyBeats counts what the newest of many thousand beats costs.
func TestNewestOfManyBeats(t *testing.T) {
	many := 20_000
	if testing.Short() {
		many = 5000
	}
	for _, n := range []int{999, 1000, 1001, 1002, many} {
		c, store := cluster(t)
		prefix := storage.Key(system.String() + "/beats/")
		store.Replace(prefix+"99991231T235959Z-junk", nil)
		at := 0
		for i := range n {
			at += 10
			if i%1000 == 0 {
				at += 100_000 // the agent was away
			}
			store.Replace(prefix+repository.BeatName(beat(at, wal.LSN(i))), []byte("{}"))
		}
		want := beat(at, wal.LSN(n-1))
		key := prefix + repository.BeatName(want)
		store.Replace(key, []byte(`{"time":"`+want.Time.Format(time.RFC3339)+`","timeline":1,"lsn":"`+want.LSN.String()+`"}`))
		store.Reset()
		got, found, err := c.NewestBeat(t.Context())
		if err != nil || !found || got != want {
			t.Errorf("%d: got %+v, %t, %v, want %+v", n, got, found, err, want)
		}
		if calls := store.Count(memory.List, ""); calls > 60 {
			t.Errorf("%d: %d lists", n, calls)
		}
	}
}

// TestBeatsInTheYear9999 must end.
func TestBeatsInTheYear9999(t *testing.T) {
	c, store := cluster(t)
	end := time.Date(9999, 12, 31, 22, 0, 0, 0, time.UTC)
	for i := range 1500 {
		b := repository.Beat{Time: end.Add(time.Duration(i) * time.Second), Timeline: 1, LSN: 1}
		store.Replace(storage.Key(system.String()+"/beats/")+repository.BeatName(b), []byte("{}"))
	}
	var corrupt *repository.CorruptError
	if _, _, err := c.NewestBeat(t.Context()); !errors.As(err, &corrupt) || !strings.Contains(err.Error(), "99991231T222459Z") {
		t.Errorf("got %v, want that the last is corrupt", err)
	}
}

func FuzzMarker(f *testing.F) {
	f.Add([]byte(goodMarker))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := repository.ParseMarker(text)
		if err == nil && (m.Format != 1 || len(m.RepositoryID) != 32) {
			t.Errorf("accepted %+v", m)
		}
	})
}

func FuzzBeatName(f *testing.F) {
	f.Add(string(repository.BeatName(beat(0, 77))))
	f.Fuzz(func(t *testing.T, s string) {
		if b, ok := repository.ParseBeatName(s); ok && string(repository.BeatName(b)) != s {
			t.Errorf("got %s, want %s", repository.BeatName(b), s)
		}
	})
}

func FuzzRecord(f *testing.F) {
	rec := goodRecord(f)
	text, err := rec.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		// The hash is made right, so that what is behind it is reached.
		b, err := repository.ParseBackup(resealed(text))
		if err != nil {
			return
		}
		again, err := b.Encode()
		if err != nil {
			t.Fatalf("accepted what cannot be encoded: %v", err)
		}
		if _, err := repository.ParseBackup(again); err != nil {
			t.Errorf("encoded what is not accepted: %v", err)
		}
	})
}
