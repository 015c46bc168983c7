package archiver

import (
	"context"
	"sync/atomic"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/repository"
	"github.com/pgark/pgark/wal"
)

// encoder makes objects, one at a time, and counts the encoded bytes it holds
// against the window while it makes them.
type encoder struct {
	*repository.WALEncoder

	window *window
	held   atomic.Int64
}

func newEncoder(cluster *repository.Cluster, codec compression.Codec, w *window) *encoder {
	e := &encoder{window: w}
	e.WALEncoder = repository.NewWALEncoder(countedCodec{Codec: codec, encoder: e})
	cluster.Prove(e.WALEncoder)
	return e
}

// give hands the encoded bytes, and the duty to discharge them, to the caller.
func (e *encoder) give() int64 { return e.held.Swap(0) }

// drop forgets an object that is not to be finished.
func (e *encoder) drop() {
	e.window.charge(-e.held.Swap(0))
	e.Reset(nil)
}

// countedCodec is a codec whose encoders count what they make.
type countedCodec struct {
	compression.Codec

	encoder *encoder
}

// NewEncoder implements compression.Codec.
func (c countedCodec) NewEncoder() compression.FrameEncoder {
	return countedEncoder{FrameEncoder: c.Codec.NewEncoder(), encoder: c.encoder}
}

type countedEncoder struct {
	compression.FrameEncoder

	encoder *encoder
}

// EncodeFrame implements compression.FrameEncoder.
func (c countedEncoder) EncodeFrame(dst, plain []byte) []byte {
	out := c.FrameEncoder.EncodeFrame(dst, plain)
	n := int64(len(out) - len(dst))
	c.encoder.held.Add(n)
	c.encoder.window.charge(n)
	return out
}

// segment is one segment while it is received and encoded.
type segment struct {
	id      wal.SegmentID
	slots   chan *slot    // full ones, in order; closed at the segment's end
	split   chan struct{} // closed when it is to go up in pieces only
	started chan struct{} // closed when it has an encoder, or needs none
	done    chan struct{} // closed when object is set
	object  *object
}

// object is what is ready to be put. Its encoded bytes are charged.
type object struct {
	encoded *repository.EncodedWAL
	charged int64
}

func newSegment(id wal.SegmentID, size wal.SegmentSize) *segment {
	return &segment{
		id:    id,
		slots: make(chan *slot, int(size)/frameSize),
		split: make(chan struct{}), started: make(chan struct{}), done: make(chan struct{}),
	}
}

// encodeSegment makes the object of a segment while it comes, frame by frame,
// until it is whole or to go up in pieces. Encoders are taken in the order of
// segments: the last one, which may stay open for hours, never holds one that
// those before it wait for.
func (s *stream) encodeSegment(ctx context.Context, g *segment, before <-chan struct{}) error {
	e, err := s.takeEncoder(ctx, g, before)
	if e == nil {
		return err
	}
	defer func() { s.encoders <- e }()
	select {
	case body := <-s.bodies:
		e.Reset(body)
	default:
	}
	for {
		select {
		case sl, ok := <-g.slots:
			if !ok {
				return s.finishSegment(ctx, g, e)
			}
			_, _ = e.Write(sl.buf) // Finish tells
			s.window.encoded(sl)
			if e.held.Load() > s.options.Buffer/2 {
				s.news.overflow(g.id.Number)
			}
		case <-g.split:
			e.drop()
			s.window.split(g.id.Number)
			return nil
		case <-ctx.Done():
			e.drop()
			return context.Cause(ctx)
		}
	}
}

// takeEncoder waits until the segment before has an encoder, and for one. It
// returns nil if the segment was split or ctx has ended.
func (s *stream) takeEncoder(ctx context.Context, g *segment, before <-chan struct{}) (*encoder, error) {
	defer close(g.started)
	var free chan *encoder
	for {
		select {
		case <-before:
			free, before = s.encoders, nil
		case e := <-free:
			return e, nil
		case <-g.split:
			s.window.split(g.id.Number)
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (s *stream) finishSegment(ctx context.Context, g *segment, e *encoder) error {
	bytes := s.size.Range(g.id.Number)
	if err := s.reading.wait(ctx, bytes.End); err != nil {
		e.drop()
		return err
	}
	encoded, err := e.Finish(s.describe(repository.KindSegment, bytes, s.reading.segment(g.id.Number)))
	if err != nil {
		e.drop()
		return err
	}
	g.object = &object{encoded: encoded, charged: e.give()}
	close(g.done)
	return nil
}

// encodePiece makes the object of a piece and lets go of its parts.
func (s *stream) encodePiece(ctx context.Context, bytes wal.Range, parts []part) (*object, error) {
	defer s.window.unpin(parts)
	if err := s.reading.wait(ctx, bytes.End); err != nil {
		return nil, err
	}
	var e *encoder
	select {
	case e = <-s.pieceEncoders:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { s.pieceEncoders <- e }()
	for _, p := range parts {
		_, _ = e.Write(p.bytes) // Finish tells
	}
	encoded, err := e.Finish(s.describe(repository.KindPiece, bytes, s.reading.piece(bytes)))
	if err != nil {
		e.drop()
		return nil, err
	}
	return &object{encoded: encoded, charged: e.give()}, nil
}

func (s *stream) describe(kind repository.Kind, bytes wal.Range, summary repository.Summary) repository.WALObject {
	return repository.WALObject{
		SystemID: s.system.ID, Timeline: s.from.timeline, SegmentSize: s.size,
		Kind: kind, Range: bytes, Summary: summary,
	}
}
