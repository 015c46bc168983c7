package retention

import "github.com/pgark/pgark/storage"

// Keys are what goes of a cluster.
func Keys(p *ClusterPlan) []storage.Key { return p.keys() }

// TooMuch reports whether a plan is refused when nobody looks on.
func TooMuch(p Plan) bool { return p.tooMuch() }

// AtMost is r with another bound than MostLocks.
func (r Renewal) AtMost(n int) Renewal {
	r.most = n
	return r
}
