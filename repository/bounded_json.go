package repository

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

var errTooMany = errors.New("more elements than there may be")

// atMost is an array in JSON that is read one element after the other and refused as soon as it has more than limit: three bytes of text may stand for hundreds of
// memory, and text shrinks to next to nothing.
type atMost[T any] struct {
	limit int // when it is read
	list  []T
}

// IsZero tells encoding/json what omitzero leaves out.
func (a atMost[T]) IsZero() bool { return len(a.list) == 0 }

// MarshalJSON writes an array.
func (a atMost[T]) MarshalJSON() ([]byte, error) {
	if a.list == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(a.list)
}

// UnmarshalJSON reads an array. What an earlier one of the same name held is gone.
func (a *atMost[T]) UnmarshalJSON(b []byte) error {
	a.list = nil
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if open, err := d.Token(); err != nil || open != json.Delim('[') {
		return errors.Join(&json.UnmarshalTypeError{Value: "no array"}, err)
	}
	for d.More() {
		if len(a.list) == a.limit {
			return fmt.Errorf("%w: more than %d", errTooMany, a.limit)
		}
		var element T
		if err := d.Decode(&element); err != nil {
			return err
		}
		a.list = append(a.list, element)
	}
	return nil
}
