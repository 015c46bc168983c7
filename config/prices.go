package config

import (
	"fmt"
	"math"
	"strconv"

	"github.com/pgark/pgark/cost"
)

// priceKeys are those of the primary; a copy has its own, below it.
func priceKeys() []Key {
	var keys []Key
	for _, p := range prices() {
		keys = append(keys, Key{
			Path: "repo." + p.path, Env: p.env, Doc: p.doc,
			set: func(_ *Config, c *Cluster, v string) error { return setPrice(p.of(&c.Repo.Prices), v) },
			get: func(_ Config, c Cluster) string { return formatPrice(*p.of(&c.Repo.Prices)) },
		})
	}
	return keys
}

// price is one of what a store charges for.
type price struct {
	path, env, doc string
	of             func(*cost.Given) **float64
}

func prices() []price {
	return []price{
		{
			"prices.storage", "PGARK_PRICES_STORAGE", "what the store charges for a GB and month, USD, like 0.023, whatever its storage class: for `pgark repo cost`, the page and metrics; empty, the default: Amazon's list price of the class, nothing for a folder",
			func(g *cost.Given) **float64 { return &g.Storage },
		},
		{
			"prices.put", "PGARK_PRICES_PUT", "the same for 1,000 requests that write or list",
			func(g *cost.Given) **float64 { return &g.Put },
		},
		{
			"prices.get", "PGARK_PRICES_GET", "the same for 1,000 requests that read",
			func(g *cost.Given) **float64 { return &g.Get },
		},
		{
			"prices.transfer", "PGARK_PRICES_TRANSFER", "the same for a GB that is put there from another region",
			func(g *cost.Given) **float64 { return &g.Transfer },
		},
	}
}

const dearest = 1000 // USD

// setPrice reads a price in USD; empty leaves it to the list.
func setPrice(to **float64, v string) error {
	if v == "" {
		*to = nil
		return nil
	}
	p, err := strconv.ParseFloat(v, 64)
	if err != nil || math.IsNaN(p) || p < 0 || p > dearest {
		return fmt.Errorf("%q is not a price: want USD from 0 to %d, like 0.023", v, dearest)
	}
	*to = &p
	return nil
}

func formatPrice(p *float64) string {
	if p == nil {
		return ""
	}
	return strconv.FormatFloat(*p, 'f', -1, 64)
}
