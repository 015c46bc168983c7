package retention

import "github.com/pgark/pgark/storage"

// Keys are what goes of a cluster.
func Keys(p *ClusterPlan) []storage.Key { return p.keys() }
