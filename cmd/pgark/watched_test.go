package main

import (
	"runtime"
	"sync"
	"testing"
)

// TestMapsAreWatched guards the race detector in make unit: what a goroutine put into a sync.Map another may read. Where a package that is compiled without the detector brings its own copy of
// the map's code, the linker may take that for all, and what libraries keep in such maps (encoding/json its types) looks like races.
func TestMapsAreWatched(t *testing.T) {
	var m sync.Map
	go func() {
		v := new(int)
		*v = 1
		m.Store("key", v)
	}()
	for {
		if v, ok := m.Load("key"); ok {
			if n, is := v.(*int); !is || *n != 1 {
				t.Errorf("got %v", v)
			}
			return
		}
		runtime.Gosched()
	}
}
