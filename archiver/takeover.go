package archiver

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgark/pgark/repository"
)

// errTakenOver says that a fence was seen while the server streamed. The next connection finds out whether it is this server that is fenced: a
// standby may be about to be promoted itself.
var errTakenOver = errors.New("somebody takes over from the server's timeline")

// takenOver returns errTakenOver with the words of what was found, which is no fence by itself.
func takenOver(found error) error { return fmt.Errorf("%w: %s", errTakenOver, found.Error()) }

// unfenced looks, before anything is written, whether somebody took over from the server's timeline. The timeline of the server decides, not that of the
// WAL: a server that was promoted may have to archive what lies before its own timeline.
func (a *Archiver) unfenced(ctx context.Context, p *prepared) error {
	f, err := p.cluster.NewestFence(ctx, p.system.Timeline)
	if err != nil {
		return err
	}
	if f.Stands() {
		return &repository.FencedError{Fence: f}
	}
	if a.options.Fence == nil {
		return nil
	}
	return a.options.Fence(ctx, p.system)
}

// unfenced returns nil if what the repository holds now was there before anybody took over. It returns errTakenOver if somebody did.
func (s *stream) unfenced(ctx context.Context) error {
	err := s.cluster.Unfenced(ctx, s.system.Timeline)
	var fenced *repository.FencedError
	if errors.As(err, &fenced) {
		return takenOver(err)
	}
	return err
}

// askOnce asks until there is an answer whether what was durable when the stream began was so before anybody took over: who put it may have died before it asked.
func (l *loop) askOnce(work context.Context) error {
	for attempt := 0; ; attempt++ {
		err := l.unfenced(work)
		if err == nil || errors.Is(err, errTakenOver) {
			l.send(work, result{unfenced: err == nil, err: err})
			return nil
		}
		if work.Err() != nil {
			return nil
		}
		l.progress.stored(err)
		if pause(work, attempt) != nil {
			return nil
		}
	}
}
