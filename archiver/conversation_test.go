package archiver_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/pgark/pgark/archiver/archivertest"
	"github.com/pgark/pgark/postgres"
	"github.com/pgark/pgark/storage"
	"github.com/pgark/pgark/wal"
)

// conversation records, in one order, what the store acknowledged and what the
// server was told. It is judged afterwards, by code that shares nothing with
// the archiver.
type conversation struct{ *archivertest.Recording }

const recorded = "store"

func newConversation() *conversation {
	return &conversation{archivertest.NewRecording(segSize, recorded)}
}

// status notes a status update. Timelines stand for connections: the fake server
// sends one stream of each at a time.
func (c *conversation) status(tli wal.TimelineID, s postgres.Status) {
	c.Add(archivertest.Event{Kind: archivertest.Told, Conn: int(tli), Write: s.Write, Flush: s.Flush, Apply: s.Apply})
}

func (c *conversation) stream(tli wal.TimelineID, at wal.LSN) {
	c.Add(archivertest.Event{Kind: archivertest.Stream, Conn: int(tli), Timeline: tli, LSN: at})
}

// recorder is a store that notes what it acknowledged or showed: a history file whose create lost its answer is found by the next read.
type recorder struct {
	storage.Store

	log *conversation
}

func (r recorder) Put(ctx context.Context, key storage.Key, body []byte) error {
	err := r.Store.Put(ctx, key, body)
	if err == nil || errors.Is(err, storage.ErrExists) {
		r.held(key)
	}
	return err
}

func (r recorder) Get(ctx context.Context, key storage.Key, span storage.Span) (io.ReadCloser, error) {
	body, err := r.Store.Get(ctx, key, span)
	if err == nil {
		r.held(key)
	}
	return body, err
}

func (r recorder) held(key storage.Key) {
	r.log.Add(archivertest.Event{Kind: archivertest.Held, Repository: recorded, Key: string(key)})
}

// judge checks I1, I2 and I8 over all that was said, and that something was.
func (c *conversation) judge(t testing.TB, _ wal.LSN) {
	t.Helper()
	v, err := archivertest.Judge(c.Recording)
	if err != nil {
		t.Fatal(err)
	}
	if v.Told == 0 || v.Streams == 0 {
		t.Fatalf("the server was never told anything: nothing was judged: %+v", v)
	}
}
