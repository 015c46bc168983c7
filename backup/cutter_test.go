package backup

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pgark/pgark/repository"
)

// made is a pack as the cutter made it.
type made struct {
	tablespace uint32
	plain      []byte
	frames     [][]byte
	pieces     [][]piece
}

// cut runs the cutter over a tar stream and returns its packs.
func cut(t *testing.T, limit int64, stream []byte) []made {
	t.Helper()
	var packs []made
	c := &cutter{
		limit: limit,
		most:  2000,
		take:  func() (*frame, error) { return newFrame(), nil },
		emit: func(f *frame) error {
			if f.first {
				packs = append(packs, made{tablespace: f.tablespace})
			}
			p := &packs[len(packs)-1]
			p.frames = append(p.frames, f.plain)
			p.pieces = append(p.pieces, f.pieces)
			return nil
		},
	}
	c.begin(16400)
	members := ReadTar(bytes.NewReader(stream))
	for {
		m, err := members.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = c.member(m, members)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	for i := range packs {
		packs[i].plain = bytes.Join(packs[i].frames, nil)
	}
	return packs
}

// generated is a tar stream of files with these sizes, with directories between them, without an end.
func generated(sizes ...int) []byte {
	var b bytes.Buffer
	for _, size := range sizes {
		b.Grow(size + 3*blockSize)
	}
	w := tar.NewWriter(&b)
	random := rand.NewChaCha8([32]byte{1})
	for i, size := range sizes {
		if i%3 == 0 {
			_ = w.WriteHeader(&tar.Header{Name: fmt.Sprintf("d%d/", i), Mode: 0o700, Typeflag: tar.TypeDir, Format: tar.FormatUSTAR})
		}
		_ = w.WriteHeader(&tar.Header{Name: fmt.Sprintf("d/%d", i), Size: int64(size), Mode: 0o600, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR})
		content := make([]byte, size)
		_, _ = random.Read(content)
		_, _ = w.Write(content)
	}
	_ = w.Flush()
	return b.Bytes()
}

func TestCutter(t *testing.T) {
	const kib, mib = 1 << 10, 1 << 20
	for name, test := range map[string]struct {
		limit int64
		sizes []int
		packs int
	}{
		"nothing":             {repository.PackSize, nil, 1},
		"empty files":         {repository.PackSize, []int{0, 0, 0}, 1},
		"borders of a block":  {repository.PackSize, []int{1, 511, 512, 513, 1023, 1024, 1025}, 1},
		"borders of alone":    {repository.PackSize, []int{repository.OwnFrameSize - 1, repository.OwnFrameSize, repository.OwnFrameSize + 1, 3, repository.OwnFrameSize, repository.OwnFrameSize}, 1},
		"borders of a frame":  {repository.PackSize, []int{mib - 513, mib - 512, mib - 1, mib, mib + 1, 2*mib + 500, 3 * mib, 7, mib - 1024}, 1},
		"small ones overlap":  {repository.PackSize, []int{200 * kib, 200 * kib, 200 * kib, 200 * kib, 200 * kib, 200 * kib, 255 * kib}, 1},
		"packs":               {2 * mib, []int{mib, mib, mib, mib}, 4},
		"packs filled":        {2 * mib, []int{mib - 512, mib - 1024, mib - 512, mib - 1024}, 2},
		"larger than a pack":  {2 * mib, []int{5, 5 * mib, 5, 3, 4 * mib, 3 * mib}, 5},
		"first is larger":     {mib, []int{5 * mib, 1}, 3},
		"many small in packs": {mib, bytesOf(3000, 1000), 5},
		"empty in packs":      {repository.PackSize, bytesOf(3000, 0), 2},
	} {
		if testing.Short() && len(test.sizes) > 100 {
			continue // thousands of members are for the full form
		}
		t.Run(name, func(t *testing.T) {
			stream := generated(test.sizes...)
			packs := cut(t, test.limit, stream)
			rest := stream
			for _, p := range packs {
				if p.tablespace != 16400 {
					t.Errorf("tablespace: got %d", p.tablespace)
				}
				checkPack(t, p, test.limit)
				members := bytes.TrimSuffix(p.plain, make([]byte, 2*blockSize))
				if !bytes.HasPrefix(rest, members) {
					t.Fatal("the packs put together are not the stream")
				}
				rest = rest[len(members):]
			}
			if len(rest) > 0 {
				t.Errorf("the packs lack the last %d bytes of the stream", len(rest))
			}
			if len(packs) != test.packs {
				t.Errorf("packs: got %d, want %d", len(packs), test.packs)
			}
		})
	}
}

func bytesOf(n, size int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = size
	}
	return sizes
}

// checkPack checks what FORMAT.md, section 5.1, says of one pack.
func checkPack(t *testing.T, p made, limit int64) {
	t.Helper()
	want := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(p.plain))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content := make([]byte, h.Size)
		if _, err := io.ReadFull(r, content); err != nil {
			t.Fatal(err)
		}
		want[strings.TrimSuffix(h.Name, "/")] = content
	}
	for i, f := range p.frames {
		if len(f) == 0 || len(f) > repository.FrameSize {
			t.Errorf("frame %d has %d bytes", i, len(f))
		}
	}
	large := 0
	got := map[string][]byte{}
	sums := newCombiner()
	for i, pieces := range p.pieces {
		for _, pc := range pieces {
			e := pc.entry
			content := p.frames[i][pc.from:pc.to]
			if _, seen := got[e.Path]; !seen && e.Size > 0 {
				if e.frame != i || e.offset != pc.from {
					t.Errorf("%s begins at %d+%d, entry says %d+%d", e.Path, i, pc.from, e.frame, e.offset)
				}
				if e.Size >= repository.OwnFrameSize && e.offset != 0 {
					t.Errorf("%s of %d bytes begins at byte %d of a frame", e.Path, e.Size, e.offset)
				}
			}
			if at := len(got[e.Path]); e.Size >= repository.OwnFrameSize && (i != e.frame+at/repository.FrameSize || pc.from != at%repository.FrameSize) {
				t.Errorf("%s: byte %d lies at %d+%d", e.Path, at, i, pc.from)
			}
			if got[e.Path] == nil {
				got[e.Path] = make([]byte, 0, e.Size)
			}
			got[e.Path] = append(got[e.Path], content...)
			pc.crc = crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli))
			pc.join(sums)
			if whole := int64(len(got[e.Path])) == e.Size; whole != pc.last {
				t.Errorf("%s: last is %v after %d of %d bytes", e.Path, pc.last, len(got[e.Path]), e.Size)
			}
			if pc.last && e.crc != crc32.Checksum(want[e.Path], crc32.MakeTable(crc32.Castagnoli)) {
				t.Errorf("%s: joined checksum is wrong", e.Path)
			}
			if pc.last {
				large = max(large, int(e.Size))
			}
		}
	}
	if len(got) != len(want) {
		t.Errorf("members: got %d, want %d", len(got), len(want))
	}
	for path := range want {
		if !bytes.Equal(got[path], want[path]) {
			t.Errorf("%s: content differs", path)
		}
	}
	if len(want) > 2000 {
		t.Errorf("pack has %d members", len(want))
	}
	if int64(len(p.plain)) > limit+2*blockSize && len(want) > 1 {
		t.Errorf("pack of %d members has %d bytes, limit %d", len(want), len(p.plain), limit)
	}
}

func TestCombine(t *testing.T) {
	table := crc32.MakeTable(crc32.Castagnoli)
	c := newCombiner()
	b := make([]byte, 1<<20+7)
	for i := range b {
		b[i] = byte(i * i >> 3)
	}
	want := crc32.Checksum(b, table)
	for _, at := range []int{0, 1, 2, 7, 8, 9, 511, 4096, 1 << 19, 1 << 20, len(b) - 1, len(b)} {
		got := c.combine(crc32.Checksum(b[:at], table), crc32.Checksum(b[at:], table), int64(len(b)-at))
		if got != want {
			t.Errorf("combined at %d: got %08x, want %08x", at, got, want)
		}
	}
}

// FuzzCutter lays out trees of random sizes.
func FuzzCutter(f *testing.F) {
	f.Add(uint64(1), uint8(5), uint32(1<<20))
	f.Add(uint64(7), uint8(40), uint32(100))
	f.Fuzz(func(t *testing.T, seed uint64, n uint8, limit uint32) {
		random := rand.New(rand.NewPCG(seed, 0))
		sizes := make([]int, n%32)
		for i := range sizes {
			sizes[i] = random.IntN(1 << (1 + random.IntN(21)))
		}
		for _, p := range cut(t, int64(limit), generated(sizes...)) {
			checkPack(t, p, int64(limit))
		}
	})
}
