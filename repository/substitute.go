package repository

import (
	"errors"
	"strings"

	"github.com/pgark/pgark/storage"
)

// Fault is why a source did not give an object, or is not read at all.
type Fault struct {
	Source string
	Err    error
}

// Substitute is an object that one source gave after others that hold it damaged or not at all.
type Substitute struct {
	Key    storage.Key
	Source string // that gave it
	Faults []Fault
}

// Reason says what each source that was asked before holds of the object, for a person.
func (s Substitute) Reason() string {
	var said []string
	for _, f := range s.Faults {
		what := f.Err.Error()
		var corrupt *CorruptError
		switch {
		case errors.As(f.Err, &corrupt):
			what = corrupt.Reason
			if corrupt.Err != nil {
				what += ": " + corrupt.Err.Error()
			}
		case errors.Is(f.Err, storage.ErrNotFound):
			what = "not there"
		}
		said = append(said, f.Source+": "+what)
	}
	return strings.Join(said, "; ")
}
