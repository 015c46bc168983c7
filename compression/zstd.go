package compression

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// Parts of the format: never changed.
const (
	zstdName   = "zstd"
	zstdSuffix = ".zst"
)

// zstdWindow is the encoder's window. Frames of a pack are no longer than it, so nothing is lost, and
// an encoder stays small.
const zstdWindow = 1 << 20

// zstdMaxWindow bounds the window a decoder accepts: that of stock zstd without --long.
const zstdMaxWindow = 128 << 20

type zstdCodec struct{}

func (zstdCodec) Name() string   { return zstdName }
func (zstdCodec) Suffix() string { return zstdSuffix }

func (zstdCodec) NewEncoder() FrameEncoder { return &zstdEncoder{} }
func (zstdCodec) NewDecoder() FrameDecoder { return &zstdDecoder{} }

// zstdEncoder has two encoders, made when first needed: one that skips the entropy stage, for bytes
// that look random.
type zstdEncoder struct {
	full, light *zstd.Encoder
}

func (e *zstdEncoder) EncodeFrame(dst, plain []byte) []byte {
	if len(plain) == 0 {
		// The library encodes nothing at all as no frame, unless asked.
		return newZstdEncoder(zstd.WithZeroFrames(true)).EncodeAll(plain, dst)
	}
	if looksRandom(plain) {
		if e.light == nil {
			e.light = newZstdEncoder(zstd.WithNoEntropyCompression(true))
		}
		return e.light.EncodeAll(plain, dst)
	}
	if e.full == nil {
		e.full = newZstdEncoder()
	}
	return e.full.EncodeAll(plain, dst)
}

func newZstdEncoder(more ...zstd.EOption) *zstd.Encoder {
	options := append([]zstd.EOption{
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), // SHA-256 covers what is stored, or the plain bytes
		zstd.WithWindowSize(zstdWindow),
	}, more...)
	e, err := zstd.NewWriter(nil, options...)
	if err != nil {
		panic("zstd encoder options: " + err.Error()) // the options are constants
	}
	return e
}

type zstdDecoder struct {
	decoder *zstd.Decoder
}

func (d *zstdDecoder) DecodeFrame(dst, stored []byte, limit int) ([]byte, error) {
	if d.decoder == nil {
		d.decoder = newZstdDecoder()
	}
	plain, err := d.decoder.DecodeAll(stored, room(dst, limit))
	if err != nil {
		return nil, fmt.Errorf("%w: zstd: %w", ErrCorrupt, err)
	}
	return plain, nil
}

func newZstdDecoder() *zstd.Decoder {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxWindow(zstdMaxWindow),
	)
	if err != nil {
		panic("zstd decoder options: " + err.Error()) // the options are constants
	}
	return d
}
