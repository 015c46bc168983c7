package repository_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/encryption"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/storage/memory"
	"github.com/pgark/pgark/wal"
)

// testKeys are two key pairs made for a test, and proof keys.
type testKeys struct {
	first, second *age.X25519Identity
}

func newTestKeys(t testing.TB) testKeys {
	t.Helper()
	first, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	second, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return testKeys{first, second}
}

func toKeys(t testing.TB, keys ...*age.X25519Identity) encryption.Recipients {
	t.Helper()
	var text string
	for _, k := range keys {
		text += k.Recipient().String() + "\n"
	}
	r, err := encryption.ParseRecipients([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func withKeys(t testing.TB, keys ...*age.X25519Identity) encryption.Identities {
	t.Helper()
	var text string
	for _, k := range keys {
		text += k.String() + "\n"
	}
	i, err := encryption.ParseIdentities([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func proofKeys(t testing.TB, bytes ...string) encryption.ProofKeys {
	t.Helper()
	var text string
	for _, b := range bytes {
		text += strings.Repeat(b, encryption.ProofSize) + "\n"
	}
	p, err := encryption.ParseProofKeys([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// publicHost has public keys and a proof key alone.
func publicHost(t testing.TB, k testKeys) encryption.Keys {
	return encryption.Keys{Recipients: toKeys(t, k.first, k.second), Proofs: proofKeys(t, "0a")}
}

// encodeFor encodes as the archiver of c does.
func encodeFor(t testing.TB, c *repository.Cluster, o repository.WALObject, plain []byte) *repository.EncodedWAL {
	t.Helper()
	encoder := repository.NewWALEncoder(compression.Zstd())
	c.Prove(encoder)
	e, err := encoder.Encode(o, plain)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// sealedArchive is archive, written by a host that has public keys alone.
func sealedArchive(t testing.TB, k testKeys) *memory.Store {
	t.Helper()
	c, store := cluster(t)
	c = c.With(publicHost(t, k))
	for n := wal.SegmentNumber(1); n < 4; n++ {
		span := segSize.Range(n)
		o := object(repository.KindSegment, 1, segSize, span)
		if err := c.PutWAL(t.Context(), encodeFor(t, c, o, walBytes(span))); err != nil {
			t.Fatal(err)
		}
	}
	for _, span := range []wal.Range{r(4*mib, 4*mib+500), r(4*mib+500, 4*mib+900)} {
		o := object(repository.KindPiece, 1, segSize, span)
		if err := c.PutWAL(t.Context(), encodeFor(t, c, o, walBytes(span))); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := writeBackup(t, c, compression.Zstd(), smallDirectory()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutDrill(t.Context(), frozenDrill(), frozenNames()); err != nil {
		t.Fatal(err)
	}
	return store
}

// TestSealedIsNowhereInClear guards I38 (T13): of what is in WAL, in files and in names nothing lies in the store.
func TestSealedIsNowhereInClear(t *testing.T) {
	store := sealedArchive(t, newTestKeys(t))
	needles := [][]byte{[]byte("base/2"), manifest()[:40], []byte("orders_pkey")}
	for _, m := range smallDirectory() {
		if len(m.content) > 64 {
			needles = append(needles, m.content[:16])
		}
	}
	sealed := 0
	for _, key := range store.Keys() {
		body := store.Bytes(key)
		for _, n := range needles {
			if bytes.Contains(body, n) {
				t.Errorf("%s holds %q", key, n)
			}
		}
		if bytes.Contains(body, []byte{0x28, 0xB5, 0x2F, 0xFD}) && len(body) < 1<<20 { // zstd's magic
			t.Errorf("%s holds a zstd frame", key)
		}
		if strings.HasSuffix(string(key), ".age") {
			sealed++
		} else if !strings.HasSuffix(string(key), ".json") {
			t.Errorf("%s is not encrypted", key)
		}
	}
	if sealed < 5+3+2 {
		t.Errorf("%d objects are encrypted", sealed)
	}
}

// TestSealedReads: each of the private keys reads all, none or another reads what is in clear and says that it lacks the key.
func TestSealedReads(t *testing.T) {
	k, other := newTestKeys(t), newTestKeys(t)
	store := sealedArchive(t, k)
	for name, keys := range map[string]encryption.Identities{"first": withKeys(t, k.first), "recovery": withKeys(t, other.first, k.second)} {
		c := openCluster(t, store).With(encryption.Keys{Identities: keys})
		if _, err := readAll(t, c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for n := wal.SegmentNumber(1); n < 5; n++ {
			want := walBytes(segSize.Range(n))
			if n == 4 {
				want = walBytes(r(4*mib, 4*mib+900))
			}
			if got, err := c.ReadSegment(t.Context(), segSize, wal.SegmentID{Timeline: 1, Number: n}); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: segment %d: %d bytes, %v", name, n, len(got), err)
			}
		}
		d, err := c.Drill(t.Context(), frozenDrill().ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, check := range d.Checks {
			if check.Got != "" || check.Result == repository.CheckFailed && check.Detail != "" || strings.Contains(d.Failure, "got") {
				t.Errorf("%s: the report says what checks found: %+v, %s", name, check, d.Failure)
			}
		}
		if names, err := c.DrillNames(t.Context(), d); err != nil || names.Count() != frozenNames().Count() {
			t.Errorf("%s: names: %v", name, err)
		}
	}
	for name, test := range map[string]struct {
		keys encryption.Identities
		want error
	}{"none": {encryption.Identities{}, encryption.ErrNoKey}, "wrong": {withKeys(t, other.first), encryption.ErrWrongKey}} {
		c := openCluster(t, store).With(encryption.Keys{Identities: test.keys})
		backups, err := c.Backups(t.Context())
		if err != nil || len(backups) != 1 {
			t.Fatal(backups, err)
		}
		var key *repository.KeyError
		for what, err := range map[string]error{
			"backup": second(c.OpenBackup(t.Context(), backups[0])), "index": c.CanOpenBackup(t.Context(), backups[0]),
			"segment": second(c.ReadSegment(t.Context(), segSize, wal.SegmentID{Timeline: 1, Number: 2})),
			"header":  c.CanOpen(t.Context(), entries(t, c, 1, 0)[0]),
		} {
			if !errors.As(err, &key) || !errors.Is(err, test.want) {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		for _, e := range entries(t, c, 1, 0) {
			if h, err := c.ReadHeader(t.Context(), e); err != nil || h.Range != e.Range || h.SHA256 != (repository.Sum{}) || h.CRC32C != 0 {
				t.Errorf("%s: header of %s: %+v, %v", name, e.Key, h, err)
			}
		}
		if i, err := c.Inventory(t.Context(), backups[0]); err != nil || len(i.Lacks) > 1 { // its WAL is elsewhere
			t.Errorf("%s: inventory: %+v, %v", name, i, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestSealedDrillTwice: a report and its names that go into several repositories are the same in each, so that none is called different.
func TestSealedDrillTwice(t *testing.T) {
	k := newTestKeys(t)
	names := frozenNames()
	var stores []*memory.Store
	for range 2 {
		c, store := cluster(t)
		for range 2 { // put again
			if _, err := c.With(publicHost(t, k)).PutDrill(t.Context(), frozenDrill(), names); err != nil {
				t.Fatal(err)
			}
		}
		stores = append(stores, store)
	}
	found := 0
	for _, key := range stores[0].Keys() {
		if strings.Contains(string(key), "/drills/") {
			found++
			if !bytes.Equal(stores[0].Bytes(key), stores[1].Bytes(key)) {
				t.Errorf("%s differs", key)
			}
		}
	}
	if found != 2 {
		t.Errorf("%d objects of the drill", found)
	}
}

// TestSealedStock: retention sees every encrypted object for what it is, without a key.
func TestSealedStock(t *testing.T) {
	store := sealedArchive(t, newTestKeys(t))
	got := map[repository.Class]int{}
	listed := 0
	for o, err := range openCluster(t, store).Stock(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got[o.Class]++
		listed++
	}
	want := map[repository.Class]int{
		repository.ClassSegment: 3, repository.ClassPiece: 2, repository.ClassRecord: 1, repository.ClassIndex: 1, repository.ClassManifest: 1,
		repository.ClassPack: 3, repository.ClassDrill: 1, repository.ClassNames: 1,
	}
	if !maps.Equal(got, want) || listed != len(store.Keys())-2 { // the two markers
		t.Errorf("got %v of %d objects, want %v", got, len(store.Keys()), want)
	}
}

// countingGets counts what is read of a store.
type countingGets struct {
	storage.Store

	gets, bytes int64
}

func (s *countingGets) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	r, err := s.Store.Get(ctx, key, span)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	s.gets, s.bytes = s.gets+1, s.bytes+int64(len(b))
	return io.NopCloser(bytes.NewReader(b)), errors.Join(err, r.Close())
}

// TestSealedReadsLittle: a header costs one small read, a part of a pack the chunks that hold it and, the first time, its two ends.
func TestSealedReadsLittle(t *testing.T) {
	k := newTestKeys(t)
	store := sealedArchive(t, k)
	large, err := largePack(t, openCluster(t, store).With(publicHost(t, k)))
	if err != nil {
		t.Fatal(err)
	}
	counted := &countingGets{Store: store}
	c := openCluster(t, counted).With(encryption.Keys{Identities: withKeys(t, k.second)})
	e := entries(t, c, 1, 0)[0]
	counted.gets, counted.bytes = 0, 0
	if _, err := c.ReadHeader(t.Context(), e); err != nil || counted.gets != 1 || counted.bytes > 512 {
		t.Errorf("a header: %d reads of %d bytes, %v", counted.gets, counted.bytes, err)
	}
	b, err := c.OpenBackup(t.Context(), large)
	if err != nil {
		t.Fatal(err)
	}
	table, err := b.Table(t.Context(), b.Packs()[0])
	if err != nil {
		t.Fatal(err)
	}
	for i, most := range []int64{3, 1} {
		counted.gets, counted.bytes = 0, 0
		run, err := b.ReadRuns(t.Context(), table, i, 1)
		if err != nil {
			t.Fatal(err)
		}
		if extra := counted.bytes - int64(len(run)); counted.gets > most || extra > (most+1)*(64<<10+1000) {
			t.Errorf("run %d: %d reads, %d bytes more than it has", i, counted.gets, extra)
		}
	}
}

// largePack takes a backup with a pack of several runs that hardly shrink.
func largePack(t testing.TB, c *repository.Cluster) (repository.Backup, error) {
	t.Helper()
	start := startBackup(compression.Zstd())
	start.ID = "20261122T024000Z"
	w, err := c.NewBackup(t.Context(), start)
	if err != nil {
		return repository.Backup{}, err
	}
	if _, err := writePack(t, w, "base", compression.Zstd(), []member{noise("base/9", 9*repository.FrameSize)}); err != nil {
		return repository.Backup{}, err
	}
	return w.Commit(t.Context(), record(), manifest())
}

// TestSealedPutAgain guards I3 and I4 on a host without private keys: what exists is told from what does not belong there.
func TestSealedPutAgain(t *testing.T) {
	k := newTestKeys(t)
	span := segSize.Range(7)
	o := object(repository.KindSegment, 1, segSize, span)
	other := walBytes(span)
	other[99]++
	proof, rotated, both := proofKeys(t, "0a"), proofKeys(t, "0b"), proofKeys(t, "0b", "0a")
	to := toKeys(t, k.first)
	for name, test := range map[string]struct {
		keys  encryption.Keys
		plain []byte
		want  any // nil, or the type of the error
	}{
		"same, by proof":              {encryption.Keys{Recipients: to, Proofs: proof}, walBytes(span), nil},
		"other, by proof":             {encryption.Keys{Recipients: to, Proofs: proof}, other, new(*repository.ConflictError)},
		"same, by key":                {encryption.Keys{Recipients: to, Identities: withKeys(t, k.first)}, walBytes(span), nil},
		"other, by key":               {encryption.Keys{Recipients: to, Identities: withKeys(t, k.first)}, other, new(*repository.ConflictError)},
		"another proof key":           {encryption.Keys{Recipients: to, Proofs: rotated}, walBytes(span), new(*repository.KeyError)},
		"neither":                     {encryption.Keys{Recipients: to}, walBytes(span), new(*repository.KeyError)},
		"wrong key, another proof":    {encryption.Keys{Recipients: to, Proofs: rotated, Identities: withKeys(t, k.second)}, walBytes(span), new(*repository.KeyError)},
		"other recipients, by proof":  {encryption.Keys{Recipients: toKeys(t, k.second), Proofs: proof}, walBytes(span), nil},
		"other recipients, by proof!": {encryption.Keys{Recipients: toKeys(t, k.second), Proofs: proof}, other, new(*repository.ConflictError)},
	} {
		t.Run(name, func(t *testing.T) {
			c, store := cluster(t)
			first := c.With(encryption.Keys{Recipients: to, Proofs: proof})
			if err := first.PutWAL(t.Context(), encodeFor(t, first, o, walBytes(span))); err != nil {
				t.Fatal(err)
			}
			before := len(store.Keys())
			c = c.With(test.keys)
			e := encodeFor(t, c, o, test.plain)
			err := c.PutWAL(t.Context(), e)
			if test.want == nil && err != nil || test.want != nil && !errors.As(err, test.want) {
				t.Errorf("got %v", err)
			}
			if again := c.PutWAL(t.Context(), e); fmt.Sprint(again) != fmt.Sprint(err) {
				t.Errorf("put once more: %v", again)
			}
			if len(store.Keys()) != before {
				t.Errorf("something was put: %v", store.Keys())
			}
		})
	}
	// A proof compares bytes as they come, by any of the keys.
	c, _ := cluster(t)
	c = c.With(encryption.Keys{Recipients: to, Proofs: proof})
	if err := c.PutWAL(t.Context(), encodeFor(t, c, o, walBytes(span))); err != nil {
		t.Fatal(err)
	}
	e := entries(t, c, 1, 0)[0]
	for _, plain := range [][]byte{walBytes(span), other} {
		p, err := c.With(encryption.Keys{Proofs: both}).NewProof(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = p.Write(plain[:1000])
		_, _ = p.Write(plain[1000:])
		var conflict *repository.ConflictError
		if err := p.Check(); errors.As(err, &conflict) == bytes.Equal(plain, walBytes(span)) {
			t.Errorf("proof: %v", err)
		}
	}
	var key *repository.KeyError
	if _, err := c.With(encryption.Keys{Proofs: rotated}).NewProof(t.Context(), e); !errors.As(err, &key) {
		t.Errorf("proof under another key: %v", err)
	}
}

// TestNoSilentPlaintext guards I38: who has no public keys puts nothing where contents are encrypted.
func TestNoSilentPlaintext(t *testing.T) {
	k := newTestKeys(t)
	store := sealedArchive(t, k)
	before := store.Keys()
	c := openCluster(t, store)
	o := object(repository.KindSegment, 1, segSize, segSize.Range(9))
	errs := map[string]error{
		"WAL":    c.PutWAL(t.Context(), encode(t, compression.Zstd(), o, walBytes(o.Range))),
		"backup": second(c.NewBackup(t.Context(), repository.BackupStart{ID: "20261122T024000Z", Timeline: 1, StartLSN: 1 << 20, SegmentSize: segSize})),
		"drill":  second(c.PutDrill(t.Context(), repository.Drill{ID: "20261122T024000Z", Started: modTime, Ended: modTime, Result: repository.DrillPassed, Target: repository.DrillTarget{Time: modTime}}, nil)),
	}
	for what, err := range errs {
		if !errors.Is(err, repository.ErrPlain) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if after := store.Keys(); len(after) != len(before) {
		t.Errorf("put: %v", after)
	}
	// The marker cannot be looked at: nothing is put either.
	c = openCluster(t, store)
	store.Fail(memory.Stat, "pgark-encryption.json", 1, storage.ErrUnavailable)
	if err := c.PutWAL(t.Context(), encode(t, compression.Zstd(), o, walBytes(o.Range))); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("marker that does not answer: %v", err)
	}
}

// TestMixedRepository: what was archived in clear, and to keys that were changed since, stays readable, WAL of one segment in both forms included.
func TestMixedRepository(t *testing.T) {
	k := newTestKeys(t)
	c, store := cluster(t)
	putSegment(t, c, 1, 1)
	putPiece(t, c, 1, r(2*mib, 2*mib+100))
	for i, key := range []*age.X25519Identity{k.first, k.second} {
		w := c.With(encryption.Keys{Recipients: toKeys(t, key), Proofs: proofKeys(t, "0a")})
		start := wal.LSN(2*mib + 100 + 100*i)
		span := r(start, start+100)
		if err := w.PutWAL(t.Context(), encodeFor(t, w, object(repository.KindPiece, 1, segSize, span), walBytes(span))); err != nil {
			t.Fatal(err)
		}
		seg := segSize.Range(wal.SegmentNumber(3 + i))
		if err := w.PutWAL(t.Context(), encodeFor(t, w, object(repository.KindSegment, 1, segSize, seg), walBytes(seg))); err != nil {
			t.Fatal(err)
		}
	}
	all := openCluster(t, store).With(encryption.Keys{Identities: withKeys(t, k.second, k.first)})
	for n, want := range map[wal.SegmentNumber]wal.Range{1: segSize.Range(1), 2: r(2*mib, 2*mib+300), 3: segSize.Range(3), 4: segSize.Range(4)} {
		got, err := all.ReadSegment(t.Context(), segSize, wal.SegmentID{Timeline: 1, Number: n})
		if err != nil || !bytes.Equal(got, walBytes(want)) {
			t.Errorf("segment %d: %d bytes, %v", n, len(got), err)
		}
	}
	onlyNew := openCluster(t, store).With(encryption.Keys{Identities: withKeys(t, k.second)})
	for n, readable := range map[wal.SegmentNumber]bool{1: true, 3: false, 4: true} {
		_, err := onlyNew.ReadSegment(t.Context(), segSize, wal.SegmentID{Timeline: 1, Number: n})
		if (err == nil) != readable || !readable && !errors.Is(err, encryption.ErrWrongKey) {
			t.Errorf("with the new key alone, segment %d: %v", n, err)
		}
	}
	// The whole segment 2 in clear beside its encrypted pieces.
	putSegmentRaw(t, store, 2)
	if got, err := all.ReadSegment(t.Context(), segSize, wal.SegmentID{Timeline: 1, Number: 2}); err != nil || len(got) != mib {
		t.Errorf("segment 2: %d bytes, %v", len(got), err)
	}
	if err := all.CheckOverlaps(t.Context(), entries(t, all, 1, 0)); err != nil {
		t.Errorf("overlaps: %v", err)
	}
}

// putSegmentRaw puts a segment in clear past all rules.
func putSegmentRaw(t testing.TB, store *memory.Store, n wal.SegmentNumber) {
	t.Helper()
	span := segSize.Range(n)
	e := encode(t, compression.Zstd(), object(repository.KindSegment, 1, segSize, span), walBytes(span))
	store.Replace(e.Key, e.Body)
}

// TestRecipients: to how many public keys something is encrypted is told without a private key.
func TestRecipients(t *testing.T) {
	k := newTestKeys(t)
	c := openCluster(t, sealedArchive(t, k))
	for e, err := range c.ListWAL(t.Context(), 1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if n, err := c.Recipients(t.Context(), e); err != nil || n != 2 {
			t.Errorf("%s: %d public keys, %v, want 2", e.Key, n, err)
		}
	}
	backups, err := c.Backups(t.Context())
	if err != nil || len(backups) != 1 {
		t.Fatalf("%d backups, %v", len(backups), err)
	}
	if n, err := c.BackupRecipients(t.Context(), backups[0]); err != nil || n != 2 {
		t.Errorf("backup: %d public keys, %v, want 2", n, err)
	}

	many := make([]*age.X25519Identity, 40) // more than the first read holds
	for i := range many {
		many[i] = newTestKeys(t).first
	}
	c = c.With(encryption.Keys{Recipients: toKeys(t, many...), Identities: withKeys(t, k.first)})
	span := segSize.Range(9)
	if err := c.PutWAL(t.Context(), encodeFor(t, c, object(repository.KindSegment, 1, segSize, span), walBytes(span))); err != nil {
		t.Fatal(err)
	}
	for e, err := range c.ListWAL(t.Context(), 1, span.Start) {
		if err != nil {
			t.Fatal(err)
		}
		if n, err := c.Recipients(t.Context(), e); err != nil || n != len(many) {
			t.Errorf("%s: %d public keys, %v, want %d", e.Key, n, err, len(many))
		}
	}

	plain, _ := cluster(t)
	put := object(repository.KindSegment, 1, segSize, span)
	if err := plain.PutWAL(t.Context(), encodeFor(t, plain, put, walBytes(span))); err != nil {
		t.Fatal(err)
	}
	for e, err := range plain.ListWAL(t.Context(), 1, 0) {
		if n, counted := plain.Recipients(t.Context(), e); n != 0 || counted != nil || err != nil {
			t.Errorf("in clear: %d public keys, %v, %v", n, counted, err)
		}
	}
}
