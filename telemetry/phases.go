package telemetry

import (
	"context"
	"sync"
)

// Phases make spans of a job that says in which phase it is: one for each, below that of the job. A nil one makes none. It is safe for concurrent use.
type Phases struct {
	job   Name
	begin func(Name) *Span

	mu   sync.Mutex
	name string // of the phase that is on; empty: none
	span *Span
}

// NewPhases returns those of the job whose span is that of ctx; nil where nothing is exported.
func NewPhases(ctx context.Context, job Name) *Phases {
	if !On(ctx) {
		return nil
	}
	return &Phases{job: job, begin: func(name Name) *Span {
		_, span := Begin(ctx, name)
		return span
	}}
}

// Enter says that the job is in a phase. The one before ended well, if it was another.
func (p *Phases) Enter(phase string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if phase == p.name {
		return
	}
	p.span.End(nil)
	p.name, p.span = phase, p.begin(p.job.Phase(phase))
}

// End ends the phase that is on, with err. Another may be entered after it.
func (p *Phases) End(err error) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.span.End(err)
	p.name, p.span = "", nil
}
