package repository

import (
	"slices"
	"time"
)

// Order returns the names of the sources in the order in which they are asked for objects, as far as is known by now. A nil *Sources has none.
func (s *Sources) Order() []string {
	if s == nil {
		return nil
	}
	list, _ := s.nearFirst()
	var names []string
	for _, one := range list {
		names = append(names, one.Name)
	}
	return names
}

// A source is far if it took so many times as long to open as the nearest, and so much longer: an ocean, and not the moment's luck.
const (
	farTimes = 3
	farBy    = 30 * time.Millisecond
)

// farthest tells of sources that answer which are far. Before each of them was looked at none is.
func farthest(list []*source) map[*source]bool {
	far := map[*source]bool{}
	var nearest time.Duration
	for _, one := range list {
		if one.Last {
			continue
		}
		if one.took == 0 {
			return nil
		}
		if nearest == 0 || one.took < nearest {
			nearest = one.took
		}
	}
	for _, one := range list {
		far[one] = one.Last || one.took > farTimes*nearest && one.took > nearest+farBy
	}
	return far
}

// nearFirst is order for objects: the near before the far.
func (s *Sources) nearFirst() (list []*source, answering int) {
	list, answering = s.order()
	s.mu.Lock()
	defer s.mu.Unlock()
	far := farthest(list[:answering])
	slices.SortStableFunc(list[:answering], func(a, b *source) int {
		switch {
		case far[a] == far[b]:
			return 0
		case far[b]:
			return -1
		}
		return 1
	})
	return list, answering
}
