package copies

import (
	"errors"
	"fmt"
	"strconv"
)

// Policy says which members must hold an object before a call returns. The zero value is Primary.
type Policy struct {
	all   bool
	least int
}

// Primary requires the first member alone.
func Primary() Policy { return Policy{} }

// All requires every member.
func All() Policy { return Policy{all: true} }

// AtLeast requires any k members, 1 or more.
func AtLeast(k int) Policy { return Policy{least: k} }

// ErrPolicy says that a policy cannot be: it is not "primary", "all" or a number of members.
var ErrPolicy = errors.New(`required copies: want "primary", "all" or a number`)

// ParsePolicy reads "primary", "all" or a number from 1. The error is ErrPolicy.
func ParsePolicy(s string) (Policy, error) {
	switch s {
	case "", "primary":
		return Primary(), nil
	case "all":
		return All(), nil
	}
	k, err := strconv.Atoi(s)
	if err != nil || k < 1 {
		return Policy{}, fmt.Errorf("%w, not %q", ErrPolicy, s)
	}
	return AtLeast(k), nil
}

// String returns what ParsePolicy reads.
func (p Policy) String() string {
	switch {
	case p.all:
		return "all"
	case p.least > 0:
		return strconv.Itoa(p.least)
	default:
		return "primary"
	}
}

// Validate returns ErrPolicy if n members can never be enough.
func (p Policy) Validate(n int) error {
	if p.least > n {
		return fmt.Errorf("%w: %d required, there are %d", ErrPolicy, p.least, n)
	}
	return nil
}

// enough reports whether the members that hold satisfy the policy; holds has one entry for each.
func (p Policy) enough(holds []bool) bool {
	count := 0
	for _, h := range holds {
		if h {
			count++
		}
	}
	switch {
	case p.all:
		return count == len(holds)
	case p.least > 0:
		return count >= p.least
	default:
		return holds[0]
	}
}

// others returns how many other members the member m of n must be brought up to date from before it is
// certain to hold all that was ever returned for, when none is live; never is true if it must wait for
// another member to be live.
func (p Policy) others(m, n int) (others int, never bool) {
	if p.least > 0 && p.least < n {
		return n - p.least, false
	}
	return 0, m != 0
}
