package copies_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgark/pgark/storage/copies"
	"github.com/pgark/pgark/storage/memory"
)

// TestEndIsNoFault: members that are live when everything ends were not left behind, and nothing is told of them.
func TestEndIsNoFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told bytes.Buffer
		places := []*memory.Store{memory.New(), memory.New()}
		places[0].Replace(marker, []byte("marker"))
		store, err := copies.New([]copies.Member{{Name: "m0", Store: places[0]}, {Name: "m1", Store: places[1]}}, copies.Options{
			Required: copies.All(), CatchUp: catchUp, Marker: marker, Logger: slog.New(slog.NewTextHandler(&told, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		ended.Go(func() { store.Run(ctx) })
		time.Sleep(time.Minute)
		if st := store.Status()[1]; st.State != copies.Live {
			t.Fatalf("the copy is %+v", st)
		}
		cancel()
		ended.Wait()
		if text := told.String(); strings.Contains(text, "ERROR") || strings.Contains(text, "left behind") {
			t.Errorf("told:\n%s", text)
		}
	})
}
