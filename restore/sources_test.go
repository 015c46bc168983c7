package restore_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/restore"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// ofBoth opens the made-up cluster in a primary and its copy.
func ofBoth(primary, dr storage.Store) func(context.Context) (*repository.Cluster, error) {
	return func(ctx context.Context) (*repository.Cluster, error) {
		r, _, err := repository.OpenSources(ctx, []repository.Source{{Name: "primary", Store: primary}, {Name: "dr", Store: dr}})
		if err != nil {
			return nil, err
		}
		return r.Cluster(fakeSystem), nil
	}
}

// TestFetchFromCopies guards I22 and I25: a server that recovers gets a segment or history file that one repository lost, or holds damaged, from
// another. What no one gives is an error that says where and when, and is never taken for the end of WAL.
func TestFetchFromCopies(t *testing.T) {
	whole := memory.New()
	repo, err := repository.Create(t.Context(), whole)
	if err != nil {
		t.Fatal(err)
	}
	f := newFetched(t, repo.Cluster(fakeSystem))
	third := storage.Key(fakeSystem.String() + "/wal/00000001/" + name(1, 3) + ".zst")
	last := storage.Key(fakeSystem.String() + "/wal/00000002/" + name(2, 6) + ".part/")
	history := storage.Key(fakeSystem.String() + "/wal/00000002.history")
	damaged := whole.Clone()
	for _, key := range whole.Keys() {
		switch {
		case key == third:
			b := damaged.Bytes(key)
			b[len(b)/2] ^= 1
			damaged.Replace(key, b)
		case key == history || strings.HasPrefix(string(key), string(last)):
			damaged.Replace(key, nil)
		}
	}
	fetch := func(primary, dr storage.Store, file string, o restore.FetchOptions) ([]byte, int, error) {
		path := filepath.Join(t.TempDir(), "RECOVERYXLOG")
		result, err := restore.Fetch(t.Context(), ofBoth(primary, dr), file, path, o)
		b, _ := os.ReadFile(path)
		return b, restore.ExitCode(result, err, false), err
	}
	for file, want := range map[string][]byte{
		name(1, 3): padded(f.one[lsn(3)-lsn(2):]), name(2, 6): padded(f.two[lsn(6)-lsn(4):]), "00000002.history": []byte(historyTwo),
	} {
		if got, code, err := fetch(damaged, whole, file, restore.FetchOptions{}); code != 0 || !bytes.Equal(got, want) {
			t.Errorf("%s: exit %d, %v, %d bytes", file, code, err, len(got))
		}
	}
	if _, code, err := fetch(damaged, damaged, "00000002.history", restore.FetchOptions{}); code != 200 {
		t.Errorf("a history that both lost: exit %d, %v", code, err)
	}
	_, code, err := fetch(damaged, damaged, name(1, 3), restore.FetchOptions{})
	var damage *restore.DamageError
	if code != 200 || !errors.As(err, &damage) || damage.Range != mib.Range(3) || damage.Timeline != 1 {
		t.Fatalf("damaged in both: exit %d, %v", code, err)
	}
	for _, word := range []string{"0/300000", "0/400000", string(third), "primary: ", "dr: "} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error lacks %q: %v", word, err)
		}
	}

	// The primary is away. A copy may be behind it, so that the end of what it holds is no end; a plan knows where to end.
	away := whole.Clone()
	away.Fail(memory.Any, "", 0, storage.ErrUnavailable)
	for _, file := range []string{name(2, 7), "00000003.history"} {
		if _, code, err := fetch(away, whole, file, restore.FetchOptions{}); code != 200 || !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s, the primary is away: exit %d, %v", file, code, err)
		}
		if _, code, err := fetch(whole, away, file, restore.FetchOptions{}); code != 1 {
			t.Errorf("%s, the copy is away: exit %d, %v", file, code, err)
		}
		if _, code, err := fetch(away, whole, file, restore.FetchOptions{Until: lsn(6.25), Timeline: 2}); code != 1 {
			t.Errorf("%s, planned, the primary is away: exit %d, %v", file, code, err)
		}
	}
}

// TestDamageTimes: who loses WAL is told when its transactions were, by its own header or by those of the segments beside it.
func TestDamageTimes(t *testing.T) {
	store := memory.New()
	repo, err := repository.Create(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	m := newWALMaker(lsn(2))
	for i := range 40 {
		m.filler(7, 70_000)
		m.end(0, wal.XID(100+i), at(float64(i)))
	}
	m.archive(t, repo.Cluster(fakeSystem), nil, nil)
	key := storage.Key(fakeSystem.String() + "/wal/00000001/" + name(1, 3) + ".zst")
	body := store.Bytes(key)
	var times [2][2]wal.Time
	for i, place := range []int{len(body) - 9, 40} { // in the content, in the header
		bad := store.Clone()
		b := bytes.Clone(body)
		b[place] ^= 1
		bad.Replace(key, b)
		_, err := restore.Fetch(t.Context(), opener(bad), name(1, 3), filepath.Join(t.TempDir(), "x"), restore.FetchOptions{})
		var damage *restore.DamageError
		if !errors.As(err, &damage) {
			t.Fatalf("byte %d: %v", place, err)
		}
		times[i] = [2]wal.Time{damage.From, damage.Until}
	}
	if own := times[0]; own[0] <= at(0) || own[0] >= own[1] || own[1] >= at(39) {
		t.Errorf("of its own header: %v", times[0])
	}
	if times[1][0] >= times[0][0] || times[1][1] <= times[0][1] || times[1][1] == 0 {
		t.Errorf("of those beside it: %v, its own: %v", times[1], times[0])
	}
}

// TestLayDownFromCopies: each object of a backup in turn is damaged in the primary, and the cluster is laid down with every byte right.
func TestLayDownFromCopies(t *testing.T) {
	members := smallDirectory()
	store, plan := fakeBackup(t, nil, pack{"base", members[:12]}, pack{"base", members[12:]})
	for _, key := range store.Keys() {
		if !strings.Contains(string(key), ".tar") && !strings.Contains(string(key), "index") {
			continue
		}
		primary := store.Clone()
		b := primary.Bytes(key)
		b[2*len(b)/5] ^= 1
		primary.Replace(key, b)
		r, s, err := repository.OpenSources(t.Context(), []repository.Source{{Name: "primary", Store: primary}, {Name: "dr", Store: store}})
		if err != nil {
			t.Fatal(err)
		}
		o := layInto(t)
		if _, err := restore.LayDown(t.Context(), r.Cluster(fakeSystem), plan, o); err != nil {
			t.Fatal(err)
		}
		checkFiles(t, o.Dir, members)
		if list, _ := s.Substitutes(); len(list) != 1 || list[0].Key != key || list[0].Source != "dr" {
			t.Errorf("%s: got %v", key, list)
		}
	}
}
