package s3

import (
	"testing"

	"github.com/minio/crc64nvme"
)

func TestCombine(t *testing.T) {
	body := make([]byte, 100000)
	for i := range body {
		body[i] = byte(i * i >> 3)
	}
	want := crc(crc64nvme.Checksum(body))
	for _, cut := range []int{0, 1, 7, 8, 4096, 50000, 99999, 100000} {
		got := combine(crcOf(body[:cut]), crcOf(body[cut:]), int64(len(body)-cut))
		if got != want {
			t.Errorf("cut at %d: got %s, want %s", cut, got, want)
		}
	}
	var got crc
	for i := 0; i < len(body); i += 777 {
		part := body[i:min(i+777, len(body))]
		got = combine(got, crcOf(part), int64(len(part)))
	}
	if got != want {
		t.Errorf("parts of 777: got %s, want %s", got, want)
	}
}

func FuzzCombine(f *testing.F) {
	f.Add([]byte("hello"), []byte("world"))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		want := crcOf(append(append([]byte{}, a...), b...))
		if got := combine(crcOf(a), crcOf(b), int64(len(b))); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
