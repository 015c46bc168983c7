// Package compression holds the codecs of the repository: zstd and s2, by name and by the suffix of
// a key. It works on bytes in memory alone; it knows no keys, no files and no network, and it is the
// only package that imports a compression library.
//
// A frame is a unit that can be decoded without any other. Frames that follow each other are again
// something the stock tools (zstd -dc, s2d) decode in one go. The format is docs/FORMAT.md.
package compression

import (
	"errors"
	"fmt"
	"strings"
)

// ErrCorrupt says that stored bytes are no frame of the codec, are cut short, or decode to more bytes
// than the limit the caller set.
var ErrCorrupt = errors.New("corrupt frame")

// UnknownError says that no codec has the name or the suffix asked for.
type UnknownError struct {
	Name string // the name, or the key whose suffix is unknown
}

// Error names the codec and those that exist.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("unknown codec %q: want %s or %s", e.Name, zstdName, s2Name)
}

// Codec makes encoders and decoders of one kind. A Codec is immutable and safe for concurrent use.
type Codec interface {
	// Name is the codec's name in configuration and in a backup record.
	Name() string
	// Suffix is the last suffix of a key whose object is encoded so, with its dot.
	Suffix() string
	// NewEncoder returns an encoder for one goroutine; it holds a few MiB while in use.
	NewEncoder() FrameEncoder
	// NewDecoder returns a decoder for one goroutine.
	NewDecoder() FrameDecoder
}

// FrameEncoder encodes frames. It is not safe for concurrent use: each worker has its own.
type FrameEncoder interface {
	// EncodeFrame appends one independent frame that holds plain to dst and returns the longer slice.
	// It keeps neither slice. plain may be empty.
	EncodeFrame(dst, plain []byte) []byte
}

// FrameDecoder decodes frames. It is not safe for concurrent use: each worker has its own.
type FrameDecoder interface {
	// DecodeFrame appends the plain bytes of stored, one frame or a run of whole frames, to dst and
	// returns the longer slice. At most limit bytes are decoded and allocated, whatever stored says.
	// The error is ErrCorrupt; the slice is nil then and the bytes behind dst's length are undefined.
	DecodeFrame(dst, stored []byte, limit int) ([]byte, error)
}

// Zstd returns the default codec: zstd at its fastest level.
func Zstd() Codec { return zstdCodec{} }

// S2 returns the codec for hosts that are short of CPU: about three times faster than zstd, and
// about one and a half times larger.
func S2() Codec { return s2Codec{} }

// ByName returns the codec called name, "zstd" or "s2". The error is an *UnknownError.
func ByName(name string) (Codec, error) {
	switch name {
	case zstdName:
		return Zstd(), nil
	case s2Name:
		return S2(), nil
	}
	return nil, &UnknownError{Name: name}
}

// BySuffix returns the codec that the last suffix of key names. The error is an *UnknownError.
func BySuffix(key string) (Codec, error) {
	switch {
	case strings.HasSuffix(key, zstdSuffix):
		return Zstd(), nil
	case strings.HasSuffix(key, s2Suffix):
		return S2(), nil
	}
	return nil, &UnknownError{Name: key}
}

// room returns dst with space for limit more bytes and not one more.
func room(dst []byte, limit int) []byte {
	if cap(dst)-len(dst) < limit {
		grown := make([]byte, len(dst), len(dst)+limit)
		copy(grown, dst)
		return grown
	}
	return dst[: len(dst) : len(dst)+limit]
}
