package compression_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/pgark/pgark/compression"
)

const mib = 1 << 20

func codecs() []compression.Codec {
	return []compression.Codec{compression.Zstd(), compression.S2()}
}

// inputs are plain bytes of border sizes: text that shrinks, random bytes that do not, zeros. With -short the largest
// are text alone. Nobody changes them.
var inputs = sync.OnceValue(func() map[string][]byte {
	random := rand.NewChaCha8([32]byte{1})
	m := map[string][]byte{}
	for _, n := range []int{0, 1, 15, 16, 255, 1024, 65535, 65536, 128<<10 - 1, 128 << 10, 128<<10 + 1, mib - 1, mib, mib + 1, 3*mib + 7} {
		noise := make([]byte, n)
		_, _ = random.Read(noise)
		text := bytes.Repeat([]byte("the quick brown fox "), n/20+1)[:n]
		for i := 0; i+8 < n; i += 40 {
			copy(text[i:], noise[i:i+6])
		}
		m[fmt.Sprintf("text %d", n)] = text
		if testing.Short() && n > 128<<10+1 && n != mib {
			continue
		}
		m[fmt.Sprintf("noise %d", n)] = noise
		m[fmt.Sprintf("zeros %d", n)] = make([]byte, n)
	}
	holes := bytes.Clone(m[fmt.Sprintf("noise %d", mib)])
	for i := 0; i < len(holes); i += 8192 {
		clear(holes[i+100 : i+2000])
	}
	m["random pages with holes"] = holes
	return m
})

func TestRoundTrip(t *testing.T) {
	for _, c := range codecs() {
		encoder, decoder := c.NewEncoder(), c.NewDecoder()
		for name, plain := range inputs() {
			t.Run(c.Name()+"/"+name, func(t *testing.T) {
				stored := encoder.EncodeFrame([]byte("before"), plain)
				if !bytes.HasPrefix(stored, []byte("before")) {
					t.Fatal("EncodeFrame changed what stood before")
				}
				stored = stored[len("before"):]
				if len(stored) == 0 {
					t.Fatal("a frame of nothing: want a frame that says so")
				}
				got, err := decoder.DecodeFrame([]byte("before"), stored, len(plain))
				if err != nil {
					t.Fatal(err)
				}
				if want := append([]byte("before"), plain...); !bytes.Equal(got, want) {
					t.Error("decoded bytes differ")
				}
				if len(plain) == 0 {
					return
				}
				if _, err := decoder.DecodeFrame(nil, stored, len(plain)-1); !errors.Is(err, compression.ErrCorrupt) {
					t.Errorf("limit one byte short: got %v, want ErrCorrupt", err)
				}
			})
		}
	}
}

func TestHolesInRandomPagesAreFound(t *testing.T) {
	plain := inputs()["random pages with holes"]
	for _, c := range codecs() {
		stored := c.NewEncoder().EncodeFrame(nil, plain)
		if got, limit := len(stored), len(plain)*85/100; got > limit {
			t.Errorf("%s: got %d bytes, want at most %d", c.Name(), got, limit)
		}
	}
}

func TestRunOfFrames(t *testing.T) {
	for _, c := range codecs() {
		encoder := c.NewEncoder()
		var stored, plain []byte
		for _, part := range []string{"one", "", "two", "three"} {
			stored, plain = encoder.EncodeFrame(stored, []byte(part)), append(plain, part...)
		}
		got, err := c.NewDecoder().DecodeFrame(nil, stored, len(plain))
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: got %q, %v, want %q", c.Name(), got, err, plain)
		}
		if _, err := c.NewDecoder().DecodeFrame(nil, stored, len(plain)-1); !errors.Is(err, compression.ErrCorrupt) {
			t.Errorf("%s: limit over all frames: got %v, want ErrCorrupt", c.Name(), err)
		}
	}
}

func TestCutAtEachByte(t *testing.T) {
	plain := inputs()["text 1024"]
	for _, c := range codecs() {
		stored := c.NewEncoder().EncodeFrame(nil, plain)
		decoder := c.NewDecoder()
		for cut := range stored {
			got, err := decoder.DecodeFrame(nil, stored[:cut], len(plain))
			// A cut at the very start of zstd is a run of no frames: the length tells it.
			if err == nil && len(got) == len(plain) {
				t.Errorf("%s cut at %d: decoded as if whole", c.Name(), cut)
			}
			if err != nil && !errors.Is(err, compression.ErrCorrupt) {
				t.Errorf("%s cut at %d: got %v, want ErrCorrupt", c.Name(), cut, err)
			}
		}
	}
}

// TestBomb decodes a frame of a few KiB that holds 64 MiB, with -short 16.
func TestBomb(t *testing.T) {
	plain := make([]byte, 64*mib)
	if testing.Short() {
		plain = plain[:16*mib]
	}
	for _, c := range codecs() {
		stored := c.NewEncoder().EncodeFrame(nil, plain)
		decoder := c.NewDecoder()
		_, _ = decoder.DecodeFrame(nil, stored, 1024) // what it makes once
		const runs = 10
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			if _, err := decoder.DecodeFrame(nil, stored, 1024); !errors.Is(err, compression.ErrCorrupt) {
				t.Fatalf("%s: got %v, want ErrCorrupt", c.Name(), err)
			}
		}
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) / runs; got > 2*mib {
			t.Errorf("%s: allocated %d bytes for a limit of 1024", c.Name(), got)
		}
	}
}

func TestNames(t *testing.T) {
	for _, c := range codecs() {
		byName, err := compression.ByName(c.Name())
		if err != nil || byName != c {
			t.Errorf("ByName(%q) = %v, %v", c.Name(), byName, err)
		}
		bySuffix, err := compression.BySuffix("a/b" + c.Suffix())
		if err != nil || bySuffix != c {
			t.Errorf("BySuffix(%q) = %v, %v", c.Suffix(), bySuffix, err)
		}
	}
	var unknown *compression.UnknownError
	if _, err := compression.ByName("lz4"); !errors.As(err, &unknown) {
		t.Errorf("got %v, want an *UnknownError", err)
	}
	if _, err := compression.BySuffix("a.zst/b.json"); !errors.As(err, &unknown) || unknown.Name != "a.zst/b.json" {
		t.Errorf("got %v, want an *UnknownError", err)
	}
}

// TestStockZstd decodes with the zstd of the machine what the codec wrote.
func TestStockZstd(t *testing.T) {
	path, err := exec.LookPath("zstd")
	if err != nil {
		missing(t, "the zstd program")
	}
	encoder := compression.Zstd().NewEncoder()
	dir := t.TempDir()
	args := []string{"-dq"} // all in one process: starting one is dear under the race detector
	for name, plain := range inputs() {
		file := filepath.Join(dir, name+".zst")
		if err := os.WriteFile(file, encoder.EncodeFrame(encoder.EncodeFrame(nil, plain), plain), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Errorf("zstd -d: %v: %s", err, out)
	}
	for name, plain := range inputs() {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || len(got) != 2*len(plain) || !bytes.HasPrefix(got, plain) || !bytes.HasSuffix(got, plain) {
			t.Errorf("%s: zstd -d gives %d other bytes, %v", name, len(got), err)
		}
	}
}

// missing skips the test, or fails it where everything is required.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("REQUIRE_ALL") == "1" {
		t.Fatalf("%s is missing", what)
	}
	t.Skipf("%s is missing", what)
}

func FuzzDecodeFrame(f *testing.F) {
	for _, c := range codecs() {
		for _, plain := range []string{"", "a", "the quick brown fox the quick brown fox the quick brown fox"} {
			f.Add(c.NewEncoder().EncodeFrame(nil, []byte(plain)), uint16(len(plain)))
		}
	}
	f.Add([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"), uint16(4))
	f.Fuzz(func(t *testing.T, stored []byte, limit uint16) {
		for _, c := range codecs() {
			got, err := c.NewDecoder().DecodeFrame(nil, stored, int(limit))
			if err != nil && !errors.Is(err, compression.ErrCorrupt) {
				t.Errorf("got %v, want ErrCorrupt", err)
			}
			if len(got) > int(limit) {
				t.Errorf("got %d bytes, limit %d", len(got), limit)
			}
		}
	})
}

func BenchmarkEncodeFrame(b *testing.B) {
	all := inputs()
	for _, c := range codecs() {
		for _, name := range []string{fmt.Sprintf("text %d", mib), fmt.Sprintf("noise %d", mib)} {
			b.Run(c.Name()+"/"+name, func(b *testing.B) {
				encoder, plain := c.NewEncoder(), all[name]
				var dst []byte
				b.SetBytes(int64(len(plain)))
				b.ReportAllocs()
				for b.Loop() {
					dst = encoder.EncodeFrame(dst[:0], plain)
				}
			})
		}
	}
}

func BenchmarkDecodeFrame(b *testing.B) {
	plain := inputs()[fmt.Sprintf("text %d", mib)]
	for _, c := range codecs() {
		b.Run(c.Name(), func(b *testing.B) {
			decoder, stored := c.NewDecoder(), c.NewEncoder().EncodeFrame(nil, plain)
			dst := make([]byte, 0, mib)
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decoder.DecodeFrame(dst, stored, mib); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
