// Package limit keeps what is sent to a store and read from it within a bandwidth. It stands around storage/retry: a call waits once,
// outside of its deadlines, and what is sent again is charged as well (Store.Again).
//
// What must be safe soon does not wait: it is charged, and so what may wait makes room for it. Whoever may wait says so
// with Patient. Without that no call waits, ever: a call that nobody thought of is late by no more than its bytes take.
//
// The package knows bytes, not their meaning.
package limit

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// owed is for how long a time ahead what does not wait may use the limit up. Beyond that it is not charged, so that what waits gets a
// tenth of the limit or so even where the rest alone is more than the limit.
const owed = 10 * time.Second

// Limiter keeps bytes to a rate. It is safe for concurrent use. Nil limits nothing.
type Limiter struct {
	bytes *rate.Limiter
	turn  chan struct{} // held by the one whose bytes are due next

	mu sync.Mutex // of charge
}

// New returns a limiter to so many bytes a second, nil for 0. In any stretch of time no more passes of what waits than the rate allows in it
// and in one second more.
func New(bytesPerSecond int64) *Limiter {
	if bytesPerSecond <= 0 {
		return nil
	}
	burst := int(bytesPerSecond)
	return &Limiter{bytes: rate.NewLimiter(rate.Limit(bytesPerSecond), burst), turn: make(chan struct{}, 1)}
}

// most is how many bytes are taken at a time.
func (l *Limiter) most() int { return l.bytes.Burst() }

// take waits until n bytes may pass, behind those who came before. It returns the cause of ctx's end if that comes first.
func (l *Limiter) take(ctx context.Context, n int) error {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-l.turn }()
	for n > 0 {
		part := min(n, l.most())
		n -= part
		due := l.bytes.ReserveN(time.Now(), part)
		if err := pause(ctx, due.Delay()); err != nil {
			due.Cancel()
			return err
		}
	}
	return nil
}

// charge counts n bytes that do not wait.
func (l *Limiter) charge(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	free := l.bytes.TokensAt(now) + float64(l.bytes.Limit())*owed.Seconds()
	for n = min(n, int(max(free, 0))); n > 0; {
		part := min(n, l.most())
		n -= part
		l.bytes.ReserveN(now, part) // whoever comes next waits for it
	}
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

type patience struct{}

// Patient returns a context whose calls wait until the limits have room for them: base backups, bringing copies up to date, verification, drills.
func Patient(ctx context.Context) context.Context {
	return PatientWhile(ctx, func() bool { return true })
}

// PatientWhile returns a context whose calls wait as those of Patient do, for as long as patient says so. It is asked each time before bytes pass.
func PatientWhile(ctx context.Context, patient func() bool) context.Context {
	return context.WithValue(ctx, patience{}, patient)
}

// pass lets n bytes through all limiters: at once, or when it is their turn where ctx is that of a patient caller.
func pass(ctx context.Context, limiters []*Limiter, n int) error {
	patient, _ := ctx.Value(patience{}).(func() bool)
	for _, l := range limiters {
		switch {
		case l == nil || n == 0:
		case patient == nil || !patient():
			l.charge(n)
		default:
			if err := l.take(ctx, n); err != nil {
				return err
			}
		}
	}
	return nil
}
