package agent

import (
	"context"

	"github.com/pgark/pgark/config"
	"github.com/pgark/pgark/storage/limit"
)

// Bandwidth is what the stores that a process opens may use together. Nil is no limit.
type Bandwidth struct {
	limits       config.Limits
	upload, read *limit.Limiter
}

// NewBandwidth returns the bandwidth of a process.
func NewBandwidth(l config.Limits) *Bandwidth {
	return &Bandwidth{l, limit.New(l.Upload), limit.New(l.Read)}
}

// Patient returns a context under which what is sent and read waits for the limits. Without it everything is counted and nothing waits: WAL, and restores.
func Patient(ctx context.Context) context.Context { return limit.Patient(ctx) }

// limits are what the bytes of one store pass.
func (o StoreOptions) limits() limit.Options {
	l := limit.Options{Upload: []*limit.Limiter{limit.New(o.own.Upload)}, Read: []*limit.Limiter{limit.New(o.own.Read)}}
	if o.Bandwidth != nil {
		l.Upload, l.Read = append(l.Upload, o.Bandwidth.upload), append(l.Read, o.Bandwidth.read)
	}
	return l
}

// all are the limits over all stores.
func (b *Bandwidth) all() config.Limits {
	if b == nil {
		return config.Limits{}
	}
	return b.limits
}

// of returns what a store with limits of its own keeps to.
func (b *Bandwidth) of(own config.Limits) config.Limits {
	all := b.all()
	return config.Limits{Upload: lower(own.Upload, all.Upload), Read: lower(own.Read, all.Read)}
}

// lower returns the lower of two limits, of which 0 is none.
func lower(a, b int64) int64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
