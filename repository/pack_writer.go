package repository

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/compression"
	"github.com/pgark/pgark/storage"
)

// PackWriter writes one pack: header, frames in order, parts that go up while the next are filled. It is used by one goroutine; each
// ends with Close or Abort.
type PackWriter struct {
	backup *BackupWriter
	table  PackTable
	run    hash.Hash // of the run that is not full yet
	head   []byte    // the object header
	seal   *packSeal // nil if it is not encrypted
	whole  hash.Hash // of what is stored, if it is encrypted
	length int64     // of that
	buffer []byte    // of the part that is being filled; nil when none is held
	parts  int       // sent
	upload storage.Upload
	group  errgroup.Group // of the parts on their way
	cancel []context.CancelFunc
	ended  bool
}

func newPackWriter(w *BackupWriter, archive string, number int) (*PackWriter, error) {
	h := w.header(KindPack)
	h.Pack = uint64(number)
	head, err := h.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("begin pack: %w", err)
	}
	p := &PackWriter{backup: w, run: sha256.New(), head: head}
	if w.seals {
		p.whole = sha256.New()
		if p.seal, err = newPackSeal(w.cluster.ring(), h); err != nil {
			return nil, fmt.Errorf("begin pack: %w", err)
		}
		p.whole.Write(p.seal.head)
		p.length = int64(len(p.seal.head))
	}
	p.table.Pack = Pack{Number: number, Name: packName(archive, number, w.codec), Archive: archive, Stored: HeaderSize, sealed: w.seals}
	return p, nil
}

// Name returns the pack's name, such as "base-00001.tar.zst".
func (p *PackWriter) Name() string { return p.table.Pack.Name }

// Frames returns the number of frames so far: the number of the next one.
func (p *PackWriter) Frames() int { return len(p.table.Frames) }

// Plain returns the bytes of the tar file so far.
func (p *PackWriter) Plain() int64 { return p.table.Pack.Plain }

// Frame appends the next frame: stored holds plain bytes of the tar file, 1 to FrameSize. Of stored nothing is kept. It waits while as
// many parts are on their way as may be. ctx must live until Close: parts go up under it. After an error the pack and its backup are
// lost.
func (p *PackWriter) Frame(ctx context.Context, stored []byte, plain int) error {
	if err := p.frame(ctx, stored, plain); err != nil {
		return p.backup.fail(fmt.Errorf("write %s: %w", p.Name(), err))
	}
	return nil
}

func (p *PackWriter) frame(ctx context.Context, stored []byte, plain int) error {
	if p.ended {
		return errEnded
	}
	if len(p.table.Frames) == maxFrames {
		return fmt.Errorf("%w: more than %d frames", errPackField, maxFrames)
	}
	if err := p.table.addFrame(len(stored), plain); err != nil {
		return err
	}
	if p.seal == nil {
		p.run.Write(stored)
		if len(p.table.Frames)%runFrames == 0 {
			p.endRun()
		}
	}
	p.table.Pack.Plain += int64(plain)
	p.table.Pack.Stored += int64(len(stored))
	if len(p.table.Frames) == 1 {
		if p.seal != nil {
			if err := p.store(ctx, p.seal.head); err != nil {
				return err
			}
		}
		if err := p.append(ctx, p.head); err != nil {
			return err
		}
	}
	return p.append(ctx, stored)
}

func (p *PackWriter) endRun() {
	p.table.Runs = append(p.table.Runs, Sum(p.run.Sum(nil)))
	p.run.Reset()
}

// File adds a member. Where its content lies was told by Frames before the frame it begins in was appended. Members may be added in any
// order until Close, which checks them.
func (p *PackWriter) File(f File) { p.table.Files = append(p.table.Files, f) }

// key is where the pack is put.
func (p *PackWriter) key() storage.Key {
	key := p.table.Pack.key(p.backup.prefix)
	if p.seal != nil {
		key += sealSuffix
	}
	return key
}

// append adds bytes to the pack.
func (p *PackWriter) append(ctx context.Context, b []byte) error {
	if p.seal == nil {
		return p.store(ctx, b)
	}
	p.seal.take = p.takeSealed(ctx)
	_, err := p.seal.writer.Write(b)
	return err
}

// takeSealed returns what adds encrypted bytes to the object.
func (p *PackWriter) takeSealed(ctx context.Context) func([]byte) error {
	return func(b []byte) error {
		p.whole.Write(b)
		p.length += int64(len(b))
		return p.store(ctx, b)
	}
}

// store adds bytes to the object, sending the parts that get full.
func (p *PackWriter) store(ctx context.Context, b []byte) error {
	size := p.backup.start.PartSize
	for len(b) > 0 {
		if p.buffer == nil {
			if err := p.takeBuffer(ctx); err != nil {
				return err
			}
		}
		n := min(len(b), size-len(p.buffer))
		p.buffer, b = append(p.buffer, b[:n]...), b[n:]
		if len(p.buffer) == size {
			if err := p.sendPart(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *PackWriter) takeBuffer(ctx context.Context) error {
	p.backup.mu.Lock()
	err := p.backup.usable() // a part may have failed meanwhile
	p.backup.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case p.buffer = <-p.backup.buffers:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if p.buffer == nil {
		p.buffer = make([]byte, 0, p.backup.start.PartSize)
	}
	return nil
}

func (p *PackWriter) returnBuffer(b []byte) { p.backup.buffers <- b[:0] }

// sendPart sends the buffer on its way.
func (p *PackWriter) sendPart(ctx context.Context) error {
	if p.upload == nil {
		upload, err := p.backup.cluster.store.Begin(ctx, p.key())
		if err != nil {
			return err
		}
		p.upload = upload
	}
	if p.parts == storage.MaxParts {
		return fmt.Errorf("more than %d parts of %d bytes", storage.MaxParts, p.backup.start.PartSize)
	}
	p.parts++
	number, body := p.parts, p.buffer
	p.buffer = nil
	// The part outlives this call: Close and Abort wait for it, and Abort cancels it.
	ctx, cancel := context.WithCancel(ctx)
	p.cancel = append(p.cancel, cancel)
	p.group.Go(func() error {
		defer p.returnBuffer(body)
		defer cancel()
		err := p.upload.Part(ctx, number, body)
		if err != nil {
			_ = p.backup.fail(fmt.Errorf("write %s: %w", p.Name(), err))
		}
		return err
	})
	return nil
}

// Close checks the members against the frames, sends what is left and makes the pack visible. When it returns nil the pack is durable.
// An equal pack that is there already is success. After an error the pack and its backup are lost, and nothing of it is on its way.
func (p *PackWriter) Close(ctx context.Context) error {
	if err := p.close(ctx); err != nil {
		return errors.Join(p.backup.fail(fmt.Errorf("close %s: %w", p.Name(), err)), p.Abort(ctx))
	}
	return nil
}

func (p *PackWriter) close(ctx context.Context) error {
	if p.ended {
		return errEnded
	}
	if p.seal == nil && len(p.table.Frames)%runFrames != 0 {
		p.endRun()
	}
	p.table.Pack.Frames, p.table.Pack.Files = len(p.table.Frames), len(p.table.Files)
	if err := p.table.validate(); err != nil {
		return err
	}
	written, err := p.encodeLine()
	if err != nil {
		return err
	}
	if p.seal != nil {
		p.seal.take = p.takeSealed(ctx)
		if err := p.seal.writer.Close(); err != nil {
			return err
		}
		written.stored = StoredObject{Size: p.length, SHA256: Sum(p.whole.Sum(nil))}
	}
	if err := p.finish(ctx); err != nil {
		return err
	}
	p.ended = true
	p.backup.closed(written)
	return nil
}

// encodeLine makes the pack's line of the index.
func (p *PackWriter) encodeLine() (writtenPack, error) {
	text, err := p.table.encode()
	if err != nil {
		return writtenPack{}, err
	}
	text = append(text, '\n')
	w := writtenPack{line: compression.Zstd().NewEncoder().EncodeFrame(nil, text)}
	p.table.Pack.line = lineRef{Stored: int64(len(w.line)), Plain: int64(len(text)), SHA256: sha256.Sum256(w.line)}
	w.pack = p.table.Pack
	for _, f := range p.table.Files {
		switch f.Type {
		case TypeFile:
			w.files++
			w.plain += f.Size
		case TypeLink:
			w.links = append(w.links, f)
		case TypeDir:
		}
	}
	return w, w.pack.validate(p.backup.codec)
}

// finish sends what is left and makes the object visible.
func (p *PackWriter) finish(ctx context.Context) error {
	store, key := p.backup.cluster.store, p.key()
	var err error
	if p.upload == nil {
		err = store.Put(ctx, key, p.buffer)
		p.returnBuffer(p.buffer)
		p.buffer = nil
	} else {
		if p.buffer != nil {
			err = p.sendPart(ctx)
		}
		if err = errors.Join(err, p.group.Wait()); err == nil {
			err = p.upload.Commit(ctx)
		}
	}
	if err == nil {
		p.backup.own(key)
	}
	if !errors.Is(err, storage.ErrExists) {
		return err
	}
	if p.seal != nil {
		err = checkSum(ctx, store, key, StoredObject{Size: p.length, SHA256: Sum(p.whole.Sum(nil))})
	} else {
		err = verifyPack(ctx, store, key, p.head, &p.table)
	}
	if err != nil {
		return fmt.Errorf("compare with the one that exists: %w", err)
	}
	p.backup.adopt(key)
	if p.upload != nil {
		return abortUpload(ctx, p.upload) // the parts of the second copy
	}
	return nil
}

// Abort drops the pack; nothing of it is on its way any more when it returns. The backup is lost with it. It does nothing after a Close
// that returned nil, nor when it is called again.
func (p *PackWriter) Abort(ctx context.Context) error {
	if p.ended {
		return nil
	}
	p.ended = true
	_ = p.backup.fail(fmt.Errorf("write %s: %w", p.Name(), errAborted))
	for _, cancel := range p.cancel {
		cancel()
	}
	_ = p.group.Wait() // they were cancelled
	if p.buffer != nil {
		p.returnBuffer(p.buffer)
		p.buffer = nil
	}
	if p.upload == nil {
		return nil
	}
	if err := abortUpload(ctx, p.upload); err != nil {
		return fmt.Errorf("abort %s: %w", p.Name(), err)
	}
	return nil
}
