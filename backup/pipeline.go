package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/pgark/pgark/repository"
)

// pipeline carries frames from the goroutine that reads the source, over the workers, to the one that
// writes packs. A fixed number of frames goes round, so memory is bounded and a slow store slows the
// reading down.
type pipeline struct {
	options Options
	source  Source
	writer  *repository.BackupWriter

	free  chan *frame // empty
	work  chan *frame // filled
	order chan *frame // the same ones, in the order of the stream

	kept     map[string][]byte // contents of the files named in keep
	archives map[uint32]bool   // archives that came
	contents contents
	progress Progress
}

// Files of the data directory whose content Run reads itself.
const (
	labelFile    = "backup_label"
	controlFile  = "global/pg_control"
	manifestFile = "backup_manifest"
)

// keepLimit is the most bytes of such a file; pg_control has 8 KiB and backup_label less than 1 KiB.
const keepLimit = 64 << 10

func newPipeline(o Options, src Source, w *repository.BackupWriter, total int64) *pipeline {
	depth := 2*o.Workers + 4
	p := &pipeline{
		options: o, source: src, writer: w,
		free: make(chan *frame, depth), work: make(chan *frame, depth), order: make(chan *frame, depth),
		kept:     map[string][]byte{},
		archives: map[uint32]bool{},
		contents: contents{files: map[string]fileSum{}},
		progress: Progress{Phase: PhaseCopy, Total: total},
	}
	for range depth {
		p.free <- nil // made when first needed
	}
	return p
}

// run copies all archives of the source into packs.
func (p *pipeline) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(p.work)
		defer close(p.order)
		return p.read(ctx)
	})
	for range p.options.Workers {
		g.Go(func() error {
			p.encode()
			return nil
		})
	}
	g.Go(func() error { return p.write(ctx) })
	return g.Wait()
}

// read cuts the archives into frames.
func (p *pipeline) read(ctx context.Context) error {
	c := &cutter{
		limit: repository.PackSize, most: repository.PackFiles,
		take: func() (*frame, error) { return p.take(ctx) }, emit: p.emit,
	}
	for {
		archive, err := p.source.NextArchive(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read base backup: %w", err)
		}
		if p.archives[archive.Tablespace] {
			return fmt.Errorf("read base backup: archive %s came twice", archiveName(archive.Tablespace))
		}
		p.archives[archive.Tablespace] = true
		if err := p.readArchive(c, archive); err != nil {
			return fmt.Errorf("read archive %s: %w", archiveName(archive.Tablespace), err)
		}
	}
}

func (p *pipeline) readArchive(c *cutter, a Archive) error {
	c.begin(a.Tablespace)
	for {
		m, err := a.Members.Next()
		if errors.Is(err, io.EOF) {
			return c.end()
		}
		if err != nil {
			return err
		}
		if m.Type == repository.TypeLink && (a.Tablespace != 0 || !isTablespaceLink(m.Path)) {
			return &MemberError{Path: m.Path, Reason: "a link outside of pg_tblspc"}
		}
		content := io.Reader(a.Members)
		if a.Tablespace == 0 && (m.Path == labelFile || m.Path == controlFile) {
			if content, err = p.keep(m, a.Members); err != nil {
				return err
			}
		}
		if err := c.member(m, content); err != nil {
			return fmt.Errorf("%s: %w", m.Path, err)
		}
	}
}

// isTablespaceLink reports whether path is pg_tblspc/<oid>: the only links that a server sends
// (sendDir, src/backend/backup/basebackup.c), and only where no tablespace_map was asked for.
func isTablespaceLink(path string) bool {
	const folder = "pg_tblspc/"
	if len(path) <= len(folder) || path[:len(folder)] != folder {
		return false
	}
	_, err := strconv.ParseUint(path[len(folder):], 10, 32)
	return err == nil
}

// keep reads a small file whole and remembers it.
func (p *pipeline) keep(m Member, r io.Reader) (io.Reader, error) {
	if m.Type != repository.TypeFile || m.Size > keepLimit {
		return nil, &MemberError{Path: m.Path, Reason: fmt.Sprintf("a %s of %d bytes", m.Type, m.Size)}
	}
	b := make([]byte, m.Size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("%s: %w", m.Path, unexpected(err))
	}
	p.kept[m.Path] = b
	return bytes.NewReader(b), nil
}

// take waits for an empty frame.
func (p *pipeline) take(ctx context.Context) (*frame, error) {
	select {
	case f := <-p.free:
		if f == nil {
			f = newFrame()
		}
		return f, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// emit passes a filled frame on. Neither channel can be full: they hold as many frames as there are.
func (p *pipeline) emit(f *frame) error {
	p.order <- f
	p.work <- f
	return nil
}

// encode is one worker.
func (p *pipeline) encode() {
	encoder := p.options.Codec.NewEncoder()
	table := crc32.MakeTable(crc32.Castagnoli)
	for f := range p.work {
		f.encode(encoder, table)
		f.done <- struct{}{}
	}
}

// write puts the frames into packs, in order.
func (p *pipeline) write(ctx context.Context) (err error) {
	sums := newCombiner()
	var pack *repository.PackWriter
	defer func() {
		if err != nil && pack != nil {
			err = errors.Join(err, pack.Abort(ctx))
		}
	}()
	for f := range p.order {
		select {
		case <-f.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if f.first {
			if pack, err = p.writer.NewPack(archiveName(f.tablespace)); err != nil {
				return err
			}
		}
		if err := p.writeFrame(ctx, pack, f, sums); err != nil {
			return err
		}
		if f.last {
			if err := pack.Close(ctx); err != nil {
				return err
			}
			pack = nil
		}
		p.progress.Done += int64(len(f.plain))
		p.progress.Stored += int64(len(f.stored))
		p.options.Progress(p.progress)
		f.reset()
		p.free <- f
	}
	if pack != nil { // the reader failed in the middle of a pack, and tells why
		if err := pack.Abort(ctx); err != nil {
			p.options.Logger.WarnContext(ctx, "parts of a failed backup are left behind", "backup", p.writer.ID(), "err", err)
		}
		pack = nil
	}
	return nil
}

func (p *pipeline) writeFrame(ctx context.Context, pack *repository.PackWriter, f *frame, sums *combiner) error {
	if err := pack.Frame(ctx, f.stored, len(f.plain)); err != nil {
		return err
	}
	for i := range f.pieces {
		piece := &f.pieces[i]
		piece.join(sums)
		if !piece.last {
			continue
		}
		e := piece.entry
		if e.Type == repository.TypeFile {
			if err := p.contents.add(manifestPath(f.tablespace, e.Path), e.Size, e.crc); err != nil {
				return err
			}
		}
		pack.File(e.index())
	}
	return nil
}

// archiveName is the archive's name in the repository.
func archiveName(tablespace uint32) string {
	if tablespace == 0 {
		return "base"
	}
	return strconv.FormatUint(uint64(tablespace), 10)
}
