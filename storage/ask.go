package storage

import "context"

// Asker is a store of several places that can ask enough of them.
type Asker interface {
	// Ask reads a small object that is expected to be absent. It returns the object as soon as one place has it. It returns ErrNotFound if as many
	// places as must hold what is put said so, each of them at a moment at which it held all that calls had made that returned before this one. It
	// waits for that.
	Ask(ctx context.Context, key Key, limit int64) ([]byte, error)
}

// Ask reads an object of at most limit bytes that is expected to be absent, so that its absence counts: what this program put before, and was told to be durable, is
// no younger than the answer wherever that matters. The errors are those of ReadAll.
func Ask(ctx context.Context, store Store, key Key, limit int64) ([]byte, error) {
	if several, ok := store.(Asker); ok {
		return several.Ask(ctx, key, limit)
	}
	return ReadAll(ctx, store, key, limit)
}
