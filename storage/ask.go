package storage

import "context"

// Question asks a place, which has a name for people that stays the same, for what is expected to be absent. It returns nil if it is absent there, an error that says what there is, or one that
// the place failed with.
type Question func(ctx context.Context, name string, place Store) error

// Asker is a store of several places that can ask enough of them.
type Asker interface {
	// Ask puts the question to the places, each for itself. It returns nil if as many as must hold what is put returned nil, each asked at a
	// moment at which it held all that calls had made that returned before this one. It waits for that. It returns the error of the first place that
	// says what there is. A place that cannot be asked now (Retryable, ErrDenied, ErrNoStore) is asked again when it can be.
	Ask(ctx context.Context, question Question) error
}

// Ask asks for what is expected to be absent, so that its absence counts: what this program put before, and was told to be durable, is no younger than the answer wherever that matters. A store of one
// place has the name "", and any error of it ends the question.
func Ask(ctx context.Context, store Store, question Question) error {
	if several, ok := store.(Asker); ok {
		return several.Ask(ctx, question)
	}
	return question(ctx, "", store)
}
