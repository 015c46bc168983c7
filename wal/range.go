package wal

// Range is the bytes [Start, End) of the log of one timeline. A Range whose
// End is not past its Start is empty.
type Range struct {
	Start LSN
	End   LSN
}

// Len returns the number of bytes in the range, 0 if it is empty.
func (r Range) Len() uint64 {
	if r.Empty() {
		return 0
	}
	return uint64(r.End - r.Start)
}

// Empty reports whether the range holds no byte.
func (r Range) Empty() bool { return r.End <= r.Start }

// Contains reports whether the byte at l lies in the range.
func (r Range) Contains(l LSN) bool { return l >= r.Start && l < r.End }

// String returns "[0/1000000, 0/2000000)".
func (r Range) String() string { return "[" + r.Start.String() + ", " + r.End.String() + ")" }
